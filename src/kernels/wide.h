#ifndef CONVNET_WIDE_H
#define CONVNET_WIDE_H

/* Two vectors that take the same steps side by side. Each step of an exponential waits four cycles
 * for the one before, and what the processor looks ahead for holds too few chains to fill them: 14
 * cycles a vector in L1, and 8 by twos, as many as its instructions take. Operators work on them. */
typedef real_t wide_t __attribute__((vector_size(2 * VB)));
enum { WL = 2 * VL };
typedef union { wide_t wide; vec_t v[2]; } halves_t;
INLINE wide_t wide_of(vec_t low, vec_t high) { return ((halves_t){.v = {low, high}}).wide; }
INLINE vec_t whalf(wide_t x, const int i) { return ((halves_t){x}).v[i]; }
INLINE wide_t wload(const real_t *p) { return wide_of(vload(p), vload(p + VL)); }
INLINE wide_t wload_ahead(const real_t *p) { return wide_of(vload_ahead(p), vload_ahead(p + VL)); }
INLINE void wstore(real_t *p, wide_t x) {
    vstore(p, whalf(x, 0));
    vstore(p + VL, whalf(x, 1));
}
INLINE void wstore_ahead(real_t *p, wide_t x) {
    vstore_ahead(p, whalf(x, 0));
    vstore_ahead(p + VL, whalf(x, 1));
}
INLINE wide_t wload_first(const real_t *p, int n, wide_t rest) {
    return wide_of(vload_first(p, n < VL ? n : VL, whalf(rest, 0)),
                   n > VL ? vload_first(p + VL, n - VL, whalf(rest, 1)) : whalf(rest, 1));
}
INLINE void wstore_first(real_t *p, int n, wide_t x) {
    vstore_first(p, n < VL ? n : VL, whalf(x, 0));
    if (n > VL) vstore_first(p + VL, n - VL, whalf(x, 1));
}
INLINE wide_t wzero(void) { return (wide_t){0}; }
INLINE wide_t wsplat(real_t x) { return x - (wide_t){0}; }
INLINE wide_t wsplit(wide_t x, wide_t *e) {
    vec_t low_e, high_e, low = vsplit(whalf(x, 0), &low_e), high = vsplit(whalf(x, 1), &high_e);
    *e = wide_of(low_e, high_e);
    return wide_of(low, high);
}
INLINE wide_t wlookup(wide_t u, const float *row) {
    return wide_of(vlookup(whalf(u, 0), row), vlookup(whalf(u, 1), row));
}
INLINE wide_t wselect_less(wide_t a, wide_t b, wide_t p, wide_t q) {
    return wide_of(vselect_less(whalf(a, 0), whalf(b, 0), whalf(p, 0), whalf(q, 0)),
                   vselect_less(whalf(a, 1), whalf(b, 1), whalf(p, 1), whalf(q, 1)));
}
INLINE wide_t wscale_unless_less(wide_t a, wide_t b, wide_t x, wide_t n) {
    return wide_of(vscale_unless_less(whalf(a, 0), whalf(b, 0), whalf(x, 0), whalf(n, 0)),
                   vscale_unless_less(whalf(a, 1), whalf(b, 1), whalf(x, 1), whalf(n, 1)));
}
INLINE wide_t wselect_equal(wide_t a, wide_t b, wide_t p, wide_t q) {
    return wide_of(vselect(vequal(whalf(a, 0), whalf(b, 0)), whalf(p, 0), whalf(q, 0)),
                   vselect(vequal(whalf(a, 1), whalf(b, 1)), whalf(p, 1), whalf(q, 1)));
}
INLINE wide_t wproduct_rest(wide_t a, wide_t b, wide_t product) {
    return wide_of(vproduct_rest(whalf(a, 0), whalf(b, 0), whalf(product, 0)),
                   vproduct_rest(whalf(a, 1), whalf(b, 1), whalf(product, 1)));
}
#define OF_ONE(name) \
    INLINE wide_t w##name(wide_t a) { return wide_of(v##name(whalf(a, 0)), v##name(whalf(a, 1))); }
#define OF_TWO(name) \
    INLINE wide_t w##name(wide_t a, wide_t b) { \
        return wide_of(v##name(whalf(a, 0), whalf(b, 0)), v##name(whalf(a, 1), whalf(b, 1))); \
    }
OF_ONE(abs)
OF_ONE(head)
OF_ONE(round)
OF_ONE(root)
OF_ONE(reciprocal)
OF_TWO(max)
OF_TWO(min)
OF_TWO(signed)
OF_TWO(scale)
OF_TWO(quotient)
#undef OF_ONE
#undef OF_TWO

#endif
