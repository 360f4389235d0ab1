# Adaptive and global average pooling. Cell p of q along an axis of extent n holds floor(p n/q) to
# ceil((p+1) n/q) - 1.
#
#   forward   x rows of a cell --sum--> one row --sum along it, cell by cell--> y row
#   backward  dy rows whose cells hold a row --sum--> one row --spread over the cells--> dx row
#
# Axes that end in a single cell are merged first ((H, W) -> 1 becomes a row of H*W), so that a global
# pool is one long sum per plane (NCHW) or per channel (channels-last). Long sums are cut into
# pieces of PIECE, whose sums are summed, so that rounding stays small; the order is one for any number
# of threads.

cdef enum:
    PIECE = 64

cdef struct cells_t:
    index_t planes, inner
    index_t n[3]
    index_t q[3]
    const real_t *src
    real_t *dst
    index_t wide           # elements of a row in between


cdef inline index_t cell_begin(const cells_t *c, int axis, index_t p) noexcept nogil:
    return p * c.n[axis] // c.q[axis]


cdef inline index_t cell_end(const cells_t *c, int axis, index_t p) noexcept nogil:
    return ceil_div((p + 1) * c.n[axis], c.q[axis])


cdef int set_cells(cells_t *c, cnp.ndarray image, cnp.ndarray cells) except -1:
    """The axes of an image and of its cells, lifted to 3, then merged from the right."""
    cdef int rank = cnp.PyArray_NDIM(image) - 2, i
    set_planes(image, cells, &c.planes, &c.inner)
    for i in range(3):
        c.n[i] = c.q[i] = 1
        if i >= 3 - rank:
            c.n[i] = cnp.PyArray_DIM(image, i + rank - 1)
            c.q[i] = cnp.PyArray_DIM(cells, i + rank - 1)
    for i in range(2):
        if c.q[1] == 1 and c.q[2] == 1:
            c.n[2] = c.n[1] * c.n[2]
            c.n[1], c.n[0] = c.n[0], 1
            c.q[1], c.q[0] = c.q[0], 1
    c.wide = padded(max_index(c.n[2], c.q[2]) * c.inner) + VL
    return 0


cdef real_t sum_run(const real_t *x, index_t n) noexcept nogil:
    """The sum of n elements in a row."""
    cdef index_t i = 0, end
    cdef vec_t a = vzero(), b = vzero(), c, d, e, f
    while i + 4 * VL <= n:
        end = min_index(i + PIECE * 4 * VL, n)
        c = d = e = f = vzero()
        while i + 4 * VL <= end:
            prefetch_ahead(x + i)
            prefetch_ahead(x + i + VL)
            prefetch_ahead(x + i + 2 * VL)
            prefetch_ahead(x + i + 3 * VL)
            c = c + vload(x + i)
            d = d + vload(x + i + VL)
            e = e + vload(x + i + 2 * VL)
            f = f + vload(x + i + 3 * VL)
            i += 4 * VL
        a = a + (c + d)
        b = b + (e + f)
    while i + VL <= n:
        b = b + vload(x + i)
        i += VL
    if i < n:
        a = a + vload_first(x + i, <int> (n - i), vzero())
    return vsum(a + b)


cdef inline void sum_columns(const real_t *x, index_t stride, index_t n, int width, real_t factor,
                             real_t *y) noexcept nogil:
    """factor times the sums of n rows of `width` <= 4 vectors, `stride` elements apart."""
    cdef vec_t sum[4]
    cdef vec_t piece[4]
    cdef index_t i = 0, end
    cdef int j
    for j in range(width):
        sum[j] = vzero()
    while i < n:
        end = min_index(i + PIECE, n)
        for j in range(width):
            piece[j] = vzero()
        while i < end:
            for j in range(width):
                prefetch_ahead(x + i * stride + j * VL)
                piece[j] = piece[j] + vload(x + i * stride + j * VL)
            i += 1
        for j in range(width):
            sum[j] = sum[j] + piece[j]
    for j in range(width):
        vstore(y + j * VL, vsplat(factor) * sum[j])


