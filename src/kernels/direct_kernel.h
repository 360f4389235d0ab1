/* A tile of a convolution of few channels as pixels, mr pixels by up to NV vectors of filters, and
 * one of its weight gradient.
 *
 * The sums are `taps` runs of a strip of x, ld apart (direct_pixels.pxi), times rows of a panel of
 * weights. They begin as the bias and are stored once, from registers: see micro_kernel.h for
 * UNROLL, and for the pointers of every third row.
 */
#ifndef CONVNET_DIRECT_KERNEL_H
#define CONVNET_DIRECT_KERNEL_H

#include "micro_kernel.h"

typedef struct {
    ptrdiff_t taps, run; /* rows of taps; terms of a sum in each */
    ptrdiff_t ld, step;  /* of x: from row to row, from pixel to pixel */
    ptrdiff_t y_ld;      /* from pixel to pixel */
    int relu;
} direct_t;

INLINE void direct_kernel(const int mr, const int nv, const direct_t *c, const real_t *x,
                          const real_t *w, const real_t *bias, real_t *y, ptrdiff_t cols) {
    vec_t sums[MR][NV], line[NV];
    const real_t *rows[MR];
    const ptrdiff_t step = c->step, y_ld = c->y_ld;
    const int relu = c->relu;
    UNROLL for (int j = 0; j < nv; j++) {
        line[j] = bias ? vload_some(bias + j * VL, vlanes(0, cols - j * VL)) : vzero();
        UNROLL for (int i = 0; i < mr; i++) sums[i][j] = line[j];
    }
    for (ptrdiff_t r = 0; r < c->taps; r++) {
        UNROLL for (int i = 0; i < (mr + 2) / 3; i++) rows[i] = opaque((void *)(x + 3 * i * step));
        for (ptrdiff_t k = 0; k < c->run; k++) {
            UNROLL for (int j = 0; j < nv; j++) line[j] = vload(w + j * VL);
            UNROLL for (int i = 0; i < mr; i++) {
                vec_t factor = vsplat(rows[i / 3][i % 3 * step]);
                UNROLL for (int j = 0; j < nv; j++) sums[i][j] = sums[i][j] + factor * line[j];
            }
            UNROLL for (int i = 0; i < (mr + 2) / 3; i++) rows[i]++;
            w += NR;
        }
        x += c->ld;
    }
    if (relu) {
        UNROLL for (int i = 0; i < mr; i++) {
            UNROLL for (int j = 0; j < nv; j++) sums[i][j] = vrelu(sums[i][j]);
        }
    }
    if (cols == nv * VL) {
        UNROLL for (int i = 0; i < mr; i++) {
            UNROLL for (int j = 0; j < nv; j++) {
                vstore_ahead(y + i * y_ld + j * VL, sums[i][j]);
            }
        }
        return;
    }
    UNROLL for (int j = 0; j < nv; j++) {
        const lanes_t lanes = vlanes(0, cols - j * VL);
        UNROLL for (int i = 0; i < mr; i++) vstore_some(y + i * y_ld + j * VL, lanes, sums[i][j]);
    }
}

#define DIRECT_TILE(mr)                                                                            \
    case mr:                                                                                       \
        if (cols <= VL)                                                                            \
            direct_kernel(mr, 1, c, x, w, bias, y, cols);                                          \
        else                                                                                       \
            direct_kernel(mr, 2, c, x, w, bias, y, cols);                                          \
        break;

/* y (mr x cols) = bias + x w; nothing beside cols is written. */
static __attribute__((noinline)) void direct_tile(int mr, const direct_t *c, const real_t *x,
                                                  const real_t *w, const real_t *bias, real_t *y,
                                                  ptrdiff_t cols) {
    switch (mr) { HEIGHTS(DIRECT_TILE) }
}

/* Of the weight gradient: sums (lines x mr rows of NR) += x' dy over rows x pixels outputs. Row
 * (r, i) is what lies i elements behind where a pixel's run in the strip's row r begins. */
INLINE void direct_weight_kernel(const int mr, const int lines, const int nv, const direct_t *c,
                                 const real_t *x, ptrdiff_t x_row, const real_t *dy, ptrdiff_t rows,
                                 ptrdiff_t pixels, real_t *out, ptrdiff_t out_line,
                                 ptrdiff_t cols) {
    vec_t sums[MR][NV], line[NV];
    const ptrdiff_t step = c->step, y_ld = c->y_ld, ld = c->ld;
    const lanes_t lanes = vlanes(0, cols - (nv - 1) * VL);
    const int whole = cols >= nv * VL;
    UNROLL for (int i = 0; i < lines * mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) sums[i][j] = vzero();
    }
    for (ptrdiff_t p = 0; p < rows; p++) {
        const real_t *run = x;
        for (ptrdiff_t q = 0; q < pixels; q++) {
            UNROLL for (int j = 0; j < nv; j++)
                line[j] = whole || j < nv - 1 ? vload(dy + j * VL) : vload_some(dy + j * VL, lanes);
            UNROLL for (int i = 0; i < lines * mr; i++) {
                vec_t factor = vsplat(run[i / mr * ld + i % mr]);
                UNROLL for (int j = 0; j < nv; j++) sums[i][j] = sums[i][j] + factor * line[j];
            }
            run += step;
            dy += y_ld;
        }
        x += x_row;
    }
    UNROLL for (int i = 0; i < lines * mr; i++) {
        UNROLL for (int j = 0; j < nv; j++) {
            real_t *to = out + i / mr * out_line + i % mr * NR + j * VL;
            vstore(to, vload(to) + sums[i][j]);
        }
    }
}

#define DIRECT_WEIGHT(rows_of_line, lines, nv)                                                     \
    direct_weight_kernel(rows_of_line, lines, nv, c, x, x_row, dy, rows, pixels, out, out_line,    \
                         cols)
#define DIRECT_WEIGHT_TILE(mr)                                                                     \
    case mr:                                                                                       \
        if (mr % 2 == 0 && lines == 2 && cols <= VL)                                               \
            DIRECT_WEIGHT(mr / 2, 2, 1);                                                           \
        else if (mr % 2 == 0 && lines == 2)                                                        \
            DIRECT_WEIGHT(mr / 2, 2, 2);                                                           \
        else if (cols <= VL)                                                                       \
            DIRECT_WEIGHT(mr, 1, 1);                                                               \
        else                                                                                       \
            DIRECT_WEIGHT(mr, 1, 2);                                                               \
        break;

/* mr: of all lines together; x_row: from the first tap of a row of outputs to the next's. */
static __attribute__((noinline)) void direct_weight_tile(int mr, int lines, const direct_t *c,
                                                         const real_t *x, ptrdiff_t x_row,
                                                         const real_t *dy, ptrdiff_t rows,
                                                         ptrdiff_t pixels, real_t *out,
                                                         ptrdiff_t out_line, ptrdiff_t cols) {
    switch (mr) { HEIGHTS(DIRECT_WEIGHT_TILE) }
}

#endif
