/* The gradient of maxima of 3x3 at stride 1 or 2, NCHW, from the indices:
 *
 *   stride 1   a row of dy and its indices, loaded three times, moved by a column each
 *                 --compared with the places of three rows of dx--> added to three sums
 *                 --the topmost is done--> a row of dx
 *   stride 2   loaded twice; even and odd columns of dx have sums of their own, interleaved in the end
 *
 * Up to four vectors of a row go side by side, so that memory is touched in its order. A sum adds
 * the windows in their order, whichever thread computes it. What was measured: docs/performance/pooling.md.
 */
#ifndef CONVNET_POOL_MAXIMA_H
#define CONVNET_POOL_MAXIMA_H

#include "micro_kernel.h"

typedef struct {
    ptrdiff_t height, width, rows, columns; /* of dx; of dy */
    ptrdiff_t top, left;                    /* padding */
} maxima_t;

/* Several vectors: the first lacks a window at its left alone, those before the last none else. */
INLINE int side_by_side(const maxima_t *c, const int step) {
    return MASKED_LANES && (step == 1 ? c->left == 1 && c->columns == c->width
                                      : c->columns >= (c->width - 1) / 2 + c->left);
}

/* Columns w ... of rows h ... end - 1 of a slice of dx, n vectors of them; place: its first. Lanes of
 * `wrong` become negative where an index is below 0 or above `places`. */
INLINE mask_t maxima_columns(const int n, const int whole, const maxima_t *shared, const real_t *dy,
                             const int32_t *at, lane_t place, lane_t places, mask_t steps,
                             real_t *dx, ptrdiff_t w, ptrdiff_t h, ptrdiff_t end) {
    const maxima_t local = *shared, *c = &local;
    const ptrdiff_t column = w + c->left - 2, last = column + (n - 1) * VL;
    const lanes_t out = vlanes(0, c->width - w - (n - 1) * VL), begin = vlanes(-column, VL);
    lanes_t stop[3];
    vec_t a[4], b[4], d[4];
    mask_t here[4], wrong = isplat(0);
    const mask_t row_step = isplat((lane_t)c->width);
    for (int s = 0; s < 3; s++) stop[s] = vlanes(-last - s, c->columns - last - s);
    UNROLL for (int i = 0; i < n; i++) {
        a[i] = b[i] = vzero();
        here[i] = steps + isplat((lane_t)(place + (h - 2) * c->width + w + i * VL));
    }
    /* r: the topmost row of dx that row p of windows holds. The compiler splits the loop at the
     * conditions on it; without that a row took 1.2 times as long. */
    for (ptrdiff_t r = h - 2; r < end; r++) {
        const ptrdiff_t p = r + c->top;
        UNROLL for (int i = 0; i < n; i++) d[i] = vzero();
        if (p >= 0 && p < c->rows) {
            const real_t *g = dy + p * c->columns + column;
            const int32_t *t = at + p * c->columns + column;
            UNROLL for (int i = 0; i < n; i++) {
                const mask_t below = here[i] + row_step, third = below + row_step;
                prefetch_ahead(g + i * VL);
                prefetch_ahead(t + i * VL);
                UNROLL for (int s = 0; s < 3; s++) {
                    const int masked = !whole && (i == n - 1 || (i == 0 && s == 0));
                    const lanes_t m = i == n - 1 ? stop[s] : begin;
                    const mask_t where = masked ? iload32_some(t + i * VL + s, m)
                                                : iload32(t + i * VL + s);
                    const vec_t v = masked ? vload_some(g + i * VL + s, m) : vload(g + i * VL + s);
                    a[i] = vadd_equal(a[i], where, here[i], v);
                    b[i] = vadd_equal(b[i], where, below, v);
                    d[i] = vadd_equal(d[i], where, third, v);
                    if (s == 1) wrong = wrong | where | (isplat(places) - where);
                }
            }
        }
        UNROLL for (int i = 0; i < n; i++) {
            if (r >= h) {
                real_t *to = dx + r * c->width + w + i * VL;
                prefetch_ahead(to);
                if (i == n - 1 && !whole) vstore_some(to, out, a[i]);
                else vstore(to, a[i]);
            }
            a[i] = b[i];
            b[i] = d[i];
            here[i] = here[i] + row_step;
        }
    }
    return wrong;
}

INLINE void put_pair(const int last, int there, vec_t even, vec_t odd, const lanes_t *out,
                     real_t *dx) {
    if (!there) return;
    prefetch_ahead(dx);
    prefetch_ahead(dx + VL);
    if (last) {
        vstore_some(dx, out[0], vlower(even, odd));
        vstore_some(dx + VL, out[1], vupper(even, odd));
    } else {
        vstore(dx, vlower(even, odd));
        vstore(dx + VL, vupper(even, odd));
    }
}

