# Max and average pooling, backward, by gathering: every row of dx is computed once, from the output
# rows whose windows hold it, in a fixed order. Nothing is scattered, so no two threads write the same
# element and an index that is wrong can do no harm.
#
# Along a row the columns of dx fall into the stride's phases, and a tap is a run again:
#
#   stride 2, kernel 3, pad 1      dx   a b c d e f      a c e: tap 1 of windows 0 1 2
#   windows                        0 . 2                  b d f: tap 2 of windows 0 1 2, tap 0 of 1 2 3
#
# Maximum: dx = the sum over rows and taps of dy where its index is the column's own place (match_taps).
# Average: dx = the sum over taps of (the weighted sum over rows of dy), both sum_taps. Output rows
# are first copied to a ring of rows with zeros (index -1) around, so that no tap has an edge; where no
# tap has one anyway (2x2, stride 2) the maximum's are read in place.

cdef enum:
    NO_TAP = -1

cdef struct backward_t:
    pool_t g
    const real_t *dy
    const real_t *dy_end
    const char *indices
    int index_size
    bint *misplaced       # set where an index is no place of its plane
    bint relative         # indices do not fit a lane: count them from the window's first row
    bint maximum
    real_t *dx
    index_t strip         # columns of dx at once, whole strides of them
    index_t width         # windows that hold them, at most
    index_t flat, phase   # elements of a row of windows, of a phase of columns
    index_t reach[2]      # output slices and rows that one input element can belong to, or a few
                          # more: powers of two
    index_t rows

cdef struct backward_scratch_t:
    real_t *dy
    lane_t *at
    real_t *sum
    real_t *scale
    real_t *phases
    index_t *shift        # where the taps of each phase are in a row of windows, or NO_TAP
    lane_t *places
    index_t *held
    const real_t **dy_row # the rows held, in the ring or in place
    const lane_t **at_row
    index_t *from_rows    # the output rows of the current row of dx
    index_t *slots
    index_t *offsets      # of a row's places against the indices kept
    taps_t taps

cdef struct columns_t:
    index_t first, count          # of dx
    index_t window, windows       # that hold them; some may lie outside the output
    bint direct                   # none of them does, and the indices are lanes already


cdef char *lay_out_backward(const backward_t *b, char *memory, backward_scratch_t *s) noexcept nogil:
    cdef index_t taps = b.rows * b.g.k[2]
    s.dy = <real_t *> carve(&memory, b.rows * b.flat * sizeof(real_t))
    s.at = <lane_t *> carve(&memory, b.rows * b.flat * b.maximum * sizeof(lane_t))
    s.sum = <real_t *> carve(&memory, b.flat * sizeof(real_t))
    s.scale = <real_t *> carve(&memory, b.flat * sizeof(real_t))
    s.phases = <real_t *> carve(&memory, b.phase * b.g.s[2] * sizeof(real_t))
    s.places = <lane_t *> carve(&memory, b.phase * sizeof(lane_t))
    s.shift = <index_t *> carve(&memory, b.g.s[2] * b.g.k[2] * sizeof(index_t))
    s.held = <index_t *> carve(&memory, b.rows * sizeof(index_t))
    s.dy_row = <const real_t **> carve(&memory, b.rows * sizeof(real_t *))
    s.at_row = <const lane_t **> carve(&memory, b.rows * sizeof(lane_t *))
    s.from_rows = <index_t *> carve(&memory, 3 * b.rows * sizeof(index_t))
    s.slots = s.from_rows + b.rows
    s.offsets = s.slots + b.rows
    s.taps.src = <const real_t **> carve(&memory, taps * sizeof(real_t *))
    s.taps.at = <const lane_t **> carve(&memory, taps * sizeof(lane_t *))
    s.taps.offset = <lane_t *> carve(&memory, taps * sizeof(lane_t))
    s.taps.weight = <real_t *> carve(&memory, taps * sizeof(real_t))
    return memory


