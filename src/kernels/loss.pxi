# Losses of each element, their gradients, and the sum of an array.
#
# Cross-entropy takes softmax.pxi's slices: maximum, exponentials and their sum, then the logarithm
# (forward) or the scaling (backward) while the row is in the cache; no array of probabilities is
# ever written. The element-wise losses run over flat memory like the activations.

# Cross-entropy --------------------------------------------------------------------------------

cdef index_t next_row(const slices_t *s, index_t o, index_t end, bint backward) noexcept nogil:
    """The next row from `o` on that is not ignored; the others get their zeros."""
    while o < end and s.target[o] == s.ignore_index:
        memset(s.out + o * (s.n if backward else 1), 0, (s.n if backward else 1) * sizeof(real_t))
        o += 1
    return o


cdef void cross_entropy_rows(const slices_t *s, index_t begin, index_t end) noexcept nogil:
    cdef row_t row
    cdef real_t top
    cdef index_t o = next_row(s, begin, end, False), next
    if o < end:
        top = row_max(s.a + o * s.n, s.n)
    while o < end:
        row.x = s.a + o * s.n
        row.top = top
        next = next_row(s, o + 1, end, False)
        row_step(False, False, s.a + (next if next < end else o) * s.n, &row, &row, s.n, &top)
        s.out[o] = log1(row.sum) - (row.x[s.target[o]] - row.top)
        o = next


cdef void cross_entropy_columns(const slices_t *s, index_t o, index_t j, int lanes) noexcept nogil:
    cdef const real_t *x = s.a + o * s.n * s.inner + j
    cdef real_t[COLUMNS] top
    cdef real_t[COLUMNS] log_sum
    cdef int64_t target
    cdef index_t at
    cdef index_t i
    columns_max(x, s.n, s.inner, lanes, top)
    columns_exp(x, NULL, s.n, s.inner, lanes, top, log_sum)
    for i in range(ceil_div(lanes, VL)):
        vstore(log_sum + VL * i, vlog(vload(log_sum + VL * i)))
    for i in range(lanes):
        at = o * s.inner + j + i
        target = s.target[at]
        if target == s.ignore_index:
            s.out[at] = 0
        else:
            s.out[at] = log_sum[i] - (x[target * s.inner + i] - top[i])


cdef void cross_entropy_backward_rows(const slices_t *s, index_t begin, index_t end) noexcept nogil:
    cdef row_t row, done
    cdef real_t top, scale, at_target = 0, inverse
    cdef index_t o = next_row(s, begin, end, True), next
    cdef const int64_t *done_target = NULL
    if o < end:
        top = row_max(s.a + o * s.n, s.n)
    while o < end:
        row.x = s.a + o * s.n
        row.y = s.out + o * s.n
        row.top = top
        next = next_row(s, o + 1, end, True)
        if done_target == NULL:
            row_step(True, False, s.a + (next if next < end else o) * s.n, &row, &row, s.n, &top)
        else:
            row_step(True, True, s.a + (next if next < end else o) * s.n, &row, &done, s.n, &top)
            done.y[done_target[0]] = at_target
        done, done_target = row, s.target + o
        scale, inverse = s.scale[o * s.scale_step], 1 / row.sum
        at_target = (row.y[done_target[0]] * inverse - 1) * scale
        done.last = inverse * scale
        o = next
    if done_target != NULL:
        finish_row(True, &done, s.n)
        done.y[done_target[0]] = at_target


