# Batch normalisation: statistics of each channel over images and pixels, and what follows from it.
#
#   NCHW           x | n0 c0 plane | n0 c1 plane | ...    a channel is N runs of `plane` elements
#   channels-last  x | c0 c1 c2 .. | c0 c1 c2 .. | ...    a channel is a column of `rows` rows
#
# Both statistics come from one pass over memory: a chunk that stays in L1 gives its mean, then the
# squares about that mean; chunks are joined in double (Chan, Golub, LeVeque 1979):
#
#   m2 = m2_a + m2_b + (mean_b - mean_a)^2 n_a n_b / n,    n = n_a + n_b
#
# so that a mean far from 0 costs no digits, as sum(x^2) - sum(x)^2/n would; for the same reason
# means are counted from the channel's first element until the end. NCHW gives each thread
# whole channels. Channels-last is cut into NORM_PARTS runs of rows, whatever the threads, each with
# sums of its own, which are joined in their order. Rows of few channels are taken together as one
# wide row, whose columns are joined in the end: no loop is shorter than a few vectors.
#
# In training what follows from the statistics is done channel by channel in NCHW, while the channel
# is in L2 (32 planes of 56x56: 0.4 MB): memory is read once instead of twice (5.4 -> 3.9 ms).

cdef enum:
    NORM_CHUNK = 4096    # elements of a chunk
    NORM_PARTS = 32      # runs of rows
    NORM_WIDE = 64       # the least columns of a wide row, where there are so many elements

cdef struct norm_t:
    index_t images, channels, plane     # NCHW
    index_t rows, columns, spare        # channels-last: wide rows; elements that fill no wide row
    bint planes                         # NCHW with more than one pixel
    index_t count                       # elements of a channel
    index_t part_rows, parts, chunk_rows

# The running statistics of a set of elements.
cdef struct moments_t:
    double count, mean, m2


