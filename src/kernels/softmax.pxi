# Softmax, its logarithm and their gradients, over the middle axis of (outer, n, inner).
#
#   inner = 1    a row of n neighbours:     | VL | VL | ... | tail |     sums: lanes, then across
#   inner > 1    neighbouring columns:      n rows of them, `inner` apart   sums: a lane a column
#
# A slice is one row, or up to COLUMNS columns, or VL rows of up to SHORT_ROW elements, which are
# transposed into columns: a short row by itself waits for its own sums (100 rows of 10: 11.5 us, so
# 2.7; gradients, whose rows wait for one sum only, gain nothing). The sums depend on nothing but
# the slice: the threads share out whole slices.
#
# A slice is read for its maximum, for the exponentials and their sum, and to be scaled. The last is
# done while it is in the cache. Rows go through a pipeline, all three in one loop:
#
#   row i + 1   maximum                       reads x, which comes from memory meanwhile
#   row i       exponentials, their sum       reads x, writes y
#   row i - 1   times 1 / its sum             reads and writes y
#
# One after the other the first waits for memory and the last for stores, while the exponentials,
# which nothing but instructions limits, keep neither busy: 4096 rows of 1000 1.36 ms, so 1.08 (a
# copy: 1.05).

cdef enum:
    COLUMNS = 256
    SHORT_ROW = 32

cdef struct slices_t:
    const real_t *a
    const real_t *b
    const real_t *scale       # of the losses' gradients, one a slice or (scale_step 0) one for all
    const int64_t *target     # of the losses
    real_t *out
    index_t outer
    index_t n
    index_t inner
    index_t scale_step
    int64_t ignore_index
    bint one_each             # out has one element a slice
    void *rows                # what to call for a run of rows, or
    void *short_rows          # for VL of them, transposed; or NULL

# The slice at row `o`, columns j to j + lanes. And rows begin to end.
ctypedef void (*slice_t)(const slices_t *s, index_t o, index_t j, int lanes) noexcept nogil
ctypedef void (*rows_t)(const slices_t *s, index_t begin, index_t end) noexcept nogil


