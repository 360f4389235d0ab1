# Max and average pooling, forward: one output row after another, from the rows that its windows cover.
#
#   windows that share rows (3x3, stride 1 or 2)      windows that do not (2x2, stride 2)
#
#   x row --taps along the row--> reduced row          x rows --all taps of all rows--> y row
#   reduced rows (a ring of the last ones) --> y row
#
# So an input row is reduced along the row once, however many windows hold it, and a 3x3 pool takes
# 3 + 3 taps instead of 9. The ring's rows are cut into strips to stay in cache. Order matters: along
# the row first, then down, finds the first maximum in row-major order; the other way round does
# not. A thread takes a contiguous run of output rows; the one before it computes what they share, too.

cdef enum:
    TAPS_AT_ONCE = 64     # more taps than these go by way of reduced rows as well

cdef struct forward_scratch_t:
    real_t *spread
    real_t *reduced
    lane_t *reduced_at
    lane_t *columns       # column of each window's first tap
    lane_t *at            # indices of a row before they are narrowed or widened
    real_t *scale         # 1 / divisor
    index_t *held         # which row is in each place of the ring
    index_t *shift        # where each tap along a row is in a spread row (no divisions per row)
    const real_t **rows
    lane_t *row_offset
    taps_t taps
    index_t scale_rows    # how many rows scale is made for

cdef struct strip_of_windows_t:
    index_t first, count, length
    index_t column, width     # of the input: from the first window's first tap to the last's last
    bint direct               # its rows can be read as they lie


cdef char *lay_out_forward(const forward_t *f, char *memory, forward_scratch_t *s) noexcept nogil:
    cdef index_t taps = f.g.k[2] * (1 if f.shared else f.g.k[0] * f.g.k[1])
    taps = max_index(taps, f.g.k[0] * f.g.k[1])
    s.spread = <real_t *> carve(&memory, f.phase * f.g.s[2] * (1 if f.shared else f.rows)
                                * sizeof(real_t))
    s.reduced = <real_t *> carve(&memory, f.flat * f.rows * f.shared * sizeof(real_t))
    s.reduced_at = <lane_t *> carve(&memory, f.flat * f.rows * (f.shared and f.index_size != 0)
                                    * sizeof(lane_t))
    s.columns = <lane_t *> carve(&memory, f.flat * sizeof(lane_t))
    s.at = <lane_t *> carve(&memory, f.flat * sizeof(lane_t))
    s.scale = <real_t *> carve(&memory, f.flat * sizeof(real_t))
    s.held = <index_t *> carve(&memory, f.rows * sizeof(index_t))
    s.shift = <index_t *> carve(&memory, f.g.k[2] * sizeof(index_t))
    s.rows = <const real_t **> carve(&memory, f.g.k[0] * f.g.k[1] * sizeof(real_t *))
    s.row_offset = <lane_t *> carve(&memory, f.g.k[0] * f.g.k[1] * sizeof(lane_t))
    s.taps.src = <const real_t **> carve(&memory, taps * sizeof(real_t *))
    s.taps.at = <const lane_t **> carve(&memory, taps * sizeof(lane_t *))
    s.taps.offset = <lane_t *> carve(&memory, taps * sizeof(lane_t))
    s.taps.weight = <real_t *> carve(&memory, taps * sizeof(real_t))
    return memory


