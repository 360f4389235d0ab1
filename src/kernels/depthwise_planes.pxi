# Depthwise convolution of NCHW planes, 3x3 and 5x5 at stride 1 or 2: forward and input gradient.
#
# VL outputs of up to ROWS rows go through the taps together; every input row is loaded once for all of
# them, shifted by each tap along w:
#
#     input row h       . . . a b c d e f . . .        outputs of row p = h + pad - r
#     tap s = 0         . . . a b c d                  sums[p] += w[r][0] * (a b c d)
#     tap s = 1         . . . . b c d e                sums[p] += w[r][1] * (b c d e)
#
# At stride 2 a tap's inputs are every other element of two vectors. The image's left and right edge are
# masks on these loads (columns_t, the same for all rows and planes), rows above and below it are a row of
# zeros: nothing is copied. Before, a copied window with its padding, and a list of the vectors of several
# rows, took 3 to 8 times as long on 14 and 7 wide images as the multiply-adds.

cdef enum:
    PLANE_ROWS = 4    # at stride 1; half at stride 2
    PLANE_TAPS = 5    # along an axis, at most

cdef struct column_t:
    # VL outputs of a row: where their inputs begin, and which exist.
    index_t q, at
    bint whole                      # all of them, in the image: no masks
    lanes_t inputs[PLANE_TAPS + 1]  # of each load
    lanes_t outputs[2]              # the second: of interleaved phases


cdef inline bint planes_fit(const conv_t *c) noexcept nogil:
    """Whether the kernels of this file compute c."""
    cdef const axis_t *h = &c.axis[1]
    cdef const axis_t *w = &c.axis[2]
    return (not c.x.channels_last and c.x.at[2] == 1 and c.y.at[2] == 1
            and c.axis[0].taps == 1 and c.axis[0].n_in == 1 and c.axis[0].n_out == 1
            and c.axis[0].offset == 0
            and h.taps == w.taps and (h.taps == 3 or h.taps == 5)
            and h.step == w.step and h.step <= 2 and h.tap_step == 1 and w.tap_step == 1)