cdef inline index_t columns_of(const slices_t *s) noexcept nogil:
    """How many columns a slice has: so many that their rows stay in L2."""
    return max_index(VL, min_index(COLUMNS, (1 << 17) // s.n // VL * VL))


cdef void rows_to_columns(const real_t *x, int rows, index_t n, bint whole, real_t *t) noexcept nogil:
    """t[k][i] = x[i][k] for rows of n elements, t's rows VL apart; whole: VL elements can be read."""
    cdef real_t[MAX_LANES * MAX_LANES] tile
    cdef index_t k = 0, i
    while k < n:
        if whole:
            vtranspose(x + k, n, t + k * VL, VL)
        else:
            for i in range(VL):
                vstore(tile + i * VL, vload_part(x + i * n + k, 0, n - k) if i < rows else vzero())
            vtranspose(tile, VL, t + k * VL, VL)
        k += VL


cdef void columns_to_rows(const real_t *t, int rows, index_t n, real_t *y) noexcept nogil:
    """y[i][k] = t[k][i]; t has memory for whole tiles."""
    cdef real_t[MAX_LANES * MAX_LANES] tile
    cdef index_t k = 0, i
    while k < n:
        vtranspose(t + k * VL, VL, tile, VL)
        for i in range(rows):
            vstore_part(y + i * n + k, vload(tile + i * VL), 0, n - k)
        k += VL


cdef void short_rows(const slices_t *s, index_t o, int rows) noexcept nogil:
    """Up to VL rows from `o` on, as columns."""
    cdef slices_t t = s[0]
    cdef real_t[SHORT_ROW * MAX_LANES] a
    cdef real_t[SHORT_ROW * MAX_LANES] out
    rows_to_columns(s.a + o * s.n, rows, s.n,
                    (o + VL - 1) * s.n + ceil_div(s.n, VL) * VL <= s.outer * s.n, a)
    t.a, t.out, t.outer, t.inner = a, out, 1, VL
    if s.target != NULL:
        t.target = s.target + o
    if s.scale != NULL:
        t.scale = s.scale + o * s.scale_step
    if s.one_each:
        t.out = s.out + o
    (<slice_t> s.short_rows)(&t, 0, 0, rows)
    if not s.one_each:
        columns_to_rows(out, rows, s.n, s.out + o * s.n)


cdef void slices_part(slice_t f, const slices_t *s, index_t part, index_t parts) noexcept nogil:
    cdef index_t width = columns_of(s), blocks = ceil_div(s.inner, width)
    cdef index_t items = s.outer * blocks, begin, end, item, j
    if s.short_rows != NULL:
        items = ceil_div(s.outer, VL)
    begin = items * part // parts
    end = items * (part + 1) // parts
    if s.rows != NULL:
        (<rows_t> s.rows)(s, begin, end)
        return
    for item in range(begin, end):
        if s.short_rows != NULL:
            short_rows(s, item * VL, <int> min_index(VL, s.outer - item * VL))
        else:
            j = item % blocks * width
            f(s, item // blocks, j, <int> min_index(width, s.inner - j))


cdef void for_slices(slice_t f, const slices_t *s, int n_threads) noexcept nogil:
    cdef int parts = threads_for(s.outer * s.n * s.inner, n_threads), part
    if parts == 1:
        slices_part(f, s, 0, 1)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        slices_part(f, s, part, parts)


cdef void for_rows_or_columns(rows_t rows, slice_t columns, slices_t *s,
                              int n_threads) noexcept nogil:
    if s.inner == 1 and s.n <= SHORT_ROW:
        s.short_rows = <void *> columns
    elif s.inner == 1:
        s.rows = <void *> rows
    for_slices(columns, s, n_threads)


cdef slices_t slices_of(cnp.ndarray like, const real_t *a, const real_t *b, real_t *out):
    cdef slices_t s
    s.a = a
    s.b = b
    s.out = out
    s.outer = like.shape[0]
    s.n = like.shape[1]
    s.inner = like.shape[2]
    s.scale = NULL
    s.target = NULL
    s.scale_step = 0
    s.ignore_index = 0
    s.one_each = False
    s.rows = NULL
    s.short_rows = NULL
    return s


cdef inline vec_t vload_part(const real_t *p, index_t i, index_t n) noexcept nogil:
    """Vector i of n elements; zeros beyond them."""
    return vload(p + VL * i) if VL * i + VL <= n else vload_first(p + VL * i, <int> (n - VL * i),
                                                                  vzero())


cdef inline void vstore_part(real_t *p, vec_t v, index_t i, index_t n) noexcept nogil:
    if VL * i + VL <= n:
        vstore(p + VL * i, v)
    else:
        vstore_first(p + VL * i, <int> (n - VL * i), v)


# Rows -----------------------------------------------------------------------------------------

cdef real_t row_max(const real_t *x, index_t n) noexcept nogil:
    """The largest element; NaN does not count."""
    cdef vec_t low = vsplat(-INFINITY), m = low, m2 = low
    cdef index_t i = 0
    while i + 2 * VL <= n:
        m = vmax(m, vload(x + i))
        m2 = vmax(m2, vload(x + i + VL))
        i += 2 * VL
    if i + VL <= n:
        m = vmax(m, vload(x + i))
        i += VL
    if i < n:
        m2 = vmax(m2, vload_first(x + i, <int> (n - i), low))
    return vmax_lane(vmax(m, m2))


cdef inline real_t log1(real_t x) noexcept nogil:
    """log(x) as the vectors have it."""
    return vfirst(vlog(vsplat(x)))


cdef struct row_t:
    const real_t *x
    real_t *y
    real_t top        # the maximum
    real_t sum        # of exp(x - top)
    real_t last       # what is left to be done: y = y last, or y = (x - top) - last


cdef inline vec_t finished(bint kept, vec_t v, vec_t top, vec_t last) noexcept nogil:
    return v * last if kept else (v - top) - last


cdef inline void finish_row(bint kept, const row_t *row, index_t n) noexcept nogil:
    cdef const real_t *x = row.x
    cdef index_t i
    if kept:
        x = row.y
    for i in range(ceil_div(n, VL)):
        vstore_part(row.y, finished(kept, vload_part(x, i, n), vsplat(row.top), vsplat(row.last)),
                    i, n)


cdef inline void row_step(bint keep, bint finish, const real_t *next, row_t *row, const row_t *done,
                          index_t n, real_t *next_top) noexcept nogil:
    """The sum of a row's exponentials, kept in y if wanted; beside it next's maximum, and the end
    of the row that is done."""
    cdef vec_t low = vsplat(-INFINITY), m = low, m1 = low, total = vzero(), total1 = vzero(), v
    cdef vec_t top = vsplat(row.top), done_top = vzero(), done_last = vzero()
    cdef wide_t e, d
    cdef const real_t *done_x = row.x
    cdef const real_t *x = row.x
    cdef index_t i = 0
    cdef int rest
    if finish:
        done_top, done_last = vsplat(done.top), vsplat(done.last)
        done_x = done.x
        if keep:
            done_x = done.y
    while i + WL <= n:
        prefetch_ahead(next + i)
        prefetch_ahead(next + i + VL)
        m = vmax(m, vload(next + i))
        m1 = vmax(m1, vload(next + i + VL))
        e = wexp_negative(wide_of(vload(x + i) - top, vload(x + i + VL) - top))
        total = total + whalf(e, 0)
        total1 = total1 + whalf(e, 1)
        if finish:
            d = wide_of(finished(keep, vload(done_x + i), done_top, done_last),
                        finished(keep, vload(done_x + i + VL), done_top, done_last))
            if keep:
                wstore(done.y + i, d)
            else:
                wstore_ahead(done.y + i, d)
        if keep:
            wstore_ahead(row.y + i, e)
        i += WL
    while i < n:
        rest = <int> min_index(n - i, VL)
        m = vmax(m, vload_first(next + i, rest, low))
        v = vexp_negative(vload_first(x + i, rest, low) - top)
        total = total + v
        if finish:
            vstore_first(done.y + i, rest, finished(
                keep, vload_first(done_x + i, rest, low), done_top, done_last))
        if keep:
            vstore_first(row.y + i, rest, v)
        i += VL
    row.sum = vsum(total + total1)
    next_top[0] = vmax_lane(vmax(m, m1))


cdef inline void softmax_rows_of(bint keep, const slices_t *s, index_t begin,
                                 index_t end) noexcept nogil:
    cdef row_t row, done
    cdef real_t top
    cdef index_t o, next
    if begin == end:
        return
    top = row_max(s.a + begin * s.n, s.n)
    for o in range(begin, end):
        row.x = s.a + o * s.n
        row.y = s.out + o * s.n
        row.top = top
        next = min_index(o + 1, end - 1)
        if o == begin:
            row_step(keep, False, s.a + next * s.n, &row, &row, s.n, &top)
        else:
            row_step(keep, True, s.a + next * s.n, &row, &done, s.n, &top)
        done = row
        done.last = 1 / row.sum if keep else log1(row.sum)
    finish_row(keep, &done, s.n)


cdef void softmax_rows(const slices_t *s, index_t begin, index_t end) noexcept nogil:
    softmax_rows_of(True, s, begin, end)


cdef void log_softmax_rows(const slices_t *s, index_t begin, index_t end) noexcept nogil:
    softmax_rows_of(False, s, begin, end)


cdef void softmax_backward_row(const slices_t *s, index_t o, index_t j, int lanes) noexcept nogil:
    cdef const real_t *dy = s.a + o * s.n
    cdef const real_t *y = s.b + o * s.n
    cdef real_t *dx = s.out + o * s.n
    cdef index_t i, whole = s.n // VL * VL
    cdef int rest = <int> (s.n - whole)
    cdef vec_t a = vzero(), b = vzero(), mean
    i = 0
    while i + WL <= s.n:
        a = a + vload_ahead(dy + i) * vload_ahead(y + i)
        b = b + vload_ahead(dy + i + VL) * vload_ahead(y + i + VL)
        i += WL
    if i < whole:
        a = a + vload(dy + i) * vload(y + i)
    if rest:
        b = b + vload_first(dy + whole, rest, vzero()) * vload_first(y + whole, rest, vzero())
    mean = vsplat(vsum(a + b))
    for i in range(s.n // VL):
        vstore_ahead(dx + VL * i, vload(y + VL * i) * (vload(dy + VL * i) - mean))
    if rest:
        vstore_first(dx + whole, rest, vload_first(y + whole, rest, vzero())
                     * (vload_first(dy + whole, rest, vzero()) - mean))


cdef void log_softmax_backward_row(const slices_t *s, index_t o, index_t j,
                                   int lanes) noexcept nogil:
    cdef const real_t *dy = s.a + o * s.n
    cdef const real_t *y = s.b + o * s.n
    cdef real_t *dx = s.out + o * s.n
    cdef index_t i, n = s.n
    cdef vec_t total = vzero()
    for i in range(ceil_div(n, VL)):
        total = total + vload_part(dy, i, n)
    total = vsplat(vsum(total))
    i = 0
    while i + WL <= n:
        wstore_ahead(dx + i, wload(dy + i) - wexp(wload(y + i)) * wide_of(total, total))
        i += WL
    for i in range(i // VL, ceil_div(n, VL)):
        vstore_part(dx, vload_part(dy, i, n) - vexp(vload_part(y, i, n)) * total, i, n)


# Columns --------------------------------------------------------------------------------------
#
# Rows of up to BLOCK vectors: one vector of every row, rows lying pages apart, would take a line of
# each page and leave the prefetching behind (32x64x56x56 over axis 1: 10.6 ms; so 7.7). A lane's
# operations are the same wherever it stands.

cdef inline void columns_max(const real_t *x, index_t n, index_t step, int lanes,
                             real_t *top) noexcept nogil:
    cdef index_t k
    cdef index_t i
    cdef vec_t m = vsplat(-INFINITY)
    if lanes <= VL:
        for k in range(n):
            m = vmax(m, vload_part(x + k * step, 0, lanes))
        vstore(top, m)
        return
    for i in range(ceil_div(lanes, VL)):
        vstore(top + VL * i, vsplat(-INFINITY))
    for k in range(n):
        for i in range(ceil_div(lanes, VL)):
            vstore(top + VL * i, vmax(vload(top + VL * i), vload_part(x + k * step, i, lanes)))


cdef inline void columns_exp(const real_t *x, real_t *y, index_t n, index_t step, int lanes,
                             const real_t *top, real_t *total) noexcept nogil:
    """y = exp(x - top), unless y is NULL; the sums of them."""
    cdef vec_t e, sum = vzero()
    cdef index_t k
    cdef index_t i
    if lanes <= VL:  # a sum in memory would be waited for
        for k in range(n):
            e = vexp_negative(vload_part(x + k * step, 0, lanes) - vload(top))
            if y != NULL:
                vstore_part(y + k * step, e, 0, lanes)
            sum = sum + e
        vstore(total, sum)
        return
    for i in range(ceil_div(lanes, VL)):
        vstore(total + VL * i, vzero())
    for k in range(n):
        for i in range(ceil_div(lanes, VL)):
            e = vexp_negative(vload_part(x + k * step, i, lanes) - vload(top + VL * i))
            if y != NULL:
                vstore_part(y + k * step, e, i, lanes)
            vstore(total + VL * i, vload(total + VL * i) + e)


cdef void softmax_columns(const slices_t *s, index_t o, index_t j, int lanes) noexcept nogil:
    cdef index_t first = o * s.n * s.inner + j, k
    cdef real_t *y = s.out + first
    cdef real_t[COLUMNS] top
    cdef real_t[COLUMNS] inverse
    cdef index_t i
    columns_max(s.a + first, s.n, s.inner, lanes, top)
    columns_exp(s.a + first, y, s.n, s.inner, lanes, top, inverse)
    for i in range(ceil_div(lanes, VL)):
        vstore(inverse + VL * i, vsplat(1) / vload(inverse + VL * i))
    for k in range(s.n):
        for i in range(ceil_div(lanes, VL)):
            vstore_part(y + k * s.inner,
                        vload_part(y + k * s.inner, i, lanes) * vload(inverse + VL * i), i, lanes)


cdef void log_softmax_columns(const slices_t *s, index_t o, index_t j, int lanes) noexcept nogil:
    cdef index_t first = o * s.n * s.inner + j, k
    cdef const real_t *x = s.a + first
    cdef real_t *y = s.out + first
    cdef real_t[COLUMNS] top
    cdef real_t[COLUMNS] log_sum
    cdef index_t i
    columns_max(x, s.n, s.inner, lanes, top)
    columns_exp(x, NULL, s.n, s.inner, lanes, top, log_sum)
    for i in range(ceil_div(lanes, VL)):
        vstore(log_sum + VL * i, vlog(vload(log_sum + VL * i)))
    for k in range(s.n):
        for i in range(ceil_div(lanes, VL)):
            vstore_part(y + k * s.inner, (vload_part(x + k * s.inner, i, lanes) - vload(top + VL * i))
                        - vload(log_sum + VL * i), i, lanes)


cdef void softmax_backward_columns(const slices_t *s, index_t o, index_t j,
                                   int lanes) noexcept nogil:
    cdef index_t first = o * s.n * s.inner + j, k
    cdef const real_t *dy = s.a + first
    cdef const real_t *y = s.b + first
    cdef real_t *dx = s.out + first
    cdef real_t[COLUMNS] total
    cdef index_t i
    for i in range(ceil_div(lanes, VL)):
        vstore(total + VL * i, vzero())
    for k in range(s.n):
        for i in range(ceil_div(lanes, VL)):
            vstore(total + VL * i, vload(total + VL * i) + vload_part(dy + k * s.inner, i, lanes)
                   * vload_part(y + k * s.inner, i, lanes))
    for k in range(s.n):
        for i in range(ceil_div(lanes, VL)):
            vstore_part(dx + k * s.inner, vload_part(y + k * s.inner, i, lanes)
                        * (vload_part(dy + k * s.inner, i, lanes) - vload(total + VL * i)), i, lanes)


cdef void log_softmax_backward_columns(const slices_t *s, index_t o, index_t j,
                                       int lanes) noexcept nogil:
    cdef index_t first = o * s.n * s.inner + j, k
    cdef const real_t *dy = s.a + first
    cdef const real_t *y = s.b + first
    cdef real_t *dx = s.out + first
    cdef real_t[COLUMNS] total
    cdef index_t i
    for i in range(ceil_div(lanes, VL)):
        vstore(total + VL * i, vzero())
    for k in range(s.n):
        for i in range(ceil_div(lanes, VL)):
            vstore(total + VL * i, vload(total + VL * i) + vload_part(dy + k * s.inner, i, lanes))
    for k in range(s.n):
        for i in range(ceil_div(lanes, VL)):
            vstore_part(dx + k * s.inner, vload_part(dy + k * s.inner, i, lanes)
                        - vexp(vload_part(y + k * s.inner, i, lanes)) * vload(total + VL * i), i,
                        lanes)


# Entry points: arrays are (outer, n, inner), C-contiguous ---------------------------------------

def softmax(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = exp(x) / sum of exp(x) over axis 1."""
    cdef slices_t s = slices_of(x, pointer(x), NULL, pointer(y))
    with nogil:
        for_rows_or_columns(softmax_rows, softmax_columns, &s, n_threads)


def softmax_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, int n_threads):
    """dx = y (dy - sum of dy y over axis 1)."""
    cdef slices_t s = slices_of(dy, pointer(dy), pointer(y), pointer(dx))
    with nogil:
        for_slices(softmax_backward_row if s.inner == 1 else softmax_backward_columns, &s,
                   n_threads)


def log_softmax(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = x - log(sum of exp(x) over axis 1)."""
    cdef slices_t s = slices_of(x, pointer(x), NULL, pointer(y))
    with nogil:
        for_rows_or_columns(log_softmax_rows, log_softmax_columns, &s, n_threads)


def log_softmax_backward(cnp.ndarray dy, cnp.ndarray y, cnp.ndarray dx, int n_threads):
    """dx = dy - exp(y) times the sum of dy over axis 1."""
    cdef slices_t s = slices_of(dy, pointer(dy), pointer(y), pointer(dx))
    with nogil:
        for_slices(log_softmax_backward_row if s.inner == 1 else log_softmax_backward_columns, &s,
                   n_threads)
