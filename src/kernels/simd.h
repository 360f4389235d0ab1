/* The machine, once: element type, vector type, tile and block sizes, and the vector operations
 * that Cython cannot write. All #if on the instruction set stand here and in the headers that this
 * one ends with: lanes.h, numbers.h, float_state.h.
 *
 * REAL is float or double (a compile definition); VB is the vector's width in bytes.
 *
 *   level       VB  registers  tile MR x NR (float32)
 *   x86-64-v4   64      32     14 x 32    28 sums + 2 of b + 1 of a
 *   x86-64-v3   32      16      6 x 16    12 sums + 2 of b + 1 of a
 *   x86-64-v2   16      16      6 x 8
 *   aarch64     16      32     12 x 8     24 sums + 2 of b + 1 of a
 */
#ifndef CONVNET_SIMD_H
#define CONVNET_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "tables.h"

#if defined(__AVX512F__)
#define VB 64
#define MR 14
#elif defined(__AVX__)
#define VB 32
#define MR 6
#elif defined(__aarch64__)
#define VB 16
#define MR 12
#else
#define VB 16
#define MR 6
#endif

#define BYTES_float 4
#define BYTES_double 8
#define BYTES_OF_(type) BYTES_##type
#define BYTES_OF(type) BYTES_OF_(type)

typedef REAL real_t;
typedef real_t vec_t __attribute__((vector_size(VB)));
typedef real_t unaligned_vec_t __attribute__((vector_size(VB), aligned(sizeof(real_t)), may_alias));
#define DOUBLE_REAL (sizeof(real_t) == 8)

enum {
    VL = VB / (int)sizeof(real_t), /* lanes */
    NV = 2,                        /* vectors across a tile */
    NR = NV * VL,
    /* A panel of b, KC x NR, lies in L1 (32 KB at 64-byte vectors); a block of a, MC x KC, in L2. */
    KC = 256,
    MC = 24 * 14,
    LDA = KC + 64 / (int)sizeof(real_t) + 1, /* its rows, padded: powers of two would share cache sets */
};

/* An integer vector of the lanes' width: what comparisons give. */
#if BYTES_OF(REAL) == 8
typedef int64_t lane_t;
#else
typedef int32_t lane_t;
#endif
typedef lane_t mask_t __attribute__((vector_size(VB)));

/* An intrinsic of the vector's width and type: X86(max) is _mm512_max_ps and its kind. */
#if BYTES_OF(REAL) == 8
#define SUFFIXED_(prefix, name) prefix##name##_pd
#else
#define SUFFIXED_(prefix, name) prefix##name##_ps
#endif
#if !defined(__x86_64__)
#elif VB == 64
#define X86(name) SUFFIXED_(_mm512_, name)
#elif VB == 32
#define X86(name) SUFFIXED_(_mm256_, name)
#else
#define X86(name) SUFFIXED_(_mm_, name)
#endif

#define INLINE static inline __attribute__((always_inline, unused))

INLINE vec_t vload(const real_t *p) { return *(const unaligned_vec_t *)p; }
INLINE void vstore(real_t *p, vec_t v) { *(unaligned_vec_t *)p = v; }
INLINE vec_t vzero(void) { return (vec_t){0}; }
/* x - 0, not 0 + x: only the former is x for every x, so that the compiler drops it. */
INLINE vec_t vsplat(real_t x) { return x - (vec_t){0}; }
INLINE vec_t vselect(mask_t m, vec_t a, vec_t b) {
    return (vec_t)(((mask_t)a & m) | ((mask_t)b & ~m));
}
INLINE mask_t vless(vec_t a, vec_t b) { return a < b; }
INLINE mask_t vequal(vec_t a, vec_t b) { return a == b; }
/* The larger; NaN in a gives NaN, NaN in b gives a: put the running value first. vmin likewise.
 * And p where a < b, else q. (The compiler makes three instructions of a comparison and a vselect
 * where there are mask registers.) */
