# Gradients of pooling NCHW planes by the windows of pool_planes.pxi.
#
#   average   dy rows whose windows hold a row of dx, times 1 / divisor --down--> one row
#             of windows, edged with 0 --along--> dx row
#   maximum   dy and index rows edged with 0 and -1, each once for a band of dx rows; then, for all
#             rows and taps that hold a column, dy where its index is the column's own place --> dx row
#   2x2 by 2  every dy and index read once: two rows of dx
#
# Along a row with stride 2 the even and the odd columns of dx are computed side by side and
# interleaved in registers: with k taps, column w = 2j + phase is held by windows j + (phase + pad - t)/2.
# Rows of dx are stored in whole vectors, which may write past the row: rows come in order, and
# what follows is written after. Only at the end of a thread's part is there no `room`.

cdef enum:
    MOST_HELD = 64        # rows of dy at once for a maximum


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
    for row in range(row, end):
        at = row * g.q[2]
        unpool_pairs(maximum, f.src + at, f.indices + at, g.q[2], windows - at, g.n[2],
                     <lane_t> ((o * g.n[1] + 2 * p) * g.n[2]), iload(lanes), factor, dx, stop - dx)
        dx += 2 * g.n[2]
        p += 1
        if p == g.q[1]:
            p = 0
            o = o + 1 if o + 1 < g.q[0] else 0
            rest = (g.n[1] - 2 * g.q[1]) * g.n[2]
            memset(dx, 0, rest * sizeof(real_t))
            dx += rest


cdef inline vec_t held_down(bint maximum, const real_t *src, const lane_t *at, index_t rows,
                            index_t step, mask_t place, vec_t sum) noexcept nogil:
    """sum + the rows at src; of a maximum where `at` is place."""
    cdef index_t r
    for r in range(rows):
        if maximum:
            sum = vadd_equal(sum, iload(at + r * step), place, vload(src + r * step))
        else:
            sum = sum + vload(src + r * step)
    return sum


cdef inline void spread_along(bint maximum, index_t s, index_t odd_pad, const real_t *src,
                              const lane_t *at, index_t rows, index_t step, index_t n, lane_t place,
                              const lane_t *columns, real_t *dx, index_t room) noexcept nogil:
    """A row of dx under windows of 3: src and at are at the window whose last tap is column 0, or
    with stride 2 whose middle (odd_pad) or first tap is; columns are s apart."""
    cdef index_t i = 0, j = 0
    cdef vec_t a, b
    cdef mask_t here
    while i < n:
        here = iload(columns) + isplat(place + <lane_t> i)
        if s == 1:
            a = held_down(maximum, src + i, at + i, rows, step, here, vzero())
            a = held_down(maximum, src + i + 1, at + i + 1, rows, step, here, a)
            a = held_down(maximum, src + i + 2, at + i + 2, rows, step, here, a)
            store_n(dx + i, a, n - i, n - i >= VL or room - i >= VL)
            i += VL
        else:
            if odd_pad:
                a = held_down(maximum, src + j, at + j, rows, step, here, vzero())
                here = here + isplat(1)
                b = held_down(maximum, src + j, at + j, rows, step, here, vzero())
                b = held_down(maximum, src + j + 1, at + j + 1, rows, step, here, b)
            else:
                a = held_down(maximum, src + j - 1, at + j - 1, rows, step, here, vzero())
                a = held_down(maximum, src + j, at + j, rows, step, here, a)
                here = here + isplat(1)
                b = held_down(maximum, src + j, at + j, rows, step, here, vzero())
            store_pair(dx + i, a, b, n - i, room - i >= 2 * VL)
            i += 2 * VL
            j += VL


cdef inline void spread_rows_along(bint maximum, index_t s, index_t odd_pad, const real_t *src,
                                   const lane_t *at, index_t rows, index_t step, index_t n,
                                   lane_t place, const lane_t *columns, real_t *dx,
                                   index_t room) noexcept nogil:
    """The same; the usual numbers of rows as constants."""
    if rows == 3:
        spread_along(maximum, s, odd_pad, src, at, 3, step, n, place, columns, dx, room)
    elif rows == 2:
        spread_along(maximum, s, odd_pad, src, at, 2, step, n, place, columns, dx, room)
    elif rows == 1:
        spread_along(maximum, s, odd_pad, src, at, 1, step, n, place, columns, dx, room)
    else:
        spread_along(maximum, s, odd_pad, src, at, rows, step, n, place, columns, dx, room)


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


cdef void keep_held(const planes_t *f, index_t first, index_t rows, real_t *out,
                    lane_t *out_at) noexcept nogil:
    """Rows first ... of windows, counted over all planes, and their indices, each to its buffer."""
    cdef index_t n = f.g.q[2], i, r
    cdef const real_t *dy = f.src + first * n
    cdef const int32_t *at = f.indices + first * n
    cdef lane_t lanes[VL]
    cdef mask_t inside
    for i in range(VL):
        lanes[i] = -1 if i < n else 0
    inside = iload(lanes)
    for r in range(rows):
        if n < VL:
            vstore(out, vload_first(dy, <int> n, vzero()))
            istore(out_at, iselect(inside, iload32_first(at, <int> n), isplat(-1)))
        else:
            i = 0
            while i < n:
                i = min_index(i, n - VL)
                vstore(out + i, vload(dy + i))
                istore(out_at + i, iload32(at + i))
                prefetch_ahead(dy + i)
                prefetch_ahead(at + i)
                i += VL
        dy += n
        at += n
        out += f.width
        out_at += f.width


