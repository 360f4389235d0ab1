# One window after another, as they are defined, without workspace:
#
#   windows of thousands of rows, or rows of thousands of taps: the rows and taps that pool_forward.pxi
#   keeps would take hundreds of MB
#   averages of few windows a row (small volumes): a row costs more there than its windows take here.
#   (8, 64, 8, 8) 4x4: 137 -> 31 us, (32, 16, 8, 8, 8) 2x2x2: 532 -> 409; with 8 windows a row it
#   loses (0.6), and so do maxima, whose comparisons nobody foresees (0.2 to 0.4). Most of these rows
#   now fit a vector, pool_short_rows.pxi
#
# Backwards, of short rows, a window's gradient is added to its taps: window by window within a
# plane, which one thread takes whole, so that sums have one order. A maximum has one tap, which pays
# where windows have 4 taps and more ((32, 16, 8, 8, 8), 2x2x2 and 3x3x3: 4 to 6 times as fast).
# Averages' windows must lie apart (3 times): those that overlap would add to what the one before has
# just stored (0.4 to 0.9). So each element of a row of dx has one window at most, found once.

cdef enum:
    MANY_ROWS = 4096
    MANY_TAPS = 16384
    FEW_WINDOWS = 4       # of a row
    FEW_TAPS = 64         # of all of them
    SHORT_PLANE_ROW = 16  # elements of a row of dx


cdef bint is_plain(const forward_t *f) noexcept nogil:
    cdef const pool_t *g = &f.g
    if f.rows > MANY_ROWS or g.k[0] * g.k[1] > MANY_ROWS or g.k[2] > MANY_TAPS:
        return True
    return (not f.maximum and g.q[2] * g.inner <= FEW_WINDOWS
            and g.q[2] * g.inner * g.k[0] * g.k[1] * g.k[2] <= FEW_TAPS)


# The taps of a window that lie in the image, along each axis: how many, and the first.
cdef struct taps_of_window_t:
    index_t count[3]
    index_t first[3]
    index_t counted       # an average's divisor, without the last axis


cdef inline void set_row_of_windows(const pool_t *g, index_t o, index_t p,
                                    taps_of_window_t *w) noexcept nogil:
    w.count[0] = taps_inside(g, 0, o, &w.first[0])
    w.count[1] = taps_inside(g, 1, p, &w.first[1])
    w.counted = counted(g, 0, o) * counted(g, 1, p)


cdef inline index_t divisor_of(const pool_t *g, const taps_of_window_t *w, index_t q) noexcept nogil:
    return g.divisor if g.divisor else w.counted * counted(g, 2, q)


cdef inline void plain_window(const forward_t *f, const taps_of_window_t *w, const real_t *x,
                              index_t divisor, index_t out) noexcept nogil:
    """Element `out` of y and indices; x: the plane, its channel."""
    cdef const pool_t *g = &f.g
    cdef index_t i, j, k, at, place
    cdef real_t sum = 0, row, value
    cdef bint wins
    at = (w.first[0] * g.n[1] + w.first[1]) * g.n[2] + w.first[2]
    if f.maximum:
        sum = x[at * g.inner]
    for i in range(w.count[0]):
        for j in range(w.count[1]):
            row = 0
            place = (w.first[0] + i * g.d[0]) * g.n[1] + w.first[1] + j * g.d[1]
            place = place * g.n[2] + w.first[2]
            for k in range(w.count[2]):
                value = x[place * g.inner]
                if f.maximum:
                    wins = (value > sum) | (value != value)
                    sum = value if wins else sum
                    at = place if wins else at
                else:
                    row = row + value
                place += g.d[2]
            if not f.maximum:
                sum = sum + row
    if not f.maximum:
        sum = sum / <real_t> divisor
    f.y[out] = sum
    if f.index_size == 4:
        (<int32_t *> f.indices)[out] = <int32_t> at
    elif f.index_size == 8:
        (<int64_t *> f.indices)[out] = at