#ifdef __x86_64__
INLINE vec_t vmax(vec_t a, vec_t b) { return X86(max)(b, a); }
INLINE vec_t vmin(vec_t a, vec_t b) { return X86(min)(b, a); }
#else
INLINE vec_t vmax(vec_t a, vec_t b) { return vselect(a < b, b, a); }
INLINE vec_t vmin(vec_t a, vec_t b) { return vselect(b < a, b, a); }
#endif
#ifdef __AVX512F__
#if BYTES_OF(REAL) == 8
#define COMPARE(a, b, how) _mm512_cmp_pd_mask(a, b, how)
#else
#define COMPARE(a, b, how) _mm512_cmp_ps_mask(a, b, how)
#endif
INLINE vec_t vselect_less(vec_t a, vec_t b, vec_t p, vec_t q) {
    return X86(mask_blend)(COMPARE(a, b, _CMP_LT_OQ), q, p);
}
INLINE vec_t vselect_at_most(vec_t a, vec_t b, vec_t p, vec_t q) {
    return X86(mask_blend)(COMPARE(a, b, _CMP_LE_OQ), q, p);
}
#else
INLINE vec_t vselect_less(vec_t a, vec_t b, vec_t p, vec_t q) { return vselect(a < b, p, q); }
INLINE vec_t vselect_at_most(vec_t a, vec_t b, vec_t p, vec_t q) { return vselect(a <= b, p, q); }
#endif
/* Maxima in which NaN wins, of values that come in order: v takes best's place where it is larger or
 * NaN, so that the first maximum stays, and the last NaN. */
INLINE mask_t vbeats(vec_t v, vec_t best) { return (v > best) | (v != v); }
#if defined(__AVX512F__) && BYTES_OF(REAL) == 8
/* Two instructions instead of three: a NaN in best comes out of the maximum, one in v replaces it. */
INLINE vec_t vmaxnan(vec_t best, vec_t v) {
    __m512d larger = _mm512_max_pd((__m512d)v, (__m512d)best);
    return (vec_t)_mm512_fixupimm_pd(larger, (__m512d)v, _mm512_set1_epi64(0x11), 0);
}
#elif defined(__AVX512F__)
INLINE vec_t vmaxnan(vec_t best, vec_t v) {
    __m512 larger = _mm512_max_ps((__m512)v, (__m512)best);
    return (vec_t)_mm512_fixupimm_ps(larger, (__m512)v, _mm512_set1_epi32(0x11), 0);
}
#else
INLINE vec_t vmaxnan(vec_t best, vec_t v) { return vselect(v != v, v, vmax(best, v)); }
#endif
/* max(x, 0) that lets NaN through. */
INLINE vec_t vrelu(vec_t x) { return vselect_less(x, vzero(), vzero(), x); }
INLINE real_t relu1(real_t x) { return x < 0 ? 0 : x; }
INLINE real_t sqrt1(real_t x) { return DOUBLE_REAL ? (real_t)sqrt(x) : (real_t)sqrtf((float)x); }
/* Integers beside the lanes. */
typedef lane_t unaligned_mask_t __attribute__((vector_size(VB), aligned(sizeof(lane_t)), may_alias));
INLINE mask_t iload(const lane_t *p) { return *(const unaligned_mask_t *)p; }
INLINE void istore(lane_t *p, mask_t v) { *(unaligned_mask_t *)p = v; }
INLINE mask_t isplat(lane_t x) { return (mask_t){0} + x; }
INLINE mask_t iselect(mask_t m, mask_t a, mask_t b) { return (a & m) | (b & ~m); }
INLINE mask_t iequal(mask_t a, mask_t b) { return (mask_t)(a == b); }
INLINE mask_t imax(mask_t a, mask_t b) { return iselect((mask_t)(a > b), a, b); }
/* The same to and from integers of 32 bits. */
#if BYTES_OF(REAL) == 8
typedef int32_t half_mask_t __attribute__((vector_size(VB / 2)));
typedef int32_t unaligned_half_mask_t
    __attribute__((vector_size(VB / 2), aligned(sizeof(int32_t)), may_alias));
