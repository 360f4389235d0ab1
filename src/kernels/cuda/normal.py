"""The normal distribution's lower half: a quotient of polynomials times exp(-a^2/2).

Its values at -a fall by hundreds of orders of magnitude; the ratio to exp(-a^2/2) is smooth, and
1 / (sqrt(2 pi) a + p/q) takes one division. Fits and scaling are those of the CPU's math.pxi. The
square in the exponential is exact: what rounding took from a^2 comes back as a factor.
"""

from convnet.kernels.cuda.scalar import exp, fused, inline


@inline
def density(a):
    """exp(-a^2/2), |a| <= 40."""
    real = type(a)
    half = real(-0.5)
    square = a * a
    rest = half * fused(a, a, -square)
    e = exp(half * square)
    return e + e * rest


@inline
def tail_single(a):
    """The normal distribution at -a over exp(-a^2/2), 0 <= a <= 15. Fit: 2^-30.4."""
    real = type(a)
    p = real(0.0055220057295451390149)
    p = p * a + real(0.065863820164279484146)
    p = p * a + real(0.36592044158219842864)
    p = p * a + real(1.1059929717972838888)
    p = p * a + real(1.7500000012279114592)
    q = real(0.0022027575271599194838)
    q = q * a + real(0.026286254247681901561)
    q = q * a + real(0.15015693826195962434)
    q = q * a + real(0.49675731644889017036)
    q = q * a + real(0.95149741715471682846)
    q = q * a + real(0.875)
    return q / (real(2.5066282746310005024) * a * q + p)


@inline
def tail_double(a):
    """The normal distribution at -a over exp(-a^2/2), 0 <= a <= 40. Fit: 2^-57.7."""
    real = type(a)
    p = real(1.2715387853379975883e-6)
    p = p * a + real(0.000038083201204013627736)
    p = p * a + real(0.0005607978116951990243)
    p = p * a + real(0.0052657307898570761462)
    p = p * a + real(0.034553608220037065531)
    p = p * a + real(0.16412128940720776413)
    p = p * a + real(0.56576056915545522708)
    p = p * a + real(1.3750584858372924257)
    p = p * a + real(2.1694772365272305796)
    p = p * a + real(1.7499999999999999927)
    q = real(5.0727058267882186908e-7)
    q = q * a + real(0.000015192999126150000478)
    q = q * a + real(0.00022474049962886550213)
    q = q * a + real(0.0021311086150512898786)
    q = q * a + real(0.01422930470711824817)
    q = q * a + real(0.06958517883989200752)
    q = q * a + real(0.25195514164712738381)
    q = q * a + real(0.66754345420509712758)
    q = q * a + real(1.2434980784069072483)
    q = q * a + real(1.483239497712170026)
    q = q * a + real(0.875)
    return q / (real(2.5066282746310005024) * a * q + p)
