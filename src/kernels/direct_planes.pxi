# Few input channels, NCHW: forward, and the input gradient with its few outputs. No product: im2col of
# 1 to 4 channels costs as much to copy as to multiply.
#
# A block is VL pixels of `rows` rows for `filters` filters, its sums in registers. For each channel
# and tap: one vector of x a row, read where it lies, shifted by the tap, and one weight a filter.
#
#     rows 4 x filters 4    16 multiply-adds, 4 loads, 4 splats
#
# Edges as in depthwise_planes.pxi: masks at the sides, a row of zeros above and below. At stride 2 the
# inputs of a tap are every other element of two vectors. The input gradient at stride 2 computes two
# phases along w (conv_input_grad.pxi) and interleaves them in registers.

cdef enum:
    DIRECT_FILTERS = 4
    DIRECT_ROWS = 4     # 8 where there is one filter
    DIRECT_TAPS = 16    # along an axis, at most

cdef struct direct_t:
    const conv_t *phase     # of the stride; forward: one
    int down, across        # how many along h, along w
    index_t rows            # of a block
    const real_t *weights   # of each phase: [block of filters][channel][tap][filter]
    const real_t *zeros     # a row of x


cdef inline void direct_block(const conv_t *c, const int step, const int rows, const int filters,
                              const bint whole, const real_t *x, const index_t *lines,
                              const real_t *zeros, index_t at, const lanes_t *lanes,
                              const real_t *w, real_t *out) noexcept nogil:
    """out[row][filter][VL]. lines: where the block's input rows lie in a plane, -1 for none."""
    cdef vec_t sums[2 * DIRECT_ROWS][DIRECT_FILTERS]
    cdef vec_t v[2 * DIRECT_ROWS]
    cdef vec_t weight
    cdef const real_t *line[2 * DIRECT_ROWS]
    cdef index_t channel, r, s, h
    cdef int i, k
    for i in range(rows):
        for k in range(filters):
            sums[i][k] = vzero()
    for channel in range(c.channels):
        for r in range(c.axis[1].taps):
            for i in range(rows):
                h = lines[i * c.axis[1].step + r]
                line[i] = zeros + at
                if h >= 0:
                    line[i] = x + h + at
            for s in range(c.axis[2].taps):
                for i in range(rows):
                    if step == 1:
                        v[i] = vload(line[i] + s) if whole else vload_some(line[i] + s, lanes[s])
                    elif whole:
                        v[i] = veven(vload(line[i] + s), vload(line[i] + s + VL))
                    else:
                        v[i] = veven(vload_some(line[i] + s, lanes[2 * s]),
                                     vload_some(line[i] + s + VL, lanes[2 * s + 1]))
                for k in range(filters):
                    weight = vsplat(w[k])
                    for i in range(rows):
                        sums[i][k] = sums[i][k] + weight * v[i]
                w += filters
        x += c.x.c
    for i in range(rows):
        for k in range(filters):
            vstore(out + (i * filters + k) * VL, sums[i][k])


cdef inline void direct_rows(const conv_t *c, const int step, const bint whole, index_t rows,
                             index_t filters, const real_t *x, const index_t *lines,
                             const real_t *zeros, index_t at, const lanes_t *lanes,
                             const real_t *w, real_t *out) noexcept nogil:
    if rows > DIRECT_ROWS:
        direct_block(c, step, 2 * DIRECT_ROWS, 1, whole, x, lines, zeros, at, lanes, w, out)
    elif filters == 4:
        direct_block(c, step, DIRECT_ROWS, 4, whole, x, lines, zeros, at, lanes, w, out)
    elif filters == 3:
        direct_block(c, step, DIRECT_ROWS, 3, whole, x, lines, zeros, at, lanes, w, out)
    elif filters == 2:
        direct_block(c, step, DIRECT_ROWS, 2, whole, x, lines, zeros, at, lanes, w, out)
    else:
        direct_block(c, step, DIRECT_ROWS, 1, whole, x, lines, zeros, at, lanes, w, out)


cdef void direct_column(const conv_t *c, index_t q, index_t rows, index_t filters,
                        const real_t *x, const index_t *lines, const real_t *zeros,
                        const real_t *w, real_t *out) noexcept nogil:
    """The block whose pixels begin at q."""
    cdef const axis_t *axis = &c.axis[2]
    cdef index_t at = q * axis.step + axis.offset, s, end
    cdef index_t count = max_index(0, min_index(VL, axis.n_out - q))
    cdef lanes_t lanes[2 * DIRECT_TAPS]
    if (count == VL and at >= 0 and at + axis.taps - 1 + axis.step * VL <= axis.n_in):
        if axis.step == 1:
            direct_rows(c, 1, True, rows, filters, x, lines, zeros, at, lanes, w, out)
        else:
            direct_rows(c, 2, True, rows, filters, x, lines, zeros, at, lanes, w, out)
        return
    for s in range(axis.taps):
        end = min_index(count * axis.step, axis.n_in - at - s)
        if axis.step == 1:
            lanes[s] = vlanes(-at - s, end)
        else:
            lanes[2 * s] = vlanes(-at - s, end)
            lanes[2 * s + 1] = vlanes(-at - s - VL, end - VL)
    if axis.step == 1:
        direct_rows(c, 1, False, rows, filters, x, lines, zeros, at, lanes, w, out)
    else:
        direct_rows(c, 2, False, rows, filters, x, lines, zeros, at, lanes, w, out)


