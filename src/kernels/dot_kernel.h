/* A tile of dot products in registers: rows x cols sums of VL lanes each, along k.
 *
 *   a  |---- k ---->        for every VL of k: a vector of each row of a and of each row of b',
 *   b' |---- k ---->        rows x cols multiply-adds; then the lanes of each sum are added up
 *
 * In C, for UNROLL, as micro_kernel.h: in Cython the sums of some tiles went to the stack and back
 * with every step.
 */
#ifndef CONVNET_DOT_KERNEL_H
#define CONVNET_DOT_KERNEL_H

#include "micro_kernel.h"

/* As many sums as there are registers for, beside a column of a and a vector of b. */
#if MR >= 12
enum { DOT_ROWS = 4, DOT_COLS = NR < 6 ? NR : 6 };
#define DOT_WIDE(CASE, rows) CASE(rows, 6) CASE(rows, 5) CASE(rows, 4) CASE(rows, 3)
#else
enum { DOT_ROWS = 4, DOT_COLS = 2 };
#define DOT_WIDE(CASE, rows)
#endif

/* One round of a sum over lanes: of n vectors neighbours are added, into (n + 1) / 2. */
INLINE void add_neighbours(vec_t *v, const int n) {
    UNROLL for (int i = 0; i < (n + 1) / 2; i++) {
        vec_t low = v[2 * i], high = v[2 * i + 1 < n ? 2 * i + 1 : 2 * i];
        v[i] = veven(low, high) + vodd(low, high);
    }
}

/* The sums of the lanes of n vectors, in vsum's order: v's first (n + VL - 1) / VL hold them. */
INLINE void vsums(vec_t *v, const int n) {
    add_neighbours(v, n);
    if (VL > 2) add_neighbours(v, (n + 1) / 2);
    if (VL > 4) add_neighbours(v, (n + 3) / 4);
    if (VL > 8) add_neighbours(v, (n + 7) / 8);
}

/* tile[i * NR + j] = sum over k of a[i * lda + k] b[j * ldb + k] */
INLINE void dot_sums(const int rows, const int cols, ptrdiff_t kc, const real_t *a, ptrdiff_t lda,
                     const real_t *b, ptrdiff_t ldb, real_t *tile) {
    vec_t sums[DOT_ROWS][6], left[DOT_ROWS];
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int j = 0; j < cols; j++) sums[i][j] = vzero();
    }
    ptrdiff_t k = 0;
    for (; k + VL <= kc; k += VL) {
        UNROLL for (int i = 0; i < rows; i++) left[i] = vload(a + i * lda + k);
        UNROLL for (int j = 0; j < cols; j++) {
            vec_t right = vload(b + j * ldb + k);
            UNROLL for (int i = 0; i < rows; i++) sums[i][j] = sums[i][j] + left[i] * right;
        }
    }
    if (k < kc) {
        const lanes_t rest = vlanes(0, kc - k);
        UNROLL for (int i = 0; i < rows; i++) left[i] = vload_some(a + i * lda + k, rest);
        UNROLL for (int j = 0; j < cols; j++) {
            vec_t right = vload_some(b + j * ldb + k, rest);
            UNROLL for (int i = 0; i < rows; i++) sums[i][j] = sums[i][j] + left[i] * right;
        }
    }
    UNROLL for (int i = 0; i < rows; i++) {
        vsums(sums[i], cols);
        UNROLL for (int j = 0; j < (cols + VL - 1) / VL; j++) {
            vstore(tile + i * NR + j * VL, sums[i][j]);
        }
    }
}

#define DOT_TILE(rows, cols)                                                                       \
    case cols: dot_sums(rows, cols, kc, a, lda, b, ldb, tile); break;
#define DOT_TILES(rows)                                                                            \
    case rows:                                                                                     \
        switch (cols) {                                                                            \
            DOT_WIDE(DOT_TILE, rows) DOT_TILE(rows, 2) DOT_TILE(rows, 1)                           \
        }                                                                                          \
        break;

static __attribute__((noinline)) void dot_tile(int rows, int cols, ptrdiff_t kc, const real_t *a,
                                               ptrdiff_t lda, const real_t *b, ptrdiff_t ldb,
                                               real_t *tile) {
    switch (rows) { DOT_TILES(1) DOT_TILES(2) DOT_TILES(3) DOT_TILES(4) }
}

#endif
