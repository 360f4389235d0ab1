# Optimizer steps: one pass over a parameter, its gradient and its state, flat in memory order.
#
#   param, grad, state  |  thread 0  |  thread 1  | ...      read and written once, in place
#
# Every scalar of the formula is computed once, in double, and enters the loop as the element type.
# The runs are inline functions called with constant flags, so that no test stands in a loop and
# the compiler vectorises each variant whole.

cdef struct sgd_t:
    real_t *param
    const real_t *grad
    real_t *buf
    real_t lr, momentum, keep, weight_decay     # keep = 1 - dampening


cdef inline void sgd_plain(const sgd_t *s, index_t begin, index_t end) noexcept nogil:
    cdef real_t *p = s.param
    cdef const real_t *g = s.grad
    cdef real_t lr = s.lr, decay = s.weight_decay
    cdef index_t i
    for i in range(begin, end):
        p[i] = p[i] - lr * (g[i] + decay * p[i])


cdef inline void sgd_momentum(const sgd_t *s, index_t begin, index_t end, bint nesterov,
                              bint first) noexcept nogil:
    cdef real_t *p = s.param
    cdef const real_t *g = s.grad
    cdef real_t *buf = s.buf
    cdef real_t lr = s.lr, decay = s.weight_decay, momentum = s.momentum, keep = s.keep, d, b
    cdef index_t i
    for i in range(begin, end):
        d = g[i] + decay * p[i]
        b = d if first else momentum * buf[i] + keep * d
        buf[i] = b
        if nesterov:
            b = d + momentum * b
        p[i] = p[i] - lr * b


cdef void sgd_part(const sgd_t *s, index_t n, index_t part, index_t parts, bint nesterov,
                   bint first) noexcept nogil:
    cdef index_t begin = n * part // parts, end = n * (part + 1) // parts
    if s.buf == NULL:
        sgd_plain(s, begin, end)
    elif nesterov and first:
        sgd_momentum(s, begin, end, True, True)
    elif nesterov:
        sgd_momentum(s, begin, end, True, False)
    elif first:
        sgd_momentum(s, begin, end, False, True)
    else:
        sgd_momentum(s, begin, end, False, False)


def sgd(cnp.ndarray param, cnp.ndarray grad, cnp.ndarray buf, double lr, double momentum,
        double dampening, double weight_decay, bint nesterov, bint first, int n_threads):
    """d = grad + weight_decay param; buf = momentum buf + (1 - dampening) d; param -= lr buf."""
    cdef sgd_t s
    cdef index_t n = cnp.PyArray_SIZE(param)
    cdef int parts = threads_for(n, n_threads), part
    s.param, s.grad, s.buf = pointer(param), pointer(grad), pointer(buf)
    s.lr, s.momentum, s.keep, s.weight_decay = lr, momentum, 1 - dampening, weight_decay
    with nogil:
        if parts == 1:
            sgd_part(&s, n, 0, 1, nesterov, first)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                sgd_part(&s, n, part, parts, nesterov, first)


cdef struct adam_t:
    real_t *param
    const real_t *grad
    real_t *m
    real_t *v
    real_t beta1, rest1, beta2, rest2   # rest = 1 - beta
    real_t rate, root, eps              # lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
    real_t l2, shrink                   # weight decay as a gradient; as 1 - lr weight_decay


cdef void adam_part(const adam_t *s, index_t n, index_t part, index_t parts) noexcept nogil:
    cdef index_t i, begin = n * part // parts, end = n * (part + 1) // parts
    cdef real_t *p = s.param
    cdef const real_t *g = s.grad
    cdef real_t *m = s.m
    cdef real_t *v = s.v
    cdef real_t beta1 = s.beta1, rest1 = s.rest1, beta2 = s.beta2, rest2 = s.rest2
    cdef real_t rate = s.rate, root = s.root, eps = s.eps, l2 = s.l2, shrink = s.shrink, d, a, b
    for i in range(begin, end):
        d = g[i] + l2 * p[i]
        a = beta1 * m[i] + rest1 * d
        b = beta2 * v[i] + rest2 * d * d
        m[i] = a
        v[i] = b
        p[i] = shrink * p[i] - rate * a / (sqrt1(b) * root + eps)


def adam(cnp.ndarray param, cnp.ndarray grad, cnp.ndarray m, cnp.ndarray v, double step,
         double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled,
         int n_threads):
    """m, v: running means of the gradient and its square; param -= lr m^ / (sqrt(v^) + eps)."""
    cdef adam_t s
    cdef index_t n = cnp.PyArray_SIZE(param)
    cdef int parts = threads_for(4 * n, n_threads), part
    s.param, s.grad, s.m, s.v = pointer(param), pointer(grad), pointer(m), pointer(v)
    s.beta1, s.rest1, s.beta2, s.rest2 = beta1, 1 - beta1, beta2, 1 - beta2
    s.rate = lr / (1 - pow(beta1, step))
    s.root = 1 / sqrt(1 - pow(beta2, step))
    s.eps = eps
    s.l2 = 0 if decoupled else weight_decay
    s.shrink = 1 - lr * weight_decay if decoupled else 1
    with nogil:
        if parts == 1:
            adam_part(&s, n, 0, 1)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                adam_part(&s, n, part, parts)