cdef void plan_forward(forward_t *f) noexcept nogil:
    cdef pool_t *g = &f.g
    cdef index_t taps = g.k[0] * g.k[1] * g.k[2]
    f.ring = extent(g, 1)
    f.shared = g.k[1] > 1 and g.q[1] > 1 and g.s[1] < f.ring
    f.shared = f.shared or (g.k[0] * g.k[1] > 1 and taps > TAPS_AT_ONCE)
    f.ring = power_of_two(f.ring)
    f.rows = g.k[0] * (f.ring if f.shared else g.k[1])
    # Wide kernels keep many rows: narrower strips hold the workspace down.
    f.strip = min_index(STRIP_LENGTH, max_index(VL, (1 << 18) // f.rows))
    f.strip = min_index(max_index(f.strip // g.inner, 1), g.q[2])
    f.flat = padded(f.strip * g.inner) + VL
    f.phase = 2 * VL
    if g.inner < VL:
        f.phase += padded(ceil_div((f.strip - 1) * g.s[2] + extent(g, 2), g.s[2]) * g.inner)


cdef void spread_pairs(const real_t *src, index_t n, const real_t *src_end, real_t *even,
                       real_t *odd) noexcept nogil:
    """src[0], src[2] ... to even and src[1], src[3] ... to odd, in whole vectors."""
    cdef real_t few[2 * VL]
    cdef index_t i = 0
    cdef vec_t a, b
    if n < 2 * VL and src + 2 * VL > src_end:
        memcpy(few, src, n * sizeof(real_t))
        src = few
    while True:
        a = vload(src + i)
        b = vload(src + i + VL)
        vstore(even + i // 2, veven(a, b))
        vstore(odd + i // 2, vodd(a, b))
        i += 2 * VL
        if i >= n:
            return
        if i + 2 * VL > n:  # once more over elements that are done
            if (n - i) % 2 == 0:
                i = n - 2 * VL
            else:
                even[n // 2] = src[n - 1]
                if i == n - 1:
                    return
                i = n - 1 - 2 * VL


cdef void spread_row(const forward_t *f, const real_t *row, const strip_of_windows_t *w,
                     real_t *out) noexcept nogil:
    """A strip's columns of a row over the stride's phases, the padding filled with what changes nothing."""
    cdef index_t step = f.g.s[2], inner = f.g.inner, width = w.width, i, c, phase, low, high
    cdef real_t fill = -INFINITY if f.maximum else 0
    cdef real_t *dst
    low = min_index(max_index(-w.column, 0), width)
    high = max_index(min_index(f.g.n[2] - w.column, width), low)
    row = row + (w.column + low) * inner
    if step == 1:
        fill_run(out, low * inner, fill)
        copy_to(row, out + low * inner, (high - low) * inner, f.x_end)
        fill_run(out + high * inner, (width - high) * inner, fill)
    elif step == 2 and inner == 1:
        if high > low:
            spread_pairs(row, high - low, f.x_end, out + low % 2 * f.phase + low // 2,
                         out + (low + 1) % 2 * f.phase + (low + 1) // 2)
        for i in range(low):
            out[i % 2 * f.phase + i // 2] = fill
        for i in range(high, width):
            out[i % 2 * f.phase + i // 2] = fill
    else:
        for i in range(width):
            dst = out + i % step * f.phase + i // step * inner
            if i < low or i >= high:
                fill_run(dst, inner, fill)
            else:
                for c in range(inner):
                    dst[c] = row[(i - low) * inner + c]


cdef inline void reduce_taps(const forward_t *f, forward_scratch_t *s, index_t pos, index_t length,
                             real_t *y, lane_t *at, lane_t base, const real_t *scale,
                             index_t room) noexcept nogil:
    """Results pos ... pos + length - 1 of a row of results that starts at y."""
    if not f.maximum:
        if scale != NULL:
            scale = scale + pos
        sum_taps(&s.taps, length, y + pos, scale, room)
    elif at == NULL:
        max_taps(&s.taps, length, y + pos, room)
    else:
        max_taps_at(&s.taps, pos, length, y + pos, at + pos, base, room)


cdef inline void add_tap(const forward_t *f, forward_scratch_t *s, const real_t *src,
                         lane_t offset) noexcept nogil:
    cdef index_t t = s.taps.count
    s.taps.src[t] = src
    s.taps.at[t] = s.columns
    s.taps.offset[t] = offset
    s.taps.weight[t] = 1
    s.taps.count = t + 1


cdef void reduce_rows(const forward_t *f, forward_scratch_t *s, const real_t **rows,
                      const lane_t *row_offset, index_t n_rows, const strip_of_windows_t *w,
                      real_t *y, lane_t *at, lane_t base, const real_t *scale,
                      index_t room) noexcept nogil:
    """All taps along n_rows rows, for a strip of windows."""
    cdef const pool_t *g = &f.g
    cdef index_t step = g.s[2], dilation = g.d[2], inner = g.inner, taps = g.k[2]
    cdef index_t r, k, low, high, last, q = 0, column
    cdef real_t *spread
    cdef lane_t first
    s.taps.start = 0
    s.taps.count = 0
    if w.direct:
        for r in range(n_rows):
            for k in range(taps):
                add_tap(f, s, rows[r] + (w.column + k * dilation) * inner, row_offset[r] + k * dilation)
        reduce_taps(f, s, 0, w.length, y, at, base, scale, room)
        return
    if inner < VL:
        for r in range(n_rows):
            spread = s.spread + r * step * f.phase
            spread_row(f, rows[r], w, spread)
            for k in range(taps):
                add_tap(f, s, spread + s.shift[k], row_offset[r] + k * dilation)
        reduce_taps(f, s, 0, w.length, y, at, base, scale, room)
        if at != NULL and w.column < 0:
            # Where a window's whole row is -inf its first tap won, be it in the padding.
            for k in range(min_index(ceil_div(-w.column, step), w.count) * inner):
                first = at[k] - base
                if first < 0:
                    at[k] += ceil_div(-first, dilation) * dilation
        return
    while q < w.count:  # a pixel's channels by themselves; with stride 1 all inner pixels together
        column = w.column + q * step
        low = 0 if column >= 0 else min_index(ceil_div(-column, dilation), taps)
        high = max_index(min_index(taps, ceil_div(g.n[2] - column, dilation)), low)
        s.taps.start = 0
        s.taps.count = 0
        for r in range(n_rows):
            for k in range(low, high):
                add_tap(f, s, rows[r] + (column + k * dilation) * inner, row_offset[r] + k * dilation)
        last = q + 1
        if low == 0 and high == taps:
            last = min_index((g.n[2] - extent(g, 2) - w.column) // step + 1, w.count)
        if step == 1:
            reduce_taps(f, s, q * inner, (last - q) * inner, y, at, base, scale, 0)
            q = last
        while q < last:
            reduce_taps(f, s, q * inner, inner, y, at, base, scale, 0)
            s.taps.start += step * inner
            q += 1


cdef void set_scale(const pool_t *g, const strip_of_windows_t *w, index_t rows,
                    real_t *scale) noexcept nogil:
    cdef index_t q, c
    cdef real_t factor
    for q in range(w.count):
        factor = 1.0 / (<double> (g.divisor if g.divisor else rows * counted(g, 2, w.first + q)))
        for c in range(g.inner):
            scale[q * g.inner + c] = factor


cdef void store_indices(const forward_t *f, const lane_t *at, index_t n, int64_t base,
                        index_t offset) noexcept nogil:
    """Lanes counted from base, as the integers that were asked for."""
    cdef int32_t *narrow = <int32_t *> f.indices + offset
    cdef int64_t *wide = <int64_t *> f.indices + offset
    cdef index_t i
    if f.index_size == 4:
        for i in range(n):
            narrow[i] = <int32_t> (at[i] + base)
    else:
        for i in range(n):
            wide[i] = at[i] + base


cdef void forward_row(const forward_t *f, forward_scratch_t *s, index_t plane, index_t o, index_t p,
                      const strip_of_windows_t *w, index_t room) noexcept nogil:
    """One strip of output row p of slice o."""
    cdef const pool_t *g = &f.g
    cdef index_t row_size = g.n[2] * g.inner, n_rows = 0, i, j, d, h, slot, rows
    cdef index_t first = -1, offset
    cdef const real_t *image = f.x + plane * g.n[0] * g.n[1] * row_size
    cdef real_t *y
    cdef lane_t *at = NULL
    cdef lane_t base = 0, none = 0
    cdef const real_t *scale = NULL
    offset = (((plane * g.q[0] + o) * g.q[1] + p) * g.q[2] + w.first) * g.inner
    y = f.y + offset
    for i in range(g.k[0]):
        d = o * g.s[0] - g.p[0] + i * g.d[0]
        if d < 0 or d >= g.n[0]:
            continue
        for j in range(g.k[1]):
            h = p * g.s[1] - g.p[1] + j * g.d[1]
            if h < 0 or h >= g.n[1]:
                continue
            if first < 0:
                first = d * g.n[1] + h
            s.rows[n_rows] = image + (d * g.n[1] + h) * row_size
            s.row_offset[n_rows] = <lane_t> ((d * g.n[1] + h - first) * g.n[2])
            if f.shared:
                slot = i * f.ring + (h & (f.ring - 1))
                if s.held[slot] != (plane * g.n[0] + d) * g.n[1] + h:
                    s.held[slot] = (plane * g.n[0] + d) * g.n[1] + h
                    reduce_rows(f, s, s.rows + n_rows, &none, 1, w, s.reduced + slot * f.flat,
                                s.reduced_at + slot * f.flat if f.index_size else NULL, 0, NULL,
                                f.flat)
                s.rows[n_rows] = s.reduced + slot * f.flat
            n_rows += 1
    if f.index_size:
        at = s.at
        if f.index_size == sizeof(lane_t):
            at = <lane_t *> f.indices + offset
            base = <lane_t> (first * g.n[2])
    if not f.maximum:
        rows = counted(g, 0, o) * counted(g, 1, p)
        if rows != s.scale_rows:
            set_scale(g, w, rows, s.scale)
            s.scale_rows = rows
        scale = s.scale
    if f.shared:
        s.taps.start = 0
        s.taps.count = 0
        for i in range(n_rows):
            add_tap(f, s, s.rows[i], s.row_offset[i])
            s.taps.at[i] = s.reduced_at + (s.rows[i] - s.reduced)
        reduce_taps(f, s, 0, w.length, y, at, base, scale, room)
    else:
        reduce_rows(f, s, s.rows, s.row_offset, n_rows, w, y, at, base, scale, room)
    if at == s.at:
        store_indices(f, at, w.length, first * g.n[2], offset)


cdef void set_strip(const forward_t *f, forward_scratch_t *s, index_t first,
                    strip_of_windows_t *w) noexcept nogil:
    cdef const pool_t *g = &f.g
    cdef index_t i, q, c
    w.first = first
    w.count = min_index(f.strip, g.q[2] - first)
    w.length = w.count * g.inner
    w.column = first * g.s[2] - g.p[2]
    w.width = (w.count - 1) * g.s[2] + extent(g, 2)
    w.direct = (g.s[2] == 1 and w.column >= 0 and w.column + w.width <= g.n[2]
                and w.length >= VL)
    for i in range(f.rows):
        s.held[i] = -1
    for i in range(g.k[2]):
        s.shift[i] = (i * g.d[2] % g.s[2] * f.phase + i * g.d[2] // g.s[2] * g.inner)
    s.scale_rows = -1
    if f.index_size:
        for q in range(w.count):
            for c in range(g.inner):
                s.columns[q * g.inner + c] = <lane_t> (w.column + q * g.s[2])


cdef void forward_part(const forward_t *f, index_t part, index_t parts, char *memory) noexcept nogil:
    """A thread's run of output rows."""
    cdef const pool_t *g = &f.g
    cdef forward_scratch_t s
    cdef strip_of_windows_t w
    cdef index_t per_plane = g.q[0] * g.q[1], rows = g.planes * per_plane
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    cdef index_t i, plane, last, first, room, o, p
    flush_denormals_if(not f.maximum)
    lay_out_forward(f, memory, &s)
    w.count = 0
    while row < end:
        plane = row // per_plane
        last = min_index(end, (plane + 1) * per_plane)
        first = 0
        while first < g.q[2]:
            if w.count < g.q[2]:  # with a single strip, once
                set_strip(f, &s, first, &w)
            o = row % per_plane // g.q[1]
            p = row % g.q[1]
            for i in range(row, last):
                room = (end - i) * g.q[2] * g.inner if w.count == g.q[2] else 0
                forward_row(f, &s, plane, o, p, &w, room)
                p += 1
                if p == g.q[1]:
                    p = 0
                    o += 1
            first += w.count
        row = last


cdef void forward_run(const forward_t *f, index_t work, char *memory, size_t per_thread,
                      int n_threads) noexcept nogil:
    cdef int parts = threads_for(work, n_threads), part
    if parts == 1:
        forward_part(f, 0, 1, memory)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        forward_part(f, part, parts, memory + part * per_thread)


cdef int forward(forward_t *f, cnp.ndarray x, cnp.ndarray y, int n_threads) except -1:
    cdef forward_scratch_t s
    cdef index_t work = max_index(cnp.PyArray_SIZE(x), cnp.PyArray_SIZE(y))
    cdef size_t per_thread
    cdef workspace_t workspace
    f.x = pointer(x)
    f.x_end = f.x + cnp.PyArray_SIZE(x)
    f.y = pointer(y)
    if is_short(f):
        with nogil:
            short_run(f, work, n_threads)
        return 0
    plan_forward(f)
    if is_plain(f):
        with nogil:
            plain_run(f, work, n_threads)
        return 0
    n_threads = threads_for(work, n_threads)
    per_thread = lay_out_forward(f, <char *> NULL, &s) - <char *> NULL
    workspace = acquire(per_thread * n_threads)
    with nogil:
        forward_run(f, work, workspace.data, per_thread, n_threads)
    release(workspace)
    return 0


def max_pool(cnp.ndarray x, cnp.ndarray y, cnp.ndarray indices, dims, int n_threads):
    """y = the maximum of each window; indices (None, int32 or int64) = its place in the plane."""
    cdef forward_t f
    cdef planes_t planes
    set_pool(&planes.g, dims, x, y)
    planes.maximum = True
    if indices is None and special_forward(&planes, x, y, n_threads):
        return
    if indices is not None and planes_locate_kind(&planes.g) != NO_PLANES:
        if cnp.PyArray_ITEMSIZE(indices) == 4:
            planes.indices = <int32_t *> cnp.PyArray_DATA(indices)
            planes_locate(&planes, x, y, n_threads)
            return
    f.g = planes.g
    f.maximum = True
    f.indices = NULL
    f.index_size = 0
    if indices is not None:
        f.indices = <char *> cnp.PyArray_DATA(indices)
        f.index_size = cnp.PyArray_ITEMSIZE(indices)
    forward(&f, x, y, n_threads)


def avg_pool(cnp.ndarray x, cnp.ndarray y, dims, int n_threads):
    """y = the sum of each window over its divisor."""
    cdef forward_t f
    cdef planes_t planes
    set_pool(&planes.g, dims, x, y)
    planes.maximum = False
    if special_forward(&planes, x, y, n_threads):
        return
    f.g = planes.g
    f.maximum = False
    f.indices = NULL
    f.index_size = 0
    forward(&f, x, y, n_threads)
