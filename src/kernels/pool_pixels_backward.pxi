# Gradients of pooling channels-last images with at least a vector of channels.
#
#   dx pixel (h, w), C channels   =   sum over the windows (p, q) that hold it of
#                                     average: dy pixel (p, q) / divisor
#                                     maximum: dy pixel (p, q) where its index is h*W + w
#
# A pixel of dx is formed once, in registers, from whole pixels of dy, so nothing is buffered and no
# edge needs padding: windows that do not exist are not in the sum. As runs of taps, which is how
# other images go, the same sums cost a store and a load more for each: maximum 2x2 by 2, C64
# 56x56, 40 us instead of 30.


cdef enum:
    MOST_TAPS = 64        # of a window


cdef bint pixels_backward(const pool_t *g) noexcept nogil:
    """Whether the functions below are for such windows."""
    return (g.inner >= VL and g.k[0] == 1 and g.n[0] == g.q[0] and g.d[1] == 1 and g.d[2] == 1
            and g.q[1] <= WIDEST and g.q[2] <= WIDEST and g.k[1] * g.k[2] <= MOST_TAPS)


cdef inline index_t first_window(const pool_t *g, int axis, index_t i) noexcept nogil:
    """The first window that holds place i of an axis."""
    return max_index(ceil_div(i + g.p[axis] - g.k[axis] + 1, g.s[axis]), 0)


cdef inline index_t windows_with(const pool_t *g, int axis, index_t i, index_t first) noexcept nogil:
    return max_index(min_index((i + g.p[axis]) // g.s[axis], g.q[axis] - 1) - first + 1, 0)


cdef inline void gather_pixel(bint maximum, const real_t *dy, const int32_t *at, index_t rows,
                              index_t columns, index_t row, index_t inner, lane_t place,
                              const real_t *row_weight, const real_t *column_weight,
                              real_t *dx) noexcept nogil:
    """A pixel of dx from rows x columns pixels of dy; `row` elements between its rows."""
    cdef index_t c = 0, p, q, i
    cdef vec_t sum
    cdef vec_t weight[MOST_TAPS]
    cdef mask_t here = isplat(place)
    if not maximum:
        for p in range(rows):
            for q in range(columns):
                weight[p * columns + q] = vsplat(row_weight[p] * column_weight[q])
    while c < inner:
        c = min_index(c, inner - VL)
        sum = vzero()
        for p in range(rows):
            for q in range(columns):
                i = p * row + q * inner + c
                if maximum:
                    sum = vadd_equal(sum, iload32(at + i), here, vload(dy + i))
                else:
                    sum = sum + weight[p * columns + q] * vload(dy + i)
        prefetch_ahead(dx + c)
        vstore(dx + c, sum)
        c += VL


cdef inline void gather_pixels(const planes_t *plan, bint maximum, index_t row, index_t end,
                               real_t *memory) noexcept nogil:
    """Rows row ... end - 1 of dx, counted over all images. Which windows hold a pixel moves on with
    it: two divisions a pixel take as long as it does."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef index_t inner = g.inner, step = g.q[2] * g.inner, h, w, p, q, rows, columns, slice, i
    cdef index_t last
    cdef const real_t *row_weight = memory
    cdef const real_t *column_weight = memory + g.q[1]
    cdef const real_t *dy
    cdef const int32_t *at
    cdef real_t *dx = f.dst + row * g.n[2] * inner
    cdef lane_t place
    if not maximum:
        for i in range(g.q[1]):
            memory[i] = 1 / <double> counted(g, 1, i)
        for i in range(g.q[2]):
            memory[g.q[1] + i] = 1 / <double> (g.divisor if g.divisor else counted(g, 2, i))
    for row in range(row, end):
        slice = row // g.n[1]
        h = row % g.n[1]
        p = first_window(g, 1, h)
        rows = windows_with(g, 1, h, p)
        place = <lane_t> ((slice % g.n[0] * g.n[1] + h) * g.n[2])
        q = first_window(g, 2, 0)
        last = q + windows_with(g, 2, 0, q) - 1
        for w in range(g.n[2]):
            if q * g.s[2] + g.k[2] <= w + g.p[2]:
                q += 1
            if (last + 1) * g.s[2] <= w + g.p[2] and last + 1 < g.q[2]:
                last += 1
            columns = max_index(last - q + 1, 0)
            i = (slice * g.q[1] + p) * step + q * inner
            dy = f.src + i
            at = f.indices + i
            if rows:
                prefetch_pixel(maximum, dy + (rows - 1) * step, at + (rows - 1) * step, inner)
            if rows == 3 and columns == 3:
                gather_pixel(maximum, dy, at, 3, 3, step, inner, place, row_weight + p,
                             column_weight + q, dx)
            elif rows == 1 and columns == 1:
                gather_pixel(maximum, dy, at, 1, 1, step, inner, place, row_weight + p,
                             column_weight + q, dx)
            elif rows == 1 and columns == 2:
                gather_pixel(maximum, dy, at, 1, 2, step, inner, place, row_weight + p,
                             column_weight + q, dx)
            elif rows == 2 and columns == 1:
                gather_pixel(maximum, dy, at, 2, 1, step, inner, place, row_weight + p,
                             column_weight + q, dx)
            elif rows == 2 and columns == 2:
                gather_pixel(maximum, dy, at, 2, 2, step, inner, place, row_weight + p,
                             column_weight + q, dx)
            else:
                gather_pixel(maximum, dy, at, rows, columns, step, inner, place, row_weight + p,
                             column_weight + q, dx)
            dx += inner
            place += 1


cdef inline void prefetch_pixel(bint maximum, const real_t *dy, const int32_t *at,
                                index_t inner) noexcept nogil:
    cdef index_t c = 0
    while c < inner:
        prefetch_ahead(dy + c)
        if maximum:
            prefetch_ahead(at + c)
        c += VL


cdef void gather_pixels_part(const planes_t *f, index_t part, index_t parts,
                             real_t *memory) noexcept nogil:
    cdef index_t rows = f.g.planes * f.g.n[0] * f.g.n[1]
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    flush_denormals_if(not f.maximum)
    if f.maximum:
        gather_pixels(f, True, row, end, memory)
    else:
        gather_pixels(f, False, row, end, memory)
