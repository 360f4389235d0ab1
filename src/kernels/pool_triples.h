/* Pooling NCHW planes by windows of 3x3, along and down in registers: forward without indices, and
 * the gradient of averages at stride 1, which is such a sum as well.
 *
 *   stride 1   a row of x, three loads a vector --along--> d; y = (a + b) + d, and a, b, d move up:
 *              each row of x is read and summed along once
 *   stride 2   three rows of x, two vectors of each --down--> even and odd columns: taps 0 and 1;
 *              tap 2 is tap 0 of the next lane
 *
 * Up to four vectors of a row go side by side, so that memory is touched in its order. Rows beyond
 * the image are a row of what changes nothing. Maxima are of numbers first, one instruction instead
 * of two, while comparisons that cost a quarter of that look for NaN; a part with one is done again.
 * In C for UNROLL: see micro_kernel.h. What was measured: docs/performance/pooling.md.
 */
#ifndef CONVNET_POOL_TRIPLES_H
#define CONVNET_POOL_TRIPLES_H

#include "micro_kernel.h"

enum { MEANS, MAXIMA, MAXIMA_NAN, ABREAST = 4 };

typedef struct {
    ptrdiff_t height, width, rows, columns; /* of x; of y */
    ptrdiff_t top, left;                    /* padding */
    ptrdiff_t low, high;                    /* means: the rows of x that count; 0: not counted */
    ptrdiff_t scale_step;
    const real_t *scale;                    /* 1 / divisor, after so many rows of them as count */
    const real_t *edge;                     /* a row of x beyond the image */
} triples_t;

INLINE vec_t join(const int kind, vec_t a, vec_t b) {
    return kind == MEANS ? a + b : kind == MAXIMA ? vmax(a, b) : vmaxnan(a, b);
}

/* b where it exists; a sum's other lanes are 0. */
INLINE vec_t join_some(const int kind, vec_t a, lanes_t m, vec_t b) {
    if (kind == MEANS) return a + b;
    return kind == MAXIMA ? vmax_some(a, m, b) : vpick_lanes(m, vmaxnan(a, b), a);
}

INLINE const real_t *row_of(const triples_t *c, const real_t *x, ptrdiff_t h) {
    return h >= 0 && h < c->height ? x + h * c->width : c->edge;
}

INLINE const real_t *scale_of(const triples_t *c, ptrdiff_t h) {
    ptrdiff_t begin = h > c->low ? h : c->low, end = h + 3 < c->high ? h + 3 : c->high;
    if (!c->high) return c->scale;
    if (h >= c->low && h + 3 <= c->high) return c->scale + 3 * c->scale_step;
    return c->scale + (end - begin) * c->scale_step;
}

INLINE void put(const int kind, const int last, lanes_t m, vec_t v, const real_t *scale,
                real_t *y) {
    if (kind == MEANS) v = v * vload(scale);
    prefetch_ahead(y);
    if (last) vstore_some(y, m, v);
    else vstore(y, v);
}

/* Columns q ... of rows p ... end - 1 of a plane's y, n vectors of them. Whether no NaN was among
 * them (kind MAXIMA). */
INLINE int dense_columns(const int kind, const int n, const triples_t *shared, const real_t *x,
                         real_t *y, ptrdiff_t q, ptrdiff_t p, ptrdiff_t end) {
    const triples_t local = *shared, *c = &local;
    const ptrdiff_t column = q - c->left, last = column + (n - 1) * VL;
    const lanes_t all = vlanes(0, VL), out = vlanes(0, c->columns - q - (n - 1) * VL);
    const lanes_t first = vlanes(-column, VL);
    lanes_t clean = all, ends[3];
    vec_t a[ABREAST], b[ABREAST], d[ABREAST];
    for (int t = 0; t < 3; t++) ends[t] = vlanes(-last - t, c->width - last - t) & out;
    UNROLL for (int i = 0; i < n; i++) a[i] = b[i] = vzero();
    y += p * c->columns + q;
    for (ptrdiff_t r = p - 2; r < end; r++) {
        const real_t *row = row_of(c, x, r + 2 - c->top) + column;
        UNROLL for (int i = 0; i < n; i++) {
            const real_t *from = row + i * VL;
            const int masked = i == n - 1;
            const lanes_t m = masked ? ends[0] : first;
            vec_t tap[3], v;
            prefetch_ahead(from);
            tap[0] = masked || i == 0 ? vload_some(from, m) : vload(from);
            tap[1] = masked ? vload_some(from + 1, ends[1]) : vload(from + 1);
            tap[2] = masked ? vload_some(from + 2, ends[2]) : vload(from + 2);
            v = masked || i == 0 ? join_some(kind, tap[1], m, tap[0]) : join(kind, tap[0], tap[1]);
            d[i] = masked ? join_some(kind, v, ends[2], tap[2]) : join(kind, v, tap[2]);
            if (kind == MAXIMA) clean = vordered(clean, tap[0], tap[2]);
        }
        if (r >= p) {
            const real_t *scale = kind == MEANS ? scale_of(c, r - c->top) + q : NULL;
            UNROLL for (int i = 0; i < n; i++)
                put(kind, i == n - 1, out, join(kind, a[i], d[i]), scale + i * VL, y + i * VL);
            y += c->columns;
        }
        UNROLL for (int i = 0; i < n; i++) {
            a[i] = join(kind, b[i], d[i]);
            b[i] = d[i];
        }
    }
    return no_lane_lost(clean);
}

