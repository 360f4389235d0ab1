/* Parts of vectors: the first lanes, some of them, every second one, and what is chosen lane by lane.
 * Part of simd.h. */
#ifndef CONVNET_LANES_H
#define CONVNET_LANES_H

/* The first n lanes from memory, the others from `rest`; and only the first n lanes to memory. */
#if defined(__AVX512F__) && BYTES_OF(REAL) == 8
INLINE vec_t vload_first(const real_t *p, int n, vec_t rest) {
    return (vec_t)_mm512_mask_loadu_pd((__m512d)rest, (__mmask8)((1u << n) - 1), p);
}
INLINE void vstore_first(real_t *p, int n, vec_t v) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}
#elif defined(__AVX512F__)
INLINE vec_t vload_first(const real_t *p, int n, vec_t rest) {
    return (vec_t)_mm512_mask_loadu_ps((__m512)rest, (__mmask16)((1u << n) - 1), p);
}
INLINE void vstore_first(real_t *p, int n, vec_t v) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#else
INLINE vec_t vload_first(const real_t *p, int n, vec_t rest) {
    real_t lanes[VL];
    vstore(lanes, rest);
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return vload(lanes);
}
INLINE void vstore_first(real_t *p, int n, vec_t v) {
    real_t lanes[VL];
    vstore(lanes, v);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}
#endif
/* Fewer elements than a vector has. */
INLINE void copy_few(const real_t *src, real_t *dst, ptrdiff_t n) {
#ifdef __AVX512F__
    vstore_first(dst, (int)n, vload_first(src, (int)n, vzero()));
#else
    memcpy(dst, src, (size_t)n * sizeof(real_t));
#endif
}
/* The first n integers of 32 bits, as lanes; what is in the others is anything. */
INLINE mask_t iload32_first(const int32_t *p, int n) {
#if defined(__AVX512F__) && BYTES_OF(REAL) == 8
    __m256i few = _mm512_castsi512_si256(_mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p));
    return (mask_t)_mm512_cvtepi32_epi64(few);
#elif defined(__AVX512F__)
    return (mask_t)_mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p);
#else
    lane_t lanes[VL] = {0};
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return iload(lanes);
#endif
}
/* Some lanes of a vector in memory: the others are not read (they count as 0) and not written. */
#if defined(__AVX512F__)
#define MASKED_LANES 1 /* at no cost */
typedef __typeof__(__builtin_choose_expr(VL == 8, (__mmask8)0, (__mmask16)0)) lanes_t;
INLINE lanes_t vlanes(ptrdiff_t begin, ptrdiff_t end) {
    begin = begin < 0 ? 0 : begin > VL ? VL : begin;
    end = end < 0 ? 0 : end > VL ? VL : end;
    return (lanes_t)(((1u << end) - 1) & ~((1u << begin) - 1));
}
#else
#define MASKED_LANES 0
typedef mask_t lanes_t;
INLINE lanes_t vlanes(ptrdiff_t begin, ptrdiff_t end) {
    lanes_t lanes;
    for (int i = 0; i < VL; i++) lanes[i] = i >= begin && i < end ? -1 : 0;
    return lanes;
}
#endif
#if defined(__AVX512F__) && BYTES_OF(REAL) == 8
INLINE vec_t vload_some(const real_t *p, lanes_t m) { return (vec_t)_mm512_maskz_loadu_pd(m, p); }
INLINE void vstore_some(real_t *p, lanes_t m, vec_t v) { _mm512_mask_storeu_pd(p, m, (__m512d)v); }
#elif defined(__AVX512F__)
INLINE vec_t vload_some(const real_t *p, lanes_t m) { return (vec_t)_mm512_maskz_loadu_ps(m, p); }
INLINE void vstore_some(real_t *p, lanes_t m, vec_t v) { _mm512_mask_storeu_ps(p, m, (__m512)v); }
#elif defined(__AVX2__) && BYTES_OF(REAL) == 8
INLINE vec_t vload_some(const real_t *p, lanes_t m) {
    return (vec_t)_mm256_maskload_pd(p, (__m256i)m);
}
INLINE void vstore_some(real_t *p, lanes_t m, vec_t v) {
    _mm256_maskstore_pd(p, (__m256i)m, (__m256d)v);
}
#elif defined(__AVX2__)
INLINE vec_t vload_some(const real_t *p, lanes_t m) {
    return (vec_t)_mm256_maskload_ps(p, (__m256i)m);
}
INLINE void vstore_some(real_t *p, lanes_t m, vec_t v) {
    _mm256_maskstore_ps(p, (__m256i)m, (__m256)v);
}
#else
INLINE vec_t vload_some(const real_t *p, lanes_t m) {
    vec_t v = vzero();
    for (int i = 0; i < VL; i++)
        if (m[i]) v[i] = p[i];
    return v;
}
INLINE void vstore_some(real_t *p, lanes_t m, vec_t v) {
    for (int i = 0; i < VL; i++)
        if (m[i]) p[i] = v[i];
}
#endif
/* The same, but the others count as `rest`. */
INLINE vec_t vload_or(const real_t *p, lanes_t m, vec_t rest) {
#ifdef __AVX512F__
    return (vec_t)X86(mask_loadu)(rest, m, p);
#else
    return vselect(m, vload_some(p, m), rest);
#endif
}
/* Lanes of a where m, else of b; the larger of two where m, else a; m without the lanes where a or b
 * is NaN, and whether it still has all. */