cdef void plan_backward(backward_t *b) noexcept nogil:
    cdef pool_t *g = &b.g
    cdef index_t step = g.s[2]
    b.reach[0] = power_of_two(min_index(ceil_div(extent(g, 0), g.s[0]), g.q[0]))
    b.reach[1] = power_of_two(min_index(ceil_div(extent(g, 1), g.s[1]), g.q[1]))
    b.rows = b.reach[0] * b.reach[1]
    b.strip = min_index(STRIP_LENGTH, max_index(VL, (1 << 18) // b.rows)) // g.inner
    b.strip = min_index(ceil_div(max_index(b.strip, 1), step), ceil_div(g.n[2], step)) * step
    b.width = b.strip // step + ceil_div(extent(g, 2), step) + 1
    b.flat = padded(b.width * g.inner) + 2 * VL
    b.phase = padded(b.strip // step * g.inner) + 2 * VL


cdef void keep_row(const backward_t *b, backward_scratch_t *s, const columns_t *c, index_t row,
                   index_t slot, index_t base) noexcept nogil:
    """Output row `row` (counted over all planes) in its place of the ring, edged with zeros."""
    cdef index_t inner = b.g.inner, length = c.windows * inner, low, high, i, offset, value
    cdef real_t *dy = s.dy + slot * b.flat
    cdef lane_t *at = s.at + slot * b.flat
    cdef const int32_t *narrow
    cdef const int64_t *wide
    s.dy_row[slot] = dy
    s.at_row[slot] = at
    offset = (row * b.g.q[2] + c.window) * inner
    if c.direct:
        s.dy_row[slot] = b.dy + offset
        s.at_row[slot] = <const lane_t *> b.indices + offset
        return
    low = min_index(max_index(-c.window, 0), c.windows) * inner
    high = max_index(min_index(b.g.q[2] - c.window, c.windows) * inner, low)
    fill_run(dy, low, 0)
    copy_to(b.dy + offset + low, dy + low, high - low, b.dy_end)
    fill_run(dy + high, length - high, 0)
    if not b.maximum:
        return
    narrow = <const int32_t *> b.indices + offset
    wide = <const int64_t *> b.indices + offset
    for i in range(low):
        at[i] = -1
    if b.index_size == 4:
        for i in range(low, high):
            at[i] = narrow[i]
    elif not b.relative:
        for i in range(low, high):
            at[i] = wide[i]
    else:
        for i in range(low, high):
            value = wide[i] - base
            at[i] = <lane_t> value if 0 <= value <= 0x7fffffff else -1
    for i in range(high, length):
        at[i] = -1


cdef index_t gather_rows(const backward_t *b, backward_scratch_t *s, const columns_t *c,
                         index_t plane, index_t d, index_t h) noexcept nogil:
    """The output rows whose windows hold input row (d, h): how many, each in the ring."""
    cdef const pool_t *g = &b.g
    cdef index_t o, p, count = 0, row, slot, first
    cdef index_t o_end = min_index((d + g.p[0]) // g.s[0], g.q[0] - 1) + 1
    cdef index_t p_end = min_index((h + g.p[1]) // g.s[1], g.q[1] - 1) + 1
    for o in range(max_index(ceil_div(d + g.p[0] - extent(g, 0) + 1, g.s[0]), 0), o_end):
        if g.d[0] > 1 and (d + g.p[0] - o * g.s[0]) % g.d[0]:
            continue
        for p in range(max_index(ceil_div(h + g.p[1] - extent(g, 1) + 1, g.s[1]), 0), p_end):
            if g.d[1] > 1 and (h + g.p[1] - p * g.s[1]) % g.d[1]:
                continue
            row = (plane * g.q[0] + o) * g.q[1] + p
            slot = (o & (b.reach[0] - 1)) * b.reach[1] + (p & (b.reach[1] - 1))
            first = 0
            if b.relative:
                first = (first_inside(g, 0, o) * g.n[1] + first_inside(g, 1, p)) * g.n[2]
            if s.held[slot] != row:
                s.held[slot] = row
                keep_row(b, s, c, row, slot, first)
            s.from_rows[count] = row
            s.slots[count] = slot
            s.offsets[count] = (d * g.n[1] + h) * g.n[2] - first
            s.taps.weight[count] = 1
            if not b.maximum:
                s.taps.weight[count] = 1.0 / <double> (counted(g, 0, o) * counted(g, 1, p))
            count += 1
    return count


cdef inline index_t first_inside(const pool_t *g, int axis, index_t q) noexcept nogil:
    """The first tap of window q along an axis that lies in the image."""
    cdef index_t begin = q * g.s[axis] - g.p[axis]
    return begin if begin >= 0 else begin + ceil_div(-begin, g.d[axis]) * g.d[axis]


cdef void merge_phases(const real_t *src, index_t phase, index_t step, index_t n,
                       real_t *dst, index_t inner) noexcept nogil:
    """n pixels from their phases back into one row."""
    cdef index_t i = 0, j, c
    cdef vec_t a, b
    if step == 2 and inner == 1:
        while 2 * (i + VL) <= n:
            a = vload(src + i)
            b = vload(src + phase + i)
            vstore(dst + 2 * i, vlower(a, b))
            vstore(dst + 2 * i + VL, vupper(a, b))
            i += VL
        if i > 0 and n - 2 * i > 1:
            i = n // 2 - VL
            a = vload(src + i)
            b = vload(src + phase + i)
            vstore(dst + 2 * i, vlower(a, b))
            vstore(dst + 2 * i + VL, vupper(a, b))
            i += VL
        for j in range(2 * i, n):
            dst[j] = src[j % 2 * phase + j // 2]
    else:
        for j in range(min_index(step, n)):
            for i in range(ceil_div(n - j, step)):
                for c in range(inner):
                    dst[(i * step + j) * inner + c] = src[j * phase + i * inner + c]


cdef void backward_phase(const backward_t *b, backward_scratch_t *s, const columns_t *c,
                         index_t count, index_t phase, real_t *dx, index_t room) noexcept nogil:
    """The columns of one phase: to the row dx itself with stride 1 or whole vectors of channels."""
    cdef const pool_t *g = &b.g
    cdef index_t step = g.s[2], inner = g.inner, n = ceil_div(c.count - phase, step), t, k, q, i
    s.taps.count = 0
    s.taps.start = 0
    for t in range(count):
        for k in range(g.k[2]):
            q = s.shift[phase * g.k[2] + k]
            if q == NO_TAP:
                continue
            i = s.taps.count
            s.taps.count = i + 1
            s.taps.src[i] = s.sum + q
            s.taps.weight[i] = 1
            if b.maximum:
                s.taps.src[i] = s.dy_row[s.slots[t]] + q
                s.taps.at[i] = s.at_row[s.slots[t]] + q
                s.taps.offset[i] = <lane_t> (s.offsets[t] + c.first + phase)
    if step == 1:
        backward_taps(b, s, n * inner, dx, room)
    elif inner < VL:
        backward_taps(b, s, n * inner, s.phases + phase * b.phase, b.phase)
    else:
        for i in range(n):
            s.taps.start = i * inner
            backward_taps(b, s, inner, dx + (i * step + phase) * inner, 0)


cdef inline void backward_taps(const backward_t *b, backward_scratch_t *s, index_t length,
                               real_t *dx, index_t room) noexcept nogil:
    if b.maximum:
        match_taps(&s.taps, length, s.places + s.taps.start, dx, room)
    else:
        sum_taps(&s.taps, length, dx, NULL, room)


cdef void set_columns(const backward_t *b, backward_scratch_t *s, index_t first,
                      columns_t *c) noexcept nogil:
    cdef const pool_t *g = &b.g
    cdef index_t i, q, k, length
    cdef real_t factor
    c.first = first
    c.count = min_index(b.strip, g.n[2] - first)
    c.window = floor_div(first + g.p[2] - (g.k[2] - 1) * g.d[2], g.s[2])
    c.windows = (first + c.count - 1 + g.p[2]) // g.s[2] - c.window + 1
    for i in range(b.rows):
        s.held[i] = -1
    c.direct = b.maximum and not b.relative and b.index_size == <int> sizeof(lane_t)
    for i in range(g.s[2]):
        length = ceil_div(c.count - i, g.s[2])
        for k in range(g.k[2]):
            q = i + g.p[2] - k * g.d[2]
            s.shift[i * g.k[2] + k] = NO_TAP
            if q % g.s[2] == 0:
                q = first // g.s[2] + floor_div(q, g.s[2]) - c.window
                s.shift[i * g.k[2] + k] = q * g.inner
                if length > 0 and (q + c.window < 0 or q + c.window + length > g.q[2]
                                   or length * g.inner < VL):
                    c.direct = False
    if b.maximum:
        for i in range(b.strip // g.s[2]):
            for k in range(g.inner):
                s.places[i * g.inner + k] = <lane_t> (i * g.s[2])
        return
    for i in range(c.windows):
        q = c.window + i
        factor = 0
        if 0 <= q < g.q[2]:
            factor = 1.0 / <double> (g.divisor if g.divisor else counted(g, 2, q))
        fill_run(s.scale + i * g.inner, g.inner, factor)


cdef bint indices_inside(const backward_t *b, index_t part, index_t parts) noexcept nogil:
    """Whether a thread's share of the indices are places of a plane."""
    cdef const pool_t *g = &b.g
    cdef index_t places = g.n[0] * g.n[1] * g.n[2]
    cdef index_t n = g.planes * g.q[0] * g.q[1] * g.q[2] * g.inner, i
    cdef index_t first = n * part // parts, end = n * (part + 1) // parts
    if b.index_size == 4:
        return places_inside(<const int32_t *> b.indices + first, end - first, places)
    for i in range(first, end):
        if <uint64_t> (<const int64_t *> b.indices)[i] >= <uint64_t> places:
            return False
    return True


cdef void backward_part(const backward_t *b, index_t part, index_t parts, char *memory) noexcept nogil:
    """A thread's run of rows of dx."""
    cdef const pool_t *g = &b.g
    cdef backward_scratch_t s
    cdef columns_t c
    cdef index_t per_plane = g.n[0] * g.n[1], rows = g.planes * per_plane
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    cdef index_t i, plane, last, first, room, count, before, t, phase, d, h
    cdef real_t *dx
    cdef bint same
    flush_denormals_if(not b.maximum)
    if b.maximum and not indices_inside(b, part, parts):
        b.misplaced[0] = True
    lay_out_backward(b, memory, &s)
    c.count = 0
    while row < end:
        plane = row // per_plane
        last = min_index(end, (plane + 1) * per_plane)
        first = 0
        while first < g.n[2]:
            if c.count < g.n[2]:  # with a single strip, once
                set_columns(b, &s, first, &c)
            before = -1
            d = row % per_plane // g.n[1]
            h = row % g.n[1]
            for i in range(row, last):
                dx = b.dx + (i * g.n[2] + first) * g.inner
                room = (end - i) * g.n[2] * g.inner if c.count == g.n[2] else 0
                t = s.from_rows[0] if before > 0 else -1
                count = gather_rows(b, &s, &c, plane, d, h)
                h += 1
                if h == g.n[1]:
                    h = 0
                    d += 1
                # Rows that the same windows hold have the same average gradient.
                same = (not b.maximum and g.n[0] == 1 and count == before
                        and (count == 0 or t == s.from_rows[0]))
                before = count
                if same:
                    copy_to(dx - g.n[2] * g.inner, dx, c.count * g.inner, NULL)
                    continue
                if not b.maximum:
                    for t in range(count):
                        s.taps.src[t] = s.dy + s.slots[t] * b.flat
                    s.taps.count = count
                    s.taps.start = 0
                    sum_taps(&s.taps, c.windows * g.inner, s.sum, s.scale, b.flat)
                    count = 1
                for phase in range(min_index(g.s[2], c.count)):
                    backward_phase(b, &s, &c, count, phase, dx, room)
                if g.s[2] > 1 and g.inner < VL:
                    merge_phases(s.phases, b.phase, g.s[2], c.count, dx, g.inner)
            first += c.count
        row = last


cdef void backward_run(const backward_t *b, index_t work, char *memory, size_t per_thread,
                       int n_threads) noexcept nogil:
    cdef int parts = threads_for(work, n_threads), part
    if parts == 1:
        backward_part(b, 0, 1, memory)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        backward_part(b, part, parts, memory + part * per_thread)


cdef int backward(backward_t *b, cnp.ndarray dy, cnp.ndarray dx, int n_threads) except -1:
    cdef backward_scratch_t s
    cdef index_t work = max_index(cnp.PyArray_SIZE(dx), cnp.PyArray_SIZE(dy))
    cdef size_t per_thread
    cdef workspace_t workspace
    b.dy = pointer(dy)
    b.dy_end = b.dy + cnp.PyArray_SIZE(dy)
    b.dx = pointer(dx)
    if is_scattered_back(b):
        with nogil:
            scatter_run(b, work, n_threads)
        return 0
    b.relative = b.maximum and b.index_size > <int> sizeof(lane_t)
    plan_backward(b)
    n_threads = threads_for(work, n_threads)
    per_thread = lay_out_backward(b, <char *> NULL, &s) - <char *> NULL
    workspace = acquire(per_thread * n_threads)
    with nogil:
        backward_run(b, work, workspace.data, per_thread, n_threads)
    release(workspace)
    return 0


def max_pool_backward(cnp.ndarray dy, cnp.ndarray indices, cnp.ndarray dx, dims, int n_threads):
    """dx = the sum of dy over the windows that chose an element; indices are int32 or int64.

    Whether they all are places of a plane; dx is rubbish otherwise.
    """
    cdef backward_t b
    cdef planes_t planes
    cdef bint misplaced = False
    set_pool(&planes.g, dims, dy, dx)
    planes.misplaced = b.misplaced = &misplaced
    if cnp.PyArray_ITEMSIZE(indices) == 4:
        planes.maximum = True
        planes.indices = <int32_t *> cnp.PyArray_DATA(indices)
        if special_backward(&planes, dy, dx, n_threads):
            return not misplaced
    b.g = planes.g
    b.maximum = True
    b.indices = <const char *> cnp.PyArray_DATA(indices)
    b.index_size = cnp.PyArray_ITEMSIZE(indices)
    backward(&b, dy, dx, n_threads)
    return not misplaced


def avg_pool_backward(cnp.ndarray dy, cnp.ndarray dx, dims, int n_threads):
    """dx = the sum of dy / divisor over the windows that hold an element."""
    cdef backward_t b
    cdef planes_t planes
    set_pool(&planes.g, dims, dy, dx)
    planes.maximum = False
    planes.indices = NULL
    if special_backward(&planes, dy, dx, n_threads):
        return
    b.g = planes.g
    b.maximum = False
    b.indices = NULL
    b.index_size = 0
    backward(&b, dy, dx, n_threads)
