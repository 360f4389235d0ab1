# Few input channels, channels-last.
#
# Forward: the S x C inputs of a pixel in one row are one run, those of the next pixel begin stride x C
# further on. So a strip of input rows, copied once with its padding, is for each row of taps a matrix
# whose rows overlap, and the engine's tile multiplies it where it is, without im2col:
#
#     strip row h    | 0 0 0 | r g b | r g b | r g b | ...      pixel q      |-- S x C --|
#                                                               pixel q + 1          |-- S x C --|
#
# Input gradient: outputs of 1 to 4 channels leave a vector along them empty. The product of dy's pixels
# with the weights as K x (r, s, c) fills it; its rows are added, pixel after pixel, to the runs of dx that
# the pixel read. A strip of dx belongs to one task, which goes over all of dy that reaches it: what is
# added to an element, and in which order, is the same for every split.

cdef enum:
    STRIP_ROWS = 64     # of dx, of a task
    FORWARD_ROWS = 8    # of y


cdef inline index_t direct_panels(const conv_t *c, bint gradient) noexcept nogil:
    """Elements of the packed weights: panels of NR columns."""
    if gradient:
        return ceil_div(c.channels * c.taps, NR) * NR * c.filters
    return ceil_div(c.filters, NR) * NR * c.taps * c.channels