cdef norm_t norm_of(cnp.ndarray x) except *:
    cdef norm_t s
    cdef index_t n = cnp.PyArray_SIZE(x), wide
    s.images, s.channels = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    s.count = n // s.channels
    s.plane = s.count // s.images
    s.planes = s.plane > 1 and cnp.PyArray_IS_C_CONTIGUOUS(x)
    wide = max_index(1, min_index(ceil_div(NORM_WIDE, s.channels), s.count))
    s.columns = wide * s.channels
    s.rows = n // s.columns
    s.spare = n - s.rows * s.columns
    s.chunk_rows = min_index(max_index(NORM_CHUNK // s.columns, 8), 64)
    s.part_rows = ceil_div(ceil_div(s.rows, NORM_PARTS), s.chunk_rows) * s.chunk_rows
    s.parts = ceil_div(s.rows, s.part_rows)
    return s


cdef inline void join(moments_t *a, double count, double mean, double m2) noexcept nogil:
    cdef double n = a.count + count, d = mean - a.mean
    if count == 0:
        return
    a.mean += d * (count / n)
    a.m2 += m2 + d * d * (a.count * (count / n))
    a.count = n


cdef inline real_t run_sum(const real_t *x, index_t n) noexcept nogil:
    cdef vec_t a = vzero(), b = vzero()
    cdef real_t sum
    cdef index_t i = 0
    while i + 2 * VL <= n:
        a = a + vload(x + i)
        b = b + vload(x + i + VL)
        i += 2 * VL
    sum = vsum(a + b)
    while i < n:
        sum = sum + x[i]
        i += 1
    return sum


cdef inline void run_squares(const real_t *x, index_t n, real_t mean, double *sum,
                             double *squares) noexcept nogil:
    """Adds the sum of x - mean and of its square."""
    cdef vec_t a = vzero(), b = vzero(), c = vzero(), d = vzero(), u, v, m = vsplat(mean)
    cdef real_t s, q, e
    cdef index_t i = 0
    while i + 2 * VL <= n:
        u = vload(x + i) - m
        v = vload(x + i + VL) - m
        a = a + u
        b = b + v
        c = c + u * u
        d = d + v * v
        i += 2 * VL
    s = vsum(a + b)
    q = vsum(c + d)
    while i < n:
        e = x[i] - mean
        s = s + e
        q = q + e * e
        i += 1
    sum[0] += s
    squares[0] += q


cdef void channel_stats(const real_t *x, const norm_t *s, index_t c, real_t *mean,
                        real_t *var) noexcept nogil:
    """NCHW: one channel. A chunk is a piece of a plane, or as many whole planes as fit."""
    cdef index_t n = 0, i, k, images = max_index(1, NORM_CHUNK // s.plane), end, length, step
    cdef index_t stride = s.channels * s.plane
    cdef double sum, squares, count
    cdef real_t middle, origin = x[c * s.plane]
    cdef moments_t total
    total.count = total.mean = total.m2 = 0
    step = min_index(NORM_CHUNK, s.plane)
    while n < s.images:
        end = min_index(n + images, s.images)
        i = 0
        while i < s.plane:
            length = min_index(step, s.plane - i)
            count = (end - n) * length
            sum = 0
            for k in range(n, end):
                sum += run_sum(x + k * stride + c * s.plane + i, length)
            middle = sum / count
            sum = squares = 0
            for k in range(n, end):
                run_squares(x + k * stride + c * s.plane + i, length, middle, &sum, &squares)
            join(&total, count, <double> middle - origin + sum / count,
                 squares - sum * (sum / count))
            i += length
        n = end
    mean[c] = origin + total.mean
    var[c] = max(total.m2, 0.0) / total.count


cdef inline void block_sums(const real_t *x, index_t rows, index_t n, real_t *sum) noexcept nogil:
    """Sums of four vectors of columns over `rows` rows that lie n apart, in registers."""
    cdef vec_t a = vzero(), b = vzero(), c = vzero(), d = vzero()
    cdef index_t r
    for r in range(rows):
        prefetch_ahead(x + r * n)
        a = a + vload(x + r * n)
        b = b + vload(x + r * n + VL)
        prefetch_ahead(x + r * n + 2 * VL)
        c = c + vload(x + r * n + 2 * VL)
        d = d + vload(x + r * n + 3 * VL)
    vstore(sum, a)
    vstore(sum + VL, b)
    vstore(sum + 2 * VL, c)
    vstore(sum + 3 * VL, d)


cdef inline void block_squares(const real_t *x, index_t rows, index_t n, const real_t *mean,
                               real_t *sum, real_t *squares) noexcept nogil:
    """Sums of x - mean and its square for two vectors of columns."""
    cdef vec_t a = vzero(), b = vzero(), c = vzero(), d = vzero(), u, v
    cdef vec_t m = vload(mean), p = vload(mean + VL)
    cdef index_t r
    for r in range(rows):
        u = vload(x + r * n) - m
        v = vload(x + r * n + VL) - p
        a = a + u
        b = b + v
        c = c + u * u
        d = d + v * v
    vstore(sum, a)
    vstore(sum + VL, b)
    vstore(squares, c)
    vstore(squares + VL, d)


cdef void chunk_stats(const real_t *x, index_t rows, index_t n, real_t *mean, real_t *sum,
                      real_t *squares) noexcept nogil:
    """The columns' means over some rows, then the sums of what is left and of its square."""
    cdef index_t j = 0, r
    cdef real_t e, inverse = 1.0 / rows
    while j + 4 * VL <= n:
        block_sums(x + j, rows, n, mean + j)
        j += 4 * VL
    for j in range(j, n):
        mean[j] = 0
        for r in range(rows):
            mean[j] = mean[j] + x[r * n + j]
    for j in range(n):
        mean[j] = mean[j] * inverse
    j = 0
    while j + 2 * VL <= n:
        block_squares(x + j, rows, n, mean + j, sum + j, squares + j)
        j += 2 * VL
    for j in range(j, n):
        sum[j] = squares[j] = 0
        for r in range(rows):
            e = x[r * n + j] - mean[j]
            sum[j] = sum[j] + e
            squares[j] = squares[j] + e * e


cdef void join_chunk(double *means, double *squares_about, index_t n, double before, double count,
                     const real_t *origin, const real_t *mean, const real_t *sum,
                     const real_t *squares) noexcept nogil:
    """join for all columns: their counts are the same, so that a division serves them all."""
    cdef double weight = count / (before + count), both = before * weight, inverse = 1 / count, d
    cdef double e
    cdef index_t j
    for j in range(n):
        e = sum[j] * inverse
        d = <double> mean[j] - origin[j] + e - means[j]
        means[j] = means[j] + d * weight
        squares_about[j] = squares_about[j] + (squares[j] - sum[j] * e + d * d * both)


cdef void part_stats(const real_t *x, const norm_t *s, index_t part, double *means,
                     real_t *scratch) noexcept nogil:
    """Channels-last: the columns of one run of rows, chunk by chunk; scratch: 4 wide rows.

    means: `columns` of them, and as many sums of squares about them.
    """
    cdef index_t n = s.columns, first = part * s.part_rows, row = first, last, end, j
    cdef real_t *origin = scratch + 3 * n
    memset(means, 0, 2 * n * sizeof(double))
    for j in range(n):
        origin[j] = x[j] if j < s.channels else origin[j - s.channels]
    last = min_index(row + s.part_rows, s.rows)
    while row < last:
        end = min_index(row + s.chunk_rows, last)
        chunk_stats(x + row * n, end - row, n, scratch, scratch + n, scratch + 2 * n)
        join_chunk(means, means + n, n, row - first, end - row, origin, scratch, scratch + n,
                   scratch + 2 * n)
        row = end


cdef void join_columns(const real_t *x, const norm_t *s, const double *parts, real_t *mean,
                       real_t *var) noexcept nogil:
    """All parts and all columns of each channel, and the elements that fill no wide row."""
    cdef index_t c, j, part, n = s.columns
    cdef moments_t total
    cdef const real_t *spare = x + s.rows * n
    for c in range(s.channels):
        total.count = total.mean = total.m2 = 0
        j = c
        while j < n:
            for part in range(s.parts):
                join(&total, min_index(s.part_rows, s.rows - part * s.part_rows),
                     parts[2 * part * n + j], parts[2 * part * n + n + j])
            j += s.channels
        j = c
        while j < s.spare:
            join(&total, 1, <double> spare[j] - x[c], 0)
            j += s.channels
        mean[c] = x[c] + total.mean
        var[c] = max(total.m2, 0.0) / total.count


def batch_norm_stats(cnp.ndarray x, cnp.ndarray mean, cnp.ndarray var, int n_threads):
    """The mean and the biased variance of each channel."""
    cdef norm_t s = norm_of(x)
    cdef const real_t *px = pointer(x)
    cdef real_t *pmean = pointer(mean)
    cdef real_t *pvar = pointer(var)
    cdef int threads = threads_for(cnp.PyArray_SIZE(x), n_threads), i
    cdef index_t totals = 2 * s.parts * s.columns * sizeof(double)
    cdef index_t scratch = 4 * s.columns * sizeof(real_t)
    cdef workspace_t w
    if s.planes:
        with nogil:
            if threads == 1:
                for i in range(s.channels):
                    channel_stats(px, &s, i, pmean, pvar)
            else:
                for i in prange(s.channels, num_threads=threads, schedule="static"):
                    channel_stats(px, &s, i, pmean, pvar)
        return
    w = acquire(totals + s.parts * scratch)
    with nogil:
        if threads == 1:
            for i in range(s.parts):
                part_stats(px, &s, i, <double *> w.data + 2 * i * s.columns,
                           <real_t *> (w.data + totals + i * scratch))
        else:
            for i in prange(s.parts, num_threads=threads, schedule="static"):
                part_stats(px, &s, i, <double *> w.data + 2 * i * s.columns,
                           <real_t *> (w.data + totals + i * scratch))
        join_columns(px, &s, <double *> w.data, pmean, pvar)
    release(w)


# Element by element: y = a (x - mean) + b, and in the backward pass
# dx = a dy + b (x - mean) + d, with coefficients of the channel.

cdef struct affine_t:
    real_t *mean
    real_t *a
    real_t *b
    real_t *d


cdef void plane_forward(const real_t *x, real_t *y, index_t n, const affine_t *f,
                        index_t c) noexcept nogil:
    cdef real_t mean = f.mean[c], a = f.a[c], b = f.b[c]
    cdef vec_t vmean = vsplat(mean), va = vsplat(a), vb = vsplat(b)
    cdef index_t i
    for i in range(n // VL):
        vstore_ahead(y + VL * i, (vload(x + VL * i) - vmean) * va + vb)
    for i in range(n // VL * VL, n):
        y[i] = (x[i] - mean) * a + b


cdef void row_forward(const real_t *x, real_t *y, index_t n, const affine_t *f) noexcept nogil:
    cdef const real_t *mean = f.mean
    cdef const real_t *a = f.a
    cdef const real_t *b = f.b
    cdef index_t i
    for i in range(n // VL):
        vstore_ahead(y + VL * i, (vload(x + VL * i) - vload(mean + VL * i)) * vload(a + VL * i)
                     + vload(b + VL * i))
    for i in range(n // VL * VL, n):
        y[i] = (x[i] - mean[i]) * a[i] + b[i]


cdef void plane_backward(const real_t *dy, const real_t *x, real_t *dx, index_t n,
                         const affine_t *f, index_t c) noexcept nogil:
    cdef real_t mean = f.mean[c], a = f.a[c], b = f.b[c], d = f.d[c]
    cdef vec_t vmean = vsplat(mean), va = vsplat(a), vb = vsplat(b), vd = vsplat(d)
    cdef index_t i
    for i in range(n // VL):
        vstore_ahead(dx + VL * i, vload(dy + VL * i) * va
                     + ((vload(x + VL * i) - vmean) * vb + vd))
    for i in range(n // VL * VL, n):
        dx[i] = dy[i] * a + ((x[i] - mean) * b + d)


cdef void row_backward(const real_t *dy, const real_t *x, real_t *dx, index_t n,
                       const affine_t *f) noexcept nogil:
    cdef const real_t *mean = f.mean
    cdef const real_t *a = f.a
    cdef const real_t *b = f.b
    cdef const real_t *d = f.d
    cdef index_t i
    for i in range(n // VL):
        vstore_ahead(dx + VL * i, vload(dy + VL * i) * vload(a + VL * i)
                     + ((vload(x + VL * i) - vload(mean + VL * i)) * vload(b + VL * i)
                        + vload(d + VL * i)))
    for i in range(n // VL * VL, n):
        dx[i] = dy[i] * a[i] + ((x[i] - mean[i]) * b[i] + d[i])


cdef void affine_part(const norm_t *s, const affine_t *f, const real_t *dy, const real_t *x,
                      real_t *out, index_t part, index_t parts) noexcept nogil:
    """A share of the planes or of the rows; forward where dy is NULL."""
    cdef index_t units = s.images * s.channels if s.planes else s.rows + (s.spare > 0)
    cdef index_t unit, n = s.plane if s.planes else s.columns, at
    for unit in range(units * part // parts, units * (part + 1) // parts):
        at = unit * n
        if s.planes and dy == NULL:
            plane_forward(x + at, out + at, n, f, unit % s.channels)
        elif s.planes:
            plane_backward(dy + at, x + at, out + at, n, f, unit % s.channels)
        elif dy == NULL:
            row_forward(x + at, out + at, n if unit < s.rows else s.spare, f)
        else:
            row_backward(dy + at, x + at, out + at, n if unit < s.rows else s.spare, f)


cdef void affine(const norm_t *s, affine_t *f, const real_t *dy, const real_t *x, real_t *out,
                 int n_threads) noexcept nogil:
    """Coefficients of `channels` entries are repeated up to `columns`; then all elements."""
    cdef int threads = threads_for(s.count * s.channels, n_threads), part
    cdef index_t j
    if not s.planes:
        for j in range(s.channels, s.columns):
            f.mean[j] = f.mean[j - s.channels]
            f.a[j] = f.a[j - s.channels]
            f.b[j] = f.b[j - s.channels]
            f.d[j] = f.d[j - s.channels]
    if threads == 1:
        affine_part(s, f, dy, x, out, 0, 1)
        return
    for part in prange(threads, num_threads=threads, schedule="static"):
        affine_part(s, f, dy, x, out, part, threads)


cdef inline affine_t affine_in(char *memory, const norm_t *s) noexcept nogil:
    cdef affine_t f
    f.mean = <real_t *> memory
    f.a = f.mean + s.columns
    f.b = f.a + s.columns
    f.d = f.b + s.columns
    return f


cdef struct forward_norm_t:
    const real_t *x
    const real_t *weight
    const real_t *bias
    real_t *y
    double eps


cdef inline void forward_coefficients(const forward_norm_t *g, affine_t *f, index_t c, real_t mean,
                                      real_t var) noexcept nogil:
    f.mean[c] = mean
    f.a[c] = (<double> g.weight[c] if g.weight != NULL else 1.0) / sqrt(var + g.eps)
    f.b[c] = g.bias[c] if g.bias != NULL else 0.0
    f.d[c] = 0


cdef void channel_forward(const forward_norm_t *g, const norm_t *s, const affine_t *f, index_t c,
                          real_t *mean, real_t *var) noexcept nogil:
    """NCHW in training: one channel, its statistics and its y."""
    cdef affine_t mine = f[0]
    cdef index_t n, at
    channel_stats(g.x, s, c, mean, var)
    forward_coefficients(g, &mine, c, mean[c], var[c])
    for n in range(s.images):
        at = (n * s.channels + c) * s.plane
        plane_forward(g.x + at, g.y + at, s.plane, f, c)


def batch_norm(cnp.ndarray x, cnp.ndarray mean, cnp.ndarray var, cnp.ndarray weight,
               cnp.ndarray bias, cnp.ndarray y, double eps, int n_threads):
    """y = (x - mean) weight / sqrt(var + eps) + bias."""
    cdef norm_t s = norm_of(x)
    cdef forward_norm_t g
    cdef const real_t *pmean = pointer(mean)
    cdef const real_t *pvar = pointer(var)
    cdef workspace_t w = acquire(4 * s.columns * sizeof(real_t))
    cdef affine_t f = affine_in(w.data, &s)
    cdef index_t c
    g.x, g.weight, g.bias, g.y, g.eps = pointer(x), pointer(weight), pointer(bias), pointer(y), eps
    with nogil:
        for c in range(s.channels):
            forward_coefficients(&g, &f, c, pmean[c], pvar[c])
        affine(&s, &f, NULL, g.x, g.y, n_threads)
    release(w)


def batch_norm_training(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray mean,
                        cnp.ndarray var, cnp.ndarray y, double eps, int n_threads):
    """mean and var as batch_norm_stats, then y as batch_norm, with the same bits."""
    cdef norm_t s = norm_of(x)
    cdef forward_norm_t g
    cdef real_t *pmean
    cdef real_t *pvar
    cdef int threads = threads_for(cnp.PyArray_SIZE(x), n_threads), i
    cdef workspace_t w
    cdef affine_t f
    if not s.planes or s.channels < threads:
        batch_norm_stats(x, mean, var, n_threads)
        batch_norm(x, mean, var, weight, bias, y, eps, n_threads)
        return
    pmean, pvar = pointer(mean), pointer(var)
    g.x, g.weight, g.bias, g.y, g.eps = pointer(x), pointer(weight), pointer(bias), pointer(y), eps
    w = acquire(4 * s.columns * sizeof(real_t))
    f = affine_in(w.data, &s)
    with nogil:
        if threads == 1:
            for i in range(s.channels):
                channel_forward(&g, &s, &f, i, pmean, pvar)
        else:
            for i in prange(s.channels, num_threads=threads, schedule="static"):
                channel_forward(&g, &s, &f, i, pmean, pvar)
    release(w)
