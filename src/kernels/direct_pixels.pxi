# Few input channels, as pixels: channels-last, and small NCHW images.
#
# Forward: the S x C inputs of a pixel in one row are one run, those of the next pixel begin stride x C
# further on. So a strip of input rows, copied once with its padding, is for each row of taps a matrix
# whose rows overlap, and the engine's tile multiplies it where it is, without im2col:
#
#     strip row h    | 0 0 0 | r g b | r g b | r g b | ...      pixel q      |-- S x C --|
#                                                               pixel q + 1          |-- S x C --|
#
# Input gradient: outputs of a few channels leave a vector along them empty. The product of dy's pixels
# with the weights as K x (r, s, c) fills it; its rows are added, pixel after pixel, to the runs of dx that
# the pixel read. A strip of dx belongs to one task, which goes over all of dy that reaches it: what is
# added to an element, and in which order, is the same for every split.

cdef enum:
    STRIP_ROWS = 64     # of dx, of a task
    FORWARD_ROWS = 8    # of y, of a task
    PAGE = 4096         # bytes: so far ahead y is fetched


cdef inline index_t direct_panels(const conv_t *c, bint gradient) noexcept nogil:
    """Elements of the packed weights: panels of NR columns."""
    if gradient:
        return ceil_div(c.channels * c.taps, NR) * NR * c.filters
    return ceil_div(c.filters, NR) * NR * c.taps * c.channels


cdef void pack_direct_panels(const conv_t *c, bint gradient, real_t *out) noexcept nogil:
    """Forward: rows (r, s, c), columns filters. Gradient: rows filters, columns (r, s, c)."""
    cdef index_t filter = 0, column = 0, r, s, channel, k
    cdef const real_t *w
    cdef real_t *to
    if not gradient:
        while filter < c.filters:
            pack_panel(c, filter, min_index(NR, c.filters - filter), out)
            out += NR * c.taps * c.channels
            filter += NR
        return
    memset(out, 0, direct_panels(c, True) * sizeof(real_t))
    for r in range(c.axis[1].taps):
        for s in range(c.axis[2].taps):
            for channel in range(c.channels):
                w = c.w + channel * c.w_channel + r * c.w_tap[1] + s * c.w_tap[2]
                to = out + column // NR * NR * c.filters + column % NR
                for k in range(c.filters):
                    to[k * NR] = w[k * c.w_filter]
                column += 1


cdef inline index_t direct_row(const conv_t *c) noexcept nogil:
    """Elements of a row of the strip, with its padding."""
    return ((c.axis[2].n_out - 1) * c.axis[2].step + c.axis[2].taps) * c.channels


cdef inline index_t direct_rows_of(const conv_t *c) noexcept nogil:
    """Rows of outputs of a task."""
    return ceil_div(c.axis[1].n_out, ceil_div(c.axis[1].n_out, FORWARD_ROWS))


cdef inline index_t direct_strip(const conv_t *c) noexcept nogil:
    """Elements of a strip of x."""
    return (padded(((direct_rows_of(c) - 1) * c.axis[1].step + c.axis[1].taps) * direct_row(c))
            + square_spare(c))


cdef inline index_t direct_pixels_scratch(const conv_t *c) noexcept nogil:
    """Elements of memory of a thread: a strip of x; NCHW: its outputs as pixels."""
    cdef index_t size = direct_strip(c)
    if not c.x.channels_last:
        size += direct_rows_of(c) * c.axis[2].n_out * padded(c.filters)
    return size


cdef inline index_t square_spare(const conv_t *c) noexcept nogil:
    """Elements behind pixels that interleave and separate may touch."""
    return padded(VL * c.channels + VL)


