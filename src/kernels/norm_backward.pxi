# Batch normalisation, backward. With x^ = (x - mean) rstd, rstd = 1/sqrt(var + eps):
#
#   dbias = sum(dy)    dweight = sum(dy x^)
#   dx = weight rstd (dy - (dbias + x^ dweight) / count)      in training; else weight rstd dy
#
# One pass for the two sums, one for dx; in NCHW channel by channel, so that the second pass reads
# L2. The split into chunks, parts and wide rows is norm.pxi's.
#
# A channel's planes lie far apart, so that the hardware finds each of them anew: they are
# prefetched into L2, whole planes ahead (32x64x56x56: 3.5 -> 3.2 ms; 32x512x7x7, also because small
# planes are summed in vectors until a chunk is full: 1.05 -> 0.57).

cdef enum:
    NORM_AHEAD = 1024    # elements at least between reading and prefetching


cdef void planes_products(const real_t *dy, const real_t *x, index_t planes, index_t stride,
                          index_t n, index_t ahead, real_t mean, double *sums) noexcept nogil:
    """Adds what n elements of each plane give, planes `stride` apart; `ahead` is prefetched."""
    cdef vec_t a = vzero(), b = vzero(), c = vzero(), d = vzero(), u, v, m = vsplat(mean)
    cdef index_t i, k
    cdef int rest
    for k in range(planes):
        i = 0
        while i + 2 * VL <= n:
            prefetch_far(dy + ahead + i)
            prefetch_far(dy + ahead + i + VL)
            prefetch_far(x + ahead + i)
            prefetch_far(x + ahead + i + VL)
            u = vload(dy + i)
            v = vload(dy + i + VL)
            a = a + u
            b = b + v
            c = c + u * (vload(x + i) - m)
            d = d + v * (vload(x + i + VL) - m)
            i += 2 * VL
        while i < n:
            prefetch_far(dy + ahead + i)
            prefetch_far(x + ahead + i)
            rest = <int> min_index(n - i, VL)
            u = vload_first(dy + i, rest, vzero())
            a = a + u
            c = c + u * (vload_first(x + i, rest, m) - m)
            i += VL
        dy += stride
        x += stride
    sums[0] += vsum(a + b)
    sums[1] += vsum(c + d)