INLINE mask_t iload32(const int32_t *p) {
    return __builtin_convertvector((half_mask_t)*(const unaligned_half_mask_t *)p, mask_t);
}
INLINE void istore32(int32_t *p, mask_t v) {
    *(unaligned_half_mask_t *)p = __builtin_convertvector(v, half_mask_t);
}
#else
INLINE mask_t iload32(const int32_t *p) { return iload(p); }
INLINE void istore32(int32_t *p, mask_t v) { istore(p, v); }
#endif
/* Two vectors interleaved: the lower halves, the upper halves. */
#if VB / BYTES_OF(REAL) == 16
#define LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define NEXT 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0
#define FOLLOWING 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#define PREVIOUS 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
#elif VB / BYTES_OF(REAL) == 8
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define NEXT 1, 2, 3, 4, 5, 6, 7, 0
#define FOLLOWING 1, 2, 3, 4, 5, 6, 7, 8
#define PREVIOUS 7, 0, 1, 2, 3, 4, 5, 6
#elif VB / BYTES_OF(REAL) == 4
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#define NEXT 1, 2, 3, 0
#define FOLLOWING 1, 2, 3, 4
#define PREVIOUS 3, 0, 1, 2
#else
#define LOWER 0, 2
#define UPPER 1, 3
#define EVEN 0, 2
#define ODD 1, 3
#define NEXT 1, 0
#define FOLLOWING 1, 2
#define PREVIOUS 1, 0
#endif
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (mask_t){__VA_ARGS__})
#endif
INLINE vec_t vlower(vec_t a, vec_t b) { return SHUFFLE(a, b, LOWER); }
INLINE vec_t vupper(vec_t a, vec_t b) { return SHUFFLE(a, b, UPPER); }
/* Every other element of two vectors, from the first one; from the second one. */
INLINE vec_t veven(vec_t a, vec_t b) { return SHUFFLE(a, b, EVEN); }
INLINE vec_t vodd(vec_t a, vec_t b) { return SHUFFLE(a, b, ODD); }
/* Every lane's neighbour, around the ends. */
INLINE vec_t vnext(vec_t v) { return SHUFFLE(v, v, NEXT); }
INLINE vec_t vprevious(vec_t v) { return SHUFFLE(v, v, PREVIOUS); }
/* The lanes of a and b moved by one: a[1] ... a[VL - 1], b[0]. */
INLINE vec_t vfollowing(vec_t a, vec_t b) { return SHUFFLE(a, b, FOLLOWING); }
/* The sum of the lanes: of neighbours, of neighbouring pairs, and so on. */
INLINE real_t vsum(vec_t v) {
    for (int n = VL; n > 1; n /= 2) v = veven(v, v) + vodd(v, v);
    return v[0];
}

/* VL rows of VL elements at src, their columns as rows at dst. */
#if defined(__AVX512F__) && BYTES_OF(REAL) == 4
/* Four rows that are four apart go into the 128-bit lanes of a register as they are loaded, which
 * leaves two rounds of shuffles inside lanes: 11.7 ns instead of 15.5 for four rounds across. */
INLINE void vtranspose(const float *src, ptrdiff_t src_stride, float *dst, ptrdiff_t dst_stride) {
    for (int column = 0; column < VL; column += 4) {
        __m512 r[4];
        __m512d a, b, c, d;
        for (int i = 0; i < 4; i++) {
            const float *p = src + i * src_stride + column;
            r[i] = _mm512_castps128_ps512(_mm_loadu_ps(p));
            r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(p + 4 * src_stride), 1);
            r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(p + 8 * src_stride), 2);
            r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(p + 12 * src_stride), 3);
        }
        a = _mm512_castps_pd(_mm512_unpacklo_ps(r[0], r[1]));
        b = _mm512_castps_pd(_mm512_unpackhi_ps(r[0], r[1]));
        c = _mm512_castps_pd(_mm512_unpacklo_ps(r[2], r[3]));
        d = _mm512_castps_pd(_mm512_unpackhi_ps(r[2], r[3]));
        _mm512_storeu_pd(dst + column * dst_stride, _mm512_unpacklo_pd(a, c));
        _mm512_storeu_pd(dst + (column + 1) * dst_stride, _mm512_unpackhi_pd(a, c));
        _mm512_storeu_pd(dst + (column + 2) * dst_stride, _mm512_unpacklo_pd(b, d));
        _mm512_storeu_pd(dst + (column + 3) * dst_stride, _mm512_unpackhi_pd(b, d));
    }
}
#else
/* log2(VL) rounds of interleaving rows i and i + VL/2, each of which moves one bit of the row's number
 * into the lane's. */
