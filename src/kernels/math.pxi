# exp, log, log1p, tanh, the logistic function and the normal distribution, a wide vector at a time.
#
# One source for float32 and float64: DOUBLE_REAL is known to the compiler, which drops the branch
# it does not need. Each function reduces its argument to a short interval and evaluates there a
# polynomial (or a quotient of two) by Horner's rule. The coefficients are minimax fits made for
# this file (Remez exchange in 50 digits; Lawson's weights for the quotient); the error of the fit
# itself stands beside each. Nothing relies on fused multiply-adds: the bounds hold with them and
# without. bench/ulp_sweep.py measures them over every float32.
#
# Float32 on AVX-512 (LOOKUP) takes tanh, the normal distribution and the sixteenth powers of 2 from
# tables.h: short polynomials on many intervals, their coefficients permuted out of registers.
#
#   exp      Cody and Waite's reduction (Software Manual for the Elementary Functions, 1980, ch. 6)
#   log      s = f/(2+f), log(1+f) = f - (f^2/2 - s (f^2/2 + R(s^2)))      (fdlibm, e_log.c)
#   log1p    log(w) + (the rounding error of w = 1 + x) / w                (Kahan; HP-15C handbook)
#   tanh     odd polynomial below 9/16, 1 - 2/(exp(2x) + 1) above          (Cody and Waite, ch. 13)
#   normal   exp(-x^2/2) times a quotient, x^2 in two pieces   (Cody, Math. Comp. 23, 1969, for
#            erfc); erf itself is not needed: (1 + erf) / 2 would cancel on the negative side

cdef inline wide_t horner(wide_t p, wide_t x, real_t c) noexcept nogil:
    """p x + c: one step of a polynomial."""
    return p * x + wsplat(c)


# exp ------------------------------------------------------------------------------------------

cdef inline wide_t exp_reduced(wide_t r) noexcept nogil:
    """exp(r) for |r| <= 0.35."""
    cdef wide_t p
    if DOUBLE_REAL:  # fit: 2^-57.7
        p = wsplat(2.4990509066797013213e-8)
        p = horner(p, r, 2.7631759821524114609e-7)
        p = horner(p, r, 2.7557622641726046002e-6)
        p = horner(p, r, 0.000024801489175061112026)
        p = horner(p, r, 0.00019841269459331479541)
        p = horner(p, r, 0.0013888888947059102063)
        p = horner(p, r, 0.0083333333335191859165)
        p = horner(p, r, 0.041666666666518785898)
        p = horner(p, r, 0.16666666666666369859)
        p = horner(p, r, 0.50000000000000117166)
    else:  # fit: 2^-28.2
        p = wsplat(0.00138082603631)
        p = horner(p, r, 0.00836946983523)
        p = horner(p, r, 0.0416685251656)
        p = horner(p, r, 0.166665143586)
        p = horner(p, r, 0.49999992855)
    # What is rounded before the last addition is small beside 1: within 0.7 ulp.
    return wsplat(1) + ((r * r) * p + r)


# log(2) in two parts; n times the first is exact for n of up to 11 bits (float32: 15).
cdef inline wide_t log2_high(wide_t n) noexcept nogil:
    return n * wsplat(6.93147180369123816490e-01 if DOUBLE_REAL else 0.693359375)


cdef inline wide_t log2_low(wide_t n) noexcept nogil:
    return n * wsplat(1.90821492927058770002e-10 if DOUBLE_REAL else -2.12194440054690583e-4)


cdef inline wide_t wexp_scaled(wide_t x, wide_t *n) noexcept nogil:
    """exp(x) near 1, to be scaled by n, in wexp_in_range's range."""
    n[0] = wround(x * wsplat(1.44269504088896340736))
    return exp_reduced((x - log2_high(n[0])) - log2_low(n[0]))


cdef inline wide_t wexp_in_range(wide_t x) noexcept nogil:
    """exp(x) for |x| below 170 (float32), 1400 (float64)."""
    cdef wide_t n, z = wexp_scaled(x, &n)
    return wscale(z, n)


