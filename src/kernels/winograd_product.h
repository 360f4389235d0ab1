/* Winograd's products: a tile of mr x nv vectors of sums in registers, as in micro_kernel.h.
 *
 * chain_product goes on with sums that it finds: a sum over channels that is cut into blocks so that its
 * operands stay in the cache remains one chain of multiply-adds, and its bits do not tell where it was
 * cut. part_product adds a sum of its own: a long sum over tiles rounds less in parts.
 *
 * `before` is where the sums go on from, or zeros (row stride 0): a test instead makes GCC keep the sums
 * of all branches in memory.
 *
 * `fetch` says what to fetch meanwhile: operands for L2, the next tile's rows, and a stream for L1.
 */
#ifndef CONVNET_WINOGRAD_PRODUCT_H
#define CONVNET_WINOGRAD_PRODUCT_H

#include "micro_kernel.h"

/* Operands for L2 come one prefetch for each k, duplicates included: a few lines at once for each STRIDE
 * fill the processor's line buffers, and loops that count them cost more than the duplicates. */
typedef struct {
    const real_t *far, *later; /* for L2: from `far`, and from k = turn, a multiple of STRIDE, `later`, */
    ptrdiff_t turn, far_pace;  /* so many elements for each k */
    const real_t *c;           /* the next tile, which is read or written soon: */
    ptrdiff_t c_stride, c_rows; /* so many rows for each STRIDE */
    const real_t *stream;      /* for L1: the next tile's rows of A, */
    ptrdiff_t pace;            /* so many elements for each k */
} fetch_t;

INLINE const real_t *fetch_rows(const fetch_t *fetch, const real_t *c) {
    for (ptrdiff_t n = fetch->c_rows; n > 0; n--) {
        for (int i = 0; i < NR; i += 64 / (int)sizeof(real_t)) __builtin_prefetch(c + i, 1, 3);
        c += fetch->c_stride;
    }
    return c;
}

/* The next product goes on where this one, of kc steps, ended. */
INLINE void fetch_on(fetch_t *fetch, ptrdiff_t kc) {
    fetch->far += fetch->turn * fetch->far_pace;
    fetch->later += (kc - fetch->turn) * fetch->far_pace;
}

/* out (mr x nv vectors, NR apart) = before + a (mr x kc, rows lda apart) b (kc rows, NR apart) */
INLINE void chain_kernel(const int mr, const int nv, ptrdiff_t kc, const real_t *a, ptrdiff_t lda,
                         const real_t *b, const real_t *before, ptrdiff_t ld_before, real_t *out,
                         const fetch_t *fetch) {
    vec_t sums[MR][NV], line[NV];
    const real_t *rows[MR]; /* every third: three addresses each */
    const real_t *far = fetch->far, *next_c = fetch->c, *stream = fetch->stream;
    const ptrdiff_t far_pace = fetch->far_pace, pace = fetch->pace;
    UNROLL for (int i = 0; i < (mr + 2) / 3; i++) rows[i] = opaque((void *)(a + 3 * i * lda));
    UNROLL for (int i = 0; i < mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) sums[i][j] = vload(before + i * ld_before + j * VL);
    }
    for (ptrdiff_t k = 0; k < kc;) {
        if (k == fetch->turn) far = fetch->later;
        next_c = fetch_rows(fetch, next_c);
        const ptrdiff_t end = k + STRIDE < kc ? k + STRIDE : kc;
        for (; k < end; k++) {
            prefetch_far(far);
            far += far_pace;
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
                        real_t *out, ptrdiff_t ld, const fetch_t *fetch) {
    vec_t sums[MR][NV], line[NV];
    const real_t *far = fetch->far, *next_c = fetch->c;
    const ptrdiff_t far_pace = fetch->far_pace;
    UNROLL for (int i = 0; i < mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) sums[i][j] = vzero();
    }
    for (ptrdiff_t k = 0; k < kc;) {
        if (k == fetch->turn) far = fetch->later;
        next_c = fetch_rows(fetch, next_c);
        const ptrdiff_t end = k + STRIDE < kc ? k + STRIDE : kc;
        for (; k < end; k++) {
            prefetch_far(far);
            far += far_pace;
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
        if (cols <= VL) chain_kernel(mr, 1, kc, a, lda, b, before, ld_before, out, fetch);         \
        else chain_kernel(mr, 2, kc, a, lda, b, before, ld_before, out, fetch);                    \
        break;
#define PART_TILE(mr)                                                                              \
    case mr:                                                                                       \
        if (cols <= VL) part_kernel(mr, 1, kc, a, lda, b, ldb, before, ld_before, out, ld, fetch);        \
        else part_kernel(mr, 2, kc, a, lda, b, ldb, before, ld_before, out, ld, fetch);                   \
        break;

static __attribute__((noinline)) void chain_product(int mr, ptrdiff_t cols, ptrdiff_t kc,
                                                    const real_t *a, ptrdiff_t lda, const real_t *b,
                                                    const real_t *before, ptrdiff_t ld_before,
                                                    real_t *out, fetch_t *fetch) {
    switch (mr) { HEIGHTS(CHAIN_TILE) }
    fetch_on(fetch, kc);
}

static __attribute__((noinline)) void part_product(int mr, ptrdiff_t cols, ptrdiff_t kc,
                                                   const real_t *a, ptrdiff_t lda, const real_t *b,
                                                   ptrdiff_t ldb, const real_t *before,
                                                   ptrdiff_t ld_before, real_t *out, ptrdiff_t ld,
                                                   fetch_t *fetch) {
    switch (mr) { HEIGHTS(PART_TILE) }
    fetch_on(fetch, kc);
}

#endif