cdef inline index_t columns_size(const axis_t *w) noexcept nogil:
    """Elements of memory for an axis' columns."""
    return padded(ceil_div(w.n_out, VL) * sizeof(column_t) // sizeof(real_t) + 1)


cdef void list_columns(const axis_t *w, index_t n, column_t *columns) noexcept nogil:
    """n columns; beyond the axis' outputs they are empty."""
    cdef index_t i, q, t, first, end, count, pairs = ceil_div(w.taps, 2)
    cdef column_t *column
    for i in range(n):
        column = &columns[i]
        q = i * VL
        count = max_index(0, min_index(VL, w.n_out - q))
        column.q, column.at = q, q * w.step + w.offset
        column.outputs[0] = vlanes(0, count)
        if w.step == 1:
            column.whole = (count == VL and column.at >= 0
                            and column.at + w.taps - 1 + VL <= w.n_in)
            for t in range(w.taps):
                first = column.at + t
                column.inputs[t] = vlanes(-first, min_index(count, w.n_in - first))
        else:
            column.whole = (count == VL and column.at >= 0
                            and column.at + 2 * pairs - 2 + 2 * VL <= w.n_in)
            for t in range(pairs):
                first = column.at + 2 * t
                end = min_index(2 * count, w.n_in - first)
                column.inputs[2 * t] = vlanes(-first, end)
                column.inputs[2 * t + 1] = vlanes(-first - VL, end - VL)


cdef inline void load_taps(const int taps, const int step, const bint whole,
                           const real_t *x, const column_t *column, vec_t *out) noexcept nogil:
    """out[s] = x[i * step + s] of VL outputs i."""
    cdef vec_t a, b
    cdef int s
    if step == 1:
        for s in range(taps):
            out[s] = vload(x + s) if whole else vload_some(x + s, column.inputs[s])
    else:
        for s in range(0, taps, 2):
            if whole:
                a, b = vload(x + s), vload(x + s + VL)
            else:
                a = vload_some(x + s, column.inputs[s])
                b = vload_some(x + s + VL, column.inputs[s + 1])
            out[s] = veven(a, b)
            if s + 1 < taps:
                out[s + 1] = vodd(a, b)


cdef inline void plane_line(const int taps, const int step, const int rows, const bint whole,
                            const int h, const real_t *x, const column_t *column, const vec_t *w,
                            vec_t *sums) noexcept nogil:
    """Input row h of a block, times the taps of all output rows that read it."""
    cdef vec_t v[PLANE_TAPS]
    cdef int r, s
    if h >= (rows - 1) * step + taps:
        return
    load_taps(taps, step, whole, x, column, v)
    for r in range(taps):
        if h >= r and (h - r) % step == 0 and (h - r) // step < rows:
            for s in range(taps):
                sums[(h - r) // step] = sums[(h - r) // step] + w[r * taps + s] * v[s]


cdef inline bint fills_lines(const axis_t *w) noexcept nogil:
    """Whether fetching what lies a page ahead pays: not where several rows share a cache line."""
    return w.n_in * sizeof(real_t) >= 64


cdef inline void plane_block(const int taps, const int step, const int rows, const bint whole,
                             const real_t **x, const column_t *column, const vec_t *w, vec_t bias,
                             bint relu, bint fetch, real_t *y, index_t ld) noexcept nogil:
    """One column of `rows` output rows; x: the input rows, one after the other."""
    cdef vec_t sums[PLANE_ROWS]
    cdef index_t at = column.at
    cdef int i
    for i in range(rows):
        sums[i] = bias
    if fetch:
        for i in range(rows * step):  # each row of x once: the others belong to the blocks beside
            prefetch_ahead(x[taps // 2 + i] + column.q * step)
            if step == 2:
                prefetch_ahead(x[taps // 2 + i] + column.q * step + VL)
        for i in range(rows):
            prefetch_ahead(y + column.q + i * ld)
    plane_line(taps, step, rows, whole, 0, x[0] + at, column, w, sums)
    plane_line(taps, step, rows, whole, 1, x[1] + at, column, w, sums)
    plane_line(taps, step, rows, whole, 2, x[2] + at, column, w, sums)
    plane_line(taps, step, rows, whole, 3, x[3] + at, column, w, sums)
    plane_line(taps, step, rows, whole, 4, x[4] + at, column, w, sums)
    plane_line(taps, step, rows, whole, 5, x[5] + at, column, w, sums)
    plane_line(taps, step, rows, whole, 6, x[6] + at, column, w, sums)
    plane_line(taps, step, rows, whole, 7, x[7] + at, column, w, sums)
    for i in range(rows):
        if relu:
            sums[i] = vrelu(sums[i])
        if whole:
            vstore(y + column.q + i * ld, sums[i])
        else:
            vstore_some(y + column.q + i * ld, column.outputs[0], sums[i])


cdef inline void plane_rows(const conv_t *c, const int taps, const int step, const int rows,
                            const real_t **x, const column_t *columns, const vec_t *w, vec_t bias,
                            real_t *y) noexcept nogil:
    cdef index_t i, ld = c.y.at[1]
    cdef bint fetch = fills_lines(&c.axis[2])
    for i in range(ceil_div(c.axis[2].n_out, VL)):
        if columns[i].whole:
            plane_block(taps, step, rows, True, x, &columns[i], w, bias, c.relu, fetch, y, ld)
        else:
            plane_block(taps, step, rows, False, x, &columns[i], w, bias, c.relu, fetch, y, ld)


cdef inline void list_lines(const conv_t *c, const real_t *plane, const real_t *zeros, index_t p,
                            int lines, const real_t **x) noexcept nogil:
    """The input rows that the output rows from p on read; of zeros where there is none."""
    cdef index_t h = p * c.axis[1].step + c.axis[1].offset
    cdef int i
    for i in range(lines):
        x[i] = plane + (h + i) * c.x.at[1] if h + i >= 0 and h + i < c.axis[1].n_in else zeros


cdef inline void plane_product(const conv_t *c, const int taps, const int step, index_t task,
                               const column_t *columns, const real_t *zeros) noexcept nogil:
    """Plane (n, k) of y."""
    cdef index_t filters = c.groups * c.filters, n = task // filters, k = task % filters, p = 0
    cdef const real_t *plane = c.x.data + n * c.x.n + k // c.filters * c.x.c
    cdef real_t *y = c.y.data + n * c.y.n + k * c.y.c
    cdef const real_t *x[PLANE_ROWS + PLANE_TAPS - 1]
    cdef vec_t w[PLANE_TAPS * PLANE_TAPS]
    cdef vec_t bias = vsplat(c.bias[k]) if c.bias != NULL else vzero()
    cdef const real_t *weights = c.w + k // c.filters * c.w_group + k % c.filters * c.w_filter
    cdef int r, s
    cdef index_t left
    for r in range(taps):
        for s in range(taps):
            w[r * taps + s] = vsplat(weights[r * c.w_tap[1] + s * c.w_tap[2]])
    while p < c.axis[1].n_out:
        left = c.axis[1].n_out - p
        if step == 1 and left >= 4:
            list_lines(c, plane, zeros, p, 3 + taps, x)
            plane_rows(c, taps, step, 4, x, columns, w, bias, y + p * c.y.at[1])
            p += 4
        elif step == 1 and left == 3:
            list_lines(c, plane, zeros, p, 2 + taps, x)
            plane_rows(c, taps, step, 3, x, columns, w, bias, y + p * c.y.at[1])
            p += 3
        elif left >= 2:
            list_lines(c, plane, zeros, p, step + taps, x)
            plane_rows(c, taps, step, 2, x, columns, w, bias, y + p * c.y.at[1])
            p += 2
        else:
            list_lines(c, plane, zeros, p, taps, x)
            plane_rows(c, taps, step, 1, x, columns, w, bias, y + p * c.y.at[1])
            p += 1


cdef void planes_part(const conv_t *c, const column_t *columns, const real_t *zeros, index_t part,
                      index_t parts) noexcept nogil:
    cdef index_t planes = c.batch * c.groups * c.filters, plane
    cdef bint three = c.axis[2].taps == 3, one = c.axis[2].step == 1
    flush_denormals()
    for plane in range(planes * part // parts, planes * (part + 1) // parts):
        if three and one:
            plane_product(c, 3, 1, plane, columns, zeros)
        elif three:
            plane_product(c, 3, 2, plane, columns, zeros)
        elif one:
            plane_product(c, 5, 1, plane, columns, zeros)
        else:
            plane_product(c, 5, 2, plane, columns, zeros)


cdef inline index_t planes_scratch(const conv_t *c) noexcept nogil:
    """Elements of memory that all threads share: columns, and a row of zeros."""
    return columns_size(&c.axis[2]) + padded(c.axis[2].n_in)


cdef void planes_run(const conv_t *c, real_t *scratch, int threads) noexcept nogil:
    cdef column_t *columns = <column_t *> scratch
    cdef real_t *zeros = scratch + columns_size(&c.axis[2])
    cdef int part
    list_columns(&c.axis[2], ceil_div(c.axis[2].n_out, VL), columns)
    zero_run(zeros, c.axis[2].n_in)
    if threads == 1:
        planes_part(c, columns, zeros, 0, 1)
    else:
        for part in prange(threads, num_threads=threads, schedule="static"):
            planes_part(c, columns, zeros, part, threads)


# Input gradient at stride 2. Each of the four phases of dx (conv_input_grad.pxi) is a convolution of dy
# with one or two taps along an axis; two neighbouring phases are interleaved in registers, so that rows
# of dx are written whole.

cdef bint phases_fit(const conv_t *forward) noexcept nogil:
    """Whether dx comes from planes_grad_run."""
    return planes_fit(forward) and forward.axis[2].step == 2 and forward.axis[2].taps == 3 \
        and forward.filters == 1 and forward.axis[1].n_in > 1 and forward.axis[2].n_in > 1


cdef inline vec_t phase_sum(const int taps_h, const int taps_w, const bint whole, const real_t **x,
                            const column_t *column, const vec_t *w, vec_t sum) noexcept nogil:
    """A vector of one phase's outputs."""
    cdef int r, s
    for r in range(taps_h):
        for s in range(taps_w):
            if whole:
                sum = sum + w[2 * r + s] * vload(x[r] + column.at + s)
            else:
                sum = sum + w[2 * r + s] * vload_some(x[r] + column.at + s, column.inputs[s])
    return sum


cdef inline void phase_row(const conv_t *c, const int taps_h, const int even, const int odd,
                           const real_t **x, const column_t *columns, index_t n,
                           const vec_t *w, vec_t bias, real_t *y) noexcept nogil:
    """A row of dx: its even elements have `even` taps along w, its odd ones `odd`."""
    cdef const column_t *column
    cdef vec_t a, b
    cdef index_t i
    for i in range(n):
        column = &columns[i]
        if fills_lines(&c.axis[2]):
            prefetch_ahead(x[0] + column.q)
            prefetch_ahead(y + 2 * column.q)
            prefetch_ahead(y + 2 * column.q + VL)
        if column.whole and columns[n + i].whole:
            a = phase_sum(taps_h, even, True, x, column, w, bias)
            b = phase_sum(taps_h, odd, True, x, &columns[n + i], w + 4, bias)
            vstore(y + 2 * column.q, vlower(a, b))
            vstore(y + 2 * column.q + VL, vupper(a, b))
        else:
            a = phase_sum(taps_h, even, False, x, column, w, bias)
            b = phase_sum(taps_h, odd, False, x, &columns[n + i], w + 4, bias)
            vstore_some(y + 2 * column.q, column.outputs[0], vlower(a, b))
            vstore_some(y + 2 * column.q + VL, column.outputs[1], vupper(a, b))


cdef void phases_plane(const conv_t *c, index_t task, const column_t *columns, index_t n,
                       const real_t *zeros) noexcept nogil:
    """Plane (n, k) of dx; c: its four phases."""
    cdef index_t image = task // c.groups, k = task % c.groups, i
    cdef const real_t *plane = c.x.data + image * c.x.n + k * c.x.c
    cdef const conv_t *phase
    cdef real_t *y
    cdef const real_t *x[2]
    cdef vec_t w[4 * 4]
    cdef vec_t bias = vsplat(c.bias[k]) if c.bias != NULL else vzero()
    cdef int a, r, s
    for a in range(4):
        for r in range(c[a].axis[1].taps):
            for s in range(c[a].axis[2].taps):
                w[4 * a + 2 * r + s] = vsplat(c[a].w[k * c.w_group + r * c[a].w_tap[1]
                                                     + s * c[a].w_tap[2]])
    for i in range(c.axis[1].n_out):
        for a in range(2):
            phase = &c[2 * a]
            if i == phase.axis[1].n_out:
                continue
            y = phase.y.data + image * c.y.n + k * c.y.c + i * c.y.at[1]
            list_lines(phase, plane, zeros, i, <int> phase.axis[1].taps, x)
            if phase.axis[1].taps == 1 and phase.axis[2].taps == 1:
                phase_row(c, 1, 1, 2, x, columns, n, w + 8 * a, bias, y)
            elif phase.axis[1].taps == 1:
                phase_row(c, 1, 2, 1, x, columns, n, w + 8 * a, bias, y)
            elif phase.axis[2].taps == 1:
                phase_row(c, 2, 1, 2, x, columns, n, w + 8 * a, bias, y)
            else:
                phase_row(c, 2, 2, 1, x, columns, n, w + 8 * a, bias, y)


cdef void phases_part(const conv_t *c, const column_t *columns, index_t n, const real_t *zeros,
                      index_t part, index_t parts) noexcept nogil:
    cdef index_t planes = c.batch * c.groups, plane
    flush_denormals()
    for plane in range(planes * part // parts, planes * (part + 1) // parts):
        phases_plane(c, plane, columns, n, zeros)


cdef inline index_t phases_scratch(const conv_t *c) noexcept nogil:
    return 2 * columns_size(&c.axis[2]) + padded(c.axis[2].n_in)


cdef void phases_run(const conv_t *c, real_t *scratch, int threads) noexcept nogil:
    """c: the four phases; scratch: phases_scratch elements."""
    cdef column_t *columns = <column_t *> scratch
    cdef real_t *zeros = scratch + 2 * columns_size(&c.axis[2])
    cdef index_t n = ceil_div(c.axis[2].n_out, VL), width = c[0].axis[2].n_out + c[1].axis[2].n_out, i
    cdef int part
    zero_run(zeros, c.axis[2].n_in)
    list_columns(&c[0].axis[2], n, columns)
    list_columns(&c[1].axis[2], n, columns + n)
    for i in range(n):
        columns[i].outputs[0] = vlanes(0, width - 2 * columns[i].q)
        columns[i].outputs[1] = vlanes(0, width - 2 * columns[i].q - VL)
    if threads == 1:
        phases_part(c, columns, n, zeros, 0, 1)
    else:
        for part in prange(threads, num_threads=threads, schedule="static"):
            phases_part(c, columns, n, zeros, part, threads)
