/* A tile of a product in registers: mr x nv vectors of sums.
 *
 *                 b  kc x (nv vectors)       for every k: nv loads of b, mr splats of a, mr x nv
 *                +----+----+                 multiply-adds; then the tile goes to memory once
 *   a  mr x kc   |    |    |
 *   +---------+  +----+----+
 *   |         |  |sums|sums| mr
 *   +---------+  +----+----+
 *
 * In C, for UNROLL: GCC keeps an array in registers only if its loops are unrolled before it looks for
 * such arrays. Later is soon enough for the sums inside the loop over k, but they begin and end in
 * memory: 56 stores and 56 loads for a tile of 14 x 2.
 */
#ifndef CONVNET_MICRO_KERNEL_H
#define CONVNET_MICRO_KERNEL_H

#include "simd.h"

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* What is brought into the cache while a tile is multiplied, piece by piece of NR elements, so many for
 * each STRIDE of k: `next`, operands that are copied soon, in runs of pieces; c, the tile's own rows.
 * In one burst before the tile they fill the processor's line buffers, and A waits behind them. */
enum { STRIDE = 16 };
typedef struct {
    const real_t *next;
    ptrdiff_t pieces, left, run, jump;
    const real_t *c;
    ptrdiff_t c_stride, c_rows;
    ptrdiff_t near;       /* from an element of B to one that L1 should have soon */
    const real_t *stream; /* what L1 should have for the tiles after this one, */
    ptrdiff_t pace;       /* so many elements for each k */
} ahead_t;

/* out (mr x cols, ld apart) = or += a (mr x kc) b (kc rows, ldb apart), cols at most nv vectors.
 * a's element (i, k) is at i * row + k (by_rows), or at i + k * step. Nothing beside cols is written.
 * brief: nothing is asked for but what is `near`; copy: where b's rows go, side by side, or NULL. */
INLINE void micro_kernel(const int by_rows, const int brief, const int mr, const int nv,
                         ptrdiff_t cols, ptrdiff_t kc, const real_t *a, ptrdiff_t row,
                         ptrdiff_t step, const real_t *b, ptrdiff_t ldb, real_t *copy, real_t *out,
                         ptrdiff_t ld, int add, ahead_t *ahead) {
    vec_t sums[MR][NV], line[NV];
    const real_t *rows[MR]; /* every third: three addresses each */
    const real_t *next_c = ahead->c;
    const real_t *stream = ahead->stream;
    const ptrdiff_t near = ahead->near, pace = ahead->pace;
    const int last = nv - 1, whole = cols >= nv * VL;
    if (by_rows) {
        UNROLL for (int i = 0; i < (mr + 2) / 3; i++) rows[i] = opaque((void *)(a + 3 * i * row));
    }
    UNROLL for (int i = 0; i < mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) sums[i][j] = vzero();
    }
    for (ptrdiff_t k = 0; k < kc;) {
        for (ptrdiff_t n = brief ? 0 : ahead->pieces; n > 0; n--) {
            prefetch_run(ahead->next, NR);
            ahead->next += NR;
            if (--ahead->left == 0) {
                ahead->left = ahead->run;
                ahead->next += ahead->jump;
            }
        }
        for (ptrdiff_t n = brief ? 0 : ahead->c_rows; n > 0; n--) {
            prefetch_for_write(next_c, nv * VL);
            next_c += ahead->c_stride;
        }
        const ptrdiff_t end = !brief && k + STRIDE < kc ? k + STRIDE : kc;
        for (; k < end; k++) {
            if (!brief) {
                prefetch_near(stream);
                stream += pace;
            }
            UNROLL for (int j = 0; j < nv; j++) {
                if (nv > 1) prefetch_near(b + near + j * VL); /* alone, a vector's splats leave no time */
                line[j] = vload(b + j * VL);
                if (copy) vstore(copy + k * nv * VL + j * VL, line[j]);
            }
            UNROLL for (int i = 0; i < mr; i++) {
                vec_t factor = vsplat(by_rows ? rows[i / 3][i % 3 * row] : a[i]);
                UNROLL for (int j = 0; j < nv; j++) sums[i][j] = sums[i][j] + factor * line[j];
            }
            if (by_rows) {
                UNROLL for (int i = 0; i < (mr + 2) / 3; i++) rows[i]++;
            } else {
                a += step;
            }
            b += ldb;
        }
    }
    if (whole) {
        UNROLL for (int i = 0; i < mr; i++) {
            UNROLL for (int j = 0; j < nv; j++) {
                real_t *to = out + i * ld + j * VL;
                vstore(to, add ? vload(to) + sums[i][j] : sums[i][j]);
            }
        }
    } else {
        const lanes_t lanes = vlanes(0, cols - last * VL);
        UNROLL for (int i = 0; i < mr; i++) {
            UNROLL for (int j = 0; j < nv; j++) {
                real_t *to = out + i * ld + j * VL;
                if (j < last) vstore(to, add ? vload(to) + sums[i][j] : sums[i][j]);
                else vstore_some(to, lanes, add ? vload_some(to, lanes) + sums[i][j] : sums[i][j]);
            }
        }
    }
}

