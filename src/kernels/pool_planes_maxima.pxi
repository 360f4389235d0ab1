# Gradients of maxima of NCHW planes, windows of 3x3 by steps of 1 or 2: pool_maxima.h, or, by steps of
# 2 where vectors have no masks or windows begin in the padding, down the plane in strips:
#
#   rows p, p+1 ... of windows, VL of a row side by side: dy and their indices, loaded once
#      --compared with the places of 3 taps in 3 rows of dx--> 9 sums in registers
#      --the topmost 2 rows are done: taps together, lanes moved by one--> dx
#      the other row's sums move up
#
# A lane has two columns, one of which needs a neighbour: 2 (VL - 1) columns, and strips overlap. Rows of
# windows copied between edges, then dy and index loaded anew for each of the 9 taps, two of three
# across a cache line, took twice as long.

cdef enum:
    LINE = 64 // sizeof(real_t)

cdef struct planes_strip_t:
    index_t window        # of lane 0
    index_t column        # of dx, lane 0's first
    bint whole            # all windows exist
    lanes_t inside        # those that do
    lanes_t out[2]        # columns of dx that are stored: of one vector, of two


cdef bint strips_backward(const pool_t *g) noexcept nogil:
    """Whether the functions below are for such maxima."""
    return (VL >= 4 and planes_kind(g) == TRIPLES and g.n[0] == g.q[0] and g.k[1] == 3
            and g.d[1] == 1 and g.s[1] == 2)


cdef inline bint place_strip(const pool_t *g, index_t i, planes_strip_t *t) noexcept nogil:
    """The i-th strip of a plane; False behind the last."""
    cdef index_t pad = g.p[2], first = 0, after
    if pad % 2:
        t.column = 2 * i * (VL - 1)
        t.window = t.column // 2 + pad // 2
        after = 2 * VL - 2
    else:
        t.column = 2 * i * (VL - 1) - 2
        t.window = i * (VL - 1) - 1 + pad // 2
        first = 2
        after = 2 * VL
    after = min_index(after, g.n[2] - t.column)
    t.out[0] = vlanes(first, after)
    t.out[1] = vlanes(0, after - VL)
    t.inside = vlanes(-t.window, g.q[2] - t.window)
    t.whole = t.window >= 0 and t.window + VL <= g.q[2]
    return first < after


cdef inline void add_matches(vec_t v, mask_t at, mask_t here, vec_t *a, vec_t *b,
                             vec_t *c) noexcept nogil:
    """v where its place is here, or one or two columns further on, to the three taps' sums."""
    a[0] = vadd_equal(a[0], at, here, v)
    b[0] = vadd_equal(b[0], at, here + isplat(1), v)
    c[0] = vadd_equal(c[0], at, here + isplat(2), v)


cdef inline void join_taps(index_t odd_pad, vec_t a, vec_t b, vec_t c, const planes_strip_t *t,
                           real_t *dx) noexcept nogil:
    """A row of dx from the sums of its taps."""
    if odd_pad:
        a = c + vnext(a)
    else:
        c = a + vprevious(c)
        a = b
        b = c
    vstore_some(dx, t.out[0], vlower(b, a))
    vstore_some(dx + VL, t.out[1], vupper(b, a))


cdef inline void strip_down(index_t odd_pad, const pool_t *g, const planes_strip_t *t,
                            const real_t *dy, const int32_t *at, lane_t place, mask_t steps,
                            index_t h, index_t end, real_t *dx, const real_t *ahead,
                            index_t lines) noexcept nogil:
    """Rows h ... end - 1 of a strip; the pointers are the slice's, place is its first place. So
    many lines are fetched from `ahead` on for each row of windows."""
    cdef vec_t a0 = vzero(), a1 = vzero(), a2 = vzero(), b0 = vzero(), b1 = vzero(), b2 = vzero()
    cdef vec_t c0, c1, c2, v
    cdef mask_t here, where, width = isplat(<lane_t> g.n[2])
    cdef index_t p = first_held(g, h), last = (end - 1 + g.p[1]) // 2, row = p * 2 - g.p[1], i, j
    here = steps + isplat(place + <lane_t> (row * g.n[2] + t.window * 2 - g.p[2]))
    i = p * g.q[2] + t.window
    dx = dx + row * g.n[2] + t.column
    for p in range(p, last + 1):
        c0 = c1 = c2 = vzero()
        for j in range(lines):
            prefetch_near(ahead)
            ahead = ahead + LINE
        if p < g.q[1]:
            prefetch_ahead(dy + i)
            if t.whole:
                v = vload(dy + i)
                where = iload32(at + i)
            else:
                v = vload_some(dy + i, t.inside)
                where = iload32_some(at + i, t.inside)
            add_matches(v, where, here, &a0, &a1, &a2)
            where = where - width
            add_matches(v, where, here, &b0, &b1, &b2)
            add_matches(v, where - width, here, &c0, &c1, &c2)
        if h <= row < end:
            join_taps(odd_pad, a0, a1, a2, t, dx)
        if h <= row + 1 < end:
            join_taps(odd_pad, b0, b1, b2, t, dx + g.n[2])
        a0 = c0
        a1 = c1
        a2 = c2
        b0 = b1 = b2 = vzero()
        here = here + width + width
        row += 2
        i += g.q[2]
        dx += 2 * g.n[2]


