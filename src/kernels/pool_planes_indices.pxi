# Maxima of NCHW planes with their places, for the windows of pool_planes.pxi.
#
#   x row, edged with -inf --along--> its maxima and their columns --down, over rows of those--> y, indices
#
# Along comes first here: it is the order that finds the first maximum in row-major order (and the
# last NaN) by comparing values alone. A row goes along once for a band of output rows; 2x2 by 2 is
# done in registers at once.

cdef enum:
    MOST_HELD = 64        # rows of x at once


cdef inline void store_places(int32_t *indices, mask_t at, index_t n, bint whole) noexcept nogil:
    cdef lane_t lanes[VL]
    cdef index_t i
    if whole:
        istore32(indices, at)
    else:
        istore(lanes, at)
        for i in range(n):
            indices[i] = <int32_t> lanes[i]


cdef inline void beat(vec_t *best, mask_t *at, vec_t v, mask_t v_at) noexcept nogil:
    """v and its place take best's where v is larger or NaN."""
    cdef mask_t better = vbeats(v, best[0])
    best[0] = vselect(better, v, best[0])
    at[0] = iselect(better, v_at, at[0])


cdef inline void locate_pairs(const real_t *x, index_t below, index_t n, lane_t place, mask_t steps,
                              real_t *y, int32_t *indices, index_t room,
                              const real_t *x_end) noexcept nogil:
    """n windows of 2x2; `place` is the first one's, the second row `below` elements on."""
    cdef real_t few[4 * VL]
    cdef const real_t *src
    cdef index_t i = 0, second = below
    cdef bint whole = n >= VL or room >= VL
    cdef vec_t a, b, best
    cdef mask_t at, here
    if n < VL and x + below + 2 * VL > x_end:
        memset(few, 0, sizeof(few))
        memcpy(few, x, 2 * n * sizeof(real_t))
        memcpy(few + 2 * VL, x + below, 2 * n * sizeof(real_t))
        x = few
        second = 2 * VL
    while True:
        src = x + 2 * i
        prefetch_ahead(src)
        prefetch_ahead(src + VL)
        prefetch_ahead(src + second)
        prefetch_ahead(src + second + VL)
        at = steps + isplat(place + <lane_t> (2 * i))
        here = at + isplat(<lane_t> below)
        a = vload(src)
        b = vload(src + VL)
        best = veven(a, b)
        beat(&best, &at, vodd(a, b), at + isplat(1))
        a = vload(src + second)
        b = vload(src + second + VL)
        beat(&best, &at, veven(a, b), here)
        beat(&best, &at, vodd(a, b), here + isplat(1))
        store_n(y + i, best, n, whole)
        store_places(indices + i, at, n, whole)
        i += VL
        if i >= n:
            return
        i = min_index(i, n - VL)


cdef void locate_pairs_rows(const planes_t *plan, index_t row, index_t end) noexcept nogil:
    """Output rows row ... end - 1, counted over all planes."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef index_t p = row % g.q[1], slice = row // g.q[1], plane = g.n[0] * g.n[1] * g.n[2], i
    cdef index_t source = source_slice(f, slice) + 2 * p * g.n[2], place = source % plane
    cdef lane_t lanes[VL]
    for i in range(VL):
        lanes[i] = <lane_t> (2 * i)
    for row in range(row, end):
        locate_pairs(f.src + source, g.n[2], g.q[2], <lane_t> place, iload(lanes), f.dst + row * g.q[2],
                     f.indices + row * g.q[2], (end - row) * g.q[2], f.src_end)
        source += 2 * g.n[2]
        place += 2 * g.n[2]
        p += 1
        if p == g.q[1]:
            p = 0
            slice += 1
            source = source_slice(f, slice)
            place = source % plane


cdef inline void locate_along(index_t k, index_t s, const real_t *v, const lane_t *columns, index_t n,
                              real_t *best, lane_t *at) noexcept nogil:
    """n windows of k elements, s apart, of the row at v: maxima and columns, in whole vectors."""
    cdef const real_t *src
    cdef index_t i = 0
    cdef vec_t a, b, best_v
    cdef mask_t where, column
    while i < n:
        src = v + i * s
        column = iload(columns + i)
        # Where a window's whole row is -inf its first tap wins, but not one in the padding.
        where = imax(column, isplat(0))
        a = vload(src)
        if s == 1:
            best_v = a
            beat(&best_v, &where, vload(src + 1), column + isplat(1))
            beat(&best_v, &where, vload(src + 2), column + isplat(2))
        else:
            b = vload(src + VL)
            best_v = veven(a, b)
            beat(&best_v, &where, vodd(a, b), column + isplat(1))
            if k == 3:
                beat(&best_v, &where, veven(vload(src + 2), vload(src + VL + 2)), column + isplat(2))
        vstore(best + i, best_v)
        istore(at + i, where)
        i += VL


cdef inline void locate_down(index_t rows, const real_t *v, const lane_t *v_at, index_t step,
                             lane_t step_places, lane_t place, index_t n, real_t *y, int32_t *indices,
                             index_t room) noexcept nogil:
    """Rows of maxima `step` apart; place: where the first one's image row begins."""
    cdef index_t i = 0, r
    cdef vec_t best
    cdef mask_t at
    cdef bint whole = n >= VL or room >= VL
    while True:
        best = vload(v + i)
        at = iload(v_at + i)
        for r in range(1, rows):
            beat(&best, &at, vload(v + r * step + i),
                 iload(v_at + r * step + i) + isplat(<lane_t> r * step_places))
        store_n(y + i, best, n, whole)
        store_places(indices + i, at + isplat(place), n, whole)
        i += VL
        if i >= n:
            return
        i = min_index(i, n - VL)


