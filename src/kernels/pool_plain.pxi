# Windows of thousands of rows, or rows of thousands of taps: one window after another, as they are
# defined, without workspace. The rows and taps that pool_forward.pxi keeps would take hundreds of MB.

cdef enum:
    MANY_ROWS = 4096
    MANY_TAPS = 16384


cdef bint is_huge(const forward_t *f) noexcept nogil:
    return f.rows > MANY_ROWS or f.g.k[0] * f.g.k[1] > MANY_ROWS or f.g.k[2] > MANY_TAPS


cdef void plain_window(const forward_t *f, index_t plane, index_t o, index_t p, index_t q,
                       index_t c) noexcept nogil:
    """One element of y and indices."""
    cdef const pool_t *g = &f.g
    cdef index_t begin[3]
    cdef index_t taps[3]
    cdef index_t i, j, k, at = -1, place, out = (((plane * g.q[0] + o) * g.q[1] + p) * g.q[2] + q)
    cdef real_t sum = 0, row, value
    taps[0] = taps_inside(g, 0, o, begin)
    taps[1] = taps_inside(g, 1, p, begin + 1)
    taps[2] = taps_inside(g, 2, q, begin + 2)
    out = out * g.inner + c
    for i in range(taps[0]):
        for j in range(taps[1]):
            row = 0
            place = (begin[0] + i * g.d[0]) * g.n[1] + begin[1] + j * g.d[1]
            place = place * g.n[2] + begin[2]
            for k in range(taps[2]):
                value = f.x[(plane * g.n[0] * g.n[1] * g.n[2] + place) * g.inner + c]
                if not f.maximum:
                    row = row + value
                elif at < 0 or value > sum or value != value:
                    sum = value
                    at = place
                place += g.d[2]
            if not f.maximum:
                sum = sum + row
    if not f.maximum:
        k = g.divisor
        if k == 0:
            k = counted(g, 0, o) * counted(g, 1, p) * counted(g, 2, q)
        sum = sum / <double> k
    f.y[out] = sum
    if f.index_size == 4:
        (<int32_t *> f.indices)[out] = <int32_t> at
    elif f.index_size == 8:
        (<int64_t *> f.indices)[out] = at


cdef void plain_part(const forward_t *f, index_t part, index_t parts) noexcept nogil:
    """A thread's run of windows."""
    cdef const pool_t *g = &f.g
    cdef index_t windows = g.planes * g.q[0] * g.q[1] * g.q[2], i, c
    flush_denormals_if(not f.maximum)
    for i in range(windows * part // parts, windows * (part + 1) // parts):
        for c in range(g.inner):
            plain_window(f, i // (g.q[0] * g.q[1] * g.q[2]), i // (g.q[1] * g.q[2]) % g.q[0],
                         i // g.q[2] % g.q[1], i % g.q[2], c)


cdef void plain_run(const forward_t *f, index_t work, int n_threads) noexcept nogil:
    cdef int parts = threads_for(work, n_threads), part
    if parts == 1:
        plain_part(f, 0, 1)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        plain_part(f, part, parts)
