/* Winograd's products: a tile of mr x nv vectors of sums in registers, as in micro_kernel.h.
 *
 * chain_product goes on with sums that it finds: a sum over channels that is cut into blocks so that its
 * operands stay in the cache remains one chain of multiply-adds, and its bits do not tell where it was
 * cut. part_product adds a sum of its own: a long sum over tiles rounds less in parts.
 *
 * `before` is where the sums go on from, or zeros (row stride 0): a test instead makes GCC keep the sums
 * of all branches in memory.
 *
 * `ahead` says what to fetch meanwhile: pieces for L2, the next tile's rows, and a stream for L1.
 */
#ifndef CONVNET_WINOGRAD_PRODUCT_H
#define CONVNET_WINOGRAD_PRODUCT_H

#include "micro_kernel.h"

/* For one STRIDE of k: pieces for L2, and rows of the next tile, which is read or written soon. Each
 * line is asked for once: pieces and rows begin with one (they follow one another where they do not). */
INLINE const real_t *fetch_ahead(ahead_t *ahead, const real_t *next_c) {
    enum { LINE = 64 / (int)sizeof(real_t) };
    for (ptrdiff_t n = ahead->pieces; n > 0; n--) {
        UNROLL for (int i = 0; i < NR; i += LINE) prefetch_far(ahead->next + i);
        ahead->next += NR;
        if (--ahead->left == 0) {
            ahead->left = ahead->run;
            ahead->next += ahead->jump;
        }
    }
    for (ptrdiff_t n = ahead->c_rows; n > 0; n--) {
        UNROLL for (int i = 0; i < NR; i += LINE) __builtin_prefetch(next_c + i, 1, 3);
        next_c += ahead->c_stride;
    }
    return next_c;
}

/* out (mr x nv vectors, NR apart) = before + a (mr x kc, rows lda apart) b (kc rows, NR apart) */
INLINE void chain_kernel(const int mr, const int nv, ptrdiff_t kc, const real_t *a, ptrdiff_t lda,
                         const real_t *b, const real_t *before, ptrdiff_t ld_before, real_t *out,
                         ahead_t *ahead) {
    vec_t sums[MR][NV], line[NV];
    const real_t *rows[MR]; /* every third: three addresses each */
    const real_t *stream = ahead->stream, *next_c = ahead->c;
    const ptrdiff_t pace = ahead->pace;
    UNROLL for (int i = 0; i < (mr + 2) / 3; i++) rows[i] = opaque((void *)(a + 3 * i * lda));
    UNROLL for (int i = 0; i < mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) sums[i][j] = vload(before + i * ld_before + j * VL);
    }
    for (ptrdiff_t k = 0; k < kc;) {
        next_c = fetch_ahead(ahead, next_c);
        const ptrdiff_t end = k + STRIDE < kc ? k + STRIDE : kc;
        for (; k < end; k++) {
            prefetch_near(stream);
            stream += pace;
            UNROLL for (int j = 0; j < nv; j++) line[j] = vload(b + j * VL);
            UNROLL for (int i = 0; i < mr; i++) {
                vec_t factor = vsplat(rows[i / 3][i % 3 * lda]);
                UNROLL for (int j = 0; j < nv; j++) sums[i][j] = sums[i][j] + factor * line[j];
            }
            UNROLL for (int i = 0; i < (mr + 2) / 3; i++) rows[i]++;
            b += NR;
        }
    }
    UNROLL for (int i = 0; i < mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) vstore(out + i * NR + j * VL, sums[i][j]);
    }
}

/* out (mr x nv vectors, rows ld apart) = before + a' (a: kc x mr) b (kc rows) */
INLINE void part_kernel(const int mr, const int nv, ptrdiff_t kc, const real_t *a, ptrdiff_t lda,
                        const real_t *b, ptrdiff_t ldb, const real_t *before, ptrdiff_t ld_before,
                        real_t *out, ptrdiff_t ld, ahead_t *ahead) {
    vec_t sums[MR][NV], line[NV];
    const real_t *next_c = ahead->c;
    UNROLL for (int i = 0; i < mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) sums[i][j] = vzero();
    }
    for (ptrdiff_t k = 0; k < kc;) {
        next_c = fetch_ahead(ahead, next_c);
        const ptrdiff_t end = k + STRIDE < kc ? k + STRIDE : kc;
        for (; k < end; k++) {
            UNROLL for (int j = 0; j < nv; j++) line[j] = vload(b + j * VL);
            UNROLL for (int i = 0; i < mr; i++) {
                vec_t factor = vsplat(a[i]);
                UNROLL for (int j = 0; j < nv; j++) sums[i][j] = sums[i][j] + factor * line[j];
            }
            a += lda;
            b += ldb;
        }
    }
    UNROLL for (int i = 0; i < mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) {
            vstore(out + i * ld + j * VL, vload(before + i * ld_before + j * VL) + sums[i][j]);
        }
    }
}

#define CHAIN_TILE(mr)                                                                             \
    case mr:                                                                                       \
        if (cols <= VL) chain_kernel(mr, 1, kc, a, lda, b, before, ld_before, out, ahead);         \
        else chain_kernel(mr, 2, kc, a, lda, b, before, ld_before, out, ahead);                    \
        break;
#define PART_TILE(mr)                                                                              \
    case mr:                                                                                       \
        if (cols <= VL) part_kernel(mr, 1, kc, a, lda, b, ldb, before, ld_before, out, ld, ahead);        \
        else part_kernel(mr, 2, kc, a, lda, b, ldb, before, ld_before, out, ld, ahead);                   \
        break;

static __attribute__((noinline)) void chain_product(int mr, ptrdiff_t cols, ptrdiff_t kc,
                                                    const real_t *a, ptrdiff_t lda, const real_t *b,
                                                    const real_t *before, ptrdiff_t ld_before,
                                                    real_t *out, ahead_t *ahead) {
    switch (mr) { HEIGHTS(CHAIN_TILE) }
}

static __attribute__((noinline)) void part_product(int mr, ptrdiff_t cols, ptrdiff_t kc,
                                                   const real_t *a, ptrdiff_t lda, const real_t *b,
                                                   ptrdiff_t ldb, const real_t *before,
                                                   ptrdiff_t ld_before, real_t *out, ptrdiff_t ld,
                                                   ahead_t *ahead) {
    switch (mr) { HEIGHTS(PART_TILE) }
}

#endif
