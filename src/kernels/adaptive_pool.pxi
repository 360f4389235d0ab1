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
#
# Where cells begin and end is found once a call, without a division each: a cell of a few elements
# takes less than one. Cells of one size that lie apart are the windows of an average pool, and are
# left to it where it has a kernel for them.

cdef enum:
    PIECE = 64
    FEW = 8               # elements of a cell that are summed one by one

cdef struct cell_t:
    index_t begin, end
    real_t share          # 1 / size

cdef struct cells_t:
    index_t planes, inner
    index_t n[3]
    index_t q[3]
    const real_t *src
    real_t *dst
    index_t wide           # elements of a row in between
    cell_t *cells[3]       # of each axis
    cell_t *reach[3]       # backward: of each place along D and H, the cells that hold it; along
                           # W, where it is short
    bint narrow            # neither cells nor places of a row are more than a vector's, inner is 1


cdef void find_cells(index_t n, index_t q, cell_t *cells) noexcept nogil:
    """The q cells of n places. With n and q exchanged: of each place, the cells that hold it."""
    cdef index_t step = n // q, more = n % q, at = 0, rest = 0, i
    for i in range(q):
        cells[i].begin = at
        at += step
        rest += more
        if rest >= q:
            rest -= q
            at += 1
        cells[i].end = at + (rest > 0)
        cells[i].share = 1.0 / <double> (cells[i].end - cells[i].begin)


cdef bint are_windows(pool_t *g, cnp.ndarray image, cnp.ndarray cells):
    """Whether all cells have one size and lie apart; g becomes the average pool with these windows."""
    cdef int rank = cnp.PyArray_NDIM(image) - 2, i
    for i in range(3):
        g.n[i] = g.q[i] = g.d[i] = g.s[i] = 1
        g.p[i] = 0
        if i >= 3 - rank:
            g.n[i] = cnp.PyArray_DIM(image, i + rank - 1)
            g.q[i] = cnp.PyArray_DIM(cells, i + rank - 1)
        if g.n[i] % g.q[i] != 0:
            return False
        g.end[i] = g.n[i]
        g.k[i] = g.n[i] // g.q[i]
        if g.q[i] > 1:
            g.s[i] = g.k[i]
    g.count_pad = True
    g.divisor = 0
    set_planes(image, cells, &g.planes, &g.inner)
    return True


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


cdef inline void sum_cell(const real_t *x, index_t n, index_t inner, real_t factor,
                   real_t *y) noexcept nogil:
    """factor times the sum of n pixels."""
    cdef index_t i = 0, j
    cdef real_t sum
    if inner == 1 and n <= FEW:
        sum = x[0]
        for j in range(1, n):
            sum = sum + x[j]
        y[0] = factor * sum
    elif inner == 1:
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


cdef inline vec_t sum_short_rows(const real_t *x, index_t depth, index_t slice, index_t height,
                                 int length) noexcept nogil:
    """The sum of depth * height rows of `length` <= VL elements; slices are `slice` apart."""
    cdef vec_t total = vzero(), piece = vzero()
    cdef index_t d, h, left = PIECE
    for d in range(depth):
        for h in range(height):
            piece = piece + vload_first(x + d * slice + h * length, length, vzero())
            left -= 1
            if left == 0:
                total = total + piece
                piece = vzero()
                left = PIECE
    return total + piece


cdef void sum_row_of_cells(const cells_t *c, index_t plane, index_t o, index_t p, real_t *dst,
                           real_t *sum, real_t *piece) noexcept nogil:
    """A row of y."""
    cdef index_t d0 = c.cells[0][o].begin, h0 = c.cells[1][p].begin, depth = c.cells[0][o].end - d0
    cdef index_t height = c.cells[1][p].end - h0, rows = depth * height
    cdef index_t length = c.n[2] * c.inner, i = 0, q, begin, end
    cdef const real_t *image = c.src + plane * c.n[0] * c.n[1] * length
    cdef const real_t *src = image + (d0 * c.n[1] + h0) * length
    cdef const cell_t *cells = c.cells[2]
    if rows > 1 and length <= VL:
        vstore(sum, sum_short_rows(src, depth, c.n[1] * length, height, <int> length))
        src = sum
    elif rows > 1:
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
        begin, end = cells[q].begin, cells[q].end
        sum_cell(src + begin * c.inner, end - begin, c.inner,
                 1.0 / <double> (rows * (end - begin)), dst + q * c.inner)


