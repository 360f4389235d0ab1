/* Depthwise 3x3 convolution, padded by 1, of planes whose rows of outputs fill one vector at most,
 * and the weight gradient of longer rows too.
 *
 * At stride 1 a plane is one pass from first row to last: a row of x is loaded once for each tap
 * along w, masked at its ends, and goes to three sums, of the output rows above, beside and below
 * it, of which one is complete then and stored. No list of rows, no blocks: 15 instructions a row,
 * 9 of them multiply-adds. Where a vector has room for two rows of 7: row_pairs.h, included below.
 * In C for UNROLL: see micro_kernel.h. What was measured: docs/performance/few-channels.md.
 */
#ifndef CONVNET_SMALL_PLANES_H
#define CONVNET_SMALL_PLANES_H

#include "micro_kernel.h"

typedef struct {
    real_t *x, *y;             /* forward's: (planes, height, width), (planes, P, columns) */
    const real_t *w, *bias;    /* weight (k, r, s) at k * w_filter + r * w_row + s * w_tap */
    ptrdiff_t channels, height, width, columns;
    ptrdiff_t w_filter, w_row, w_tap;
    lanes_t one[3], both[3];   /* stride 1: what tap s reads of one row, of two */
    lanes_t line, last;        /* stride 2: a row of x, and row 13, which need not be */
    mask_t pick[3];            /* what tap s reads of two rows */
    mask_t lower, upper;       /* dx: columns by turns, of the first and of the second row */
} small_planes_t;

INLINE void set_row(small_planes_t *c) {
    for (int s = 0; s < 3; s++) c->one[s] = vlanes(s == 0, c->columns - (s == 2));
}

INLINE void plane_weights(const small_planes_t *c, ptrdiff_t k, vec_t *w) {
    const real_t *from = c->w + k * c->w_filter;
    UNROLL for (int r = 0; r < 3; r++) {
        UNROLL for (int s = 0; s < 3; s++) w[3 * r + s] = vsplat(from[r * c->w_row + s * c->w_tap]);
    }
}

/* A row as each tap reads it. */
INLINE void load_row(const small_planes_t *c, const real_t *row, vec_t *v) {
    UNROLL for (int s = 0; s < 3; s++) v[s] = vload_some(row + s - 1, c->one[s]);
}

/* The sums of ten vectors' lanes. out: whole vectors. */
INLINE void store_taps(const vec_t *sums, real_t *out) {
    vec_t all[10]; /* not sums: an array whose address is taken is not in registers */
    UNROLL for (int tap = 0; tap < 10; tap++) all[tap] = sums[tap];
    vsums(all, 10);
    for (int i = 0; i < (10 + VL - 1) / VL; i++) vstore(out + i * VL, all[i]);
}

/* y's planes begin ... end - 1. */
INLINE void rows_product(const small_planes_t *shared, const int relu, ptrdiff_t begin,
                         ptrdiff_t end) {
    const small_planes_t local = *shared, *c = &local;
    const real_t *x = c->x + begin * c->height * c->width;
    real_t *y = c->y + begin * c->height * c->width;
    ptrdiff_t k = begin % c->channels;
    for (; begin < end; begin++) {
        vec_t w[9], v[3], above, beside, below, bias = c->bias ? vsplat(c->bias[k]) : vzero();
        plane_weights(c, k, w);
        load_row(c, x, v);
        above = beside = bias;
        UNROLL for (int s = 0; s < 3; s++) {
            above = above + w[3 + s] * v[s];
            beside = beside + w[s] * v[s];
        }
        for (ptrdiff_t h = 1; h < c->height; h++) {
            x += c->width;
            load_row(c, x, v);
            below = bias;
            UNROLL for (int s = 0; s < 3; s++) {
                above = above + w[6 + s] * v[s];
                beside = beside + w[3 + s] * v[s];
                below = below + w[s] * v[s];
            }
            vstore_some(y, c->one[1], relu ? vrelu(above) : above);
            y += c->width;
            above = beside;
            beside = below;
        }
        vstore_some(y, c->one[1], relu ? vrelu(above) : above);
        x += c->width;
        y += c->width;
        if (++k == c->channels) k = 0;
    }
}

static void rows_forward(const small_planes_t *c, int relu, ptrdiff_t begin, ptrdiff_t end) {
    if (relu)
        rows_product(c, 1, begin, end);
    else
        rows_product(c, 0, begin, end);
}

/* One column of vectors of a plane, from q on, down its rows; whole: no masks. ahead: from an
 * element of x or dy to the one to fetch, or 0. */
INLINE void rows_weight_column(const small_planes_t *c, const int whole, ptrdiff_t q,
                               const real_t *x, const real_t *dy, ptrdiff_t ahead, vec_t *sums) {
    const lanes_t own = vlanes(0, c->width - q), left = vlanes(q == 0, c->width - q);
    const lanes_t right = vlanes(0, c->width - q - 1);
    vec_t v[3], above = vzero(), beside = whole ? vload(dy) : vload_some(dy, own), below;
    for (ptrdiff_t h = 0; h < c->height; h++) {
        if (ahead) {
            prefetch_near(x + ahead);
            prefetch_near(dy + ahead);
        }
        dy += c->width;
        below = vzero();
        if (h + 1 < c->height) below = whole ? vload(dy) : vload_some(dy, own);
        v[0] = whole ? vload(x - 1) : vload_some(x - 1, left);
        v[1] = whole ? vload(x) : vload_some(x, own);
        v[2] = whole ? vload(x + 1) : vload_some(x + 1, right);
        x += c->width;
        UNROLL for (int s = 0; s < 3; s++) {
            sums[s] = sums[s] + below * v[s];
            sums[3 + s] = sums[3 + s] + beside * v[s];
            sums[6 + s] = sums[6 + s] + above * v[s];
        }
        sums[9] = sums[9] + beside;
        above = beside;
        beside = below;
    }
}

/* The sums of dy times what each tap reads, then of dy: of filter k over `batch` images; rows of
 * any length. Where a row is longer than a cache line, large planes are fetched a page ahead,
 * others an image. */
static void rows_weight_grad(const small_planes_t *shared, ptrdiff_t k, ptrdiff_t batch,
                             real_t *out) {
    const small_planes_t local = *shared, *c = &local;
    const ptrdiff_t plane = c->height * c->width, image = c->channels * plane;
    vec_t sums[10];
    UNROLL for (int tap = 0; tap < 10; tap++) sums[tap] = vzero();
    for (ptrdiff_t n = 0; n < batch; n++) {
        const real_t *x = c->x + n * image + k * plane, *dy = c->y + n * image + k * plane;
        ptrdiff_t ahead = n + 1 < batch ? image : plane - n * image;
        if (c->width * (int)sizeof(real_t) < 64) ahead = 0;
        else if (plane * (int)sizeof(real_t) >= 4 * 4096) ahead = 4096 / (int)sizeof(real_t);
        for (ptrdiff_t q = 0; q < c->width; q += VL) {
            if (q > 0 && q + VL < c->width)
                rows_weight_column(c, 1, q, x + q, dy + q, ahead, sums);
            else
                rows_weight_column(c, 0, q, x + q, dy + q, ahead, sums);
        }
    }
    store_taps(sums, out);
}

#include "row_pairs.h"
#endif
