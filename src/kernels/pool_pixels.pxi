# Pooling channels-last images with windows of 3 columns by steps of 1 or 2, without indices.
#
#   x rows of a window, a column --down--> S(column), C channels in registers
#   y pixel q = S(q s - pad), S(q s - pad + 1), S(q s - pad + 2) together
#
# Along a row the next window's first columns are the last ones of this, so that a pixel of y costs
# 3 loads (6 by steps of 2) and nothing is buffered. As runs of taps, along and then down, the sums
# went through memory twice: 3x3/1 on 2x64x28x28 27 us instead of 13, on 32x64x56x56 4.3 ms instead
# of 1.8.

cdef enum:
    PIXEL_VECTORS = 4     # channels at once


cdef bint pixels_forward(const pool_t *g) noexcept nogil:
    """Whether the functions below are for such windows."""
    return (g.inner >= VL and g.k[0] == 1 and g.k[2] == 3 and g.d[2] == 1
            and (g.s[2] == 1 or g.s[2] == 2) and g.q[2] <= WIDEST)


cdef inline void column_down(bint maximum, int width, const real_t *x, index_t rows, index_t step,
                             bint inside, vec_t *out) noexcept nogil:
    """A column's rows, `step` apart, `width` vectors of channels; outside the image an edge."""
    cdef vec_t a, edge = vsplat(-INFINITY if maximum else 0)
    cdef index_t r
    cdef int j
    for j in range(width):
        if not inside:
            out[j] = edge
            continue
        prefetch_ahead(x + (rows - 1) * step + j * VL)
        a = vload(x + j * VL)
        for r in range(1, rows):
            a = fold(maximum, a, vload(x + r * step + j * VL))
        out[j] = a


cdef inline void pixels_along(bint maximum, int width, index_t s, const real_t *x, index_t rows,
                              index_t step, const pool_t *g, real_t factor, const real_t *scale,
                              real_t *y) noexcept nogil:
    """A row of y, `width` vectors of its channels."""
    cdef vec_t a[PIXEL_VECTORS]
    cdef vec_t b[PIXEL_VECTORS]
    cdef vec_t c[PIXEL_VECTORS]
    cdef vec_t v
    cdef index_t q, inner = g.inner, n = g.n[2], column = -g.p[2], windows = g.q[2]
    cdef int j
    column_down(maximum, width, x + column * inner, rows, step, 0 <= column < n, a)
    if s == 1:
        column_down(maximum, width, x + (column + 1) * inner, rows, step, 0 <= column + 1 < n, b)
    for q in range(windows):
        if s == 2:
            column_down(maximum, width, x + (column + 1) * inner, rows, step, 0 <= column + 1 < n,
                        b)
        column_down(maximum, width, x + (column + 2) * inner, rows, step, 0 <= column + 2 < n, c)
        for j in range(width):
            v = fold(maximum, fold(maximum, a[j], b[j]), c[j])
            if not maximum:
                v = v * vsplat(factor * scale[q])
            vstore_ahead(y + j * VL, v)
            a[j] = b[j] if s == 1 else c[j]
            if s == 1:
                b[j] = c[j]
        y += inner
        column += s


cdef inline void pixels_row(bint maximum, index_t s, const real_t *x, index_t rows, index_t step,
                            const pool_t *g, real_t factor, const real_t *scale,
                            real_t *y) noexcept nogil:
    cdef index_t c = 0
    while c + PIXEL_VECTORS * VL <= g.inner:
        if rows == 3:
            pixels_along(maximum, PIXEL_VECTORS, s, x + c, 3, step, g, factor, scale, y + c)
        else:
            pixels_along(maximum, PIXEL_VECTORS, s, x + c, rows, step, g, factor, scale, y + c)
        c += PIXEL_VECTORS * VL
    while c < g.inner:
        c = min_index(c, g.inner - VL)
        pixels_along(maximum, 1, s, x + c, rows, step, g, factor, scale, y + c)
        c += VL


cdef inline void pixels_rows(const planes_t *plan, bint maximum, index_t s, index_t row,
                             index_t end, real_t *scale) noexcept nogil:
    """Rows row ... end - 1 of y, counted over all images."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef index_t length = g.n[2] * g.inner, p = row % g.q[1], slice = row // g.q[1], i, h, rows
    cdef real_t factor = 1
    if not maximum:
        for i in range(g.q[2]):
            scale[i] = 1 / <double> (g.divisor if g.divisor else counted(g, 2, i))
    for row in range(row, end):
        rows = taps_inside(g, 1, p, &h)
        if not maximum:
            factor = 1 / <double> counted(g, 1, p)
        pixels_row(maximum, s, f.src + source_slice(f, slice) * g.inner + h * length, rows,
                   g.d[1] * length, g, factor, scale, f.dst + row * g.q[2] * g.inner)
        p += 1
        if p == g.q[1]:
            p = 0
            slice += 1


cdef void pixels_part(const planes_t *f, index_t part, index_t parts,
                      real_t *memory) noexcept nogil:
    cdef index_t rows = f.g.planes * f.g.q[0] * f.g.q[1]
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    flush_denormals_if(not f.maximum)
    if f.maximum and f.g.s[2] == 1:
        pixels_rows(f, True, 1, row, end, memory)
    elif f.maximum:
        pixels_rows(f, True, 2, row, end, memory)
    elif f.g.s[2] == 1:
        pixels_rows(f, False, 1, row, end, memory)
    else:
        pixels_rows(f, False, 2, row, end, memory)


cdef int special_forward(planes_t *f, cnp.ndarray x, cnp.ndarray y, int n_threads) except -1:
    """Whether one of the special kernels was there to make y from x."""
    if planes_kind(&f.g) != NO_PLANES:
        planes_forward(f, x, y, n_threads)
        return True
    if not pixels_forward(&f.g):
        return False
    f.src = pointer(x)
    f.dst = pointer(y)
    run_planes(f, pixels_part, max_index(cnp.PyArray_SIZE(x), cnp.PyArray_SIZE(y)), f.g.q[2],
               n_threads)
    return True
