/* Depthwise 3x3 convolution, padded by 1, of planes with 7 rows of outputs, two rows a vector.
 *
 * A row of 7 fills not half of a vector of 16. But the rows of a small plane lie one behind the
 * other, so that one load, shifted by a tap, has two of them; masks leave out what is beyond the
 * row's ends:
 *
 *     x, 3 columns       a b c | d e f | g h i        rows 0 and 1, tap s = 0: . a b . d e
 *                                                                   s = 1: a b c d e f
 *                                                                   s = 2: b c . e f .
 *
 *     stride 1           output rows 0 | 1 2 | 3 4 | 5 6 (the first vector's other row is rubbish,
 *                        and overwritten by the second): no pair of inputs begins above the image
 *     stride 2           output rows 0 1 | 2 3 | 4 5 | 6; a tap's inputs are picked from two rows
 *     dx at stride 2     rows of dy by twos, as the outputs above; each pair gives four rows of dx
 *
 * A plane of 7x7 is 21 loads, 33 multiply-adds and 4 stores; in blocks of rows it was 36, 63 and 7.
 */
#ifndef CONVNET_ROW_PAIRS_H
#define CONVNET_ROW_PAIRS_H

enum { PAIR_ROWS = 7, PAIRS = 4 };

/* The lanes of two rows, from the sizes. */
INLINE void set_pairs(small_planes_t *c) {
    lane_t lower[VL], upper[VL];
    for (int s = 0; s < 3; s++) {
        lane_t pick[VL];
        c->both[s] = c->one[s] | vlanes(c->columns + (s == 0), 2 * c->columns - (s == 2));
        for (int i = 0; i < VL; i++) {
            ptrdiff_t column = i % c->columns * 2 + s - 1;
            pick[i] = VL - 1; /* zero */
            if (i < 2 * c->columns && column >= 0 && column < c->width)
                pick[i] = (lane_t)(i / c->columns * VL + column);
        }
        c->pick[s] = iload(pick);
    }
    for (int i = 0; i < VL; i++) {
        lower[i] = (lane_t)(i % 2 * VL + i / 2);
        upper[i] = (lane_t)(i % 2 * VL + (c->columns + i / 2) % VL);
    }
    c->lower = iload(lower), c->upper = iload(upper);
    c->line = vlanes(0, c->width);
    c->last = vlanes(0, c->height == 2 * PAIR_ROWS ? c->width : 0);
}

/* Stride 1: the first output row of vector i. */
INLINE int pair_row(const int i) { return i == 0 ? 0 : 2 * i - 1; }

/* Stride 1: rows h and h + 1 as every tap reads them. */
INLINE void load_pair(const small_planes_t *c, const real_t *x, const int h, vec_t *v) {
    UNROLL for (int s = 0; s < 3; s++)
        v[s] = vload_some(x + h * c->columns + s - 1, h + 1 < PAIR_ROWS ? c->both[s] : c->one[s]);
}

/* Stride 2: row h of x, 0 where there is none. */
INLINE vec_t load_line(const small_planes_t *c, const real_t *x, const int h) {
    if (h < 0 || h >= 2 * PAIR_ROWS) return vzero();
    return vload_some(x + h * c->width, h + 1 < 2 * PAIR_ROWS ? c->line : c->last);
}

/* y's planes begin ... end - 1. */
INLINE void pairs_product(const small_planes_t *shared, const int step, const int relu,
                          ptrdiff_t begin, ptrdiff_t end) {
    const small_planes_t local = *shared, *c = &local;
    const real_t *x = c->x + begin * c->height * c->width;
    real_t *y = c->y + begin * PAIR_ROWS * c->columns;
    ptrdiff_t k = begin % c->channels;
    for (; begin < end; begin++) {
        vec_t w[9], v[3], sums[PAIRS], lines[5], bias = c->bias ? vsplat(c->bias[k]) : vzero();
        plane_weights(c, k, w);
        UNROLL for (int i = 0; i < PAIRS; i++) sums[i] = bias;
        if (step == 1) {
            UNROLL for (int h = 0; h < PAIR_ROWS; h++) {
                load_pair(c, x, h, v);
                UNROLL for (int i = 0; i < PAIRS; i++) {
                    const int r = h + 1 - pair_row(i);
                    if (r >= 0 && r < 3) {
                        UNROLL for (int s = 0; s < 3; s++) sums[i] = sums[i] + w[3 * r + s] * v[s];
                    }
                }
            }
        } else {
            lines[4] = vzero();
            UNROLL for (int i = 0; i < PAIRS; i++) {
                lines[0] = lines[4];
                UNROLL for (int h = 1; h < 5; h++) lines[h] = load_line(c, x, 4 * i - 1 + h);
                UNROLL for (int r = 0; r < 3; r++) {
                    UNROLL for (int s = 0; s < 3; s++)
                        sums[i] = sums[i]
                            + w[3 * r + s] * vpick(lines[r], c->pick[s], lines[r + 2]);
                }
            }
        }
        UNROLL for (int i = 0; i < PAIRS; i++) {
            const int row = step == 1 ? pair_row(i) : 2 * i;
            if (relu) sums[i] = vrelu(sums[i]);
            vstore_some(y + row * c->columns, row + 1 < PAIR_ROWS ? c->both[1] : c->one[1],
                        sums[i]);
        }
        x += c->height * c->width;
        y += PAIR_ROWS * c->columns;
        if (++k == c->channels) k = 0;
    }
}

