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
    cdef vec_t a = vzero(), b = vzero(), c, d
    cdef real_t sum
    while i + 2 * VL <= n:
        end = min_index(i + PIECE * 2 * VL, n)
        c = d = vzero()
        while i + 2 * VL <= end:
            c = c + vload(x + i)
            d = d + vload(x + i + VL)
            i += 2 * VL
        a = a + c
        b = b + d
    sum = vsum(a + b)
    while i < n:
        sum = sum + x[i]
        i += 1
    return sum


cdef vec_t sum_column(const real_t *x, index_t stride, index_t n) noexcept nogil:
    """The sum of n vectors, `stride` elements apart."""
    cdef vec_t sum = vzero(), piece
    cdef index_t i = 0, end
    while i < n:
        end = min_index(i + PIECE, n)
        piece = vzero()
        while i < end:
            piece = piece + vload(x + i * stride)
            i += 1
        sum = sum + piece
    return sum


cdef void sum_cell(const real_t *x, index_t n, index_t inner, real_t factor,
                   real_t *y) noexcept nogil:
    """factor times the sum of n pixels."""
    cdef index_t i = 0, j
    cdef real_t sum
    if inner == 1:
        y[0] = factor * sum_run(x, n)
    elif inner >= VL:
        while i < inner:
            i = min_index(i, inner - VL)
            vstore(y + i, vsplat(factor) * sum_column(x + i, inner, n))
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


cdef void spread_row_of_cells(const cells_t *c, index_t row, real_t *sum) noexcept nogil:
    """Row `row` of dx, counted over all planes. Cells that hold place i: i q/n to (i+1) q/n."""
    cdef index_t d = row // c.n[1] % c.n[0], h = row % c.n[1], plane = row // c.n[1] // c.n[0]
    cdef index_t length = c.q[2] * c.inner, inner = c.inner, o, p, q, i, w
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
    for q in range(c.q[2]):
        factor = 1.0 / <double> (cell_end(c, 2, q) - cell_begin(c, 2, q))
        for i in range(q * inner, (q + 1) * inner):
            sum[i] = sum[i] * factor
    if length == 1:
        fill_run(dst, c.n[2], sum[0])
        return
    for w in range(c.n[2]):
        q = w * c.q[2] // c.n[2]
        memcpy(dst + w * inner, sum + q * inner, inner * sizeof(real_t))
        for q in range(q + 1, ceil_div((w + 1) * c.q[2], c.n[2])):
            add_run(sum + q * inner, inner, dst + w * inner)


cdef void cells_part(const cells_t *c, bint backward, index_t rows, index_t part, index_t parts,
                     real_t *scratch) noexcept nogil:
    cdef index_t row
    flush_denormals()
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        if backward:
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
