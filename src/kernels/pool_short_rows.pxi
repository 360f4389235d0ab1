# Pooling where a row of windows fits a vector, without indices: small planes and volumes.
#
#   x row       a b c d e f g h          tap k of every place a window may begin at is one load, from k d
#   tap 0       a b c d e f g h          on; places of the padding, and beyond the row, are masked
#   tap 1       b c d e f g h .
#   result      0 . 1 . 2 . 3 .          of these lanes those where windows begin (stride 2) are stored
#
# So a row of windows takes a load and an addition a tap. By rows of taps (pool_forward.pxi) it costs
# 36 ns before it begins, window by window (pool_plain.pxi) 16 ns a window of 2x2x2.

cdef bint is_short(const forward_t *f) noexcept nogil:
    cdef const pool_t *g = &f.g
    return (f.index_size == 0 and ((g.q[2] - 1) * g.s[2] + 1) * g.inner <= VL
            and g.k[0] * g.k[1] * g.k[2] <= FEW_TAPS)


cdef inline vec_t short_maximum(const real_t *x, index_t slice, index_t row, index_t step,
                                const taps_of_window_t *w, const lanes_t *lanes) noexcept nogil:
    """The maximum of a window's taps, NaN winning; slices, rows and taps are so many elements apart."""
    cdef vec_t least = vsplat(-INFINITY), best = least
    cdef index_t i, j, k
    for i in range(w.count[0]):
        for j in range(w.count[1]):
            for k in range(w.count[2]):
                best = vmaxnan(best, vload_or(x + i * slice + j * row + k * step, lanes[k], least))
    return best


cdef inline vec_t short_sum(const real_t *x, index_t slice, index_t row, index_t step,
                            const taps_of_window_t *w, const lanes_t *lanes) noexcept nogil:
    """The sum of a window's taps, of each row first."""
    cdef vec_t sum = vzero(), along
    cdef index_t i, j, k
    for i in range(w.count[0]):
        for j in range(w.count[1]):
            along = vzero()
            for k in range(w.count[2]):
                along = along + vload_some(x + i * slice + j * row + k * step, lanes[k])
            sum = sum + along
    return sum


cdef inline void store_windows(const pool_t *g, vec_t v, real_t *y) noexcept nogil:
    """Of the lanes those where windows begin."""
    cdef real_t lane[VL]
    cdef index_t q, c
    if g.s[2] == 2 and g.inner == 1:
        v = veven(v, v)
    elif g.s[2] > 1 and g.q[2] > 1:
        vstore(lane, v)
        for q in range(g.q[2]):
            for c in range(g.inner):
                y[q * g.inner + c] = lane[q * g.s[2] * g.inner + c]
        return
    vstore_first(y, <int> (g.q[2] * g.inner), v)


cdef void short_part(const forward_t *f, index_t part, index_t parts) noexcept nogil:
    """A thread's run of rows of windows."""
    cdef pool_t g = f.g
    cdef taps_of_window_t w
    cdef lanes_t lanes[FEW_TAPS]
    cdef real_t counts[VL]
    cdef index_t rows = g.planes * g.q[0] * g.q[1], row = rows * part // parts, k, q
    cdef index_t length = g.n[2] * g.inner, edge = g.p[2] * g.inner, step = g.d[2] * g.inner
    cdef index_t p = row % g.q[1], o = row // g.q[1] % g.q[0]
    cdef const real_t *x = f.x + row // (g.q[0] * g.q[1]) * g.n[0] * g.n[1] * length
    cdef const real_t *first
    cdef real_t *y = f.y + row * g.q[2] * g.inner
    cdef real_t divisor = 0
    cdef bint maximum = f.maximum
    cdef vec_t v, columns
    flush_denormals_if(not maximum)
    for k in range(g.k[2]):
        lanes[k] = vlanes(edge - k * step, length + edge - k * step)
    for k in range(VL):
        counts[k] = 1
    for q in range(g.q[2]):
        for k in range(g.inner):
            counts[q * g.s[2] * g.inner + k] = counted(&g, 2, q)
    columns = vload(counts)
    for row in range(row, rows * (part + 1) // parts):
        set_row_of_windows(&g, o, p, &w)
        w.count[2] = g.k[2]
        first = x + (w.first[0] * g.n[1] + w.first[1]) * length - edge
        if maximum:
            v = short_maximum(first, g.d[0] * g.n[1] * length, g.d[1] * length, step, &w, lanes)
        else:
            divisor = g.divisor if g.divisor else w.counted
            v = short_sum(first, g.d[0] * g.n[1] * length, g.d[1] * length, step, &w, lanes)
            v = v / (columns * vsplat(divisor))
        store_windows(&g, v, y)
        y = y + g.q[2] * g.inner
        p += 1
        if p == g.q[1]:
            p = 0
            o += 1
            if o == g.q[0]:
                o = 0
                x = x + g.n[0] * g.n[1] * length


cdef void short_run(const forward_t *f, index_t work, int n_threads) noexcept nogil:
    cdef int parts = threads_for(work, n_threads), part
    if parts == 1:
        short_part(f, 0, 1)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        short_part(f, part, parts)
