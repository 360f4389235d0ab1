# Gradients of pooling NCHW planes by the windows of pool_planes.pxi.
#
#   average   dy rows whose windows hold a row of dx, times 1 / divisor --down--> one row
#             of windows, edged with 0 --along--> dx row
#   2x2 by 2  every dy (and index) read once: two rows of dx
#
# Maxima of 3x3: pool_planes_maxima.pxi.
#
# Along a row with stride 2 the even and the odd columns of dx are computed side by side and
# interleaved in registers: with k taps, column w = 2j + phase is held by windows j + (phase + pad - t)/2.
# Rows of dx are stored in whole vectors, which may write past the row: rows come in order, and
# what follows is written after. Only at the end of a thread's part is there no `room`.

cdef int planes_backward_kind(const pool_t *g) noexcept nogil:
    cdef int kind = planes_kind(g)
    if g.d[1] != 1 or g.n[0] != g.q[0] or ceil_div(g.k[1], g.s[1]) > MOST_ROWS or g.q[1] > WIDEST:
        return NO_PLANES
    if kind == PAIRS and not separate_pairs(g):
        return NO_PLANES
    return kind


cdef inline void store_pair(real_t *dx, vec_t even, vec_t odd, index_t n, bint whole) noexcept nogil:
    """Two vectors interleaved, the first n elements of them unless whole."""
    prefetch_ahead(dx)
    prefetch_ahead(dx + VL)
    if whole or n >= 2 * VL:
        vstore(dx, vlower(even, odd))
        vstore(dx + VL, vupper(even, odd))
    elif n >= VL:
        vstore(dx, vlower(even, odd))
        vstore_first(dx + VL, <int> (n - VL), vupper(even, odd))
    else:
        vstore_first(dx, <int> n, vlower(even, odd))


cdef inline vec_t chosen(vec_t dy, mask_t at, mask_t place, lane_t offset) noexcept nogil:
    return vselect(iequal(at, place + isplat(offset)), dy, vzero())


cdef inline void unpool_pairs(bint maximum, const real_t *dy, const int32_t *at, index_t n,
                              index_t left, index_t width, lane_t place, mask_t steps, real_t factor,
                              real_t *dx, index_t room) noexcept nogil:
    """Two rows of dx from a row of n windows; left: elements of dy and at from here to their end."""
    cdef real_t few[VL]
    cdef int32_t few_at[VL]
    cdef index_t i = 0
    cdef bint whole = n >= VL or room >= width + 2 * VL
    cdef vec_t g, a, b
    cdef mask_t where, here
    if left < VL:
        memset(few, 0, sizeof(few))
        memcpy(few, dy, n * sizeof(real_t))
        dy = few
        if maximum:
            memset(few_at, 0, sizeof(few_at))
            memcpy(few_at, at, n * sizeof(int32_t))
            at = few_at
    while True:
        g = vload(dy + i)
        prefetch_ahead(dy + i)
        if maximum:
            prefetch_ahead(at + i)
            where = iload32(at + i)
            here = steps + isplat(place + <lane_t> (2 * i))
            a = chosen(g, where, here, 0)
            b = chosen(g, where, here, 1)
            store_pair(dx + 2 * i, a, b, 2 * n, whole)
            a = chosen(g, where, here, <lane_t> width)
            b = chosen(g, where, here, <lane_t> (width + 1))
        else:
            a = b = g * vsplat(factor)
            store_pair(dx + 2 * i, a, a, 2 * n, whole)
        store_pair(dx + width + 2 * i, a, b, 2 * n, whole)
        i += VL
        if i >= n:
            break
        i = min_index(i, n - VL)
    if width > 2 * n:
        dx[width - 1] = dx[2 * width - 1] = 0


