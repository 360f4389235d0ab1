# Depthwise weight gradient of NCHW planes, 3x3 and 5x5 at stride 1 or 2, and the bias gradient.
#
# The blocks of depthwise_planes.pxi the other way round: the outputs' gradients of a block stay in
# registers, every input row is loaded once, shifted by each tap, and the sums of all taps are vectors in
# registers over all images; their lanes are added at the end. Masked lanes count as 0 on both sides,
# so that no NaN behind a row's end gets in.

cdef inline void plane_taps_line(const int taps, const int step, const int rows, const bint whole,
                             const int h, const real_t *x, const column_t *column,
                             const vec_t *dy, vec_t *sums) noexcept nogil:
    """Input row h of a block, times the gradients of all output rows that read it."""
    cdef vec_t v[PLANE_TAPS]
    cdef int r, s
    if h >= (rows - 1) * step + taps:
        return
    load_taps(taps, step, whole, x, column, v)
    for r in range(taps):
        if h >= r and (h - r) % step == 0 and (h - r) // step < rows:
            for s in range(taps):
                sums[r * taps + s] = sums[r * taps + s] + dy[(h - r) // step] * v[s]


cdef inline void plane_taps_block(const int taps, const int step, const int rows, const bint whole,
                              const real_t **x, const column_t *column, const real_t *dy,
                              index_t ld, const index_t *ahead, vec_t *sums) noexcept nogil:
    """One column of `rows` rows of dy; sums: of the taps, then of dy itself."""
    cdef vec_t d[PLANE_ROWS]
    cdef index_t at = column.at
    cdef int i
    if ahead != NULL:
        for i in range(rows * step):  # each row of x once: the others belong to the blocks beside
            prefetch_near(x[taps // 2 + i] + column.q * step + ahead[0])
            if step == 2:
                prefetch_near(x[taps // 2 + i] + column.q * step + VL + ahead[0])
        for i in range(rows):
            prefetch_near(dy + column.q + i * ld + ahead[1])
    for i in range(rows):
        d[i] = (vload(dy + column.q + i * ld) if whole
                else vload_some(dy + column.q + i * ld, column.outputs[0]))
        sums[taps * taps] = sums[taps * taps] + d[i]
    plane_taps_line(taps, step, rows, whole, 0, x[0] + at, column, d, sums)
    plane_taps_line(taps, step, rows, whole, 1, x[1] + at, column, d, sums)
    plane_taps_line(taps, step, rows, whole, 2, x[2] + at, column, d, sums)
    plane_taps_line(taps, step, rows, whole, 3, x[3] + at, column, d, sums)
    plane_taps_line(taps, step, rows, whole, 4, x[4] + at, column, d, sums)
    plane_taps_line(taps, step, rows, whole, 5, x[5] + at, column, d, sums)
    plane_taps_line(taps, step, rows, whole, 6, x[6] + at, column, d, sums)
    plane_taps_line(taps, step, rows, whole, 7, x[7] + at, column, d, sums)


cdef inline void plane_taps_rows(const conv_t *c, const int taps, const int step, const int rows,
                             const real_t *plane, const real_t *zeros, index_t p,
                             const column_t *columns, const real_t *dy, const index_t *ahead,
                             vec_t *sums) noexcept nogil:
    cdef const real_t *x[PLANE_ROWS + PLANE_TAPS - 1]
    cdef index_t i
    if not fills_lines(&c.axis[2]):
        ahead = NULL
    list_lines(c, plane, zeros, p, (rows - 1) * step + taps, x)
    for i in range(ceil_div(c.axis[2].n_out, VL)):
        if columns[i].whole:
            plane_taps_block(taps, step, rows, True, x, &columns[i], dy, c.y.at[1], ahead,
                             sums)
        else:
            plane_taps_block(taps, step, rows, False, x, &columns[i], dy, c.y.at[1], ahead,
                             sums)


cdef inline index_t plane_ahead(const image_t *x, index_t n, index_t batch) noexcept nogil:
    """From an element of a plane to the one to fetch: a page further on, or of the next image."""
    if x.c * sizeof(real_t) >= 4 * PAGE:
        return PAGE // sizeof(real_t)
    return x.n if n + 1 < batch else x.c - n * x.n


cdef inline void plane_taps(const weight_grad_t *g, const int taps, const int step, index_t k,
                               const column_t *columns, const real_t *zeros,
                               real_t *db) noexcept nogil:
    """All taps of filter k, over all images."""
    cdef const conv_t *c = &g.conv
    cdef vec_t sums[PLANE_TAPS * PLANE_TAPS + 1]
    cdef const real_t *plane
    cdef const real_t *dy
    cdef index_t n, p, left, tap
    cdef index_t ahead[2]
    for tap in range(taps * taps + 1):
        sums[tap] = vzero()
    for n in range(c.batch):
        plane = c.x.data + n * c.x.n + k // c.filters * c.x.c
        dy = c.y.data + n * c.y.n + k * c.y.c
        ahead[0], ahead[1] = plane_ahead(&c.x, n, c.batch), plane_ahead(&c.y, n, c.batch)
        p = 0
        while p < c.axis[1].n_out:
            left = c.axis[1].n_out - p
            if step == 1 and left >= 4:
                plane_taps_rows(c, taps, step, 4, plane, zeros, p, columns, dy, ahead, sums)
                p, dy = p + 4, dy + 4 * c.y.at[1]
            elif left >= 2:
                plane_taps_rows(c, taps, step, 2, plane, zeros, p, columns, dy, ahead, sums)
                p, dy = p + 2, dy + 2 * c.y.at[1]
            else:
                plane_taps_rows(c, taps, step, 1, plane, zeros, p, columns, dy, ahead, sums)
                p, dy = p + 1, dy + c.y.at[1]
    for tap in range(taps * taps):
        g.out[k * g.filter + weight_offset(g, 0, tap)] = vsum(sums[tap])
    if db != NULL:
        db[k] = vsum(sums[taps * taps])


cdef void weight_planes_part(const weight_grad_t *g, const column_t *columns, const real_t *zeros,
                             real_t *db, index_t part, index_t parts) noexcept nogil:
    cdef index_t filters = g.conv.groups * g.conv.filters, k
    cdef bint three = g.conv.axis[2].taps == 3, one = g.conv.axis[2].step == 1
    flush_denormals()
    for k in range(filters * part // parts, filters * (part + 1) // parts):
        if three and one:
            plane_taps(g, 3, 1, k, columns, zeros, db)
        elif three:
            plane_taps(g, 3, 2, k, columns, zeros, db)
        elif one:
            plane_taps(g, 5, 1, k, columns, zeros, db)
        else:
            plane_taps(g, 5, 2, k, columns, zeros, db)


cdef void weight_planes_run(const weight_grad_t *g, real_t *db, real_t *scratch,
                            int threads) noexcept nogil:
    """scratch: planes_scratch elements."""
    cdef const axis_t *w = &g.conv.axis[2]
    cdef column_t *columns = <column_t *> scratch
    cdef real_t *zeros = scratch + columns_size(w)
    cdef int part
    list_columns(w, ceil_div(w.n_out, VL), columns)
    zero_run(zeros, w.n_in)
    if threads == 1:
        weight_planes_part(g, columns, zeros, db, 0, 1)
    else:
        for part in prange(threads, num_threads=threads, schedule="static"):
            weight_planes_part(g, columns, zeros, db, part, threads)