cdef void channel_products(const real_t *dy, const real_t *x, const norm_t *s, index_t c,
                           const real_t *mean, double *sums) noexcept nogil:
    """Sums of a plane's pieces, or of as many planes as make a chunk."""
    cdef index_t step = max_index(1, NORM_CHUNK // s.plane), stride = s.channels * s.plane
    cdef index_t n = 0, i, at, planes, ahead
    sums[2 * c] = sums[2 * c + 1] = 0
    while n < s.images:
        planes = min_index(step, s.images - n)
        # Behind the last image the next channel begins.
        ahead = ceil_div(NORM_AHEAD, s.plane)
        ahead = ahead * stride + (s.plane - s.images * stride if n + ahead >= s.images else 0)
        i = 0
        while i < s.plane:
            at = (n * s.channels + c) * s.plane + i
            planes_products(dy + at, x + at, planes, stride, min_index(NORM_CHUNK, s.plane - i),
                            ahead, mean[c], &sums[2 * c])
            i += NORM_CHUNK
        n += planes


cdef inline void block_products(const real_t *dy, const real_t *x, index_t rows, index_t n,
                                const real_t *mean, real_t *sum, real_t *product) noexcept nogil:
    """Sums of dy and of dy (x - mean) for two vectors of columns over rows that lie n apart."""
    cdef vec_t a = vzero(), b = vzero(), c = vzero(), d = vzero(), u, v
    cdef vec_t m = vload(mean), p = vload(mean + VL)
    cdef index_t r
    for r in range(rows):
        prefetch_ahead(dy + r * n)
        prefetch_ahead(x + r * n)
        u = vload(dy + r * n)
        v = vload(dy + r * n + VL)
        a = a + u
        b = b + v
        c = c + u * (vload(x + r * n) - m)
        d = d + v * (vload(x + r * n + VL) - p)
    vstore(sum, a)
    vstore(sum + VL, b)
    vstore(product, c)
    vstore(product + VL, d)


cdef void chunk_products(const real_t *dy, const real_t *x, index_t rows, index_t n,
                         const real_t *mean, real_t *sum, real_t *product) noexcept nogil:
    cdef index_t j = 0, r
    while j + 2 * VL <= n:
        block_products(dy + j, x + j, rows, n, mean + j, sum + j, product + j)
        j += 2 * VL
    for j in range(j, n):
        sum[j] = product[j] = 0
        for r in range(rows):
            sum[j] = sum[j] + dy[r * n + j]
            product[j] = product[j] + dy[r * n + j] * (x[r * n + j] - mean[j])


cdef void part_products(const real_t *dy, const real_t *x, const norm_t *s, index_t part,
                        const real_t *mean, double *sums, real_t *scratch) noexcept nogil:
    """Channels-last: sums has 2 entries a column; scratch: 2 wide rows."""
    cdef index_t n = s.columns, row = part * s.part_rows, last, end, j
    memset(sums, 0, 2 * n * sizeof(double))
    last = min_index(row + s.part_rows, s.rows)
    while row < last:
        end = min_index(row + s.chunk_rows, last)
        chunk_products(dy + row * n, x + row * n, end - row, n, mean, scratch, scratch + n)
        for j in range(n):
            sums[2 * j] += scratch[j]
            sums[2 * j + 1] += scratch[n + j]
        row = end


cdef void join_products(const real_t *dy, const real_t *x, const norm_t *s, const real_t *mean,
                        double *sums) noexcept nogil:
    """All parts and columns into the entries of the first part's first `channels` columns."""
    cdef index_t c, j, part, at = s.rows * s.columns
    cdef double sum, product
    for c in range(s.channels):
        sum = product = 0
        j = c
        while j < s.columns:
            for part in range(s.parts):
                sum += sums[2 * (part * s.columns + j)]
                product += sums[2 * (part * s.columns + j) + 1]
            j += s.channels
        j = c
        while j < s.spare:
            sum += dy[at + j]
            product += <double> dy[at + j] * (x[at + j] - mean[c])
            j += s.channels
        sums[2 * c] = sum
        sums[2 * c + 1] = product


cdef void products(const real_t *dy, const real_t *x, const norm_t *s, const real_t *mean,
                   double *sums, real_t *scratch, int n_threads) noexcept nogil:
    """sums[2 c], sums[2 c + 1]: of dy and of dy (x - mean). mean has `columns` entries."""
    cdef int threads = threads_for(2 * s.count * s.channels, n_threads), i
    if s.planes and threads == 1:
        for i in range(s.channels):
            channel_products(dy, x, s, i, mean, sums)
    elif s.planes:
        for i in prange(s.channels, num_threads=threads, schedule="static"):
            channel_products(dy, x, s, i, mean, sums)
    elif threads == 1:
        for i in range(s.parts):
            part_products(dy, x, s, i, mean, sums + 2 * i * s.columns,
                          scratch + 2 * i * s.columns)
    else:
        for i in prange(s.parts, num_threads=threads, schedule="static"):
            part_products(dy, x, s, i, mean, sums + 2 * i * s.columns,
                          scratch + 2 * i * s.columns)
    if not s.planes:
        join_products(dy, x, s, mean, sums)


cdef struct backward_norm_t:
    const real_t *dy
    const real_t *x
    const real_t *var
    const real_t *weight
    real_t *dx
    real_t *dweight
    real_t *dbias
    double eps
    bint sums           # are needed
    bint training


cdef void backward_coefficients(const backward_norm_t *g, const norm_t *s, const affine_t *f,
                                index_t c, const double *sums) noexcept nogil:
    """From a channel's two sums: dweight, dbias, and the coefficients of dx."""
    cdef double rstd = 1.0 / sqrt(g.var[c] + g.eps)
    cdef double product = sums[2 * c + 1] * rstd
    if g.dbias != NULL:
        g.dbias[c] = sums[2 * c]
    if g.dweight != NULL:
        g.dweight[c] = product
    f.a[c] = rstd * (<double> g.weight[c] if g.weight != NULL else 1.0)
    f.b[c] = -f.a[c] * rstd * (product / s.count) if g.training else 0.0
    f.d[c] = -f.a[c] * (sums[2 * c] / s.count) if g.training else 0.0


cdef void channel_backward(const backward_norm_t *g, const norm_t *s, const affine_t *f, index_t c,
                           double *sums) noexcept nogil:
    """NCHW: one channel, its sums and its dx."""
    cdef index_t n, at
    if g.sums:
        channel_products(g.dy, g.x, s, c, f.mean, sums)
    backward_coefficients(g, s, f, c, sums)
    if g.dx == NULL:
        return
    for n in range(s.images):
        at = (n * s.channels + c) * s.plane
        plane_backward(g.dy + at, g.x + at, g.dx + at, s.plane, f, c)


def batch_norm_backward(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray mean, cnp.ndarray var,
                        cnp.ndarray weight, cnp.ndarray dx, cnp.ndarray dweight,
                        cnp.ndarray dbias, double eps, bint training, int n_threads):
    """dx, dweight, dbias may be None; in training mean and var are those of x."""
    cdef norm_t s = norm_of(x)
    cdef backward_norm_t g
    cdef const real_t *pmean = pointer(mean)
    cdef index_t coefficients = 4 * s.columns * sizeof(real_t), c
    cdef index_t totals = 2 * s.parts * s.columns * sizeof(double)
    cdef int threads = threads_for(2 * cnp.PyArray_SIZE(x), n_threads), i
    cdef workspace_t w = acquire(coefficients + totals + totals)
    cdef affine_t f = affine_in(w.data, &s)
    cdef double *sums = <double *> (w.data + coefficients)
    g.dy, g.x, g.var, g.weight = pointer(dy), pointer(x), pointer(var), pointer(weight)
    g.dx, g.dweight, g.dbias = pointer(dx), pointer(dweight), pointer(dbias)
    g.eps, g.training = eps, training
    g.sums = dweight is not None or dbias is not None or training
    with nogil:
        for c in range(s.columns):
            f.mean[c] = pmean[c % s.channels]
        if s.planes and threads == 1:
            for i in range(s.channels):
                channel_backward(&g, &s, &f, i, sums)
        elif s.planes and s.channels >= threads:
            for i in prange(s.channels, num_threads=threads, schedule="static"):
                channel_backward(&g, &s, &f, i, sums)
        else:
            if g.sums:
                products(g.dy, g.x, &s, f.mean, sums, <real_t *> (w.data + coefficients + totals),
                         n_threads)
            for c in range(s.channels):
                backward_coefficients(&g, &s, &f, c, sums)
            if g.dx != NULL:
                affine(&s, &f, g.dy, g.x, g.dx, n_threads)
    release(w)