cdef void pack_direct_panels(const conv_t *c, bint gradient, real_t *out) noexcept nogil:
    """Forward: rows (r, s, c), columns filters. Gradient: rows filters, columns (r, s, c)."""
    cdef index_t across = c.axis[2].taps * c.channels, length = c.axis[1].taps * across
    cdef index_t k, j, row, rows, column, columns
    rows, columns = length, c.filters
    if gradient:
        rows, columns = c.filters, length
    for column in range(ceil_div(columns, NR) * NR):
        for row in range(rows):
            k, j = column, row
            if gradient:
                k, j = row, column
            out[column // NR * NR * rows + row * NR + column % NR] = 0
            if column < columns:
                out[column // NR * NR * rows + row * NR + column % NR] = c.w[
                    k * c.w_filter + j % c.channels * c.w_channel + j // across * c.w_tap[1]
                    + j % across // c.channels * c.w_tap[2]]


cdef inline index_t direct_row(const conv_t *c) noexcept nogil:
    """Elements of a row of the strip, with its padding."""
    return ((c.axis[2].n_out - 1) * c.axis[2].step + c.axis[2].taps) * c.channels


cdef inline index_t direct_pixels_scratch(const conv_t *c) noexcept nogil:
    """Elements of memory of a thread: a strip of x and a tile."""
    return padded(((FORWARD_ROWS - 1) * c.axis[1].step + c.axis[1].taps) * direct_row(c)) + MR * NR


cdef void copy_direct_row(const conv_t *c, const real_t *x, real_t *out) noexcept nogil:
    """A row of x with its padding; x: the row, or NULL above and below the image."""
    cdef index_t n = direct_row(c), first = c.axis[2].offset * c.channels
    cdef index_t begin = min_index(n, max_index(0, -first))
    cdef index_t end = max_index(begin, min_index(n, c.axis[2].n_in * c.channels - first))
    if x == NULL:
        zero_run(out, n)
        return
    zero_run(out, begin)
    copy_run(x + first + begin, out + begin, end - begin)
    zero_run(out + end, n - end)


cdef inline void tile_rows_of(index_t count, index_t done, index_t *rows) noexcept nogil:
    """The height of the next tile: what is left in equal parts of at most MR."""
    rows[0] = ceil_div(count - done, ceil_div(count - done, MR))


cdef void direct_pixels_task(const conv_t *c, index_t task, const real_t *panels,
                             real_t *scratch) noexcept nogil:
    """FORWARD_ROWS rows of one image, all filters."""
    cdef index_t blocks = ceil_div(c.axis[1].n_out, FORWARD_ROWS), n = task // blocks
    cdef index_t p0 = task % blocks * FORWARD_ROWS, i, h, p, q, r, k, rows, cols, j
    cdef index_t p1 = min_index(c.axis[1].n_out, p0 + FORWARD_ROWS), ld = direct_row(c)
    cdef index_t run = c.axis[2].taps * c.channels, step = c.axis[2].step * c.channels
    cdef index_t lines = (p1 - p0 - 1) * c.axis[1].step + c.axis[1].taps
    cdef real_t *tile = scratch
    cdef real_t *strip = scratch + MR * NR
    cdef real_t *y
    cdef const real_t *x
    cdef const real_t *bias = NULL
    cdef ahead_t nothing
    nothing.pieces = nothing.left = nothing.run = nothing.jump = 0
    nothing.c_rows = nothing.c_stride = 0
    nothing.next = nothing.c = NULL
    flush_denormals()
    for i in range(lines):
        h = p0 * c.axis[1].step + c.axis[1].offset + i
        x = NULL
        if h >= 0 and h < c.axis[1].n_in:
            x = c.x.data + n * c.x.n + h * c.x.at[1]
        copy_direct_row(c, x, strip + i * ld)
    for p in range(p0, p1):
        q = 0
        while q < c.axis[2].n_out:
            tile_rows_of(c.axis[2].n_out, q, &rows)
            k = 0
            while k < c.filters:
                cols = min_index(NR, c.filters - k)
                for r in range(c.axis[1].taps):
                    tile_of_rows(<int> rows, cols, run,
                                 strip + ((p - p0) * c.axis[1].step + r) * ld + q * step, step,
                                 panels + k * c.axis[1].taps * run + r * run * NR, NR, tile, NR,
                                 r > 0, &nothing)
                y = c.y.data + n * c.y.n + p * c.y.at[1] + q * c.y.at[2] + k
                if c.bias != NULL:
                    bias = c.bias + k
                if cols == NR:
                    store_tile(y, c.y.at[2], tile, rows, bias, COLUMN_BIAS, True, c.relu)
                else:
                    for j in range(rows):
                        store_run(y + j * c.y.at[2], tile + j * NR, bias, 1, 1, 0, cols, True,
                                  c.relu)
                k += NR
            q += rows


cdef void direct_pixels_run(const conv_t *c, real_t *panels, real_t *scratch, index_t per_thread,
                            int threads) noexcept nogil:
    cdef index_t tasks = c.batch * ceil_div(c.axis[1].n_out, FORWARD_ROWS), task
    pack_direct_panels(c, False, panels)
    if threads == 1:
        for task in range(tasks):
            direct_pixels_task(c, task, panels, scratch)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            direct_pixels_task(c, task, panels, scratch + threadid() * per_thread)


cdef inline index_t direct_sums(const conv_t *c) noexcept nogil:
    """Elements from one pixel's sums over the filters to the next."""
    return ceil_div(c.channels * c.taps, NR) * NR


cdef void add_direct_pixel(const conv_t *c, const real_t *sums, index_t p, index_t q, index_t h0,
                           index_t h1, real_t *dx) noexcept nogil:
    """Add one pixel's sums (r, s, c) to rows h0 <= h < h1 of an image of dx."""
    cdef index_t r, h, i, w = q * c.axis[2].step + c.axis[2].offset, run
    cdef index_t begin = max_index(0, -w) * c.channels
    cdef index_t end = min_index(c.axis[2].taps, c.axis[2].n_in - w) * c.channels
    cdef real_t *out
    cdef lanes_t lanes
    run = c.axis[2].taps * c.channels
    for r in range(c.axis[1].taps):
        h = p * c.axis[1].step + c.axis[1].offset + r
        if h < h0 or h >= h1:
            continue
        out = dx + h * c.x.at[1] + w * c.channels
        i = 0
        while i < run:
            lanes = vlanes(begin - i, end - i)
            vstore_some(out + i, lanes, vload_some(out + i, lanes) + vload(sums + r * run + i))
            i += VL


cdef void direct_gradient_task(const conv_t *c, index_t task, const real_t *panels,
                               real_t *sums) noexcept nogil:
    """STRIP_ROWS rows of one image of dx. c: the forward convolution, c.x is dx and c.y is dy."""
    cdef const axis_t *axis = &c.axis[1]
    cdef index_t strips = ceil_div(axis.n_in, STRIP_ROWS), n = task // strips
    cdef index_t h0 = task % strips * STRIP_ROWS, h1 = min_index(axis.n_in, h0 + STRIP_ROWS)
    cdef index_t p, p0, p1, q, rows, k, j, i, length = c.channels * c.taps, ld = direct_sums(c)
    cdef real_t *dx = c.x.data + n * c.x.n
    cdef const real_t *dy
    cdef ahead_t nothing
    nothing.pieces = nothing.left = nothing.run = nothing.jump = 0
    nothing.c_rows = nothing.c_stride = 0
    nothing.next = nothing.c = NULL
    flush_denormals()
    for i in range(h0 * c.x.at[1], h1 * c.x.at[1]):
        dx[i] = c.bias[i % c.channels] if c.bias != NULL else 0
    p0 = max_index(0, ceil_div(max_index(0, h0 - axis.offset - axis.taps + 1), axis.step))
    p1 = min_index(axis.n_out, (h1 - 1 - axis.offset) // axis.step + 1)
    for p in range(p0, p1):
        q = 0
        while q < c.axis[2].n_out:
            tile_rows_of(c.axis[2].n_out, q, &rows)
            dy = c.y.data + n * c.y.n + p * c.y.at[1] + q * c.y.at[2]
            k = 0
            while k < length:
                tile_of_rows(<int> rows, min_index(NR, length - k), c.filters, dy, c.y.at[2],
                             panels + k * c.filters, NR, sums + k, ld, False, &nothing)
                k += NR
            for j in range(rows):
                add_direct_pixel(c, sums + j * ld, p, q + j, h0, h1, dx)
            q += rows


cdef void direct_gradient_run(const conv_t *c, real_t *panels, real_t *scratch,
                              index_t per_thread, int threads) noexcept nogil:
    cdef index_t tasks = c.batch * ceil_div(c.axis[1].n_in, STRIP_ROWS), task
    pack_direct_panels(c, True, panels)
    if threads == 1:
        for task in range(tasks):
            direct_gradient_task(c, task, panels, scratch)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            direct_gradient_task(c, task, panels, scratch + threadid() * per_thread)