static void pairs_forward(const small_planes_t *c, int step, int relu, ptrdiff_t begin,
                          ptrdiff_t end) {
    if (step == 1 && relu)
        pairs_product(c, 1, 1, begin, end);
    else if (step == 1)
        pairs_product(c, 1, 0, begin, end);
    else if (relu)
        pairs_product(c, 2, 1, begin, end);
    else
        pairs_product(c, 2, 0, begin, end);
}

/* Stride 2: dx's planes begin ... end - 1, from dy (c->y). */
static void pairs_input_grad(const small_planes_t *shared, ptrdiff_t begin, ptrdiff_t end) {
    const small_planes_t local = *shared, *c = &local;
    const real_t *dy = c->y + begin * PAIR_ROWS * c->columns;
    real_t *dx = c->x + begin * c->height * c->width;
    ptrdiff_t k = begin % c->channels;
    for (; begin < end; begin++) {
        vec_t w[9], bias = c->bias ? vsplat(c->bias[k]) : vzero();
        plane_weights(c, k, w);
        UNROLL for (int i = 0; i < PAIRS; i++) {
            /* d[r][s]: outputs (2 i + r, q + s) of both rows */
            vec_t d[2][2], sums[2][2];
            UNROLL for (int r = 0; r < 2; r++) {
                UNROLL for (int s = 0; s < 2; s++) {
                    const int h = 2 * i + r;
                    d[r][s] = h == PAIR_ROWS ? vzero() : vload_some(
                        dy + h * c->columns + s,
                        h + 1 < PAIR_ROWS ? c->both[1 + s] : c->one[1 + s]);
                }
            }
            sums[0][0] = bias + w[4] * d[0][0];
            sums[0][1] = bias + w[5] * d[0][0] + w[3] * d[0][1];
            sums[1][0] = bias + w[7] * d[0][0] + w[1] * d[1][0];
            sums[1][1] = bias + w[8] * d[0][0] + w[6] * d[0][1] + w[2] * d[1][0] + w[0] * d[1][1];
            UNROLL for (int row = 0; row < 4; row++) {
                const int h = 4 * i + row;
                if (h < 2 * PAIR_ROWS)
                    vstore_some(dx + h * c->width, h + 1 < 2 * PAIR_ROWS ? c->line : c->last,
                                vpick(sums[row % 2][0], row < 2 ? c->lower : c->upper,
                                      sums[row % 2][1]));
            }
        }
        dy += PAIR_ROWS * c->columns;
        dx += c->height * c->width;
        if (++k == c->channels) k = 0;
    }
}

/* The sums of dy times what each tap reads, then of dy: of filter k over `batch` images. */
INLINE void pairs_taps(const small_planes_t *shared, const int step, ptrdiff_t k, ptrdiff_t batch,
                       real_t *out) {
    const small_planes_t local = *shared, *c = &local;
    const ptrdiff_t x_image = c->channels * c->height * c->width;
    const ptrdiff_t y_image = c->channels * PAIR_ROWS * c->columns;
    const real_t *x = c->x + k * c->height * c->width, *dy = c->y + k * PAIR_ROWS * c->columns;
    vec_t sums[10];
    UNROLL for (int tap = 0; tap < 10; tap++) sums[tap] = vzero();
    for (ptrdiff_t n = 0; n < batch; n++) {
        vec_t d[PAIRS], v[3], lines[5];
        UNROLL for (int i = 0; i < PAIRS; i++) {
            const int row = step == 1 ? pair_row(i) : 2 * i;
            const int two = step == 1 ? i > 0 : row + 1 < PAIR_ROWS;
            d[i] = vload_some(dy + row * c->columns, two ? c->both[1] : c->one[1]);
            sums[9] = sums[9] + d[i];
        }
        if (step == 1) {
            UNROLL for (int h = 0; h < PAIR_ROWS; h++) {
                load_pair(c, x, h, v);
                UNROLL for (int i = 0; i < PAIRS; i++) {
                    const int r = h + 1 - pair_row(i);
                    if (r >= 0 && r < 3) {
                        UNROLL for (int s = 0; s < 3; s++)
                            sums[3 * r + s] = sums[3 * r + s] + d[i] * v[s];
                    }
                }
            }
        } else {
            lines[4] = vzero();
            UNROLL for (int i = 0; i < PAIRS; i++) {
                lines[0] = lines[4];
                UNROLL for (int h = 1; h < 5; h++) lines[h] = load_line(c, x, 4 * i - 1 + h);
                UNROLL for (int r = 0; r < 3; r++) {
                    UNROLL for (int s = 0; s < 3; s++)
                        sums[3 * r + s] = sums[3 * r + s]
                            + d[i] * vpick(lines[r], c->pick[s], lines[r + 2]);
                }
            }
        }
        x += x_image;
        dy += y_image;
    }
    store_taps(sums, out);
}

static void pairs_weight_grad(const small_planes_t *c, int step, ptrdiff_t k, ptrdiff_t batch,
                              real_t *out) {
    if (step == 1)
        pairs_taps(c, 1, k, batch, out);
    else
        pairs_taps(c, 2, k, batch, out);
}

#endif
