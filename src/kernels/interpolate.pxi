# Resampling of images: each output row (column) is a mix of two input rows (columns), which ops has
# chosen.
#
#   x row first[p]  --(1 - w)--+
#                              +-- row, W wide --(two columns each)--> y row, Q wide
#   x row second[p] ----- w ---+
#
# Rows are mixed first, in vectors; columns then read single elements (NCHW) or runs of channels
# (channels-last). Without weights every row and column is the first alone. An output row that reads
# the same rows as the one before is a copy of it. Backwards the same way round: dy's row is spread
# over the columns of a row, which is added to two rows of dx. One thread takes a plane (NCHW) or an
# image (channels-last), so that sums have one order.
#
# Every column twice, as in an image twice as wide, is a vector interleaved with itself, and backwards
# a sum of neighbours, straight into dx.

cdef struct resample_t:
    index_t planes, inner, h, w, p, q
    const real_t *src
    real_t *dst
    const int64_t *rows           # 2 x p
    const int64_t *columns        # 2 x q
    const real_t *row_weights     # of the second row; NULL: the first alone
    const real_t *column_weights
    bint doubled                  # every column is read twice, and all weights are 1


cdef void mix_runs(const real_t *a, const real_t *b, real_t w, real_t *out, index_t n) noexcept nogil:
    cdef real_t rest = 1 - w
    cdef index_t i
    for i in range(n):
        out[i] = rest * a[i] + w * b[i]


cdef bint are_doubled(const resample_t *r) noexcept nogil:
    cdef index_t q
    if r.inner != 1 or r.row_weights != NULL or r.column_weights != NULL or r.q != 2 * r.w:
        return False
    for q in range(r.q):
        if r.columns[q] != q // 2:
            return False
    return True


cdef inline void double_run(const real_t *x, index_t n, index_t rows, real_t *y) noexcept nogil:
    """Each of n elements twice, in so many rows of 2n."""
    cdef index_t i = 0, row
    cdef int few
    cdef vec_t v
    while i < n:
        if n >= VL:
            i = min_index(i, n - VL)
        few = <int> min_index(n, VL)
        v = vload(x + i) if few == VL else vload_first(x, few, vzero())
        for row in range(rows):
            store_pairs(y + row * 2 * n + 2 * i, v, v, few)
        i += VL


cdef inline void sum_pairs(const real_t *x, index_t rows, index_t n, real_t *sum) noexcept nogil:
    """sum[i] = x[2i] + x[2i + 1], added over rows of 2n elements."""
    cdef index_t i = 0, row
    cdef const real_t *pair
    cdef int low, high
    cdef vec_t a, b, total
    while i < n:
        pair = x + 2 * i
        low = <int> min_index(2 * (n - i), VL)
        high = <int> min_index(2 * (n - i) - low, VL)
        total = b = vzero()
        for row in range(rows):
            prefetch_ahead(pair)
            prefetch_ahead(pair + VL)
            a = vload(pair) if low == VL else vload_first(pair, low, b)
            if high == VL:
                b = vload(pair + VL)
            elif high > 0:
                b = vload_first(pair + VL, high, vzero())
            total = total + (veven(a, b) + vodd(a, b))
            pair = pair + 2 * n
        if i + VL <= n:
            vstore(sum + i, total)
        else:
            vstore_first(sum + i, <int> (n - i), total)
        i += VL


cdef void resample_row(const resample_t *r, const real_t *row, real_t *y) noexcept nogil:
    cdef index_t q, inner = r.inner
    cdef const int64_t *first = r.columns
    cdef const int64_t *second = r.columns + r.q
    if inner == 1 and r.column_weights == NULL:
        for q in range(r.q):
            y[q] = row[first[q]]
    elif inner == 1:
        for q in range(r.q):
            y[q] = (1 - r.column_weights[q]) * row[first[q]] + r.column_weights[q] * row[second[q]]
    else:
        for q in range(r.q):
            if r.column_weights == NULL:
                memcpy(y + q * inner, row + first[q] * inner, inner * sizeof(real_t))
            else:
                mix_runs(row + first[q] * inner, row + second[q] * inner, r.column_weights[q],
                         y + q * inner, inner)


cdef void resample_plane(const resample_t *r, index_t plane, real_t *scratch) noexcept nogil:
    cdef index_t wide = r.w * r.inner, out = r.q * r.inner, p
    cdef const real_t *x = r.src + plane * r.h * wide
    cdef const real_t *row
    cdef real_t *y = r.dst + plane * r.p * out
    cdef index_t first = 0
    if r.doubled:
        for p in range(1, r.p + 1):
            if p == r.p or r.rows[p] != r.rows[first]:
                double_run(x + r.rows[first] * wide, wide, p - first, y + first * out)
                first = p
        return
    for p in range(r.p):
        if (p > 0 and r.rows[p] == r.rows[p - 1]
                and (r.row_weights == NULL or r.row_weights[p] == r.row_weights[p - 1])):
            copy_row(y + (p - 1) * out, y + p * out, out)
            continue
        row = x + r.rows[p] * wide
        if r.row_weights != NULL:
            mix_runs(row, x + r.rows[r.p + p] * wide, r.row_weights[p], scratch, wide)
            row = scratch
        resample_row(r, row, y + p * out)