/* The same at stride 2: columns w ..., n pairs of vectors; left: the padding, 0 or 1. */
INLINE mask_t spaced_maxima(const int n, const int left, const maxima_t *shared, const real_t *dy,
                            const int32_t *at, lane_t place, lane_t places, mask_t steps,
                            real_t *dx, ptrdiff_t w, ptrdiff_t h, ptrdiff_t end) {
    const maxima_t local = *shared, *c = &local;
    const ptrdiff_t column = w / 2 + left - 1, last = column + (n - 1) * VL;
    const ptrdiff_t rest = c->width - w - (n - 1) * 2 * VL;
    const lanes_t out[2] = {vlanes(0, rest), vlanes(0, rest - VL)};
    const mask_t one = isplat(1), row_step = isplat((lane_t)c->width);
    const lanes_t begin = vlanes(-column, VL);
    lanes_t stop[2];
    ptrdiff_t p = (h + c->top - 1) / 2, r = 2 * p - c->top; /* the first that holds row h */
    vec_t even[4], odd[4];
    mask_t here[4], wrong = isplat(0);
    for (int s = 0; s < 2; s++) stop[s] = vlanes(-last - s, c->columns - last - s);
    UNROLL for (int i = 0; i < n; i++) {
        even[i] = odd[i] = vzero();
        here[i] = steps + steps + isplat((lane_t)(place + r * c->width + w + 2 * i * VL));
    }
    for (; r < end; p++, r += 2) {
        const ptrdiff_t from = p * c->columns + column;
        real_t *to = dx + r * c->width + w;
        UNROLL for (int i = 0; i < n; i++) {
            vec_t even_below = vzero(), odd_below = vzero();
            vec_t even_third = vzero(), odd_third = vzero();
            const mask_t below = here[i] + row_step, third = below + row_step;
            if (p >= 0 && p < c->rows) {
                UNROLL for (int s = 0; s < 2; s++) {
                    const real_t *g = dy + from + i * VL + s;
                    const int32_t *t = at + from + i * VL + s;
                    const int masked = i == n - 1 || (i == 0 && s == 0);
                    const lanes_t m = i == n - 1 ? stop[s] : begin;
                    const mask_t where = masked ? iload32_some(t, m) : iload32(t);
                    const vec_t v = masked ? vload_some(g, m) : vload(g);
                    /* Of the windows that begin at an odd column, the next one's too. */
                    if (s != left) {
                        prefetch_ahead(g);
                        prefetch_ahead(t);
                        wrong = wrong | where | (isplat(places) - where);
                    }
                    if (s == 0 || left == 0) {
                        even[i] = vadd_equal(even[i], where, here[i], v);
                        even_below = vadd_equal(even_below, where, below, v);
                        even_third = vadd_equal(even_third, where, third, v);
                    }
                    if (s == 1 || left == 1) {
                        const mask_t before = where - one;
                        odd[i] = vadd_equal(odd[i], before, here[i], v);
                        odd_below = vadd_equal(odd_below, before, below, v);
                        odd_third = vadd_equal(odd_third, before, third, v);
                    }
                }
            }
            put_pair(i == n - 1, r >= h, even[i], odd[i], out, to + 2 * i * VL);
            put_pair(i == n - 1, r + 1 >= h && r + 1 < end, even_below, odd_below, out,
                     to + c->width + 2 * i * VL);
            even[i] = even_third;
            odd[i] = odd_third;
            here[i] = third;
        }
    }
    return wrong;
}

#define WITH_PAIRS(left)                                                                          \
    (n == 1   ? spaced_maxima(1, left, c, dy, at, first, most, steps, dx, w, h, end)              \
     : n == 2 ? spaced_maxima(2, left, c, dy, at, first, most, steps, dx, w, h, end)              \
     : n == 3 ? spaced_maxima(3, left, c, dy, at, first, most, steps, dx, w, h, end)              \
              : spaced_maxima(4, left, c, dy, at, first, most, steps, dx, w, h, end))

/* Rows h ... end - 1 of a slice of dx. Whether all indices were places of a plane. */
static int spread_maxima(const maxima_t *c, const int step, const real_t *dy, const int32_t *at,
                         ptrdiff_t place, ptrdiff_t places, real_t *dx, ptrdiff_t h,
                         ptrdiff_t end) {
    mask_t wrong = isplat(0), steps;
    lane_t lanes[VL], first = (lane_t)place, most = (lane_t)(places - 1);
    for (int i = 0; i < VL; i++) lanes[i] = i;
    steps = iload(lanes);
    for (ptrdiff_t w = 0, n; MASKED_LANES && step == 2 && w < c->width; w += 2 * n * VL) {
        n = (c->width - w + 2 * VL - 1) / (2 * VL);
        n = !side_by_side(c, 2) ? 1 : n > 4 ? 4 : n;
        wrong |= c->left ? WITH_PAIRS(1) : WITH_PAIRS(0);
    }
    for (ptrdiff_t w = 0, n; step == 1 && w < c->width; w += n * VL) {
        ptrdiff_t column = w + c->left - 2;
        n = side_by_side(c, 1) ? (c->width - w + VL - 1) / VL : 1;
        if (!MASKED_LANES && column >= 0 && column + VL + 2 <= c->columns && w + VL <= c->width)
            wrong |= maxima_columns(1, 1, c, dy, at, first, most, steps, dx, w, h, end);
        else if (n == 1)
            wrong |= maxima_columns(1, 0, c, dy, at, first, most, steps, dx, w, h, end);
        else if (n == 2)
            wrong |= maxima_columns(2, 0, c, dy, at, first, most, steps, dx, w, h, end);
        else if (n == 3)
            wrong |= maxima_columns(3, 0, c, dy, at, first, most, steps, dx, w, h, end);
        else
            wrong |= maxima_columns(n = 4, 0, c, dy, at, first, most, steps, dx, w, h, end);
    }
    istore(lanes, wrong);
    for (int i = 0; i < VL; i++)
        if (lanes[i] < 0) return 0;
    return 1;
}

#endif