cdef void cross_entropy_backward_columns(const slices_t *s, index_t o, index_t j,
                                         int lanes) noexcept nogil:
    cdef index_t first = o * s.n * s.inner + j, k, at
    cdef real_t *dx = s.out + first
    cdef real_t[COLUMNS] top
    cdef real_t[COLUMNS] factor
    cdef real_t[COLUMNS] at_target
    cdef real_t[COLUMNS] counts
    cdef real_t scale
    cdef int64_t target
    cdef index_t i
    cdef vec_t zero = vzero()
    memset(counts, 0, sizeof(counts))
    columns_max(s.a + first, s.n, s.inner, lanes, top)
    columns_exp(s.a + first, dx, s.n, s.inner, lanes, top, factor)
    for i in range(ceil_div(lanes, VL)):
        vstore(factor + VL * i, vsplat(1) / vload(factor + VL * i))
    for i in range(lanes):
        at = o * s.inner + j + i
        target = s.target[at]
        if target != s.ignore_index:
            counts[i] = 1
            scale = s.scale[at * s.scale_step]
            at_target[i] = (dx[target * s.inner + i] * factor[i] - 1) * scale
            factor[i] = factor[i] * scale
    for k in range(s.n):
        for i in range(ceil_div(lanes, VL)):
            vstore_part(dx + k * s.inner,
                        vselect(vequal(vload(counts + VL * i), zero), zero,
                                vload_part(dx + k * s.inner, i, lanes) * vload(factor + VL * i)), i,
                        lanes)
    for i in range(lanes):
        if counts[i] != 0:
            dx[s.target[o * s.inner + j + i] * s.inner + i] = at_target[i]


def cross_entropy(cnp.ndarray logits, cnp.ndarray target, cnp.ndarray loss, int64_t ignore_index,
                  int n_threads):
    """loss = log(sum of exp(logits) over axis 1) - logits at target."""
    cdef slices_t s = slices_of(logits, pointer(logits), NULL, pointer(loss))
    s.one_each = True
    s.target = <const int64_t *> cnp.PyArray_DATA(target)
    s.ignore_index = ignore_index
    with nogil:
        for_rows_or_columns(cross_entropy_rows, cross_entropy_columns, &s, n_threads)


def cross_entropy_backward(cnp.ndarray logits, cnp.ndarray target, cnp.ndarray scale,
                           cnp.ndarray dlogits, int64_t ignore_index, int n_threads):
    """dlogits = scale (softmax(logits) - 1 at target), 0 where ignored."""
    cdef slices_t s = slices_of(logits, pointer(logits), NULL, pointer(dlogits))
    s.target = <const int64_t *> cnp.PyArray_DATA(target)
    s.ignore_index = ignore_index
    s.scale = pointer(scale)
    s.scale_step = 0 if cnp.PyArray_NDIM(scale) == 0 else 1
    with nogil:
        for_rows_or_columns(cross_entropy_backward_rows, cross_entropy_backward_columns, &s,
                            n_threads)


# Negative log-likelihood: one element a slice ---------------------------------------------------

cdef void nll_slice(const slices_t *s, index_t o, index_t j, int lanes) noexcept nogil:
    cdef index_t i, at
    for i in range(j, j + lanes):
        at = o * s.inner + i
        if s.target[at] == s.ignore_index:
            s.out[at] = 0
        else:
            s.out[at] = -s.a[(o * s.n + s.target[at]) * s.inner + i]


cdef void nll_backward_slice(const slices_t *s, index_t o, index_t j, int lanes) noexcept nogil:
    cdef index_t i, k, at
    for k in range(s.n if s.inner > 1 else 1):
        memset(s.out + (o * s.n + k) * s.inner + j, 0,
               (lanes if s.inner > 1 else s.n) * sizeof(real_t))
    for i in range(j, j + lanes):
        at = o * s.inner + i
        if s.target[at] != s.ignore_index:
            s.out[(o * s.n + s.target[at]) * s.inner + i] = -s.scale[at * s.scale_step]


def nll_loss(cnp.ndarray log_probability, cnp.ndarray target, cnp.ndarray loss,
             int64_t ignore_index, int n_threads):
    """loss = -log_probability at target."""
    cdef slices_t s = slices_of(log_probability, pointer(log_probability), NULL, pointer(loss))
    s.target = <const int64_t *> cnp.PyArray_DATA(target)
    s.ignore_index = ignore_index
    with nogil:
        for_slices(nll_slice, &s, n_threads)