cdef inline void direct_store(const conv_t *c, index_t rows, index_t filters, const real_t *even,
                              const real_t *odd, const real_t *bias, index_t width,
                              real_t *y) noexcept nogil:
    """Bias, activation, and both phases interleaved. width: what is left of the rows of y."""
    cdef index_t i, k
    cdef vec_t a, b, add
    cdef lanes_t lower = vlanes(0, width), upper = vlanes(-VL, width - VL)
    for i in range(rows):
        for k in range(filters):
            add = vsplat(bias[k]) if bias != NULL else vzero()
            a = vload(even + (i * filters + k) * VL) + add
            if odd != NULL:
                b = vload(odd + (i * filters + k) * VL) + add
                vstore_some(y + i * c.y.at[1] + k * c.y.c, lower, vlower(a, b))
                vstore_some(y + i * c.y.at[1] + k * c.y.c + VL, upper, vupper(a, b))
            else:
                vstore_some(y + i * c.y.at[1] + k * c.y.c, lower, vrelu(a) if c.relu else a)


cdef void direct_task(const direct_t *d, index_t task) noexcept nogil:
    """A block of rows of one image: all filters, all phases."""
    cdef const conv_t *c = d.phase
    cdef index_t blocks = ceil_div(c.axis[1].n_out, d.rows), n = task // blocks
    cdef index_t p = task % blocks * d.rows, q, j, h, k, filters, rows, width = 0, size
    cdef index_t lines[2 * 2 * DIRECT_ROWS + DIRECT_TAPS]
    cdef real_t sums[2 * DIRECT_ROWS * DIRECT_FILTERS * VL]
    cdef real_t *odd
    cdef const real_t *x
    cdef const real_t *w = d.weights
    cdef int a, b
    flush_denormals()
    x = c.x.data + n * c.x.n
    for b in range(d.across):
        width += c[b].axis[2].n_out
    for a in range(d.down):
        rows = min_index(d.rows, c.axis[1].n_out - p)
        for j in range((d.rows - 1) * c.axis[1].step + c.axis[1].taps):
            h = p * c.axis[1].step + c.axis[1].offset + j
            lines[j] = h * c.x.at[1] if h >= 0 and h < c.axis[1].n_in else -1
        size = c.channels * c.filters * c.taps
        k = 0
        while k < c.filters and rows > 0:
            filters = min_index(DIRECT_FILTERS, c.filters - k)
            q = 0
            while q < c.axis[2].n_out:
                odd = NULL
                direct_column(c, q, d.rows, filters, x, lines, d.zeros,
                              w + k * c.channels * c.taps, sums)
                if d.across == 2:
                    odd = sums + DIRECT_ROWS * DIRECT_FILTERS * VL
                    direct_column(c + 1, q, d.rows, filters, x, lines, d.zeros,
                                  w + size + k * c.channels * c[1].taps, odd)
                direct_store(c, rows, filters, sums, odd, c.bias + k if c.bias != NULL else NULL,
                             width - d.across * q, c.y.data + n * c.y.n + k * c.y.c
                             + p * c.y.at[1] + q * c.y.at[2])
                q += VL
            k += filters
        for b in range(d.across):
            w += c.channels * c.filters * c.taps
            c += 1


cdef void pack_direct(const conv_t *c, real_t *out) noexcept nogil:
    cdef index_t k = 0, channel, r, s, i, filters
    while k < c.filters:
        filters = min_index(DIRECT_FILTERS, c.filters - k)
        for channel in range(c.channels):
            for r in range(c.axis[1].taps):
                for s in range(c.axis[2].taps):
                    for i in range(filters):
                        out[0] = c.w[(k + i) * c.w_filter + channel * c.w_channel
                                     + r * c.w_tap[1] + s * c.w_tap[2]]
                        out += 1
        k += filters


cdef index_t direct_planes_scratch(const conv_t *forward) noexcept nogil:
    return (padded(forward.channels * forward.filters * forward.taps)
            + padded(max_index(forward.axis[2].n_in, forward.axis[2].n_out)))


cdef void direct_planes_run(const conv_t *c, int down, int across, real_t *scratch,
                            int n_threads) noexcept nogil:
    """c: the phases; the first has the most rows and columns."""
    cdef direct_t d
    cdef index_t tasks, task, work = 0
    cdef int i, threads
    cdef real_t *weights = scratch
    d.phase, d.down, d.across = c, down, across
    d.weights = scratch
    for i in range(down * across):
        pack_direct(&c[i], weights)
        weights += c[i].channels * c[i].filters * c[i].taps
        work += c.batch * c[i].pixels * c[i].channels * c[i].filters * c[i].taps
    d.zeros = weights
    zero_run(weights, c.axis[2].n_in)
    d.rows = 2 * DIRECT_ROWS if c.filters == 1 else DIRECT_ROWS
    tasks = c.batch * ceil_div(c.axis[1].n_out, d.rows)
    threads = threads_for(work // 16, n_threads)
    if threads == 1:
        for task in range(tasks):
            direct_task(&d, task)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            direct_task(&d, task)
