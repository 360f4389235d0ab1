# Pooling of NCHW planes by the windows that nearly every network has, along a row: 2 by steps of 2,
# 3 by steps of 2 or 1. Down the image kernel, stride, padding and dilation are free. Here is the forward
# pass without indices; pool_planes_indices.pxi and pool_planes_backward.pxi have the others. Windows
# of 3x3 stay in registers where vectors have masks: pool_triples.pxi.
#
#   x, rows of a window --down--> a row of W values, edged with padding --along--> y row
#   2x2 by 2: both at once, in registers
#
# Down comes first: rows are read where they lie, and only what they were reduced to is edged. A band
# of rows goes down before its first goes along: a load that spans two stores which are still under
# way waits for both. Kernel and stride are constants of always-inlined functions: a row of 56 is 4
# vectors of work, and deciding anything inside costs as much. Runs of taps (pool_taps.pxi) took 95
# us for what takes 13 here (maximum 2x2 by 2, C64 56x56, float32).
#
# Everything is prefetched from the next page on: 2.3 to 1.3 ms for 3x3 by 2 on 32x64x56x56.

cdef enum:
    NO_PLANES, PAIRS, TRIPLES, DENSE_TRIPLES   # 2 by 2, 3 by 2, 3 by 1
    WIDEST = 4096         # columns of a row that is handled whole
    BAND_SIZE = 2048      # elements that a band's rows have together
    MOST_ROWS = 16

cdef struct planes_t:
    pool_t g
    const real_t *src     # x; backward: dy
    const real_t *src_end
    real_t *dst           # y; backward: dx
    int32_t *indices      # None: NULL
    bint *misplaced       # backward: set where an index is no place of its plane
    bint maximum
    index_t left          # elements in front of a row in its buffer
    index_t width         # of a buffered row
    index_t band          # rows at once
    index_t held          # source rows that a band is made of, at most

# Functions that go over rows work on a copy of it: a vector stored through a pointer might change
# any other memory, and the compiler loaded every number again for every row (maximum 3x3/1: 23 ->
# 21 us).


cdef int planes_kind(const pool_t *g) noexcept nogil:
    """Which of the windows above g has along its rows; NO_PLANES: another, or another layout."""
    if g.inner != 1 or g.k[0] != 1 or g.d[2] != 1 or g.n[2] > WIDEST or g.q[2] > WIDEST:
        return NO_PLANES
    if g.k[2] == 2 and g.s[2] == 2:
        return PAIRS
    if g.k[2] == 3 and g.s[2] == 2:
        return TRIPLES
    if g.k[2] == 3 and g.s[2] == 1:
        return DENSE_TRIPLES
    return NO_PLANES


cdef bint separate_pairs(const pool_t *g) noexcept nogil:
    """Windows of 2x2 by 2 that lie in the image, whole."""
    return (planes_kind(g) == PAIRS and g.k[1] == 2 and g.d[1] == 1 and (g.s[1] == 2 or g.q[1] == 1)
            and g.p[1] == 0 and g.p[2] == 0 and 2 * g.q[1] <= g.n[1] and 2 * g.q[2] <= g.n[2])