def nll_loss_backward(cnp.ndarray log_probability, cnp.ndarray target, cnp.ndarray scale,
                      cnp.ndarray dx, int64_t ignore_index, int n_threads):
    """dx = -scale at target, else 0."""
    cdef slices_t s = slices_of(dx, NULL, NULL, pointer(dx))
    s.target = <const int64_t *> cnp.PyArray_DATA(target)
    s.ignore_index = ignore_index
    s.scale = pointer(scale)
    s.scale_step = 0 if cnp.PyArray_NDIM(scale) == 0 else 1
    with nogil:
        for_slices(nll_backward_slice, &s, n_threads)


# Element-wise losses --------------------------------------------------------------------------

cdef inline wide_t wide_scale_at(const real_t *scale, index_t i, real_t p) noexcept nogil:
    """Wide vector i of the losses' scale, which is p for all where there is no array of them."""
    return wload_ahead(scale + WL * i) if scale != NULL else wsplat(p)


cdef inline vec_t scale_at(const real_t *scale, index_t i, real_t p) noexcept nogil:
    """Vector i of the losses' scale, which is p for all where there is no array of them."""
    return vload_ahead(scale + VL * i) if scale != NULL else vsplat(p)


cdef void pair_gradient(map_t f, cnp.ndarray x, cnp.ndarray target, cnp.ndarray scale,
                        cnp.ndarray dx, int n_threads):
    """dx = f(x, target, scale), scale like x or 0-d."""
    cdef const real_t *px = pointer(x)
    cdef const real_t *pt = pointer(target)
    cdef const real_t *ps = pointer(scale)
    cdef real_t *pdx = pointer(dx)
    cdef real_t p = ps[0]
    cdef index_t n = cnp.PyArray_SIZE(x)
    if cnp.PyArray_NDIM(scale) == 0:
        ps = NULL
    with nogil:
        elementwise(f, px, pt, ps, pdx, n, p, n_threads)


