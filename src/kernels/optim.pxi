# Optimizer steps: one pass over a parameter, its gradient and its state, flat in memory order.
#
#   param, grad, state  |  thread 0  |  thread 1  | ...      read and written once, in place
#
# Every scalar of the formula is computed once, in double, and enters the loop as the element type.
# The runs are inline functions called with constant flags, so that no test stands in a loop and
# the compiler vectorises each variant whole.
#
# AdamW's p (1 - lr decay) is p - (lr decay) p: 1 - 1e-5 has lost its digits in float32, and 50 steps
# are then 3e-6 off, as torch's are.

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
    real_t *v_max                       # amsgrad: the largest v so far; or NULL
    real_t beta1, rest1, beta2, rest2   # rest = 1 - beta
    real_t rate, root, eps              # lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
    real_t l2, shrink                   # weight decay as a gradient; decoupled, lr weight_decay


cdef inline void adam_run(const adam_t *s, index_t begin, index_t end,
                          bint amsgrad) noexcept nogil:
    cdef index_t i
    cdef real_t *p = s.param
    cdef const real_t *g = s.grad
    cdef real_t *m = s.m
    cdef real_t *v = s.v
    cdef real_t *v_max = s.v_max
    cdef real_t beta1 = s.beta1, rest1 = s.rest1, beta2 = s.beta2, rest2 = s.rest2
    cdef real_t rate = s.rate, root = s.root, eps = s.eps, l2 = s.l2, shrink = s.shrink, d, a, b
    for i in range(begin, end):
        d = g[i] + l2 * p[i]
        a = beta1 * m[i] + rest1 * d
        b = beta2 * v[i] + rest2 * d * d
        m[i] = a
        v[i] = b
        if amsgrad:
            b = v_max[i] if v_max[i] > b else b
            v_max[i] = b
        p[i] = p[i] - (shrink * p[i] + rate * a / (sqrt1(b) * root + eps))


cdef void adam_part(const adam_t *s, index_t n, index_t part, index_t parts) noexcept nogil:
    cdef index_t begin = n * part // parts, end = n * (part + 1) // parts
    if s.v_max == NULL:
        adam_run(s, begin, end, False)
    else:
        adam_run(s, begin, end, True)


def adam(cnp.ndarray param, cnp.ndarray grad, cnp.ndarray m, cnp.ndarray v, cnp.ndarray v_max,
         double step, double lr, double beta1, double beta2, double eps, double weight_decay,
         bint decoupled, int n_threads):
    """m, v: running means of the gradient and its square; param -= lr m^ / (sqrt(v^) + eps)."""
    cdef adam_t s
    cdef index_t n = cnp.PyArray_SIZE(param)
    cdef int parts = threads_for(4 * n, n_threads), part
    s.param, s.grad, s.m, s.v = pointer(param), pointer(grad), pointer(m), pointer(v)
    s.v_max = pointer(v_max)
    s.beta1, s.rest1, s.beta2, s.rest2 = beta1, 1 - beta1, beta2, 1 - beta2
    s.rate = lr / (1 - pow(beta1, step))
    s.root = 1 / sqrt(1 - pow(beta2, step))
    s.eps = eps
    s.l2 = 0 if decoupled else weight_decay
    s.shrink = lr * weight_decay if decoupled else 0
    with nogil:
        if parts == 1:
            adam_part(&s, n, 0, 1)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                adam_part(&s, n, part, parts)


cdef struct rmsprop_t:
    real_t *param
    const real_t *grad
    real_t *v
    real_t *buf             # NULL without momentum
    real_t *mean            # NULL unless centered
    real_t lr, alpha, rest, eps, weight_decay, momentum     # rest = 1 - alpha


cdef inline void rmsprop_run(const rmsprop_t *s, index_t begin, index_t end, bint momentum,
                             bint centered) noexcept nogil:
    cdef real_t *p = s.param
    cdef const real_t *g = s.grad
    cdef real_t *v = s.v
    cdef real_t *buf = s.buf
    cdef real_t *mean = s.mean
    cdef real_t lr = s.lr, alpha = s.alpha, rest = s.rest, eps = s.eps, decay = s.weight_decay
    cdef real_t keep = s.momentum, d, a, b
    cdef index_t i
    for i in range(begin, end):
        d = g[i] + decay * p[i]
        b = alpha * v[i] + rest * d * d
        v[i] = b
        if centered:
            a = alpha * mean[i] + rest * d
            mean[i] = a
            b = relu1(b - a * a)
        b = d / (sqrt1(b) + eps)
        if momentum:
            b = keep * buf[i] + b
            buf[i] = b
        p[i] = p[i] - lr * b