cdef void set_band(planes_t *f, index_t longest) noexcept nogil:
    """Buffers for rows of `longest` elements, edges included."""
    f.left = padded(2)
    f.width = f.left + padded(max_index(longest, 2 * VL)) + 3 * VL
    f.band = min_index(max_index(BAND_SIZE // f.width, 1), MOST_ROWS)


cdef inline index_t source_slice(const planes_t *f, index_t slice) noexcept nogil:
    """Where the slice of x begins that a slice of y (counted over all planes) is made of."""
    cdef const pool_t *g = &f.g
    return ((slice // g.q[0]) * g.n[0] + slice % g.q[0] * g.s[0]) * g.n[1] * g.n[2]


cdef inline index_t check_windows(const planes_t *f, index_t slice, index_t first,
                                  index_t stop) noexcept nogil:
    """Looks at the indices of rows first ... stop - 1 of a slice's windows, just before they are
    used: a pass of its own over all of them took a third of a gradient's time. The larger of both."""
    cdef const pool_t *g = &f.g
    cdef index_t row = g.q[2] * g.inner
    if stop <= first:
        return first
    if f.maximum and not places_inside(f.indices + (slice * g.q[1] + first) * row,
                                       (stop - first) * row, g.n[0] * g.n[1] * g.n[2]):
        f.misplaced[0] = True
    return stop


cdef inline vec_t fold(bint maximum, vec_t a, vec_t b) noexcept nogil:
    if maximum:
        return vmaxnan(a, b)
    return a + b


cdef inline void store_n(real_t *y, vec_t v, index_t n, bint whole) noexcept nogil:
    prefetch_ahead(y)
    if whole:
        vstore(y, v)
    else:
        vstore_first(y, <int> n, v)


# In all loops over a row the last vector overlaps its neighbour. A row shorter than a vector is stored
# whole where there is `room`: the row after it comes later.

cdef inline void pool_pairs(bint maximum, const real_t *x, index_t below, index_t n, real_t factor,
                            real_t *y, index_t room, const real_t *x_end) noexcept nogil:
    """n windows of 2x2; the second row is `below` elements on."""
    cdef real_t few[4 * VL]
    cdef const real_t *src
    cdef index_t i = 0
    cdef vec_t a, b
    if n < VL and x + below + 2 * VL > x_end:
        memset(few, 0, sizeof(few))
        memcpy(few, x, 2 * n * sizeof(real_t))
        memcpy(few + 2 * VL, x + below, 2 * n * sizeof(real_t))
        x = few
        below = 2 * VL
    while True:
        src = x + 2 * i
        prefetch_ahead(src)
        prefetch_ahead(src + VL)
        prefetch_ahead(src + below)
        prefetch_ahead(src + below + VL)
        a = fold(maximum, vload(src), vload(src + below))
        b = fold(maximum, vload(src + VL), vload(src + below + VL))
        a = fold(maximum, veven(a, b), vodd(a, b))
        if not maximum:
            a = a * vsplat(factor)
        store_n(y + i, a, n, n >= VL or room >= VL)
        i += VL
        if i >= n:
            return
        i = min_index(i, n - VL)


cdef inline void pairs_rows(const planes_t *plan, bint maximum, index_t row,
                            index_t end) noexcept nogil:
    """Output rows row ... end - 1, counted over all planes."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef index_t p = row % g.q[1], slice = row // g.q[1]
    cdef index_t source = source_slice(f, slice) + 2 * p * g.n[2]
    cdef real_t factor = 1 / <double> (g.divisor if g.divisor else 4)
    for row in range(row, end):
        pool_pairs(maximum, f.src + source, g.n[2], g.q[2], factor, f.dst + row * g.q[2],
                   (end - row) * g.q[2], f.src_end)
        source += 2 * g.n[2]
        p += 1
        if p == g.q[1]:
            p = 0
            slice += 1
            source = source_slice(f, slice)


cdef inline void reduce_down(bint maximum, const real_t *x, index_t rows, index_t step, index_t n,
                             vec_t edge, real_t *out) noexcept nogil:
    """`rows` rows of n elements, `step` apart. Fewer than a vector holds: `edge` behind them."""
    cdef index_t i = 0, r
    cdef vec_t a
    if n < VL:
        a = vload_first(x, <int> n, edge)
        for r in range(1, rows):
            a = fold(maximum, a, vload_first(x + r * step, <int> n, edge))
        vstore(out, a)
        return
    while True:
        a = vload(x + i)
        prefetch_ahead(x + (rows - 1) * step + i)
        if rows > 1:
            prefetch_ahead(x + (rows - 2) * step + i)
        for r in range(1, rows):
            a = fold(maximum, a, vload(x + r * step + i))
        vstore(out + i, a)
        i += VL
        if i >= n:
            return
        i = min_index(i, n - VL)


cdef inline void maxima_down_twice(const real_t *x, index_t step, index_t n, vec_t edge,
                                   real_t *out, index_t out_step) noexcept nogil:
    """Two rows of maxima from four rows, of which the middle two are taken together once: 29 -> 23
    us. Their bits are those of one row at a time. (Sums would depend on which rows are pairs.)"""
    cdef index_t i = 0
    cdef vec_t a
    if n < VL:
        a = fold(True, vload_first(x + step, <int> n, edge),
                 vload_first(x + 2 * step, <int> n, edge))
        vstore(out, fold(True, vload_first(x, <int> n, edge), a))
        vstore(out + out_step, fold(True, a, vload_first(x + 3 * step, <int> n, edge)))
        return
    while True:
        prefetch_ahead(x + 2 * step + i)
        prefetch_ahead(x + 3 * step + i)
        a = fold(True, vload(x + step + i), vload(x + 2 * step + i))
        vstore(out + i, fold(True, vload(x + i), a))
        vstore(out + out_step + i, fold(True, a, vload(x + 3 * step + i)))
        i += VL
        if i >= n:
            return
        i = min_index(i, n - VL)


cdef inline void window_down(const planes_t *f, bint maximum, const real_t *x, index_t p, vec_t edge,
                             real_t *out) noexcept nogil:
    """The rows of window row p, of those that lie in the slice at x."""
    cdef const pool_t *g = &f.g
    cdef index_t h, rows
    cdef index_t step = g.d[1] * g.n[2]
    rows = taps_inside(g, 1, p, &h)
    x = x + h * g.n[2]
    if rows == 3:
        reduce_down(maximum, x, 3, step, g.n[2], edge, out)
    elif rows == 2:
        reduce_down(maximum, x, 2, step, g.n[2], edge, out)
    else:
        reduce_down(maximum, x, rows, step, g.n[2], edge, out)


cdef inline void reduce_along(bint maximum, index_t k, index_t s, const real_t *v, index_t n,
                              const real_t *scale, real_t *y, index_t room) noexcept nogil:
    """n windows of k elements, s apart, of the row at v."""
    cdef const real_t *src
    cdef index_t i = 0
    cdef vec_t a, b
    while True:
        src = v + i * s
        a = vload(src)
        if s == 1:
            a = fold(maximum, a, vload(src + 1))
            a = fold(maximum, a, vload(src + 2))
        else:
            b = vload(src + VL)
            a = fold(maximum, veven(a, b), vodd(a, b))
            if k == 3:
                a = fold(maximum, a, veven(vload(src + 2), vload(src + VL + 2)))
        if not maximum:
            a = a * vload(scale + i)
        store_n(y + i, a, n, n >= VL or room >= VL)
        i += VL
        if i >= n:
            return
        i = min_index(i, n - VL)


cdef void set_row_scale(const pool_t *g, index_t rows, const real_t *columns,
                        real_t *scale) noexcept nogil:
    """1 / divisor of the windows of a row that count `rows` rows."""
    cdef index_t i = 0
    while i < g.q[2]:
        vstore(scale + i, vsplat(1) / (vsplat(<double> rows) * vload(columns + i)))
        i += VL


cdef inline void planes_rows(const planes_t *plan, bint maximum, index_t k, index_t s, index_t row,
                             index_t end, real_t *memory) noexcept nogil:
    """Output rows row ... end - 1, counted over all planes, a band at a time."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef real_t *scale = memory + f.band * f.width
    cdef real_t *columns = scale + padded(g.q[2]) + VL
    cdef index_t p = row % g.q[1], slice = row // g.q[1], first = p, i, count, rows, scale_rows = -1
    cdef index_t h
    cdef bint twice = g.k[1] == 3 and g.s[1] == 1 and g.d[1] == 1
    cdef const real_t *x = f.src + source_slice(f, slice)
    cdef vec_t edge = vsplat(-INFINITY if maximum else 0)
    i = 0
    while i < f.band * f.width:
        vstore(memory + i, edge)
        i += VL
    if not maximum:
        for i in range(padded(g.q[2])):
            columns[i] = 1
            if i < g.q[2]:
                columns[i] = g.divisor if g.divisor else counted(g, 2, i)
    while row < end:
        count = min_index(f.band, end - row)
        first = p
        i = 0
        while i < count:
            h = p - g.p[1]
            if maximum and twice and h >= 0 and h + 3 < g.n[1] and i + 1 < count and p + 1 < g.q[1]:
                maxima_down_twice(x + h * g.n[2], g.n[2], g.n[2], edge,
                                  memory + i * f.width + f.left, f.width)
                p += 1
                i += 1
            else:
                window_down(f, maximum, x, p, edge, memory + i * f.width + f.left)
            p += 1
            i += 1
            if p == g.q[1]:
                p = 0
                slice += 1
                x = f.src + source_slice(f, slice)
        p = first
        for i in range(count):
            if not maximum:
                rows = counted(g, 1, p)
                if rows != scale_rows:
                    set_row_scale(g, rows, columns, scale)
                    scale_rows = rows
                p = p + 1 if p + 1 < g.q[1] else 0
            reduce_along(maximum, k, s, memory + i * f.width + f.left - g.p[2], g.q[2], scale,
                         f.dst + (row + i) * g.q[2], (end - row - i) * g.q[2])
        row += count
        p = row % g.q[1]


cdef void pooled_part(const planes_t *f, index_t part, index_t parts, real_t *memory) noexcept nogil:
    cdef index_t rows = f.g.planes * f.g.q[0] * f.g.q[1]
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    cdef int kind = planes_kind(&f.g)
    flush_denormals_if(not f.maximum)
    if forward_in_registers(&f.g):
        triples_rows(f, False, row, end, memory)
    elif separate_pairs(&f.g):
        if f.maximum:
            pairs_rows(f, True, row, end)
        else:
            pairs_rows(f, False, row, end)
    elif f.maximum:
        if kind == PAIRS:
            planes_rows(f, True, 2, 2, row, end, memory)
        elif kind == TRIPLES:
            planes_rows(f, True, 3, 2, row, end, memory)
        else:
            planes_rows(f, True, 3, 1, row, end, memory)
    else:
        if kind == PAIRS:
            planes_rows(f, False, 2, 2, row, end, memory)
        elif kind == TRIPLES:
            planes_rows(f, False, 3, 2, row, end, memory)
        else:
            planes_rows(f, False, 3, 1, row, end, memory)


ctypedef void (*planes_part_t)(const planes_t *f, index_t part, index_t parts,
                               real_t *memory) noexcept nogil


cdef void pooled_run(const planes_t *f, planes_part_t function, index_t work, real_t *memory,
                     size_t per_thread, int n_threads) noexcept nogil:
    cdef int parts = threads_for(work, n_threads), part
    if parts == 1:
        function(f, 0, 1, memory)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        function(f, part, parts, memory + part * per_thread)


cdef int run_planes(const planes_t *f, planes_part_t function, index_t work, size_t per_thread,
                    int n_threads) except -1:
    """function, on every part of the work, with per_thread elements of scratch memory each."""
    cdef workspace_t workspace
    n_threads = threads_for(work, n_threads)
    per_thread = padded(per_thread) + 4 * VL
    workspace = acquire(per_thread * n_threads * sizeof(real_t))
    with nogil:
        pooled_run(f, function, work, <real_t *> workspace.data, per_thread, n_threads)
    release(workspace)
    return 0


cdef int planes_forward(planes_t *f, cnp.ndarray x, cnp.ndarray y, int n_threads) except -1:
    """y from x, for the windows that planes_kind knows."""
    cdef const pool_t *g = &f.g
    cdef index_t memory
    f.src = pointer(x)
    f.src_end = f.src + cnp.PyArray_SIZE(x)
    f.dst = pointer(y)
    set_band(f, max_index(g.n[2], g.q[2] * g.s[2]) + 4)
    memory = f.band * f.width + 2 * (padded(g.q[2]) + VL)
    run_planes(f, pooled_part, max_index(cnp.PyArray_SIZE(x), cnp.PyArray_SIZE(y)),
               max_index(memory, triples_memory(g)), n_threads)
    return 0