cdef void interleave(const real_t *x, index_t plane, index_t channels, index_t n,
                     real_t *out) noexcept nogil:
    """out[i * channels + c] = x[c * plane + i] for i < n, and something behind it."""
    cdef real_t square[VL * VL]
    cdef index_t i = 0, c
    cdef lanes_t lanes
    if channels > VL:
        for i in range(n * channels):
            out[i] = x[i % channels * plane + i // channels]
        return
    zero_run(square + channels * VL, (VL - channels) * VL)
    while i < n:
        lanes = vlanes(0, n - i)
        for c in range(channels):
            vstore(square + c * VL, vload_some(x + c * plane + i, lanes))
        # Row after row: each overwrites the zeros behind the channels of the one before.
        vtranspose(square, VL, out + i * channels, channels)
        i += VL


cdef void separate(const real_t *pixels, index_t channels, index_t n, real_t *y,
                   index_t plane) noexcept nogil:
    """y[c * plane + i] = pixels[i * channels + c] for i < n; reads behind them too."""
    cdef real_t square[VL * VL]
    cdef index_t i = 0, c
    cdef lanes_t lanes
    if channels > VL:
        for i in range(n * channels):
            y[i % channels * plane + i // channels] = pixels[i]
        return
    while i < n:
        lanes = vlanes(0, n - i)
        vtranspose(pixels + i * channels, channels, square, VL)
        for c in range(channels):
            vstore_some(y + c * plane + i, lanes, vload(square + c * VL))
        i += VL


cdef void copy_direct_row(const conv_t *c, const real_t *x, real_t *out) noexcept nogil:
    """A row of x with its padding, as pixels; x: the row, or NULL above and below the image."""
    cdef index_t n = direct_row(c) // c.channels, first = c.axis[2].offset
    cdef index_t begin = min_index(n, max_index(0, -first))
    cdef index_t end = max_index(begin, min_index(n, c.axis[2].n_in - first))
    if x == NULL:
        zero_run(out, n * c.channels)
        return
    zero_run(out, begin * c.channels)
    if c.x.channels_last:
        copy_run(x + (first + begin) * c.channels, out + begin * c.channels,
                 (end - begin) * c.channels)
    else:
        interleave(x + first + begin, c.x.c, c.channels, end - begin, out + begin * c.channels)
    zero_run(out + end * c.channels, (n - end) * c.channels)


cdef inline void tile_rows_of(index_t count, index_t done, index_t *rows) noexcept nogil:
    """The height of the next tile: what is left in equal parts of at most MR."""
    rows[0] = ceil_div(count - done, ceil_div(count - done, MR))


cdef void direct_pixels_task(const conv_t *c, index_t task, const real_t *panels,
                             real_t *scratch) noexcept nogil:
    """Some rows of one image, all filters."""
    cdef index_t height = direct_rows_of(c), blocks = ceil_div(c.axis[1].n_out, height)
    cdef index_t n = task // blocks, p0 = task % blocks * height, ld = direct_row(c), y_ld = c.y.at[2]
    cdef index_t p1 = min_index(c.axis[1].n_out, p0 + height), i, h, p, q, k, rows, cols
    cdef index_t run = c.axis[2].taps * c.channels, step = c.axis[2].step * c.channels
    cdef direct_t shape
    cdef real_t *strip = scratch
    cdef real_t *y = c.y.data + n * c.y.n + p0 * c.y.at[1]
    cdef real_t *out
    cdef real_t *to
    cdef const real_t *x
    cdef const real_t *w
    cdef const real_t *bias
    flush_denormals()
    for i in range((p1 - p0 - 1) * c.axis[1].step + c.axis[1].taps):
        h = p0 * c.axis[1].step + c.axis[1].offset + i
        x = NULL
        if h >= 0 and h < c.axis[1].n_in:
            x = c.x.data + n * c.x.n + h * c.x.at[1]
        copy_direct_row(c, x, strip + i * ld)
    out = y
    if not c.x.channels_last:
        out, y_ld = scratch + direct_strip(c), padded(c.filters)
    shape.taps, shape.run, shape.ld, shape.step = c.axis[1].taps, run, ld, step
    shape.y_ld, shape.relu = y_ld, c.relu
    k = 0
    while k < c.filters:
        cols = min_index(NR, c.filters - k)
        w = panels + k * c.axis[1].taps * run
        bias = c.bias + k if c.bias != NULL else NULL
        for p in range(p1 - p0):
            q = 0
            while q < c.axis[2].n_out:
                tile_rows_of(c.axis[2].n_out, q, &rows)
                x = strip + p * c.axis[1].step * ld + q * step
                to = out + (p * c.axis[2].n_out + q) * y_ld + k
                direct_tile(<int> rows, &shape, x, w, bias, to, cols)
                q += rows
        k += NR
    if not c.x.channels_last:
        fill_transposed(out, y_ld, c.filters, (p1 - p0) * c.axis[2].n_out, y, c.y.c)


cdef void direct_pixels_run(const conv_t *c, real_t *panels, real_t *scratch, index_t per_thread,
                            int threads) noexcept nogil:
    cdef index_t tasks = c.batch * ceil_div(c.axis[1].n_out, direct_rows_of(c)), task
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


cdef inline index_t direct_gradient_scratch(const conv_t *c) noexcept nogil:
    """Elements of memory of a thread: a tile of sums; NCHW: a strip of dx as pixels."""
    cdef index_t size = MR * direct_sums(c) + VL
    if not c.x.channels_last:
        size += min_index(STRIP_ROWS, c.axis[1].n_in) * c.axis[2].n_in * c.channels
        size += square_spare(c)
    return size


cdef void add_direct_pixel(const conv_t *c, const real_t *sums, index_t p, index_t q, index_t h0,
                           index_t h1, real_t *dx) noexcept nogil:
    """Add one pixel's sums (r, s, c) to rows h0 <= h < h1 of an image of dx, as pixels."""
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
        out = dx + (h * c.axis[2].n_in + w) * c.channels
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
    cdef index_t unit = c.axis[2].n_in * c.channels
    cdef real_t *strip = c.x.data + n * c.x.n + h0 * unit
    cdef real_t *dx
    cdef const real_t *dy
    cdef ahead_t nothing
    nothing.pieces = nothing.left = nothing.run = nothing.jump = nothing.near = 0
    nothing.c_rows = nothing.c_stride = nothing.pace = 0
    nothing.next = nothing.c = nothing.stream = NULL
    flush_denormals()
    if not c.x.channels_last:
        strip = sums + MR * ld + VL
    dx = strip - h0 * unit
    for i in range((h1 - h0) * unit):
        strip[i] = c.bias[i % c.channels] if c.bias != NULL else 0
    p0 = max_index(0, ceil_div(max_index(0, h0 - axis.offset - axis.taps + 1), axis.step))
    p1 = min_index(axis.n_out, (h1 - 1 - axis.offset) // axis.step + 1)
    for p in range(p0, p1):
        q = 0
        while q < c.axis[2].n_out:
            tile_rows_of(c.axis[2].n_out, q, &rows)
            dy = c.y.data + n * c.y.n + p * c.y.at[1] + q * c.y.at[2]
            k = 0
            while k < length:
                if c.x.channels_last:
                    tile_of_rows(<int> rows, min_index(NR, length - k), c.filters, dy, c.y.at[2],
                                 panels + k * c.filters, NR, sums + k, ld, False, &nothing)
                else:
                    tile_of_columns(<int> rows, min_index(NR, length - k), c.filters, dy, c.y.c,
                                    panels + k * c.filters, NR, sums + k, ld, False, &nothing)
                k += NR
            for j in range(rows):
                add_direct_pixel(c, sums + j * ld, p, q + j, h0, h1, dx)
            q += rows
    if not c.x.channels_last:
        separate(strip, c.channels, (h1 - h0) * c.axis[2].n_in,
                 c.x.data + n * c.x.n + h0 * c.x.at[1], c.x.c)


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