cdef void rmsprop_part(const rmsprop_t *s, index_t n, index_t part, index_t parts) noexcept nogil:
    cdef index_t begin = n * part // parts, end = n * (part + 1) // parts
    if s.buf == NULL and s.mean == NULL:
        rmsprop_run(s, begin, end, False, False)
    elif s.mean == NULL:
        rmsprop_run(s, begin, end, True, False)
    elif s.buf == NULL:
        rmsprop_run(s, begin, end, False, True)
    else:
        rmsprop_run(s, begin, end, True, True)


def rmsprop(cnp.ndarray param, cnp.ndarray grad, cnp.ndarray v, cnp.ndarray buf, cnp.ndarray mean,
            double lr, double alpha, double eps, double weight_decay, double momentum,
            int n_threads):
    """v: running mean of the squared gradient; param -= lr grad / (sqrt(v) + eps)."""
    cdef rmsprop_t s
    cdef index_t n = cnp.PyArray_SIZE(param)
    cdef int parts = threads_for(4 * n, n_threads), part
    s.param, s.grad, s.v, s.buf = pointer(param), pointer(grad), pointer(v), pointer(buf)
    s.mean = pointer(mean)
    s.lr, s.alpha, s.rest, s.eps = lr, alpha, 1 - alpha, eps
    s.weight_decay, s.momentum = weight_decay, momentum
    with nogil:
        if parts == 1:
            rmsprop_part(&s, n, 0, 1)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                rmsprop_part(&s, n, part, parts)


cdef struct adagrad_t:
    real_t *param
    const real_t *grad
    real_t *total
    real_t lr, eps, weight_decay


cdef void adagrad_part(const adagrad_t *s, index_t n, index_t part, index_t parts) noexcept nogil:
    cdef index_t i, begin = n * part // parts, end = n * (part + 1) // parts
    cdef real_t *p = s.param
    cdef const real_t *g = s.grad
    cdef real_t *total = s.total
    cdef real_t lr = s.lr, eps = s.eps, decay = s.weight_decay, d, b
    for i in range(begin, end):
        d = g[i] + decay * p[i]
        b = total[i] + d * d
        total[i] = b
        p[i] = p[i] - lr * d / (sqrt1(b) + eps)


def adagrad(cnp.ndarray param, cnp.ndarray grad, cnp.ndarray total, double lr, double eps,
            double weight_decay, int n_threads):
    """total: the sum of all squared gradients; param -= lr grad / (sqrt(total) + eps)."""
    cdef adagrad_t s
    cdef index_t n = cnp.PyArray_SIZE(param)
    cdef int parts = threads_for(4 * n, n_threads), part
    s.param, s.grad, s.total = pointer(param), pointer(grad), pointer(total)
    s.lr, s.eps, s.weight_decay = lr, eps, weight_decay
    with nogil:
        if parts == 1:
            adagrad_part(&s, n, 0, 1)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                adagrad_part(&s, n, part, parts)


# The sum of squares, for clipping by norm: chunks as sum_all's, in float64.

cdef double chunk_squares(const real_t *x, index_t n) noexcept nogil:
    """Eight running sums, element i in sum i % 8."""
    cdef double[8] s
    cdef double a
    cdef index_t i
    cdef int j
    for j in range(8):
        s[j] = 0
    for i in range(n // 8):
        for j in range(8):
            a = x[8 * i + j]
            s[j] = s[j] + a * a
    for j in range(<int> (n % 8)):
        a = x[n // 8 * 8 + j]
        s[j] = s[j] + a * a
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))


cdef void squares_part(const real_t *x, index_t n, double *sums, index_t part,
                       index_t parts) noexcept nogil:
    cdef index_t chunks = ceil_div(n, CHUNK), i
    for i in range(chunks * part // parts, chunks * (part + 1) // parts):
        sums[i] = chunk_squares(x + CHUNK * i, min_index(CHUNK, n - CHUNK * i))


def sum_squares(cnp.ndarray x, cnp.ndarray total, int n_threads):
    """total, one float64: the sum of all squares, in an order that the threads do not change."""
    cdef const real_t *px = pointer(x)
    cdef double *out = <double *> cnp.PyArray_DATA(total)
    cdef index_t n = cnp.PyArray_SIZE(x), chunks = ceil_div(n, CHUNK), i
    cdef int parts = threads_for(n, n_threads), part
    cdef workspace_t w
    cdef double *sums
    if chunks <= 1:
        out[0] = chunk_squares(px, n)
        return
    w = acquire(chunks * sizeof(double))
    sums = <double *> w.data
    with nogil:
        if parts == 1:
            squares_part(px, n, sums, 0, 1)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                squares_part(px, n, sums, part, parts)
        out[0] = 0
        for i in range(chunks):
            out[0] = out[0] + sums[i]
    release(w)
