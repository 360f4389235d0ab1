# Gradients of pooling channels-last images with at least a vector of channels.
#
#   dx pixel (h, w), C channels   =   sum over the windows (p, q) that hold it of
#                                     average: dy pixel (p, q) / divisor
#                                     maximum: dy pixel (p, q) where its index is h*W + w
#
# A pixel of dx is formed once, in registers, from whole pixels of dy, so nothing is buffered and no
# edge needs padding: windows that do not exist are not in the sum. Windows of 3 columns by steps of 1
# or 2, and of 2 by 2, go along a row of dx once, and give to the columns that they hold:
#
#   window q     columns q s - pad ...  +=  a, b, c     the first s of them are done: stored
#   window q+1                              b, c, 0  or  c, 0, 0
#
# Other windows are gathered, a pixel from all that hold it: 18 loads a vector instead of 6 for 3x3/1,
# 56 us instead of 27 (2x64x28x28). As runs of taps the sums went through memory.


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


cdef inline index_t last_to_check(const pool_t *g, index_t h, index_t first) noexcept nogil:
    """Behind the rows of windows that are used up to row h of dx; below it, all that are left."""
    return g.q[1] if h + 1 == g.n[1] else min_index(first + windows_with(g, 1, h, first), g.q[1])


cdef void set_weights(const pool_t *g, bint maximum, real_t *memory) noexcept nogil:
    """Of an average's rows and columns of windows: 1 / divisor is the product of two."""
    cdef index_t i
    if maximum:
        return
    for i in range(g.q[1]):
        memory[i] = 1 / <double> counted(g, 1, i)
    for i in range(g.q[2]):
        memory[g.q[1] + i] = 1 / <double> (g.divisor if g.divisor else counted(g, 2, i))


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
    cdef index_t last, checked = first_window(g, 1, row % g.n[1])
    cdef const real_t *row_weight = memory
    cdef const real_t *column_weight = memory + g.q[1]
    cdef const real_t *dy
    cdef const int32_t *at
    cdef real_t *dx = f.dst + row * g.n[2] * inner
    cdef lane_t place
    set_weights(g, maximum, memory)
    for row in range(row, end):
        slice = row // g.n[1]
        h = row % g.n[1]
        p = first_window(g, 1, h)
        rows = windows_with(g, 1, h, p)
        checked = check_windows(f, slice, checked if h else 0, last_to_check(g, h, p))
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
            if rows == 1 and columns == 1:
                gather_pixel(maximum, dy, at, 1, 1, step, inner, place, row_weight + p,
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


cdef inline bint inside_row(index_t column, const pool_t *g) noexcept nogil:
    return 0 <= column < g.n[2]


cdef inline void spread_window(bint maximum, index_t k, const real_t *dy, const int32_t *at,
                               index_t rows, index_t step, const mask_t *here,
                               const real_t *row_weight, real_t column_weight,
                               vec_t *a, vec_t *b, vec_t *c) noexcept nogil:
    """What a vector of a window's channels gives to a, b and c, the sums of its k columns."""
    cdef vec_t v = vzero()
    cdef mask_t where
    cdef index_t r
    for r in range(rows):
        if maximum:
            v = vload(dy + r * step)
            where = iload32(at + r * step)
            a[0] = vadd_equal(a[0], where, here[0], v)
            b[0] = vadd_equal(b[0], where, here[1], v)
            if k == 3:
                c[0] = vadd_equal(c[0], where, here[2], v)
        else:
            v = v + vsplat(row_weight[r]) * vload(dy + r * step)
    if not maximum:
        v = v * vsplat(column_weight)
        a[0] = a[0] + v
        b[0] = b[0] + v
        if k == 3:
            c[0] = c[0] + v


cdef inline void spread_pixels_along(bint maximum, int width, index_t k, index_t s,
                                     const real_t *dy, const int32_t *at, index_t rows,
                                     index_t step, const pool_t *g, lane_t place,
                                     const real_t *row_weight, const real_t *column_weight,
                                     real_t *dx) noexcept nogil:
    """A row of dx, `width` vectors of its channels, from `rows` rows of windows, `step` apart."""
    cdef vec_t a[PIXEL_VECTORS]
    cdef vec_t b[PIXEL_VECTORS]
    cdef vec_t c[PIXEL_VECTORS]
    cdef mask_t here[3]
    cdef index_t q, inner = g.inner, column = -g.p[2], last = (rows - 1) * step
    cdef int j
    for j in range(width):
        a[j] = b[j] = c[j] = vzero()
    for q in range(g.q[2]):
        here[0] = isplat(place + <lane_t> column)
        here[1] = isplat(place + <lane_t> column + 1)
        here[2] = isplat(place + <lane_t> column + 2)
        for j in range(width):
            prefetch_ahead(dy + last + j * VL)
            if maximum:
                prefetch_ahead(at + last + j * VL)
            spread_window(maximum, k, dy + j * VL, at + j * VL, rows, step, here, row_weight,
                          column_weight[q], a + j, b + j, c + j)
        if inside_row(column, g):
            for j in range(width):
                vstore_ahead(dx + column * inner + j * VL, a[j])
        if s == 2 and inside_row(column + 1, g):
            for j in range(width):
                vstore_ahead(dx + (column + 1) * inner + j * VL, b[j])
        for j in range(width):
            a[j] = b[j] if s == 1 else c[j]
            b[j] = c[j] if s == 1 else vzero()
            c[j] = vzero()
        column += s
        dy += inner
        at += inner
    # Columns that only the last windows hold, or none.
    for column in range(max_index(column, 0), g.n[2]):
        for j in range(width):
            vstore_ahead(dx + column * inner + j * VL, a[j])
            a[j] = b[j]
            b[j] = vzero()


cdef inline void spread_pixels_row(bint maximum, index_t k, index_t s, const real_t *dy,
                                   const int32_t *at, index_t rows, index_t step,
                                   const pool_t *g, lane_t place, const real_t *row_weight,
                                   const real_t *column_weight, real_t *dx) noexcept nogil:
    cdef index_t c = 0
    while c + PIXEL_VECTORS * VL <= g.inner:
        if rows == 3:
            spread_pixels_along(maximum, PIXEL_VECTORS, k, s, dy + c, at + c, 3, step, g, place,
                                row_weight, column_weight, dx + c)
        elif rows == 2:
            spread_pixels_along(maximum, PIXEL_VECTORS, k, s, dy + c, at + c, 2, step, g, place,
                                row_weight, column_weight, dx + c)
        elif rows == 1:
            spread_pixels_along(maximum, PIXEL_VECTORS, k, s, dy + c, at + c, 1, step, g, place,
                                row_weight, column_weight, dx + c)
        else:
            spread_pixels_along(maximum, PIXEL_VECTORS, k, s, dy + c, at + c, rows, step, g, place,
                                row_weight, column_weight, dx + c)
        c += PIXEL_VECTORS * VL
    while c < g.inner:
        c = min_index(c, g.inner - VL)
        spread_pixels_along(maximum, 1, k, s, dy + c, at + c, rows, step, g, place, row_weight,
                            column_weight, dx + c)
        c += VL


cdef inline void spread_pixels(const planes_t *plan, bint maximum, index_t k, index_t s,
                               index_t row, index_t end, real_t *memory) noexcept nogil:
    """Rows row ... end - 1 of dx, counted over all images, for windows of k columns, s apart."""
    cdef planes_t copy = plan[0]
    cdef const planes_t *f = &copy
    cdef const pool_t *g = &f.g
    cdef index_t step = g.q[2] * g.inner, slice, h, p, i
    cdef index_t checked = first_window(g, 1, row % g.n[1])
    set_weights(g, maximum, memory)
    for row in range(row, end):
        slice = row // g.n[1]
        h = row % g.n[1]
        p = first_window(g, 1, h)
        checked = check_windows(f, slice, checked if h else 0, last_to_check(g, h, p))
        i = (slice * g.q[1] + p) * step
        spread_pixels_row(maximum, k, s, f.src + i, f.indices + i, windows_with(g, 1, h, p), step,
                          g, <lane_t> ((slice % g.n[0] * g.n[1] + h) * g.n[2]), memory + p,
                          memory + g.q[1], f.dst + row * g.n[2] * g.inner)


cdef inline void pixels_backward_kind(const planes_t *f, bint maximum, index_t row, index_t end,
                                      real_t *memory) noexcept nogil:
    cdef const pool_t *g = &f.g
    if g.k[2] == 3 and g.s[2] == 1:
        spread_pixels(f, maximum, 3, 1, row, end, memory)
    elif g.k[2] == 3 and g.s[2] == 2:
        spread_pixels(f, maximum, 3, 2, row, end, memory)
    elif g.k[2] == 2 and g.s[2] == 2:
        spread_pixels(f, maximum, 2, 2, row, end, memory)
    else:
        gather_pixels(f, maximum, row, end, memory)


cdef void pixels_backward_part(const planes_t *f, index_t part, index_t parts,
                               real_t *memory) noexcept nogil:
    cdef index_t rows = f.g.planes * f.g.n[0] * f.g.n[1]
    cdef index_t row = rows * part // parts, end = rows * (part + 1) // parts
    flush_denormals_if(not f.maximum)
    if f.maximum:
        pixels_backward_kind(f, True, row, end, memory)
    else:
        pixels_backward_kind(f, False, row, end, memory)