cdef void sum_cell(const real_t *x, index_t n, index_t inner, real_t factor,
                   real_t *y) noexcept nogil:
    """factor times the sum of n pixels."""
    cdef index_t i = 0, j
    cdef real_t sum
    if inner == 1:
        y[0] = factor * sum_run(x, n)
    elif inner >= VL:
        while i + 4 * VL <= inner:
            sum_columns(x + i, inner, n, 4, factor, y + i)
            i += 4 * VL
        while i < inner:
            i = min_index(i, inner - VL)
            sum_columns(x + i, inner, n, 1, factor, y + i)
            i += VL
    else:
        for i in range(inner):
            sum = 0
            for j in range(n):
                sum = sum + x[j * inner + i]
            y[i] = factor * sum


cdef void add_run(const real_t *x, index_t n, real_t *sum) noexcept nogil:
    cdef index_t i
    for i in range(n):
        sum[i] = sum[i] + x[i]


cdef void sum_row_of_cells(const cells_t *c, index_t row, real_t *sum, real_t *piece) noexcept nogil:
    """Row `row` of y, counted over all planes."""
    cdef index_t o = row // c.q[1] % c.q[0], p = row % c.q[1], plane = row // c.q[1] // c.q[0]
    cdef index_t d0 = cell_begin(c, 0, o), h0 = cell_begin(c, 1, p)
    cdef index_t height = cell_end(c, 1, p) - h0, rows = (cell_end(c, 0, o) - d0) * height
    cdef index_t length = c.n[2] * c.inner, i = 0, q, begin, end
    cdef const real_t *image = c.src + plane * c.n[0] * c.n[1] * length
    cdef const real_t *src = image + (d0 * c.n[1] + h0) * length
    if rows > 1:
        zero_run(sum, length)
        while i < rows:
            end = min_index(i + PIECE, rows)
            zero_run(piece, length)
            while i < end:
                add_run(image + ((d0 + i // height) * c.n[1] + h0 + i % height) * length, length,
                        piece)
                i += 1
            add_run(piece, length, sum)
        src = sum
    for q in range(c.q[2]):
        begin = cell_begin(c, 2, q)
        end = cell_end(c, 2, q)
        sum_cell(src + begin * c.inner, end - begin, c.inner,
                 1.0 / <double> (rows * (end - begin)), c.dst + (row * c.q[2] + q) * c.inner)


cdef inline bint same_cells(const cells_t *c, index_t row) noexcept nogil:
    """Whether row `row` of dx lies in the cells that the row before it lies in."""
    cdef index_t h = row % c.n[1]
    return (h > 0 and (h - 1) * c.q[1] // c.n[1] == h * c.q[1] // c.n[1]
            and ceil_div(h * c.q[1], c.n[1]) == ceil_div((h + 1) * c.q[1], c.n[1]))


cdef void spread_row_of_cells(const cells_t *c, index_t row, real_t *sum) noexcept nogil:
    """Row `row` of dx, counted over all planes. Cells that hold place i: i q/n to (i+1) q/n."""
    cdef index_t d = row // c.n[1] % c.n[0], h = row % c.n[1], plane = row // c.n[1] // c.n[0]
    cdef index_t length = c.q[2] * c.inner, inner = c.inner, o, p, q, i, begin, end
    cdef const real_t *src
    cdef real_t *dst = c.dst + row * c.n[2] * inner
    cdef real_t factor
    zero_run(sum, length)
    for o in range(d * c.q[0] // c.n[0], ceil_div((d + 1) * c.q[0], c.n[0])):
        for p in range(h * c.q[1] // c.n[1], ceil_div((h + 1) * c.q[1], c.n[1])):
            src = c.src + ((plane * c.q[0] + o) * c.q[1] + p) * length
            factor = 1.0 / <double> ((cell_end(c, 0, o) - cell_begin(c, 0, o))
                                     * (cell_end(c, 1, p) - cell_begin(c, 1, p)))
            for i in range(length):
                sum[i] = sum[i] + factor * src[i]
    end = 0
    for q in range(c.q[2]):
        begin = cell_begin(c, 2, q)
        factor = 1.0 / <double> (cell_end(c, 2, q) - begin)
        for i in range(q * inner, (q + 1) * inner):
            sum[i] = sum[i] * factor
        for i in range(begin, end):  # held by the cell before it, too
            add_run(sum + q * inner, inner, dst + i * inner)
        begin = max_index(begin, end)
        end = cell_end(c, 2, q)
        repeat_pixel(sum + q * inner, inner, dst + begin * inner, end - begin)


cdef void repeat_pixel(const real_t *pixel, index_t inner, real_t *dst, index_t n) noexcept nogil:
    """n copies of a pixel side by side."""
    cdef index_t i = 0, j
    cdef vec_t v
    if inner == 1:
        v = vsplat(pixel[0])
        while i + VL <= n:
            prefetch_ahead(dst + i)
            vstore(dst + i, v)
            i += VL
        for i in range(i, n):
            dst[i] = pixel[0]
        return
    for i in range(n):
        if inner < VL:
            for j in range(inner):
                dst[i * inner + j] = pixel[j]
            continue
        j = 0
        while j < inner:
            j = min_index(j, inner - VL)
            prefetch_ahead(dst + i * inner + j)
            vstore(dst + i * inner + j, vload(pixel + j))
            j += VL


cdef void copy_row(const real_t *src, real_t *dst, index_t n) noexcept nogil:
    cdef index_t i = 0
    if n < VL:
        memcpy(dst, src, n * sizeof(real_t))
        return
    while i < n:
        i = min_index(i, n - VL)
        prefetch_ahead(dst + i)
        vstore(dst + i, vload(src + i))
        i += VL


cdef void cells_part(const cells_t *c, bint backward, index_t rows, index_t part, index_t parts,
                     real_t *scratch) noexcept nogil:
    cdef index_t begin = rows * part // parts, length = c.n[2] * c.inner, row
    cdef bint whole = c.q[0] == 1 and c.q[1] == 1 and c.q[2] == 1  # then axes are merged
    flush_denormals()
    for row in range(begin, rows * (part + 1) // parts):
        if whole and not backward:
            sum_cell(c.src + row * length, c.n[2], c.inner, 1.0 / <double> c.n[2],
                     c.dst + row * c.inner)
            continue
        if backward and row > begin and same_cells(c, row):
            copy_row(c.dst + (row - 1) * length, c.dst + row * length, length)
        elif backward:
            spread_row_of_cells(c, row, scratch)
        else:
            sum_row_of_cells(c, row, scratch, scratch + c.wide)


cdef void cells_run(const cells_t *c, bint backward, index_t rows, index_t work, real_t *scratch,
                    int n_threads) noexcept nogil:
    cdef int parts = threads_for(work, n_threads), part
    if parts == 1:
        cells_part(c, backward, rows, 0, 1, scratch)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        cells_part(c, backward, rows, part, parts, scratch + part * 2 * c.wide)


cdef int adaptive(cells_t *c, bint backward, index_t work, int n_threads) except -1:
    cdef workspace_t workspace
    cdef index_t rows = c.planes * (c.n[0] * c.n[1] if backward else c.q[0] * c.q[1])
    n_threads = threads_for(work, n_threads)
    workspace = acquire(2 * c.wide * sizeof(real_t) * n_threads)
    with nogil:
        cells_run(c, backward, rows, work, <real_t *> workspace.data, n_threads)
    release(workspace)
    return 0


def adaptive_avg_pool(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = the mean of each cell of x."""
    cdef cells_t c
    set_cells(&c, x, y)
    c.src = pointer(x)
    c.dst = pointer(y)
    adaptive(&c, False, max_index(cnp.PyArray_SIZE(x), cnp.PyArray_SIZE(y)), n_threads)


def adaptive_avg_pool_backward(cnp.ndarray dy, cnp.ndarray dx, int n_threads):
    """dx = the sum of dy / (size of the cell) over the cells that hold an element."""
    cdef cells_t c
    set_cells(&c, dx, dy)
    c.src = pointer(dy)
    c.dst = pointer(dx)
    adaptive(&c, True, max_index(cnp.PyArray_SIZE(dx), cnp.PyArray_SIZE(dy)), n_threads)