cdef inline void strips_rows(const planes_t *plan, index_t odd_pad, index_t row,
                             index_t end) noexcept nogil:
    """Rows row ... end - 1 of dx, counted over all planes."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef index_t slice, h, stop, i, at, plane = g.n[1] * g.n[2], lines
    cdef lane_t lanes[VL]
    cdef planes_strip_t t
    for i in range(VL):
        lanes[i] = <lane_t> (i * 2)
    # The next plane of dx, evenly over the rows of all strips.
    lines = ceil_div(g.n[2], 2 * VL - 2) * g.q[1] * LINE
    lines = ceil_div(plane, lines)
    while row < end:
        slice = row // g.n[1]
        h = row % g.n[1]
        stop = min_index(h + end - row, g.n[1])
        check_windows(f, slice, 0, g.q[1])
        at = slice * g.q[1] * g.q[2]
        i = 0
        while place_strip(g, i, &t):
            strip_down(odd_pad, g, &t, f.src + at, f.indices + at,
                       <lane_t> (slice % g.n[0] * plane), iload(lanes), h, stop,
                       f.dst + slice * plane,
                       f.dst + (slice + 1) * plane + i * g.q[1] * lines * LINE, lines)
            i += 1
        row += stop - h


cdef bint abreast_backward(const pool_t *g) noexcept nogil:
    """Whether pool_maxima.h is for such maxima: every index is looked at, and at stride 2 vectors
    have masks (without them strips took 0.7 of the time)."""
    cdef index_t left = g.p[2], width = g.n[2], columns = g.q[2]
    if (g.k[1] != 3 or g.d[1] != 1 or g.s[1] != g.s[2] or g.n[0] != g.q[0] or g.p[1] > 1
            or left > 1):
        return False
    if planes_kind(g) == DENSE_TRIPLES:
        return (width + left - 2 <= columns <= width + left - 1) and g.q[1] <= g.n[1] + g.p[1]
    return (MASKED_LANES and planes_kind(g) == TRIPLES and 2 * columns <= width + 1
            and 2 * g.q[1] <= g.n[1] + g.p[1] + 1)


cdef void abreast_rows(const planes_t *f, index_t row, index_t end) noexcept nogil:
    """Rows row ... end - 1 of dx, counted over all planes."""
    cdef const pool_t *g = &f.g
    cdef maxima_t c
    cdef index_t slice, h, stop, plane = g.n[1] * g.n[2]
    c.height, c.width, c.rows, c.columns = g.n[1], g.n[2], g.q[1], g.q[2]
    c.top, c.left = g.p[1], g.p[2]
    while row < end:
        slice = row // g.n[1]
        h = row % g.n[1]
        stop = min_index(h + end - row, g.n[1])
        if not spread_maxima(&c, <int> g.s[2], f.src + slice * g.q[1] * g.q[2],
                             f.indices + slice * g.q[1] * g.q[2], slice % g.n[0] * plane,
                             g.n[0] * plane, f.dst + slice * plane, h, stop):
            f.misplaced[0] = True
        row += stop - h


cdef void strips_part(const planes_t *f, index_t part, index_t parts,
                      real_t *memory) noexcept nogil:
    cdef index_t rows = f.g.planes * f.g.n[0] * f.g.n[1]
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    if abreast_backward(&f.g):
        abreast_rows(f, row, end)
    elif f.g.p[2] % 2:
        strips_rows(f, 1, row, end)
    else:
        strips_rows(f, 0, row, end)


cdef int special_backward(planes_t *f, cnp.ndarray dy, cnp.ndarray dx, int n_threads) except -1:
    """Whether one of the special kernels was there to make dx from dy (and indices)."""
    cdef const pool_t *g = &f.g
    cdef index_t work = max_index(cnp.PyArray_SIZE(dx), cnp.PyArray_SIZE(dy)), memory
    if lines_backward(f, dy, dx, n_threads):
        return True
    f.src = pointer(dy)
    f.src_end = f.src + cnp.PyArray_SIZE(dy)
    f.dst = pointer(dx)
    if pixels_backward(g):
        run_planes(f, pixels_backward_part, work, g.q[1] + g.q[2], n_threads)
        return True
    if f.maximum and (abreast_backward(g) or strips_backward(g)):
        run_planes(f, strips_part, work, 0, n_threads)
        return True
    if planes_backward_kind(g) == NO_PLANES or (f.maximum and not separate_pairs(g)):
        return False
    set_band(f, max_index(g.q[2], ceil_div(g.n[2], g.s[2])) + 4)
    memory = max_index(f.band * f.width + padded(g.q[2]) + VL + g.q[1], triples_memory(g))
    run_planes(f, planes_backward_part, work, memory, n_threads)
    return True