cdef inline wide_t exp_multiple(wide_t x, wide_t *start) noexcept nogil:
    """The multiple of log(2) next to x, and 1. Looked up: of log(2)/16, and 2^(its fraction)."""
    cdef wide_t u
    if LOOKUP:
        u = x * wsplat(1.44269504088896340736) + wsplat(SIXTEENTHS)
        start[0] = wroot(u)
        return u - wsplat(SIXTEENTHS)
    start[0] = wsplat(1)
    return wround(x * wsplat(1.44269504088896340736))


cdef inline wide_t exp_from(wide_t start, wide_t r) noexcept nogil:
    """start exp(r) for what exp_multiple leaves. start is rounded too: within 1.3 ulp."""
    cdef wide_t p
    if not LOOKUP:
        return exp_reduced(r)
    p = horner(wsplat(0.166666667), r, 0.50000981)  # fit: 2^-27.7, |r| <= 0.022
    return start * ((r * r) * p + r) + start


cdef inline wide_t wexp_sum(wide_t x, wide_t low, wide_t *n) noexcept nogil:
    """exp(x + low) where low is small beside x, as wexp_scaled."""
    cdef wide_t start
    n[0] = exp_multiple(x, &start)
    return exp_from(start, (x - log2_high(n[0])) + (low - log2_low(n[0])))


cdef inline wide_t wexp(wide_t x) noexcept nogil:
    """exp(x). Beyond the clamps the result is 0 or inf anyway."""
    cdef wide_t least = wsplat(-746 if DOUBLE_REAL else -104)
    cdef wide_t most = wsplat(710 if DOUBLE_REAL else 89)
    return wexp_in_range(wmin(wmax(x, least), most))


cdef inline vec_t vexp(vec_t x) noexcept nogil:
    return whalf(wexp(wide_of(x, x)), 0)


cdef inline wide_t wexp_negative(wide_t x) noexcept nogil:
    """exp(x) for x <= 0."""
    cdef wide_t least = wsplat(-746 if DOUBLE_REAL else -104), n, z
    if not RECIPROCAL:
        return wexp_in_range(wmax(x, least))
    z = wexp_scaled(x, &n)
    return wscale_unless_less(x, least, z, n)


cdef inline vec_t vexp_negative(vec_t x) noexcept nogil:
    return whalf(wexp_negative(wide_of(x, x)), 0)


# log ------------------------------------------------------------------------------------------

cdef inline wide_t wlog(wide_t x) noexcept nogil:
    """log(x); -inf at 0, NaN below."""
    cdef wide_t e, f, s, w, p, square, y, zero = wzero()
    # Denormals are brought among the normal numbers first.
    cdef wide_t tiny = wsplat(2.2250738585072014e-308 if DOUBLE_REAL else 1.1754943508222875e-38)
    cdef wide_t shift = wselect_less(x, tiny, wsplat(54), zero)
    f = wsplit(wselect_less(x, tiny, x * wsplat(18014398509481984.0), x), &e) - wsplat(1)
    e = e - shift
    s = wquotient(f, f + wsplat(2))
    w = s * s
    if DOUBLE_REAL:  # fit: 2^-59.5
        p = wsplat(0.14799270880258277876)
        p = horner(p, w, 0.15313736361841400274)
        p = horner(p, w, 0.18183575879832058047)
        p = horner(p, w, 0.22222198365623085111)
        p = horner(p, w, 0.28571428744257416961)
        p = horner(p, w, 0.39999999999407010797)
        p = horner(p, w, 0.66666666666667354464)
    else:  # fit: 2^-37.6
        p = wsplat(0.235851724834)
        p = horner(p, w, 0.285371588115)
        p = horner(p, w, 0.400003373849)
        p = horner(p, w, 0.666666656366)
    square = wsplat(0.5) * f * f
    y = square - (s * (square + p * w) + log2_low(e))
    y = log2_high(e) - (y - f)
    y = wselect_equal(x, wsplat(INFINITY), x, y)
    y = wselect_equal(x, zero, wsplat(-INFINITY), y)
    y = wselect_less(x, zero, wsplat(NAN), y)
    return wselect_equal(x, x, y, x)