cdef inline void unpool_pairs_rows(const planes_t *plan, bint maximum, index_t row,
                                   index_t end) noexcept nogil:
    """The rows of dx that belong to output rows row ... end - 1, counted over all planes."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef index_t p = row % g.q[1], slice = row // g.q[1], o = slice % g.q[0], rest, i, at
    cdef index_t windows = g.planes * g.q[0] * g.q[1] * g.q[2]
    cdef real_t *dx = f.dst + (slice * g.n[1] + 2 * p) * g.n[2]
    cdef real_t *stop = f.dst + (end // g.q[1] * g.n[1] + end % g.q[1] * 2) * g.n[2]
    cdef real_t factor = 1 / <double> (g.divisor if g.divisor else 4)
    cdef lane_t lanes[VL]
    for i in range(VL):
        lanes[i] = <lane_t> (2 * i)
    check_windows(f, slice, p, min_index(p + end - row, g.q[1]))
    for row in range(row, end):
        at = row * g.q[2]
        unpool_pairs(maximum, f.src + at, f.indices + at, g.q[2], windows - at, g.n[2],
                     <lane_t> ((o * g.n[1] + 2 * p) * g.n[2]), iload(lanes), factor, dx, stop - dx)
        dx += 2 * g.n[2]
        p += 1
        if p == g.q[1]:
            p = 0
            slice += 1
            check_windows(f, slice, 0, min_index(end - row - 1, g.q[1]))
            o = o + 1 if o + 1 < g.q[0] else 0
            rest = (g.n[1] - 2 * g.q[1]) * g.n[2]
            memset(dx, 0, rest * sizeof(real_t))
            dx += rest


cdef inline void spread_along(index_t s, index_t odd_pad, const real_t *v, index_t n, real_t *dx,
                              index_t room) noexcept nogil:
    """A row of dx under windows of 3: v is at the window whose last tap is column 0, or with
    stride 2 whose middle (odd_pad) or first tap is; columns are s apart."""
    cdef index_t i = 0, j = 0
    cdef vec_t a, b
    while i < n:
        if s == 1:
            a = vload(v + i) + vload(v + i + 1) + vload(v + i + 2)
            store_n(dx + i, a, n - i, n - i >= VL or room - i >= VL)
            i += VL
        else:
            if odd_pad:
                a = vload(v + j)
                b = a + vload(v + j + 1)
            else:
                b = vload(v + j)
                a = vload(v + j - 1) + b
            store_pair(dx + i, a, b, n - i, room - i >= 2 * VL)
            i += 2 * VL
            j += VL


cdef inline index_t first_held(const pool_t *g, index_t h) noexcept nogil:
    """The first row of windows that holds row h."""
    return max_index(ceil_div(h + g.p[1] - g.k[1] + 1, g.s[1]), 0)


cdef inline index_t last_held(const pool_t *g, index_t h) noexcept nogil:
    return min_index((h + g.p[1]) // g.s[1], g.q[1] - 1)


cdef inline void weigh_rows(const real_t *dy, index_t rows, index_t n, const real_t *weight,
                          const real_t *scale, real_t *out) noexcept nogil:
    """The weighted sum of rows of n elements, times scale."""
    cdef index_t i = 0, r
    cdef vec_t a = vzero()
    if n < VL:
        for r in range(rows):
            a = a + vsplat(weight[r]) * vload_first(dy + r * n, <int> n, vzero())
        vstore(out, a * vload(scale))
        return
    while True:
        prefetch_ahead(dy + i)
        a = vzero()
        for r in range(rows):
            a = a + vsplat(weight[r]) * vload(dy + r * n + i)
        vstore(out + i, a * vload(scale + i))
        i += VL
        if i >= n:
            return
        i = min_index(i, n - VL)


cdef inline void sum_held(const planes_t *f, const real_t *dy, index_t h, const real_t *weight,
                          const real_t *scale, real_t *out) noexcept nogil:
    """Row h of dx before it is spread along: the rows at dy that hold it, over their divisors."""
    cdef const pool_t *g = &f.g
    cdef index_t first = first_held(g, h), rows = last_held(g, h) - first + 1
    weight = weight + first
    dy = dy + first * g.q[2]
    if rows == 3:
        weigh_rows(dy, 3, g.q[2], weight, scale, out)
    elif rows == 2:
        weigh_rows(dy, 2, g.q[2], weight, scale, out)
    elif rows == 1:
        weigh_rows(dy, 1, g.q[2], weight, scale, out)
    else:
        weigh_rows(dy, rows, g.q[2], weight, scale, out)


cdef inline void spread_sums(const planes_t *plan, index_t s, index_t odd_pad, index_t row,
                             index_t end, real_t *memory) noexcept nogil:
    """Rows row ... end - 1 of dx, counted over all planes, a band at a time."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef real_t *scale = memory + f.band * f.width
    cdef real_t *weight = scale + padded(g.q[2]) + VL
    cdef index_t h, slice, count, i, offset
    # The first column's window, in a buffered row.
    offset = f.left + g.p[2] - 2 if s == 1 else f.left + g.p[2] // 2
    for i in range(f.band * f.width):
        memory[i] = 0
    for i in range(padded(g.q[2])):
        scale[i] = 1
        if i < g.q[2]:
            scale[i] = 1 / <double> (g.divisor if g.divisor else counted(g, 2, i))
    for i in range(g.q[1]):
        weight[i] = 1 / <double> counted(g, 1, i)
    while row < end:
        slice = row // g.n[1]
        h = row % g.n[1]
        count = min_index(min_index(f.band, end - row), g.n[1] - h)
        for i in range(count):
            sum_held(f, f.src + slice * g.q[1] * g.q[2], h + i, weight, scale,
                     memory + i * f.width + f.left)
        for i in range(count):
            spread_along(s, odd_pad, memory + i * f.width + offset, g.n[2],
                         f.dst + (row + i) * g.n[2], (end - row - i) * g.n[2])
        row += count


cdef void planes_backward_part(const planes_t *f, index_t part, index_t parts,
                               real_t *memory) noexcept nogil:
    cdef const pool_t *g = &f.g
    cdef bint pairs = separate_pairs(g), dense = planes_kind(g) == DENSE_TRIPLES, odd = g.p[2] % 2
    cdef index_t rows = g.planes * g.n[0] * (g.q[1] if pairs else g.n[1])
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    flush_denormals_if(not f.maximum)
    if pairs and f.maximum:
        unpool_pairs_rows(f, True, row, end)
    elif pairs:
        unpool_pairs_rows(f, False, row, end)
    elif gradient_in_registers(g):
        triples_rows(f, True, row, end, memory)
    elif dense:
        spread_sums(f, 1, 0, row, end, memory)
    elif odd:
        spread_sums(f, 2, 1, row, end, memory)
    else:
        spread_sums(f, 2, 0, row, end, memory)