cdef void plain_part(const forward_t *f, index_t part, index_t parts) noexcept nogil:
    """A thread's run of rows of windows."""
    cdef const pool_t *g = &f.g
    cdef taps_of_window_t w
    cdef index_t rows = g.planes * g.q[0] * g.q[1], row = rows * part // parts, q, c
    cdef index_t size = g.n[0] * g.n[1] * g.n[2] * g.inner, out = row * g.q[2] * g.inner
    cdef index_t p = row % g.q[1], o = row // g.q[1] % g.q[0]
    cdef const real_t *x = f.x + row // (g.q[0] * g.q[1]) * size
    flush_denormals_if(not f.maximum)
    for row in range(row, rows * (part + 1) // parts):
        set_row_of_windows(g, o, p, &w)
        for q in range(g.q[2]):
            w.count[2] = taps_inside(g, 2, q, &w.first[2])
            for c in range(g.inner):
                plain_window(f, &w, x + c, divisor_of(g, &w, q), out)
                out += 1
        p += 1
        if p == g.q[1]:
            p = 0
            o += 1
            if o == g.q[0]:
                o = 0
                x = x + size


cdef void plain_run(const forward_t *f, index_t work, int n_threads) noexcept nogil:
    cdef int parts = threads_for(work, n_threads), part
    if parts == 1:
        plain_part(f, 0, 1)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        plain_part(f, part, parts)


cdef bint is_scattered_back(const backward_t *b) noexcept nogil:
    """Whether windows add their gradients to dx: short rows, windows as told above."""
    cdef const pool_t *g = &b.g
    cdef int i
    if g.n[2] * g.inner > SHORT_PLANE_ROW:
        return False
    if b.maximum and g.k[0] * g.k[1] * g.k[2] < 4:
        return False
    if not b.maximum and g.q[2] * g.inner >= 2 * SHORT_PLANE_ROW:  # of padding alone
        return False
    for i in range(3):
        if not b.maximum and g.q[i] > 1 and g.s[i] < extent(g, i):
            return False
    return True


cdef inline bint is_tap(const pool_t *g, int axis, index_t q, index_t i) noexcept nogil:
    """Whether place i of an axis is a tap of window q."""
    i -= q * g.s[axis] - g.p[axis]
    return i >= 0 and i < extent(g, axis) and (g.d[axis] == 1 or i % g.d[axis] == 0)


cdef inline bint holds(const pool_t *g, index_t o, index_t p, index_t q, index_t place) noexcept nogil:
    """Whether window (o, p, q) holds a place of the plane."""
    cdef index_t width = g.n[2], height = g.n[1], row
    if place <= 0x7fffffff:  # narrow divisions take a third of the time
        row = <uint32_t> place // <uint32_t> width
        return (is_tap(g, 2, q, place - row * width)
                and is_tap(g, 1, p, <uint32_t> row % <uint32_t> height)
                and is_tap(g, 0, o, <uint32_t> row // <uint32_t> height))
    row = place // width
    return (is_tap(g, 2, q, place - row * width) and is_tap(g, 1, p, row % height)
            and is_tap(g, 0, o, row // height))


cdef void scatter_maxima(const backward_t *b, index_t plane) noexcept nogil:
    """dx of a plane: dy at the places that won, if their windows hold them."""
    cdef const pool_t *g = &b.g
    cdef index_t i = plane * g.q[0] * g.q[1] * g.q[2] * g.inner, o, p, q, c, place
    cdef const int32_t *near = <const int32_t *> b.indices
    cdef const int64_t *far = <const int64_t *> b.indices
    cdef index_t places = g.n[0] * g.n[1] * g.n[2]
    cdef real_t *dx = b.dx + plane * places * g.inner
    for o in range(g.q[0]):
        for p in range(g.q[1]):
            for q in range(g.q[2]):
                for c in range(g.inner):
                    place = near[i] if b.index_size == 4 else far[i]
                    if place < 0 or place >= places:
                        b.misplaced[0] = True
                    elif holds(g, o, p, q, place):
                        place = place * g.inner + c
                        dx[place] = dx[place] + b.dy[i]
                    i += 1


cdef void find_owners(const pool_t *g, int *owner, real_t *counts) noexcept nogil:
    """Of each element of a row of dx the element of a row of dy that is shared out to it, q inner: none.

    counts : of each element of a row of dy what the divisor takes from the last axis
    """
    cdef index_t q, c, k, count, first = 0
    for k in range(g.n[2] * g.inner):
        owner[k] = <int> (g.q[2] * g.inner)
    for q in range(g.q[2]):
        count = taps_inside(g, 2, q, &first)
        for c in range(g.inner):
            counts[q * g.inner + c] = g.divisor if g.divisor else counted(g, 2, q)
            for k in range(count):
                owner[(first + k * g.d[2]) * g.inner + c] = <int> (q * g.inner + c)


cdef void share_averages(const backward_t *b, index_t plane, const int *owner,
                         const real_t *counts) noexcept nogil:
    """dx of a plane, of windows that lie apart: each window's share at its taps."""
    cdef pool_t g = b.g
    cdef taps_of_window_t w
    cdef real_t shares[2 * SHORT_PLANE_ROW]
    cdef index_t o, p, i, j, k, length = g.n[2] * g.inner, width = g.q[2] * g.inner
    cdef const real_t *dy = b.dy + plane * g.q[0] * g.q[1] * width
    cdef real_t *dx = b.dx + plane * g.n[0] * g.n[1] * length
    cdef real_t *to
    cdef real_t rows, nothing = 0
    shares[width] = 0
    for o in range(g.q[0]):
        for p in range(g.q[1]):
            set_row_of_windows(&g, o, p, &w)
            rows = 1 if g.divisor else w.counted
            for k in range(width):
                shares[k] = nothing + dy[k] / (rows * counts[k])
            for i in range(w.count[0]):
                for j in range(w.count[1]):
                    to = dx + ((w.first[0] + i * g.d[0]) * g.n[1] + w.first[1] + j * g.d[1]) * length
                    for k in range(length):
                        to[k] = shares[owner[k]]
            dy = dy + width


cdef void scatter_part(const backward_t *b, index_t part, index_t parts) noexcept nogil:
    """A thread's run of planes of dx."""
    cdef const pool_t *g = &b.g
    cdef index_t size = g.n[0] * g.n[1] * g.n[2] * g.inner, plane
    cdef index_t begin = g.planes * part // parts, end = g.planes * (part + 1) // parts
    cdef int owner[SHORT_PLANE_ROW]
    cdef real_t counts[2 * SHORT_PLANE_ROW]
    flush_denormals_if(not b.maximum)
    memset(b.dx + begin * size, 0, (end - begin) * size * sizeof(real_t))
    if not b.maximum:
        find_owners(g, owner, counts)
    for plane in range(begin, end):
        if b.maximum:
            scatter_maxima(b, plane)
        else:
            share_averages(b, plane, owner, counts)


cdef void scatter_run(const backward_t *b, index_t work, int n_threads) noexcept nogil:
    cdef int parts = <int> min_index(threads_for(work, n_threads), b.g.planes), part
    if parts == 1:
        scatter_part(b, 0, 1)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        scatter_part(b, part, parts)