cdef inline void add_weighted(const real_t *x, real_t w, real_t *sum, index_t n) noexcept nogil:
    cdef index_t i
    for i in range(n):
        sum[i] = sum[i] + w * x[i]


cdef void unmix_row(const resample_t *r, const real_t *dy, real_t *row) noexcept nogil:
    """row = what dy's row gives to each of the W columns."""
    cdef index_t q, inner = r.inner
    cdef real_t w
    zero_run(row, r.w * inner)
    for q in range(r.q):
        w = 0 if r.column_weights == NULL else r.column_weights[q]
        if inner == 1:
            row[r.columns[q]] = row[r.columns[q]] + (1 - w) * dy[q]
            if r.column_weights != NULL:
                row[r.columns[r.q + q]] = row[r.columns[r.q + q]] + w * dy[q]
        else:
            add_weighted(dy + q * inner, 1 - w, row + r.columns[q] * inner, inner)
            if r.column_weights != NULL:
                add_weighted(dy + q * inner, w, row + r.columns[r.q + q] * inner, inner)


cdef void unmix_plane(const resample_t *r, index_t plane, real_t *scratch) noexcept nogil:
    cdef index_t wide = r.w * r.inner, out = r.q * r.inner, p
    cdef const real_t *dy = r.src + plane * r.p * out
    cdef real_t *dx = r.dst + plane * r.h * wide
    cdef index_t first = 0
    cdef real_t w
    zero_run(dx, r.h * wide)
    if r.doubled:
        for p in range(1, r.p + 1):
            if p == r.p or r.rows[p] != r.rows[first]:
                sum_pairs(dy + first * out, p - first, wide, dx + r.rows[first] * wide)
                first = p
        return
    for p in range(r.p):
        unmix_row(r, dy + p * out, scratch)
        w = 0 if r.row_weights == NULL else r.row_weights[p]
        add_weighted(scratch, 1 - w, dx + r.rows[p] * wide, wide)
        if r.row_weights != NULL:
            add_weighted(scratch, w, dx + r.rows[r.p + p] * wide, wide)


cdef void resample_part(const resample_t *r, bint backward, index_t part, index_t parts,
                        real_t *scratch) noexcept nogil:
    cdef index_t plane
    for plane in range(r.planes * part // parts, r.planes * (part + 1) // parts):
        if backward:
            unmix_plane(r, plane, scratch)
        else:
            resample_plane(r, plane, scratch)


cdef int resample(cnp.ndarray x, cnp.ndarray y, const real_t *src, real_t *dst, cnp.ndarray rows,
                  cnp.ndarray columns, cnp.ndarray row_weights, cnp.ndarray column_weights,
                  bint backward, int n_threads) except -1:
    """x: the array of the input's shape, y: of the output's."""
    cdef resample_t r
    cdef index_t wide
    cdef int parts = threads_for(max_index(cnp.PyArray_SIZE(x), cnp.PyArray_SIZE(y)), n_threads), part
    cdef workspace_t workspace
    cdef real_t *scratch
    set_planes(x, y, &r.planes, &r.inner)
    r.h, r.w, r.p, r.q = x.shape[2], x.shape[3], y.shape[2], y.shape[3]
    r.src, r.dst = src, dst
    r.rows = <const int64_t *> cnp.PyArray_DATA(rows)
    r.columns = <const int64_t *> cnp.PyArray_DATA(columns)
    r.row_weights, r.column_weights = pointer(row_weights), pointer(column_weights)
    r.doubled = are_doubled(&r)
    wide = r.w * r.inner + ALIGNMENT
    workspace = acquire(parts * wide * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        if parts == 1:
            resample_part(&r, backward, 0, 1, scratch)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                resample_part(&r, backward, part, parts, scratch + part * wide)
    release(workspace)
    return 0


def interpolate(cnp.ndarray x, cnp.ndarray y, cnp.ndarray rows, cnp.ndarray columns,
                cnp.ndarray row_weights, cnp.ndarray column_weights, int n_threads):
    """y[p, q]: the mix of the rows rows[:, p] and the columns columns[:, q] of x."""
    resample(x, y, pointer(x), pointer(y), rows, columns, row_weights, column_weights, False,
             n_threads)


def interpolate_backward(cnp.ndarray dy, cnp.ndarray dx, cnp.ndarray rows, cnp.ndarray columns,
                         cnp.ndarray row_weights, cnp.ndarray column_weights, int n_threads):
    """dx: the sum of all dy that an element was mixed into, times its weights."""
    resample(dx, dy, pointer(dy), pointer(dx), rows, columns, row_weights, column_weights, True,
             n_threads)