/* One kernel for each height, up to the machine's MR. */
#if MR >= 14
#define HEIGHTS(CASE) CASE(14) CASE(13) CASE(12) CASE(11) CASE(10) CASE(9) CASE(8) CASE(7) LOW(CASE)
#elif MR >= 12
#define HEIGHTS(CASE) CASE(12) CASE(11) CASE(10) CASE(9) CASE(8) CASE(7) LOW(CASE)
#else
#define HEIGHTS(CASE) LOW(CASE)
#endif
#define LOW(CASE) CASE(6) CASE(5) CASE(4) CASE(3) CASE(2) CASE(1)
#define ROWS_TILE(mr)                                                                              \
    case mr:                                                                                       \
        if (cols <= VL)                                                                            \
            micro_kernel(1, 0, mr, 1, cols, kc, a, row, 1, b, ldb, NULL, out, ld, add, ahead);             \
        else                                                                                       \
            micro_kernel(1, 0, mr, 2, cols, kc, a, row, 1, b, ldb, NULL, out, ld, add, ahead);             \
        break;
#define COLUMNS_TILE(mr)                                                                           \
    case mr:                                                                                       \
        if (cols <= VL)                                                                            \
            micro_kernel(0, 0, mr, 1, cols, kc, a, 1, step, b, ldb, NULL, out, ld, add, ahead);            \
        else                                                                                       \
            micro_kernel(0, 0, mr, 2, cols, kc, a, 1, step, b, ldb, NULL, out, ld, add, ahead);            \
        break;

#define BRIEF_TILE(mr)                                                                             \
    case mr: micro_kernel(1, 1, mr, NV, NR, kc, a, row, 1, b, ldb, NULL, out, ld, add, ahead); break;

#define COPYING_TILE(mr)                                                                           \
    case mr: micro_kernel(1, 0, mr, NV, NR, kc, a, row, 1, b, ldb, copy, out, ld, add, ahead); break;

/* Two functions, so that in each the compiler knows which stride is 1. Fourteen multiples of `row` are
 * more than there are registers: a pointer for every third row leaves two of them, and GCC, which would
 * derive all from one pointer and reload half of the multiples at every k, must not see the relation. */

/* A's rows are contiguous. */
static __attribute__((noinline)) void tile_of_rows(int mr, ptrdiff_t cols, ptrdiff_t kc,
                                                   const real_t *a, ptrdiff_t row, const real_t *b,
                                                   ptrdiff_t ldb, real_t *out, ptrdiff_t ld,
                                                   int add, ahead_t *ahead) {
    switch (mr) { HEIGHTS(ROWS_TILE) }
}

/* The same with a short sum and a whole panel: C32 K16 112x112 spent 150 of 400 cycles a tile on asking,
 * stride by stride, for nothing. */
static __attribute__((noinline)) void brief_tile(int mr, ptrdiff_t kc, const real_t *a, ptrdiff_t row,
                                                 const real_t *b, ptrdiff_t ldb, real_t *out,
                                                 ptrdiff_t ld, int add, ahead_t *ahead) {
    switch (mr) { HEIGHTS(BRIEF_TILE) }
}

/* The same with a whole panel, which is copied while it is multiplied: NR elements for each k. */
static __attribute__((noinline)) void copying_tile(int mr, ptrdiff_t kc, const real_t *a,
                                                   ptrdiff_t row, const real_t *b, ptrdiff_t ldb,
                                                   real_t *copy, real_t *out, ptrdiff_t ld, int add,
                                                   ahead_t *ahead) {
    switch (mr) { HEIGHTS(COPYING_TILE) }
}

/* A's columns are contiguous. */
static __attribute__((noinline)) void tile_of_columns(int mr, ptrdiff_t cols, ptrdiff_t kc,
                                                      const real_t *a, ptrdiff_t step,
                                                      const real_t *b, ptrdiff_t ldb, real_t *out,
                                                      ptrdiff_t ld, int add, ahead_t *ahead) {
    switch (mr) { HEIGHTS(COLUMNS_TILE) }
}

#endif