cdef inline bint same_cells(const cells_t *c, int axis, index_t i) noexcept nogil:
    """Whether place i of an axis of dx lies in the cells that the place before it lies in."""
    cdef const cell_t *reach = c.reach[axis]
    return i > 0 and reach[i - 1].begin == reach[i].begin and reach[i - 1].end == reach[i].end


cdef inline void sum_short_row(const cells_t *c, index_t plane, index_t d, index_t h, vec_t share,
                               real_t *lane) noexcept nogil:
    """What each cell gives to its places in a short row of dx."""
    cdef index_t o, p
    cdef int length = <int> c.q[2]
    cdef const real_t *src
    cdef real_t factor
    cdef vec_t sum = vzero()
    for o in range(c.reach[0][d].begin, c.reach[0][d].end):
        for p in range(c.reach[1][h].begin, c.reach[1][h].end):
            src = c.src + ((plane * c.q[0] + o) * c.q[1] + p) * length
            factor = c.cells[0][o].share * c.cells[1][p].share
            sum = sum + vsplat(factor) * vload_first(src, length, vzero())
    vstore(lane, sum * share)


cdef inline void spread_short_row(const cells_t *c, const real_t *lane, real_t *dst) noexcept nogil:
    cdef index_t q, i
    cdef real_t v
    for i in range(c.n[2]):
        v = lane[c.reach[2][i].begin]
        for q in range(c.reach[2][i].begin + 1, c.reach[2][i].end):
            v = v + lane[q]
        dst[i] = v


cdef void spread_row_of_cells(const cells_t *c, index_t plane, index_t d, index_t h, real_t *dst,
                              real_t *sum) noexcept nogil:
    """A row of dx."""
    cdef index_t length = c.q[2] * c.inner, inner = c.inner, o, p, q, i, begin, end, before = 0
    cdef const real_t *src
    cdef const cell_t *cells = c.cells[2]
    cdef real_t factor, v
    zero_run(sum, length)
    for o in range(c.reach[0][d].begin, c.reach[0][d].end):
        for p in range(c.reach[1][h].begin, c.reach[1][h].end):
            src = c.src + ((plane * c.q[0] + o) * c.q[1] + p) * length
            factor = c.cells[0][o].share * c.cells[1][p].share
            for i in range(length):
                sum[i] = sum[i] + factor * src[i]
    for q in range(c.q[2]):
        begin, end = cells[q].begin, cells[q].end
        factor = cells[q].share
        if inner == 1 and end - begin <= FEW:
            v = sum[q] * factor
            for i in range(begin, before):
                dst[i] = dst[i] + v
            for i in range(max_index(begin, before), end):
                dst[i] = v
            before = end
            continue
        for i in range(q * inner, (q + 1) * inner):
            sum[i] = sum[i] * factor
        for i in range(begin, before):  # held by the cell before it, too
            add_run(sum + q * inner, inner, dst + i * inner)
        begin = max_index(begin, before)
        before = end
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


cdef inline void copy_row(const real_t *src, real_t *dst, index_t n) noexcept nogil:
    cdef index_t i = 0
    if n < VL:
        copy_few(src, dst, n)
        return
    while i < n:
        i = min_index(i, n - VL)
        prefetch_ahead(dst + i)
        vstore(dst + i, vload(src + i))
        i += VL


cdef void short_cells_part(const cells_t *c, index_t begin, index_t end) noexcept nogil:
    """A thread's run of short rows of dx. What one has just stored is not read again: it would wait."""
    cdef real_t lane[VL]
    cdef index_t height = c.n[1], length = c.n[2], row = begin
    cdef index_t h = begin % height, d = begin // height % c.n[0], plane = begin // (height * c.n[0])
    cdef real_t *dx = c.dst + begin * length
    cdef index_t q
    cdef vec_t share
    memset(lane, 0, sizeof(lane))
    for q in range(c.q[2]):
        lane[q] = c.cells[2][q].share
    share = vload(lane)
    while row < end:
        if h == 0 and same_cells(c, 0, d) and row - height >= begin and row + height <= end:
            memcpy(dx, dx - height * length, height * length * sizeof(real_t))
            h = height
        else:
            if row == begin or not same_cells(c, 1, h):
                sum_short_row(c, plane, d, h, share, lane)
            spread_short_row(c, lane, dx)
            h += 1
        if h == height:
            h = 0
            d += 1
            if d == c.n[0]:
                d = 0
                plane += 1
        dx = c.dst + ((plane * c.n[0] + d) * height + h) * length
        row = (plane * c.n[0] + d) * height + h