cdef inline vec_t vlog(vec_t x) noexcept nogil:
    return whalf(wlog(wide_of(x, x)), 0)


cdef inline wide_t wlog1p(wide_t x) noexcept nogil:
    """log(1 + x) for -1 <= x <= 1; NaN below."""
    cdef wide_t one = wsplat(1)
    cdef wide_t w = one + x
    cdef wide_t y = wlog(w) + wquotient(x - (w - one), w)
    return wselect_equal(w, wzero(), wsplat(-INFINITY), y)


# tanh and the logistic function ---------------------------------------------------------------

cdef inline wide_t tanh_looked_up(wide_t x) noexcept nogil:
    """tanh(x), float32: 16 instructions a vector; by an exponential and a division 33."""
    cdef wide_t a = wmin(wabs(x), wsplat(9.25))
    cdef wide_t u = a + wsplat(0.625)
    cdef wide_t t = a - wlookup(u, tanh_table[0])
    cdef wide_t p = wlookup(u, tanh_table[5])
    p = p * t + wlookup(u, tanh_table[4])
    p = p * t + wlookup(u, tanh_table[3])
    p = p * t + wlookup(u, tanh_table[2])
    p = p * t + wlookup(u, tanh_table[1])
    return wsigned(p, x)


cdef inline wide_t wtanh(wide_t x) noexcept nogil:
    """tanh(x)."""
    cdef wide_t a = wabs(x), z = x * x, one = wsplat(1)
    cdef wide_t p, near, far
    if LOOKUP:
        return tanh_looked_up(x)
    if DOUBLE_REAL:  # fit: 2^-59.9
        p = wsplat(-0.000018903967189814759938)
        p = horner(p, z, 0.000082360940670189447602)
        p = horner(p, z, -0.00023271623109762441949)
        p = horner(p, z, 0.00058818365571370378675)
        p = horner(p, z, -0.0014554796441511219573)
        p = horner(p, z, 0.0035920822504559184039)
        p = horner(p, z, -0.008863231637230114176)
        p = horner(p, z, 0.021869488327279016163)
        p = horner(p, z, -0.053968253961724495048)
        p = horner(p, z, 0.13333333333323133158)
        p = horner(p, z, -0.33333333333333277843)
    else:  # fit: 2^-29.5
        p = wsplat(-0.00617981640836)
        p = horner(p, z, 0.0210074640305)
        p = horner(p, z, -0.0538374315812)
        p = horner(p, z, 0.133324522871)
        p = horner(p, z, -0.333333138886)
    near = a + (a * z) * p
    # tanh rounds to 1 from 9.02 (float32), 19.07 (float64) on.
    far = wexp_in_range(wsplat(2) * wmin(a, wsplat(20 if DOUBLE_REAL else 10)))
    far = one - wquotient(wsplat(2), far + one)
    return wsigned(wselect_less(a, wsplat(0.5625), near, far), x)


cdef inline wide_t over_one_plus(wide_t a, wide_t z) noexcept nogil:
    """a / (1 + z), a near z or 1, by a reciprocal: the residual has a and z, not their rounded sum."""
    cdef wide_t r = wreciprocal(wsplat(1) + z)
    cdef wide_t q = a * r
    return ((a - q) - q * z) * r + q


cdef inline wide_t wsigmoid(wide_t x) noexcept nogil:
    """1 / (1 + exp(-x)).

    By a reciprocal, z / (1 + z) with z = exp(x); beyond x = 40 that is 1. By a division, with
    z = exp(-|x|) and q = z / (1 + z), 1 - q for x >= 0 and z - z q below: small terms carry the
    roundings. Denormals come out right.
    """
    cdef wide_t z, q, one = wsplat(1)
    if RECIPROCAL:
        z = wexp_negative(wmin(x, wsplat(40)))
        return over_one_plus(z, z)
    z = wexp_negative(-wabs(x))
    q = z / (one + z)
    return wselect_less(x, wzero(), z - z * q, one - q)


