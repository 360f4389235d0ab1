/* The machine, once: element type, vector type, tile and block sizes, and the vector operations
 * that Cython cannot write. The only #if on the instruction set stands here.
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
#include <stdint.h>
#include <string.h>

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

typedef REAL real_t;
typedef real_t vec_t __attribute__((vector_size(VB)));
typedef real_t unaligned_vec_t __attribute__((vector_size(VB), aligned(sizeof(real_t)), may_alias));
#define DOUBLE_REAL (sizeof(real_t) == 8)
#if defined(__clang__) || !defined(__GNUC__)
#define SHUFFLE_INDEX
#endif

enum {
    VL = VB / (int)sizeof(real_t), /* lanes */
    NV = 2,                        /* vectors across a tile */
    NR = NV * VL,
};

/* An integer vector of the lanes' width: what comparisons give. */
typedef __typeof__((vec_t){0} == (vec_t){0}) mask_t;

#define INLINE static inline __attribute__((always_inline, unused))

INLINE vec_t vload(const real_t *p) { return *(const unaligned_vec_t *)p; }
INLINE void vstore(real_t *p, vec_t v) { *(unaligned_vec_t *)p = v; }
INLINE vec_t vzero(void) { return (vec_t){0}; }
INLINE vec_t vsplat(real_t x) { return (vec_t){0} + x; }
INLINE vec_t vselect(mask_t m, vec_t a, vec_t b) {
    return (vec_t)(((mask_t)a & m) | ((mask_t)b & ~m));
}
INLINE mask_t vless(vec_t a, vec_t b) { return a < b; }
INLINE mask_t vequal(vec_t a, vec_t b) { return a == b; }
/* The larger; NaN in a gives NaN, NaN in b gives a: put the running value first. */
INLINE vec_t vmax(vec_t a, vec_t b) { return vselect(a < b, b, a); }
/* max(x, 0) that lets NaN through. */
INLINE vec_t vrelu(vec_t x) { return vselect(x < vzero(), vzero(), x); }
INLINE real_t relu1(real_t x) { return x < 0 ? 0 : x; }
INLINE real_t vsum(vec_t v) {
    real_t s = 0;
    for (int i = 0; i < VL; i++) s += v[i];
    return s;
}
INLINE void vprefetch(const real_t *p) { __builtin_prefetch(p); }

#endif