cdef void cells_part(const cells_t *c, bint backward, index_t rows, index_t part, index_t parts,
                     real_t *scratch) noexcept nogil:
    """A thread's run of rows of y, or of dx."""
    cdef index_t begin = rows * part // parts, length = c.n[2] * c.inner, row
    cdef index_t depth = c.n[0] if backward else c.q[0], height = c.n[1] if backward else c.q[1]
    cdef index_t h = begin % height, d = begin // height % depth, plane = begin // (height * depth)
    cdef bint whole = c.q[0] == 1 and c.q[1] == 1 and c.q[2] == 1  # then axes are merged
    flush_denormals()
    if backward and c.narrow:
        short_cells_part(c, begin, rows * (part + 1) // parts)
        return
    for row in range(begin, rows * (part + 1) // parts):
        if whole and not backward:
            sum_cell(c.src + row * length, c.n[2], c.inner, 1.0 / <double> c.n[2],
                     c.dst + row * c.inner)
            continue
        if backward and row > begin and same_cells(c, 1, h):
            copy_row(c.dst + (row - 1) * length, c.dst + row * length, length)
        elif backward:
            spread_row_of_cells(c, plane, d, h, c.dst + row * length, scratch)
        else:
            sum_row_of_cells(c, plane, d, h, c.dst + row * c.q[2] * c.inner, scratch,
                             scratch + c.wide)
        h += 1
        if h == height:
            h = 0
            d += 1
            if d == depth:
                d = 0
                plane += 1


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
    cdef index_t rows = c.planes * (c.n[0] * c.n[1] if backward else c.q[0] * c.q[1]), scratch, i
    cdef cell_t *cells
    n_threads = threads_for(work, n_threads)
    scratch = padded(2 * c.wide * n_threads) * sizeof(real_t)
    workspace = acquire(scratch + (c.q[0] + c.q[1] + c.q[2] + c.n[0] + c.n[1] + VL)
                        * sizeof(cell_t))
    cells = <cell_t *> (workspace.data + scratch)
    with nogil:
        for i in range(3):
            c.cells[i] = cells
            find_cells(c.n[i], c.q[i], cells)
            cells += c.q[i]
        c.narrow = c.inner == 1 and c.n[2] <= VL and c.q[2] <= VL
        for i in range((3 if c.narrow else 2) if backward else 0):
            c.reach[i] = cells
            find_cells(c.q[i], c.n[i], cells)
            cells += c.n[i]
        cells_run(c, backward, rows, work, <real_t *> workspace.data, n_threads)
    release(workspace)
    return 0


def adaptive_avg_pool(cnp.ndarray x, cnp.ndarray y, int n_threads):
    """y = the mean of each cell of x."""
    cdef cells_t c
    cdef planes_t planes
    planes.maximum = False
    if are_windows(&planes.g, x, y) and special_forward(&planes, x, y, n_threads):
        return
    set_cells(&c, x, y)
    c.src = pointer(x)
    c.dst = pointer(y)
    adaptive(&c, False, max_index(cnp.PyArray_SIZE(x), cnp.PyArray_SIZE(y)), n_threads)


def adaptive_avg_pool_backward(cnp.ndarray dy, cnp.ndarray dx, int n_threads):
    """dx = the sum of dy / (size of the cell) over the cells that hold an element."""
    cdef cells_t c
    cdef planes_t planes
    planes.maximum = False
    planes.indices = NULL
    if are_windows(&planes.g, dx, dy) and (lines_backward(&planes, dy, dx, n_threads)
                                           or special_backward(&planes, dy, dx, n_threads)):
        return
    set_cells(&c, dx, dy)
    c.src = pointer(dy)
    c.dst = pointer(dx)
    adaptive(&c, True, max_index(cnp.PyArray_SIZE(dx), cnp.PyArray_SIZE(dy)), n_threads)