# The normal distribution ----------------------------------------------------------------------

cdef inline wide_t normal_tail_looked_up(wide_t a) noexcept nogil:
    """The normal distribution at -a over exp(-a^2/2), float32, 0 <= a < 15."""
    cdef wide_t u = a + wsplat(1)
    cdef wide_t t = a - wlookup(u, normal_tail_table[0])
    cdef wide_t p = wlookup(u, normal_tail_table[5])
    p = p * t + wlookup(u, normal_tail_table[4])
    p = p * t + wlookup(u, normal_tail_table[3])
    p = p * t + wlookup(u, normal_tail_table[2])
    return p * t + wlookup(u, normal_tail_table[1])


cdef inline wide_t normal_tail(wide_t a, wide_t *density, wide_t *n) noexcept nogil:
    """The normal distribution at -a over exp(-a^2/2), and that to be scaled by n.

    0 <= a < 15, float64: <= 40.

    Where nothing is looked up, the ratio is 1 / (sqrt(2 pi) a + g(a)) with g = p/q falling from 2 to 0. As
    q / (sqrt(2 pi) a q + p) it takes one division, and where a is large, the roundings of q cancel.
    Both polynomials are scaled by 7/8: just above a power of 2 the sums near a = 0 would round
    twice as coarsely.
    """
    cdef wide_t head, half = a * wsplat(-0.5), p, q
    if LOOKUP:
        p = half * a
        density[0] = wexp_sum(p, wproduct_rest(half, a, p), n)
        return normal_tail_looked_up(a)
    if DOUBLE_REAL:  # fit: 2^-57.7
        p = wsplat(1.2715387853379975883e-6)
        p = horner(p, a, 0.000038083201204013627736)
        p = horner(p, a, 0.0005607978116951990243)
        p = horner(p, a, 0.0052657307898570761462)
        p = horner(p, a, 0.034553608220037065531)
        p = horner(p, a, 0.16412128940720776413)
        p = horner(p, a, 0.56576056915545522708)
        p = horner(p, a, 1.3750584858372924257)
        p = horner(p, a, 2.1694772365272305796)
        p = horner(p, a, 1.7499999999999999927)
        q = wsplat(5.0727058267882186908e-7)
        q = horner(q, a, 0.000015192999126150000478)
        q = horner(q, a, 0.00022474049962886550213)
        q = horner(q, a, 0.0021311086150512898786)
        q = horner(q, a, 0.01422930470711824817)
        q = horner(q, a, 0.06958517883989200752)
        q = horner(q, a, 0.25195514164712738381)
        q = horner(q, a, 0.66754345420509712758)
        q = horner(q, a, 1.2434980784069072483)
        q = horner(q, a, 1.483239497712170026)
        q = horner(q, a, 0.875)
    else:  # fit: 2^-30.4
        p = wsplat(0.0055220057295451390149)
        p = horner(p, a, 0.065863820164279484146)
        p = horner(p, a, 0.36592044158219842864)
        p = horner(p, a, 1.1059929717972838888)
        p = horner(p, a, 1.7500000012279114592)
        q = wsplat(0.0022027575271599194838)
        q = horner(q, a, 0.026286254247681901561)
        q = horner(q, a, 0.15015693826195962434)
        q = horner(q, a, 0.49675731644889017036)
        q = horner(q, a, 0.95149741715471682846)
        q = horner(q, a, 0.875)
    # a^2 = head^2 + (a + head)(a - head), the first of them exact: a rounded square would lose
    # a^2 eps in the exponential.
    head = whead(a)
    half = wsplat(-0.5)
    density[0] = wexp_sum(half * (head * head), half * ((a + head) * (a - head)), n)
    return wquotient(q, wsplat(2.5066282746310005024) * a * q + p)