cdef void bce_with_logits_run(const real_t *x, const real_t *t, const real_t *c, real_t *loss,
                              index_t n, real_t p) noexcept nogil:
    cdef wide_t v, a, other, zero = wzero()
    cdef index_t i
    for i in range(n // WL):
        v = wload_ahead(x + WL * i)
        a = wabs(v)
        other = wload_ahead(t + WL * i)
        other = positive_or(v, wsplat(1) - other, other)
        other = wselect_equal(other, zero, zero, a * other)
        wstore_ahead(loss + WL * i, other + wlog1p(wexp_negative(-a)))


def bce_with_logits(cnp.ndarray x, cnp.ndarray target, cnp.ndarray loss, int n_threads):
    """loss = |x| (1 - target where x >= 0, target below) + log(1 + exp(-|x|))."""
    binary(bce_with_logits_run, x, target, loss, 0, n_threads)


cdef void bce_with_logits_backward_run(const real_t *x, const real_t *t, const real_t *scale,
                                       real_t *dx, index_t n, real_t p) noexcept nogil:
    cdef index_t i
    for i in range(n // WL):
        wstore_ahead(dx + WL * i,
               (wsigmoid(wload_ahead(x + WL * i)) - wload_ahead(t + WL * i))
               * wide_scale_at(scale, i, p))


def bce_with_logits_backward(cnp.ndarray x, cnp.ndarray target, cnp.ndarray scale, cnp.ndarray dx,
                             int n_threads):
    """dx = scale (sigmoid(x) - target)."""
    pair_gradient(bce_with_logits_backward_run, x, target, scale, dx, n_threads)


cdef inline bint are_hard(wide_t x, wide_t t) noexcept nogil:
    """Whether all targets are 0 or 1, and all x from 0 to 1."""
    cdef wide_t one = wsplat(1), between = t * (t - one)
    cdef wide_t beyond = wmin(x * (one - x), wzero())
    return (vis_zero(whalf(between, 0)) and vis_zero(whalf(between, 1))
            and vis_zero(whalf(beyond, 0)) and vis_zero(whalf(beyond, 1)))


cdef inline wide_t log_or_log1p(wide_t x, wide_t t) noexcept nogil:
    """log(x) where t is 1, log(1 - x) where t is 0: the very bits of wlog and wlog1p."""
    cdef wide_t one = wsplat(1), zero = wzero()
    cdef wide_t v = wselect_equal(t, zero, one - x, x)
    cdef wide_t rest = wselect_equal(t, zero, -x - (v - one), zero)
    cdef wide_t y = wlog(v)
    return wselect_equal(rest, zero, y, y + wquotient(rest, v))


cdef void bce_run(const real_t *x, const real_t *t, const real_t *c, real_t *loss, index_t n,
                  real_t p) noexcept nogil:
    """Of a vector of hard targets one logarithm, of x or of 1 - x, which has all its factor."""
    cdef wide_t v, w, least = wsplat(-100)
    cdef index_t i
    for i in range(n // WL):
        v = wload_ahead(x + WL * i)
        w = wload_ahead(t + WL * i)
        if are_hard(v, w):
            wstore_ahead(loss + WL * i, -wmax(log_or_log1p(v, w), least))
            continue
        wstore_ahead(loss + WL * i, -(w * wmax(wlog(v), least)
                                + (wsplat(1) - w) * wmax(wlog1p(-v), least)))


def bce(cnp.ndarray x, cnp.ndarray target, cnp.ndarray loss, int n_threads):
    """loss = -(target log(x) + (1 - target) log(1 - x)), the logarithms at least -100."""
    binary(bce_run, x, target, loss, 0, n_threads)


cdef void bce_backward_run(const real_t *x, const real_t *t, const real_t *scale, real_t *dx,
                           index_t n, real_t p) noexcept nogil:
    cdef vec_t v, variance
    cdef index_t i
    for i in range(n // VL):
        v = vload_ahead(x + VL * i)
        variance = vmax((vsplat(1) - v) * v, vsplat(1e-12))
        vstore_ahead(dx + VL * i, (v - vload_ahead(t + VL * i)) / variance * scale_at(scale, i, p))


def bce_backward(cnp.ndarray x, cnp.ndarray target, cnp.ndarray scale, cnp.ndarray dx,
                 int n_threads):
    """dx = scale (x - target) / (x (1 - x)), the divisor at least 1e-12."""
    pair_gradient(bce_backward_run, x, target, scale, dx, n_threads)


cdef void mse_loss_run(const real_t *x, const real_t *t, const real_t *c, real_t *loss, index_t n,
                       real_t p) noexcept nogil:
    cdef vec_t d
    cdef index_t i
    for i in range(n // VL):
        d = vload_ahead(x + VL * i) - vload_ahead(t + VL * i)
        vstore_ahead(loss + VL * i, d * d)


def mse_loss(cnp.ndarray x, cnp.ndarray target, cnp.ndarray loss, int n_threads):
    """loss = (x - target)^2."""
    binary(mse_loss_run, x, target, loss, 0, n_threads)


cdef void mse_loss_backward_run(const real_t *x, const real_t *t, const real_t *scale, real_t *dx,
                                index_t n, real_t p) noexcept nogil:
    cdef vec_t d
    cdef index_t i
    for i in range(n // VL):
        d = vload_ahead(x + VL * i) - vload_ahead(t + VL * i)
        vstore_ahead(dx + VL * i, (d + d) * scale_at(scale, i, p))


def mse_loss_backward(cnp.ndarray x, cnp.ndarray target, cnp.ndarray scale, cnp.ndarray dx,
                      int n_threads):
    """dx = 2 scale (x - target)."""
    pair_gradient(mse_loss_backward_run, x, target, scale, dx, n_threads)


cdef void smooth_l1_loss_run(const real_t *x, const real_t *t, const real_t *c, real_t *loss,
                             index_t n, real_t beta) noexcept nogil:
    cdef vec_t d
    cdef real_t half = 0.5, below = half / beta if beta > 0 else 0
    cdef index_t i
    for i in range(n // VL):
        d = vabs(vload_ahead(x + VL * i) - vload_ahead(t + VL * i))
        vstore_ahead(loss + VL * i,
               vselect(vless(d, vsplat(beta)), d * d * vsplat(below), d - vsplat(half * beta)))


def smooth_l1_loss(cnp.ndarray x, cnp.ndarray target, cnp.ndarray loss, real_t beta, int n_threads):
    """loss = d^2 / (2 beta) where d = |x - target| < beta, else d - beta/2."""
    binary(smooth_l1_loss_run, x, target, loss, beta, n_threads)


cdef void smooth_l1_loss_backward_run(const real_t *x, const real_t *t, const real_t *scale,
                                      real_t *dx, index_t n, real_t beta) noexcept nogil:
    cdef vec_t d, g
    cdef real_t below = 1 / beta if beta > 0 else 0
    cdef index_t i
    for i in range(n // VL):
        d = vload_ahead(x + VL * i) - vload_ahead(t + VL * i)
        g = vselect(vless(vabs(d), vsplat(beta)), d * vsplat(below), vcopysign(vsplat(1), d))
        g = vselect(vequal(d, vzero()), vzero(), vselect(vequal(d, d), g, d))
        vstore_ahead(dx + VL * i, g * vload_ahead(scale + VL * i))


def smooth_l1_loss_backward(cnp.ndarray x, cnp.ndarray target, cnp.ndarray scale, cnp.ndarray dx,
                            real_t beta, int n_threads):
    """dx = scale (x - target) / beta between -scale and scale; beta 0: its sign. scale is like x."""
    cdef const real_t *px = pointer(x)
    cdef const real_t *pt = pointer(target)
    cdef const real_t *ps = pointer(scale)
    cdef real_t *pdx = pointer(dx)
    cdef index_t n = cnp.PyArray_SIZE(x)
    with nogil:
        elementwise(smooth_l1_loss_backward_run, px, pt, ps, pdx, n, beta, n_threads)


# The sum of an array, in float64: chunks of CHUNK elements, then their sums in order ------------

cdef enum:
    CHUNK = 8192


cdef double chunk_sum(const real_t *x, index_t n) noexcept nogil:
    """Eight running sums, element i in sum i % 8."""
    cdef double[8] s
    cdef index_t i
    cdef int j
    for j in range(8):
        s[j] = 0
    for i in range(n // 8):
        for j in range(8):
            s[j] = s[j] + x[8 * i + j]
    for j in range(<int> (n % 8)):
        s[j] = s[j] + x[n // 8 * 8 + j]
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))


cdef void chunks_part(const real_t *x, index_t n, double *sums, index_t part,
                      index_t parts) noexcept nogil:
    cdef index_t chunks = ceil_div(n, CHUNK), i
    for i in range(chunks * part // parts, chunks * (part + 1) // parts):
        sums[i] = chunk_sum(x + CHUNK * i, min_index(CHUNK, n - CHUNK * i))


def sum_all(cnp.ndarray x, cnp.ndarray total, int n_threads):
    """total, one float64: the sum of all elements, in an order that the threads do not change."""
    cdef const real_t *px = pointer(x)
    cdef double *out = <double *> cnp.PyArray_DATA(total)
    cdef index_t n = cnp.PyArray_SIZE(x), chunks = ceil_div(n, CHUNK), i
    cdef int parts = threads_for(n, n_threads), part
    cdef workspace_t w
    cdef double *sums
    if chunks <= 1:
        out[0] = chunk_sum(px, n)
        return
    w = acquire(chunks * sizeof(double))
    sums = <double *> w.data
    with nogil:
        if parts == 1:
            chunks_part(px, n, sums, 0, 1)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                chunks_part(px, n, sums, part, parts)
        out[0] = 0
        for i in range(chunks):
            out[0] = out[0] + sums[i]
    release(w)