cdef inline void spread_maxima(const planes_t *plan, index_t s, index_t odd_pad, index_t row,
                               index_t end, real_t *memory) noexcept nogil:
    """Rows row ... end - 1 of dx, counted over all planes, a band at a time. Which windows hold a
    row moves on with it: a division a row takes as long as the row (28 columns: 40 -> 27 us)."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef lane_t *kept_at = <lane_t *> (memory + f.held * f.width)
    cdef lane_t columns[VL]
    cdef index_t h, slice, stop, first, last, begin, i, offset, at, pad = g.p[1], step = g.s[1]
    cdef lane_t place
    # The first column's window, in a buffered row.
    offset = f.left + g.p[2] - 2 if s == 1 else f.left + g.p[2] // 2
    for i in range(VL):
        columns[i] = <lane_t> (i * s)
    for i in range(f.held * f.width):
        memory[i] = 0
        kept_at[i] = -1
    while row < end:
        slice = row // g.n[1]
        h = row % g.n[1]
        stop = min_index(h + min_index(f.band, end - row), g.n[1])
        begin = first = first_held(g, h)
        last = last_held(g, h)
        keep_held(f, slice * g.q[1] + begin, last_held(g, stop - 1) - begin + 1, memory + f.left,
                  kept_at + f.left)
        place = <lane_t> ((slice % g.q[0] * g.n[1] + h) * g.n[2])
        for h in range(h, stop):
            if first * step + g.k[1] <= h + pad:
                first += 1
            if (last + 1) * step <= h + pad and last + 1 < g.q[1]:
                last += 1
            at = (first - begin) * f.width + offset
            spread_rows_along(True, s, odd_pad, memory + at, kept_at + at, last - first + 1,
                              f.width, g.n[2], place, columns, f.dst + row * g.n[2],
                              (end - row) * g.n[2])
            place += <lane_t> g.n[2]
            row += 1


cdef inline void spread_sums(const planes_t *plan, index_t s, index_t odd_pad, index_t row,
                             index_t end, real_t *memory) noexcept nogil:
    """The same for averages."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef real_t *scale = memory + f.held * f.width
    cdef real_t *weight = scale + padded(g.q[2]) + VL
    cdef lane_t columns[VL]
    cdef index_t h, slice, count, i, offset
    offset = f.left + g.p[2] - 2 if s == 1 else f.left + g.p[2] // 2
    memset(columns, 0, sizeof(columns))
    for i in range(f.held * f.width):
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
            spread_along(False, s, odd_pad, memory + i * f.width + offset, NULL, 1, f.width,
                         g.n[2], 0, columns, f.dst + (row + i) * g.n[2], (end - row - i) * g.n[2])
        row += count


cdef void planes_backward_part(const planes_t *f, index_t part, index_t parts,
                               real_t *memory) noexcept nogil:
    cdef const pool_t *g = &f.g
    cdef bint pairs = separate_pairs(g), dense = planes_kind(g) == DENSE_TRIPLES, odd = g.p[2] % 2
    cdef index_t rows = g.planes * g.n[0] * (g.q[1] if pairs else g.n[1])
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    flush_denormals_if(not f.maximum)
    if f.maximum:
        if pairs:
            unpool_pairs_rows(f, True, row, end)
        elif dense:
            spread_maxima(f, 1, 0, row, end, memory)
        elif odd:
            spread_maxima(f, 2, 1, row, end, memory)
        else:
            spread_maxima(f, 2, 0, row, end, memory)
    else:
        if pairs:
            unpool_pairs_rows(f, False, row, end)
        elif dense:
            spread_sums(f, 1, 0, row, end, memory)
        elif odd:
            spread_sums(f, 2, 1, row, end, memory)
        else:
            spread_sums(f, 2, 0, row, end, memory)


cdef int special_backward(planes_t *f, cnp.ndarray dy, cnp.ndarray dx, int n_threads) except -1:
    """Whether one of the special kernels was there to make dx from dy (and indices)."""
    cdef const pool_t *g = &f.g
    cdef index_t work = max_index(cnp.PyArray_SIZE(dx), cnp.PyArray_SIZE(dy))
    f.src = pointer(dy)
    f.src_end = f.src + cnp.PyArray_SIZE(dy)
    f.dst = pointer(dx)
    if pixels_backward(g):
        run_planes(f, gather_pixels_part, work, g.q[1] + g.q[2], n_threads)
        return True
    if planes_backward_kind(g) == NO_PLANES:
        return False
    set_band(f, max_index(g.q[2], ceil_div(g.n[2], g.s[2])) + 4)
    f.held = f.band
    if f.maximum:
        f.band = max_index(f.band // (2 if g.s[1] == 1 else 1), 1)
        f.held = min_index((f.band - 1) // g.s[1] + ceil_div(g.k[1], g.s[1]) + 1, g.q[1])
    run_planes(f, planes_backward_part, work,
               f.held * f.width * (2 if f.maximum else 1) + padded(g.q[2]) + VL + g.q[1], n_threads)
    return True
