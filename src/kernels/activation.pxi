# Element-wise functions and their gradients: one pass over flat arrays in memory order.
#
#   x  |  thread 0  |  thread 1  | ...      each thread takes one contiguous run of elements
#
# Bound by memory: the loops are simple enough for the compiler to vectorise whole (checked: vminps,
# vmaxps and masked moves), so they are written for one element.

ctypedef void (*unary_t)(const real_t *a, real_t *out, index_t n) noexcept nogil
ctypedef void (*binary_t)(const real_t *a, const real_t *b, real_t *out, index_t n) noexcept nogil


cdef void unary_part(unary_t f, const real_t *a, real_t *out, index_t n, index_t part,
                     index_t parts) noexcept nogil:
    cdef index_t begin = n * part // parts, end = n * (part + 1) // parts
    f(a + begin, out + begin, end - begin)


cdef void unary(unary_t f, const real_t *a, real_t *out, index_t n, int n_threads) noexcept nogil:
    cdef int parts = threads_for(n, n_threads), part
    if parts == 1:
        f(a, out, n)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        unary_part(f, a, out, n, part, parts)


cdef void binary_part(binary_t f, const real_t *a, const real_t *b, real_t *out, index_t n,
                      index_t part, index_t parts) noexcept nogil:
    cdef index_t begin = n * part // parts, end = n * (part + 1) // parts
    f(a + begin, b + begin, out + begin, end - begin)


cdef void binary(binary_t f, const real_t *a, const real_t *b, real_t *out, index_t n,
                 int n_threads) noexcept nogil:
    cdef int parts = threads_for(n, n_threads), part
    if parts == 1:
        f(a, b, out, n)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        binary_part(f, a, b, out, n, part, parts)


cdef void relu_run(const real_t *x, real_t *y, index_t n) noexcept nogil:
    cdef index_t i
    for i in range(n):
        y[i] = relu1(x[i])


def relu(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = max(x, 0); NaN stays NaN."""
    cdef const real_t *px = pointer(x)
    cdef real_t *py = pointer(y)
    cdef index_t n = cnp.PyArray_SIZE(x)
    with nogil:
        unary(relu_run, px, py, n, n_threads)


cdef void relu_backward_run(const real_t *dy, const real_t *y, real_t *dx, index_t n) noexcept nogil:
    cdef index_t i
    for i in range(n):
        dx[i] = 0 if y[i] <= 0 else dy[i]


def relu_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, int n_threads):
    """dx = dy where y > 0 or y is NaN, else 0."""
    cdef const real_t *pdy = pointer(dy)
    cdef const real_t *py = pointer(y)
    cdef real_t *pdx = pointer(dx)
    cdef index_t n = cnp.PyArray_SIZE(dy)
    with nogil:
        binary(relu_backward_run, pdy, py, pdx, n, n_threads)