cdef inline void locate_rows(const planes_t *plan, index_t k, index_t s, index_t row, index_t end,
                             real_t *memory) noexcept nogil:
    """Output rows row ... end - 1, counted over all planes, a band at a time."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef real_t *best = memory + f.held * f.width
    cdef lane_t *at = <lane_t *> (best + f.held * f.width)
    cdef lane_t *columns = at + f.held * f.width
    cdef index_t i, p, h, slice, count, rows, begin, after, source, step, plane, width = g.n[2]
    cdef lane_t place
    cdef vec_t edge = vsplat(-INFINITY)
    i = 0
    while i < f.held * f.width:
        vstore(memory + i, edge)
        i += VL
    for i in range(padded(g.q[2])):
        columns[i] = <lane_t> (i * s - g.p[2])
    plane = g.n[0] * g.n[1] * width
    step = g.d[1] * f.width
    while row < end:
        slice = row // g.q[1]
        p = row % g.q[1]
        count = min_index(min_index(f.band, end - row), g.q[1] - p)
        source = source_slice(f, slice)
        begin = max_index(p * g.s[1] - g.p[1], 0)
        after = min_index((p + count - 1) * g.s[1] - g.p[1] + extent(g, 1), g.n[1])
        for h in range(begin, after):
            i = (h - begin) * f.width + f.left
            reduce_down(True, f.src + source + h * width, 1, 0, width, edge, memory + i)
        for h in range(begin, after):
            i = (h - begin) * f.width
            locate_along(k, s, memory + i + f.left - g.p[2], columns, g.q[2], best + i, at + i)
        for i in range(count):
            rows = taps_inside(g, 1, p + i, &h)
            place = <lane_t> (source % plane + h * width)
            h = (h - begin) * f.width
            if rows == 3:
                locate_down(3, best + h, at + h, step, <lane_t> (g.d[1] * width), place, g.q[2],
                            f.dst + (row + i) * g.q[2], f.indices + (row + i) * g.q[2],
                            (end - row - i) * g.q[2])
            elif rows == 2:
                locate_down(2, best + h, at + h, step, <lane_t> (g.d[1] * width), place, g.q[2],
                            f.dst + (row + i) * g.q[2], f.indices + (row + i) * g.q[2],
                            (end - row - i) * g.q[2])
            else:
                locate_down(rows, best + h, at + h, step, <lane_t> (g.d[1] * width), place, g.q[2],
                            f.dst + (row + i) * g.q[2], f.indices + (row + i) * g.q[2],
                            (end - row - i) * g.q[2])
        row += count


cdef void locate_part(const planes_t *f, index_t part, index_t parts, real_t *memory) noexcept nogil:
    cdef index_t rows = f.g.planes * f.g.q[0] * f.g.q[1]
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    cdef int kind = planes_kind(&f.g)
    if separate_pairs(&f.g):
        locate_pairs_rows(f, row, end)
    elif kind == PAIRS:
        locate_rows(f, 2, 2, row, end, memory)
    elif kind == TRIPLES:
        locate_rows(f, 3, 2, row, end, memory)
    else:
        locate_rows(f, 3, 1, row, end, memory)


cdef int planes_locate(planes_t *f, cnp.ndarray x, cnp.ndarray y, int n_threads) except -1:
    """y and f.indices from x, for the windows that planes_locate_kind knows."""
    cdef const pool_t *g = &f.g
    f.src = pointer(x)
    f.src_end = f.src + cnp.PyArray_SIZE(x)
    f.dst = pointer(y)
    set_band(f, max_index(g.n[2], g.q[2] * g.s[2]) + 4)
    f.band = max_index(f.band // g.s[1], 1)
    f.held = (f.band - 1) * g.s[1] + extent(g, 1)
    run_planes(f, locate_part, max_index(cnp.PyArray_SIZE(x), cnp.PyArray_SIZE(y)),
               4 * (f.held + 1) * f.width, n_threads)
    return 0


cdef int planes_locate_kind(const pool_t *g) noexcept nogil:
    """As planes_kind, where few rows of x make a row of y."""
    if extent(g, 1) > MOST_HELD:
        return NO_PLANES
    return planes_kind(g)
