# Pooling NCHW planes by windows of 3x3 in registers, pool_triples.h: which calls take it, and what
# it needs to know. Where vectors have no masks, rows in buffers (pool_planes.pxi) stand instead.

cdef bint triples_alone(const pool_t *g) noexcept nogil:
    """Whether windows are of 3x3 with one stride of 1 or 2, in NCHW."""
    return (MASKED_LANES and g.inner == 1 and g.k[0] == 1 and g.k[1] == 3 and g.k[2] == 3
            and g.d[1] == 1 and g.d[2] == 1 and g.s[1] == g.s[2] and g.s[1] <= 2
            and g.n[2] <= WIDEST and g.q[2] <= WIDEST)


cdef bint middles_exist(index_t left, index_t step, index_t width, index_t columns) noexcept nogil:
    """Whether each window's middle column does: a row's first and last vectors alone lack any."""
    return left <= 1 and step * (columns - 1) + 1 - left < width


cdef bint forward_in_registers(const pool_t *g) noexcept nogil:
    """One window a row has a column that only its middle is, where nobody looks for NaN."""
    return triples_alone(g) and g.q[2] > 1 and middles_exist(g.p[2], g.s[2], g.n[2], g.q[2])


cdef bint one_divisor(const pool_t *g) noexcept nogil:
    """Whether all windows divide by the same: 9, if none is given."""
    return g.divisor or (counted(g, 1, 0) * counted(g, 2, 0) == 9
                         and counted(g, 1, g.q[1] - 1) * counted(g, 2, g.q[2] - 1) == 9)


cdef bint gradient_in_registers(const pool_t *g) noexcept nogil:
    """Whether an average's gradient is such a sum of dy, over one divisor."""
    return (triples_alone(g) and g.s[2] == 1 and g.n[0] == g.q[0]
            and middles_exist(2 - g.p[2], 1, g.q[2], g.n[2]) and one_divisor(g))


cdef inline index_t triples_memory(const pool_t *g) noexcept nogil:
    cdef index_t widest = max_index(g.n[2], g.q[2])
    return 6 * (padded(widest) + 2 * VL)


cdef void set_triples(const pool_t *g, bint maximum, bint gradient, real_t *memory,
                      triples_t *c) noexcept nogil:
    """What pool_triples is told: forward of x, y; gradient of dy, dx. memory: triples_memory."""
    cdef index_t step = padded(max_index(g.n[2], g.q[2])) + 2 * VL, i, rows
    cdef real_t *edge = memory
    cdef real_t *columns = memory + step
    cdef real_t *scale = memory + 2 * step
    c.height, c.width, c.rows, c.columns = g.n[1], g.n[2], g.q[1], g.q[2]
    c.top, c.left = g.p[1], g.p[2]
    c.low = c.high = 0
    c.scale_step = step
    c.edge = edge
    c.scale = scale
    for i in range(step):
        edge[i] = -INFINITY if maximum else 0
    if maximum:
        return
    if gradient:
        c.height, c.width, c.rows, c.columns = g.q[1], g.q[2], g.n[1], g.n[2]
        c.top, c.left = 2 - g.p[1], 2 - g.p[2]
    if one_divisor(g):
        for i in range(step):
            scale[i] = 1 / <double> (g.divisor if g.divisor else 9)
        return
    for i in range(step):
        columns[i] = counted(g, 2, i) if i < g.q[2] else 1
    c.low = -g.p[1] if g.count_pad else 0
    c.high = g.end[1] if g.count_pad else g.n[1]
    for rows in range(1, 4):
        set_row_scale(g, rows, columns, scale + rows * step)


cdef void triples_rows(const planes_t *f, bint gradient, index_t row, index_t end,
                       real_t *memory) noexcept nogil:
    """Rows row ... end - 1 of the result, counted over all planes."""
    cdef const pool_t *g = &f.g
    cdef triples_t c
    cdef index_t slice, p, stop, source
    set_triples(g, f.maximum, gradient, memory, &c)
    while row < end:
        slice = row // c.rows
        p = row % c.rows
        stop = min_index(p + end - row, c.rows)
        source = slice * c.height * c.width if gradient else source_slice(f, slice)
        pool_triples(&c, f.maximum, <int> g.s[2], f.src + source,
                     f.dst + slice * c.rows * c.columns, p, stop)
        row += stop - p