INLINE void vtranspose(const real_t *src, ptrdiff_t src_stride, real_t *dst, ptrdiff_t dst_stride) {
    vec_t r[VL], t[VL];
    for (int i = 0; i < VL; i++) r[i] = vload(src + i * src_stride);
    for (int round = 1; round < VL; round *= 2) {
        for (int i = 0; i < VL / 2; i++) {
            t[2 * i] = vlower(r[i], r[i + VL / 2]);
            t[2 * i + 1] = vupper(r[i], r[i + VL / 2]);
        }
        for (int i = 0; i < VL; i++) r[i] = t[i];
    }
    for (int i = 0; i < VL; i++) vstore(dst + i * dst_stride, r[i]);
}
#endif
/* What is a small page further on: hardware that follows a stream stops at the end of its page. */
INLINE void prefetch_ahead(const void *p) { __builtin_prefetch((const char *)p + 4096, 0, 3); }
/* To read it soon from L1. */
INLINE void prefetch_near(const void *p) { __builtin_prefetch(p, 0, 3); }
/* To read or write it later, from L2. */
INLINE void prefetch_far(const void *p) { __builtin_prefetch(p, 0, 2); }
/* A store in a stream of them: the line a page further on is fetched meanwhile. 1.6 MB through L2:
 * 19.6 us instead of 22.9. */
INLINE void vstore_ahead(real_t *p, vec_t v) {
    __builtin_prefetch((const char *)p + 4096, 1, 3);
    vstore(p, v);
}
/* A load in a stream of them. What stands between two loads of an exponential is as much as the
 * processor looks ahead for, so that each page's first lines would be waited for: from cold memory
 * sigmoid takes 3.8 ms instead of 4.5, relu 3.3 instead of 3.7 (25.7 MB). */
INLINE vec_t vload_ahead(const real_t *p) {
    prefetch_ahead(p);
    return vload(p);
}
/* Every cache line of n elements: to read it soon from L2, to write it soon. */
INLINE void prefetch_run(const real_t *p, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += 64 / (int)sizeof(real_t)) __builtin_prefetch(p + i, 0, 2);
    __builtin_prefetch(p + n - 1, 0, 2);
}
INLINE void prefetch_for_write(const real_t *p, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += 64 / (int)sizeof(real_t)) __builtin_prefetch(p + i, 1, 3);
    __builtin_prefetch(p + n - 1, 1, 3);
}
INLINE real_t vfirst(vec_t v) { return v[0]; }
/* Whether all lanes are 0. */
INLINE int vis_zero(vec_t v) {
#if defined(__AVX512F__)
    return COMPARE(v, vzero(), _CMP_NEQ_UQ) == 0;
#elif defined(__x86_64__)
    return X86(movemask)((vec_t)(v != vzero())) == 0;
#else
    int any = 0;
    for (int i = 0; i < VL; i++) any |= v[i] != 0;
    return !any;
#endif
}
/* The largest lane, where none is NaN. */
INLINE real_t vmax_lane(vec_t v) {
    for (int n = VL; n > 1; n /= 2) v = vmax(veven(v, v), vodd(v, v));
    return v[0];
}
/* n elements to memory that is written once and not soon read, past the caches: no line is read
 * before it is written. end_stream() follows the last of them. */
#ifdef __x86_64__
INLINE void stream(const real_t *from, real_t *to, ptrdiff_t n) {
    ptrdiff_t i = 0;
    while (i < n && (uintptr_t)(to + i) % VB) to[i] = from[i], i++;
    for (; i + VL <= n; i += VL) X86(stream)(to + i, vload(from + i));
    for (; i < n; i++) to[i] = from[i];
}
INLINE void end_stream(void) { _mm_sfence(); }
#define CAN_STREAM 1
#else
INLINE void stream(const real_t *from, real_t *to, ptrdiff_t n) { memcpy(to, from, n * sizeof *to); }
INLINE void end_stream(void) {}
#define CAN_STREAM 0
#endif
/* f, in a way that keeps the compiler from seeing which function it is: two calls of one function
 * run the same instructions, so the same bits come out of both. */
INLINE void *opaque(void *f) {
    __asm__("" : "+r"(f));
    return f;
}

#include "numbers.h"
#include "lanes.h"
#include "wide.h"
#include "float_state.h"

#endif
