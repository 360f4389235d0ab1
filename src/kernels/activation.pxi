# Activation functions and their gradients: one pass over flat arrays in memory order.
#
# relu and its kind are bound by memory, the others, which go through math.pxi, by instructions where
# the array is in a cache. elementwise.pxi splits the work and handles the tail.
#
# At the ends of the line the functions take their limits, where the formula would give inf * 0:
# the products clamp x (to what CLAMP says) where the other factor has long become 0.


cdef inline wide_t clamp(wide_t x, real_t limit) noexcept nogil:
    """x brought to [-limit, limit]; NaN stays."""
    return wmin(wmax(x, wsplat(-limit)), wsplat(limit))


cdef inline wide_t positive_or(wide_t x, wide_t positive, wide_t negative) noexcept nogil:
    """`negative` where x < 0, else `positive`."""
    return wselect_less(x, wzero(), negative, positive)


cdef void relu_run(const real_t *x, const real_t *b, const real_t *c, real_t *y, index_t n,
                   real_t p) noexcept nogil:
    cdef index_t i
    cdef vec_t zero = vzero()
    for i in range(n // VL):
        vstore_ahead(y + VL * i, vmax(vload_ahead(x + VL * i), zero))


def relu(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = max(x, 0); NaN stays NaN."""
    unary(relu_run, x, y, 0, n_threads)


cdef void relu_backward_run(const real_t *dy, const real_t *y, const real_t *c, real_t *dx,
                            index_t n, real_t p) noexcept nogil:
    cdef index_t i
    cdef vec_t zero = vzero()
    for i in range(n // VL):
        vstore_ahead(dx + VL * i, vselect_at_most(vload_ahead(y + VL * i), zero, zero,
                                                  vload_ahead(dy + VL * i)))


def relu_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, int n_threads):
    """dx = dy where y > 0 or y is NaN, else 0."""
    binary(relu_backward_run, dy, y, dx, 0, n_threads)


cdef void leaky_relu_run(const real_t *x, const real_t *b, const real_t *c, real_t *y, index_t n,
                         real_t p) noexcept nogil:
    cdef index_t i
    cdef vec_t v
    for i in range(n // VL):
        v = vload_ahead(x + VL * i)
        vstore_ahead(y + VL * i, vselect_less(v, vzero(), v * vsplat(p), v))


def leaky_relu(cnp.ndarray x, cnp.ndarray y, real_t negative_slope, int n_threads):
    """y = x, times negative_slope where x < 0."""
    unary(leaky_relu_run, x, y, negative_slope, n_threads)


cdef void leaky_relu_backward_run(const real_t *dy, const real_t *x, const real_t *c, real_t *dx,
                                  index_t n, real_t p) noexcept nogil:
    cdef index_t i
    cdef vec_t d
    for i in range(n // VL):
        d = vload_ahead(dy + VL * i)
        vstore_ahead(dx + VL * i,
                     vselect_at_most(vload_ahead(x + VL * i), vzero(), d * vsplat(p), d))


def leaky_relu_backward(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dx, real_t negative_slope,
                        int n_threads):
    """dx = dy, times negative_slope where x <= 0."""
    binary(leaky_relu_backward_run, dy, x, dx, negative_slope, n_threads)


cdef void sigmoid_run(const real_t *x, const real_t *b, const real_t *c, real_t *y, index_t n,
                      real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(y + WL * i, wsigmoid(wload_ahead(x + WL * i)))


def sigmoid(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = 1 / (1 + exp(-x))."""
    unary(sigmoid_run, x, y, 0, n_threads)


cdef void sigmoid_backward_run(const real_t *dy, const real_t *y, const real_t *c, real_t *dx,
                               index_t n, real_t p) noexcept nogil:
    cdef index_t i
    cdef vec_t v
    for i in range(n // VL):
        v = vload_ahead(y + VL * i)
        vstore_ahead(dx + VL * i, vload_ahead(dy + VL * i) * ((vsplat(1) - v) * v))


def sigmoid_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, int n_threads):
    """dx = dy y (1 - y)."""
    binary(sigmoid_backward_run, dy, y, dx, 0, n_threads)


cdef void tanh_run(const real_t *x, const real_t *b, const real_t *c, real_t *y, index_t n,
                   real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(y + WL * i, wtanh(wload_ahead(x + WL * i)))


def tanh(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = tanh(x)."""
    unary(tanh_run, x, y, 0, n_threads)


cdef void tanh_backward_run(const real_t *dy, const real_t *y, const real_t *c, real_t *dx,
                            index_t n, real_t p) noexcept nogil:
    cdef index_t i
    cdef vec_t v
    for i in range(n // VL):
        v = vload_ahead(y + VL * i)
        vstore_ahead(dx + VL * i, vload_ahead(dy + VL * i) * ((vsplat(1) - v) * (vsplat(1) + v)))


def tanh_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, int n_threads):
    """dx = dy (1 - y^2), as a product that does not cancel."""
    binary(tanh_backward_run, dy, y, dx, 0, n_threads)


cdef inline wide_t times_sigmoid(wide_t x, wide_t u) noexcept nogil:
    """x / (1 + exp(-u)) by a reciprocal, u in wexp_scaled's range and at most 40.

    The exponential's scale comes last: a denormal exp(u) times x would have lost its bits.
    """
    cdef wide_t n
    cdef wide_t z = wexp_scaled(u, &n)
    return wscale(x * over_one_plus(z, wscale(z, n)), n)


cdef inline wide_t silu1(wide_t x) noexcept nogil:
    """x sigmoid(x), the exponential's scale last."""
    cdef wide_t bounded, n, z, q
    if RECIPROCAL:
        bounded = wmax(x, wsplat(-800 if DOUBLE_REAL else -120))
        return times_sigmoid(bounded, wmin(bounded, wsplat(40)))
    bounded = clamp(x, 800 if DOUBLE_REAL else 120)
    z = wexp_scaled(-wabs(bounded), &n)
    q = wscale(z, n)
    q = q / (wsplat(1) + q)
    return positive_or(x, x - bounded * q, wscale(bounded * (z - z * q), n))


cdef void silu_run(const real_t *x, const real_t *b, const real_t *c, real_t *y, index_t n,
                   real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(y + WL * i, silu1(wload_ahead(x + WL * i)))


def silu(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = x / (1 + exp(-x))."""
    unary(silu_run, x, y, 0, n_threads)


cdef inline wide_t silu_slope(wide_t x) noexcept nogil:
    """s + x s (1 - s), s = sigmoid(x); both s and 1 - s without cancellation."""
    cdef wide_t z = wexp_negative(-wabs(x))
    cdef wide_t large = wquotient(wsplat(1), wsplat(1) + z)
    cdef wide_t small = z * large
    return positive_or(x, large, small) + clamp(x, 1024 if DOUBLE_REAL else 128) * (small * large)


cdef void silu_backward_run(const real_t *dy, const real_t *x, const real_t *c, real_t *dx,
                            index_t n, real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(dx + WL * i, wload_ahead(dy + WL * i) * silu_slope(wload_ahead(x + WL * i)))


def silu_backward(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dx, int n_threads):
    """dx = dy (s + x s (1 - s)), s = sigmoid(x)."""
    binary(silu_backward_run, dy, x, dx, 0, n_threads)


# gelu: exactly, x times the normal distribution; the form with tanh is x sigmoid(2u),
# 2u = sqrt(8/pi) (x + 0.044715 x^3).

cdef inline wide_t gelu1(wide_t x) noexcept nogil:
    """max(x, 0) - a D(-a) with a = |x|: right on both sides. -0 below all normal numbers, as x D."""
    cdef wide_t a = wmin(wabs(x), wsplat(40 if DOUBLE_REAL else 14.9)), density, n
    cdef wide_t ratio = normal_tail(a, &density, &n)
    return wmax(x, wsplat(-0.0)) - wscale((a * ratio) * density, n)


cdef inline wide_t gelu_slope(wide_t x) noexcept nogil:
    """The distribution at x plus x times the density."""
    cdef wide_t bounded = clamp(x, 40 if DOUBLE_REAL else 14.9), density, n
    cdef wide_t ratio = normal_tail(wabs(bounded), &density, &n)
    cdef wide_t rise = bounded * wsplat(0.398942280401432677939946)
    density = wscale(density, n)
    return positive_or(x, wsplat(1) + (rise - ratio) * density, (ratio + rise) * density)


cdef inline wide_t gelu_tanh1(wide_t x) noexcept nogil:
    cdef wide_t bounded, z, one = wsplat(1)
    if RECIPROCAL:
        bounded = wmax(x, wsplat(-24 if DOUBLE_REAL else -12))
        z = wmin(bounded, wsplat(7.25))
        return times_sigmoid(bounded, z * gelu_tanh_rate(z * z))
    bounded = clamp(x, 24 if DOUBLE_REAL else 12)
    z = wexp_in_range(-wabs(bounded) * gelu_tanh_rate(bounded * bounded))
    return positive_or(x, x, bounded * z) / (one + z)


cdef inline wide_t gelu_tanh_rate(wide_t square) noexcept nogil:
    """2u / x at x^2."""
    return horner(wsplat(0.0713548162726002527), square, 1.5957691216057307117)


cdef inline wide_t gelu_tanh_slope(wide_t x) noexcept nogil:
    """s + x s (1 - s) (2u)', s = sigmoid(2u)."""
    cdef wide_t bounded = clamp(x, 24 if DOUBLE_REAL else 12)
    cdef wide_t square = bounded * bounded
    cdef wide_t z = wexp_in_range(-wabs(bounded) * gelu_tanh_rate(square))
    cdef wide_t large = wquotient(wsplat(1), wsplat(1) + z)
    cdef wide_t small = z * large
    cdef wide_t inner = horner(wsplat(0.2140644488178007581), square, 1.5957691216057307117)
    return positive_or(x, large, small) + (bounded * inner) * (small * large)


cdef void gelu_exact_run(const real_t *x, const real_t *b, const real_t *c, real_t *y, index_t n,
                         real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(y + WL * i, gelu1(wload_ahead(x + WL * i)))


cdef void gelu_tanh_run(const real_t *x, const real_t *b, const real_t *c, real_t *y, index_t n,
                        real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(y + WL * i, gelu_tanh1(wload_ahead(x + WL * i)))


def gelu(cnp.ndarray x, cnp.ndarray y, bint with_tanh, int n_threads):
    """y = x times the normal distribution at x, or its form with tanh."""
    unary(gelu_tanh_run if with_tanh else gelu_exact_run, x, y, 0, n_threads)


cdef void gelu_exact_backward_run(const real_t *dy, const real_t *x, const real_t *c, real_t *dx,
                                  index_t n, real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(dx + WL * i, wload_ahead(dy + WL * i) * gelu_slope(wload_ahead(x + WL * i)))


cdef void gelu_tanh_backward_run(const real_t *dy, const real_t *x, const real_t *c, real_t *dx,
                                 index_t n, real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(dx + WL * i,
                     wload_ahead(dy + WL * i) * gelu_tanh_slope(wload_ahead(x + WL * i)))


def gelu_backward(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dx, bint with_tanh, int n_threads):
    """dx = dy times the derivative of gelu at x."""
    binary(gelu_tanh_backward_run if with_tanh else gelu_exact_backward_run, dy, x, dx, 0,
           n_threads)