/* The same by steps of 2, n VL - 1 columns unless they are the last. */
INLINE int spaced_columns(const int kind, const int n, const triples_t *shared, const real_t *x,
                          real_t *y, ptrdiff_t q, ptrdiff_t p, ptrdiff_t end) {
    const triples_t local = *shared, *c = &local;
    const ptrdiff_t column = 2 * q - c->left, rest = c->width - column - (n - 1) * 2 * VL;
    const lanes_t all = vlanes(0, VL);
    const lanes_t out = vlanes(0, c->columns - q - (n - 1) * VL);
    const lanes_t first = vlanes(-column, n == 1 ? rest : VL);
    const lanes_t ends[2] = {n == 1 ? first : vlanes(0, rest), vlanes(0, rest - VL)};
    const vec_t edge = vsplat(kind == MEANS ? 0 : -(real_t)INFINITY);
    lanes_t clean = all;
    y += p * c->columns + q;
    for (; p < end; p++) {
        const ptrdiff_t h = 2 * p - c->top;
        const real_t *scale = kind == MEANS ? scale_of(c, h) + q : NULL;
        const real_t *rows[3];
        vec_t even[ABREAST], odd[ABREAST];
        UNROLL for (int r = 0; r < 3; r++) rows[r] = row_of(c, x, h + r) + column;
        UNROLL for (int i = 0; i < n; i++) {
            vec_t down[2], v[2];
            UNROLL for (int r = 0; r < 3; r++) {
                UNROLL for (int half = 0; half < 2; half++) {
                    const real_t *from = rows[r] + (2 * i + half) * VL;
                    const int masked = i == n - 1 || (i == 0 && half == 0);
                    const lanes_t m = i == n - 1 ? ends[half] : first;
                    if (r > 0) prefetch_ahead(from);
                    v[half] = masked ? vload_some(from, m) : vload(from);
                    if (r > 0 && masked) down[half] = join_some(kind, down[half], m, v[half]);
                    else if (r > 0) down[half] = join(kind, down[half], v[half]);
                    else if (masked && kind != MEANS) down[half] = vpick_lanes(m, v[half], edge);
                    else down[half] = v[half];
                }
                if (kind == MAXIMA) clean = vordered(clean, v[0], v[1]);
            }
            even[i] = veven(down[0], down[1]);
            odd[i] = vodd(down[0], down[1]);
        }
        UNROLL for (int i = 0; i < n; i++) {
            vec_t v = join(kind, even[i], odd[i]);
            v = join(kind, v, vfollowing(even[i], even[i + 1 < n ? i + 1 : i]));
            put(kind, i == n - 1, out, v, scale + i * VL, y + i * VL);
        }
        y += c->columns;
    }
    return no_lane_lost(clean);
}

#define WITH_VECTORS(function, kind)                                                            \
    (n == 1   ? function(kind, 1, c, x, y, q, p, end)                                           \
     : n == 2 ? function(kind, 2, c, x, y, q, p, end)                                           \
     : n == 3 ? function(kind, 3, c, x, y, q, p, end)                                           \
              : function(kind, 4, c, x, y, q, p, end))

/* Rows p ... end - 1 of the plane y from the plane x. */
static void pool_triples(const triples_t *c, const int maximum, const int step, const real_t *x,
                         real_t *y, ptrdiff_t p, ptrdiff_t end) {
    ptrdiff_t q = 0, n, i;
    const int spare = step - 1; /* lanes at the end that lack a neighbour */
    int clean;
    while (q < c->columns) {
        n = (c->columns - q + spare + VL - 1) / VL;
        if (n > ABREAST) n = ABREAST;
        if (!maximum) {
            clean = step == 1 ? WITH_VECTORS(dense_columns, MEANS)
                              : WITH_VECTORS(spaced_columns, MEANS);
        } else {
            clean = step == 1 ? WITH_VECTORS(dense_columns, MAXIMA)
                              : WITH_VECTORS(spaced_columns, MAXIMA);
            for (i = q; !clean && i < c->columns && i < q + n * VL - spare; i += VL - spare) {
                if (step == 1) dense_columns(MAXIMA_NAN, 1, c, x, y, i, p, end);
                else spaced_columns(MAXIMA_NAN, 1, c, x, y, i, p, end);
            }
        }
        q += n * VL - spare;
    }
}

#endif
