/* Vectors of floating-point numbers taken apart and put together, as math.pxi needs them: exponents,
 * significands, looked-up polynomials, quotients. Part of simd.h. */
#ifndef CONVNET_NUMBERS_H
#define CONVNET_NUMBERS_H

/* The bits of a number, for the functions of math.pxi. Adding MAGIC = 1.5 * 2^MANTISSA rounds to a
 * whole number and leaves it in the low bits. */
typedef __typeof__(__builtin_choose_expr(sizeof(real_t) == 8, (uint64_t)0, (uint32_t)0)) bits_t;
typedef bits_t bits_vec_t __attribute__((vector_size(VB)));
enum { MANTISSA = DOUBLE_REAL ? 52 : 23, BIAS = DOUBLE_REAL ? 1023 : 127 };
#define MAGIC ((real_t)(DOUBLE_REAL ? 6755399441055744.0 : 12582912.0))
#define SIGN_BIT ((bits_t)1 << (8 * sizeof(real_t) - 1))

INLINE vec_t vabs(vec_t x) { return (vec_t)((bits_vec_t)x & ~SIGN_BIT); }
/* The magnitude of a with the sign of b; the same where a >= 0. */
INLINE vec_t vcopysign(vec_t a, vec_t b) {
    return (vec_t)(((bits_vec_t)a & ~SIGN_BIT) | ((bits_vec_t)b & SIGN_BIT));
}
INLINE vec_t vsigned(vec_t a, vec_t b) {
    return (vec_t)((bits_vec_t)a | ((bits_vec_t)b & SIGN_BIT));
}
/* x without the lower half of its significand, so that its square is exact. */
INLINE vec_t vhead(vec_t x) {
    return (vec_t)((bits_vec_t)x & ~(((bits_t)1 << (DOUBLE_REAL ? 27 : 12)) - 1));
}
/* The nearest whole number, for |x| < 2^(MANTISSA - 2). */
INLINE vec_t vround(vec_t x) { return (x + MAGIC) - MAGIC; }
/* 2^n for whole n with 1 - BIAS <= n <= BIAS. */
INLINE vec_t vpow2(vec_t n) {
    return (vec_t)((bits_vec_t)(n + (MAGIC + (real_t)BIAS)) << MANTISSA);
}
/* x * 2^n for whole n (AVX-512: the next whole number below n), right where that is inf, denormal or
 * 0; x is near 1, |n| <= 2 (BIAS - 1). */
#ifdef __AVX512F__
INLINE vec_t vscale(vec_t x, vec_t n) { return X86(scalef)(x, n); }
#else
INLINE vec_t vscale(vec_t x, vec_t n) {
    vec_t half = vround(n * (real_t)0.5);
    return x * vpow2(half) * vpow2(n - half);
}
#endif
/* The same, but 0 where a < b, whatever x and n are. A result that underflows, to 0 too, takes
 * microcode, 70 ns a vector instead of 2, which lanes that are masked do not. */
#ifdef __AVX512F__
INLINE vec_t vscale_unless_less(vec_t a, vec_t b, vec_t x, vec_t n) {
    return X86(maskz_scalef)(COMPARE(a, b, _CMP_NLT_UQ), x, n);
}
#else
INLINE vec_t vscale_unless_less(vec_t a, vec_t b, vec_t x, vec_t n) {
    return vselect_less(a, b, vzero(), vscale(x, n));
}
#endif
/* Quotients without the divider, which takes 16 cycles a vector (Sapphire Rapids): an approximate
 * reciprocal, sharpened by the quotient's own residual. LOOKUP: there are polynomials whose
 * coefficients are permuted out of two registers each, tables.h. */
#ifdef __AVX512F__
#define RECIPROCAL 1
INLINE vec_t vreciprocal(vec_t b) {
    vec_t r = X86(rcp14)(b);
    return DOUBLE_REAL ? r + r * ((real_t)1 - b * r) : r;
}
#else
#define RECIPROCAL 0
INLINE vec_t vreciprocal(vec_t b) { return (real_t)1 / b; }
#endif
/* a / b, off by half a unit and a little, where a, b and a / b are normal numbers or a is 0. */
INLINE vec_t vquotient(vec_t a, vec_t b) {
    if (!RECIPROCAL) return a / b;
    vec_t r = vreciprocal(b), q = a * r;
    return q + (a - q * b) * r;
}
#ifdef __AVX512F__
#define LOOKUP (!DOUBLE_REAL)
/* a b - product, exactly, where product is a b rounded. */
INLINE vec_t vproduct_rest(vec_t a, vec_t b, vec_t product) { return X86(fmsub)(a, b, product); }
/* 2^(i/16), i the last four bits of u: of a multiple of 1/16 to which SIXTEENTHS was added. */
#define SIXTEENTHS 786432.0
INLINE vec_t vroot(vec_t u) {
#if BYTES_OF(REAL) == 4
    return _mm512_permutexvar_ps((__m512i)u, _mm512_load_ps(root_table));
#else
    return u;
#endif
}
/* For each lane row[i], i the last two bits of u's exponent and the first three of its significand. */
INLINE vec_t vlookup(vec_t u, const float *row) {
#if BYTES_OF(REAL) == 4
    __m512i i = _mm512_srli_epi32((__m512i)u, 20);
    return _mm512_permutex2var_ps(_mm512_load_ps(row), i, _mm512_load_ps(row + 16));
#else
    (void)row;
    return u;
#endif
}
#else
#define LOOKUP 0
INLINE vec_t vproduct_rest(vec_t a, vec_t b, vec_t product) { return a * b - product; }
#define SIXTEENTHS 0.0
INLINE vec_t vroot(vec_t u) { return u; }
INLINE vec_t vlookup(vec_t u, const float *row) { (void)row; return u; }
#endif
/* m and e with x = m * 2^e and sqrt(1/2) <= m < sqrt(2), for normal x > 0. */
INLINE vec_t vsplit(vec_t x, vec_t *e) {
    const bits_t half = DOUBLE_REAL ? (bits_t)0x3fe6a09e667f3bcd : (bits_t)0x3f3504f3;
    const bits_t one = (bits_t)BIAS << MANTISSA;
    bits_vec_t b = (bits_vec_t)x + (one - half);
    union { real_t value; bits_t bits; } magic = {MAGIC};
    *e = (vec_t)((b >> MANTISSA) | magic.bits) - (MAGIC + (real_t)BIAS);
    return (vec_t)((b & (((bits_t)1 << MANTISSA) - 1)) + half);
}

#endif