#if defined(__AVX512F__)
INLINE vec_t vpick_lanes(lanes_t m, vec_t a, vec_t b) { return (vec_t)X86(mask_blend)(m, b, a); }
INLINE vec_t vmax_some(vec_t a, lanes_t m, vec_t b) { return (vec_t)X86(mask_max)(a, m, b, a); }
#if BYTES_OF(REAL) == 8
INLINE lanes_t vordered(lanes_t m, vec_t a, vec_t b) {
    return _mm512_mask_cmp_pd_mask(m, a, b, _CMP_ORD_Q);
}
#else
INLINE lanes_t vordered(lanes_t m, vec_t a, vec_t b) {
    return _mm512_mask_cmp_ps_mask(m, a, b, _CMP_ORD_Q);
}
#endif
INLINE int no_lane_lost(lanes_t m) { return m == vlanes(0, VL); }
#else
INLINE vec_t vpick_lanes(lanes_t m, vec_t a, vec_t b) { return vselect(m, a, b); }
INLINE vec_t vmax_some(vec_t a, lanes_t m, vec_t b) { return vselect(m, vmax(a, b), a); }
INLINE lanes_t vordered(lanes_t m, vec_t a, vec_t b) { return m & (a == a) & (b == b); }
INLINE int no_lane_lost(lanes_t m) {
    lane_t lost = 0;
    for (int i = 0; i < VL; i++) lost |= ~m[i];
    return !lost;
}
#endif
/* Integers of 32 bits likewise, as lanes. */
#if defined(__AVX512F__) && BYTES_OF(REAL) == 8
INLINE mask_t iload32_some(const int32_t *p, lanes_t m) {
    return (mask_t)_mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(m, p));
}
#elif BYTES_OF(REAL) == 4
INLINE mask_t iload32_some(const int32_t *p, lanes_t m) {
    return (mask_t)vload_some((const real_t *)p, m);
}
#else
INLINE mask_t iload32_some(const int32_t *p, lanes_t m) {
    mask_t v = {0};
    for (int i = 0; i < VL; i++)
        if (m[i]) v[i] = p[i];
    return v;
}
#endif
/* sum + v where the integers a and b are equal. */
#if defined(__AVX512F__) && BYTES_OF(REAL) == 8
INLINE vec_t vadd_equal(vec_t sum, mask_t a, mask_t b, vec_t v) {
    __mmask8 equal = _mm512_cmpeq_epi64_mask((__m512i)a, (__m512i)b);
    return (vec_t)_mm512_mask_add_pd((__m512d)sum, equal, (__m512d)sum, (__m512d)v);
}
#elif defined(__AVX512F__)
INLINE vec_t vadd_equal(vec_t sum, mask_t a, mask_t b, vec_t v) {
    __mmask16 equal = _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
    return (vec_t)_mm512_mask_add_ps((__m512)sum, equal, (__m512)sum, (__m512)v);
}
#else
INLINE vec_t vadd_equal(vec_t sum, mask_t a, mask_t b, vec_t v) {
    return sum + vselect((mask_t)(a == b), v, vzero());
}
#endif
/* Every second element: p[2 * i] for i < n, then 0; p[2 * i] = v[i] for i < n, and nothing beside them. */
#ifdef __AVX512F__
#define EVEN_LANES(n, half) (lanes_t)((0x55555555u & (uint32_t)(((uint64_t)1 << 2 * (n)) - 1)) >> (half) * VL)
INLINE vec_t vload_even(const real_t *p, int n) {
    return SHUFFLE(vload_some(p, EVEN_LANES(n, 0)), vload_some(p + VL, EVEN_LANES(n, 1)), EVEN);
}
INLINE void vstore_even(real_t *p, int n, vec_t v) {
    vstore_some(p, EVEN_LANES(n, 0), SHUFFLE(v, v, LOWER));
    vstore_some(p + VL, EVEN_LANES(n, 1), SHUFFLE(v, v, UPPER));
}
#else
INLINE vec_t vload_even(const real_t *p, int n) {
    real_t lanes[VL] = {0};
    for (int i = 0; i < n; i++) lanes[i] = p[2 * i];
    return vload(lanes);
}
INLINE void vstore_even(real_t *p, int n, vec_t v) {
    for (int i = 0; i < n; i++) p[2 * i] = v[i];
}
#endif
/* For each lane a[index], or b[index - VL]: only where a vector has two rows of a small plane. */
#if defined(__AVX512F__) && BYTES_OF(REAL) == 4
#define ROW_PAIRS 1
INLINE vec_t vpick(vec_t a, mask_t index, vec_t b) {
    return _mm512_permutex2var_ps(a, (__m512i)index, b);
}
#else
#define ROW_PAIRS 0
INLINE vec_t vpick(vec_t a, mask_t index, vec_t b) {
    (void)index, (void)b;
    return a;
}
#endif

#endif
