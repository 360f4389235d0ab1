# Depthwise weight gradient channels-last, 3x3 at stride 1 or 2, and the bias gradient.
#
# The sums of all nine taps of a vector of channels, and of dy, stay in registers over a strip of rows: x
# and dy are read once. Four pixels go together, so that an input column is loaded once for all the
# outputs that read it; the first and the last pixel of a row, at whose side a column is padding, go alone.
# The rows of all images are cut into chunks by the shape, each with sums of its own.

cdef enum:
    STRIP_PIXELS = 64   # of a strip, at least: between loading and storing the sums
    BLOCK_VECTORS = 16  # of channels, of a task


cdef bint weight_pixels_fit(const conv_t *c) noexcept nogil:
    return pixels_fit(c) and c.axis[1].taps == 3


cdef inline void pixel_taps_input(const int step, const int pixels, const bint left, const bint right,
                              const int r, const int j, const real_t *x, index_t ld,
                              const vec_t *dy, vec_t *sums) noexcept nogil:
    """Column j of a block's input row r, times the gradients of all pixels that read it."""
    cdef vec_t v
    cdef int s
    if (j >= (pixels - 1) * step + 3 or (left and j == 0)
            or (right and j == (pixels - 1) * step + 2)):
        return
    v = vload(x + j * ld)
    for s in range(3):
        if j >= s and (j - s) % step == 0 and (j - s) // step < pixels:
            sums[r * 3 + s] = sums[r * 3 + s] + dy[(j - s) // step] * v


cdef inline void pixel_taps_block(const int step, const int pixels, const bint left,
                               const bint right, const real_t **x, index_t at, index_t ld,
                               const real_t *dy, index_t dy_ld, vec_t *sums) noexcept nogil:
    """A vector of channels of `pixels` neighbours in a row."""
    cdef vec_t d[PIXELS]
    cdef int i, r
    for i in range(pixels):
        d[i] = vload(dy + i * dy_ld)
        sums[9] = sums[9] + d[i]
    for r in range(3):
        pixel_taps_input(step, pixels, left, right, r, 0, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 1, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 2, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 3, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 4, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 5, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 6, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 7, x[r] + at, ld, d, sums)
        pixel_taps_input(step, pixels, left, right, r, 8, x[r] + at, ld, d, sums)


cdef inline void pixel_taps_row(const conv_t *c, const int step, const real_t **x, const real_t *dy,
                            vec_t *sums) noexcept nogil:
    """A row of pixels. x: the three input rows, at the vector's first channel."""
    cdef const axis_t *w = &c.axis[2]
    cdef index_t q = 0, end = w.n_out, ld = c.x.at[2], dy_ld = c.y.at[2]
    cdef index_t at = w.offset * ld, last
    if right_of(w) == 1:
        end -= 1
    if w.offset < 0:
        pixel_taps_block(step, 1, True, False, x, at, ld, dy, dy_ld, sums)
        q = 1
    while q + PIXELS <= end:
        pixel_taps_block(step, PIXELS, False, False, x, at + q * step * ld, ld, dy + q * dy_ld, dy_ld,
                      sums)
        q += PIXELS
    while q < end:
        pixel_taps_block(step, 1, False, False, x, at + q * step * ld, ld, dy + q * dy_ld, dy_ld, sums)
        q += 1
    if q < w.n_out:
        pixel_taps_block(step, 1, False, True, x, at + q * step * ld, ld, dy + q * dy_ld, dy_ld, sums)


cdef inline void pixel_taps_strip(const conv_t *c, const int step, index_t n, index_t p, index_t rows,
                              index_t vector, const real_t *zeros, real_t *partial,
                              index_t ld) noexcept nogil:
    """Rows p ... p + rows - 1 of image n: one vector of channels. partial: sums (9 taps and dy, ld)."""
    cdef index_t first = min_index(vector * VL, c.groups - VL), i, h
    cdef vec_t sums[10]
    cdef const real_t *x[3]
    cdef int r, tap
    for tap in range(10):
        sums[tap] = vload(partial + tap * ld + vector * VL)
    for i in range(p, p + rows):
        for r in range(3):
            h = i * step + c.axis[1].offset + r
            x[r] = zeros + first
            if h >= 0 and h < c.axis[1].n_in:
                x[r] = c.x.data + n * c.x.n + h * c.x.at[1] + first
        pixel_taps_row(c, step, x, c.y.data + n * c.y.n + i * c.y.at[1] + first, sums)
    for tap in range(10):
        vstore(partial + tap * ld + vector * VL, sums[tap])


cdef void weight_pixels_task(const conv_t *c, index_t task, index_t chunks, const real_t *zeros,
                             real_t *partial) noexcept nogil:
    """BLOCK_VECTORS vectors of channels over one chunk of all rows."""
    cdef index_t vectors = ceil_div(c.groups, VL), blocks = ceil_div(vectors, BLOCK_VECTORS)
    cdef index_t chunk = task // blocks, first = task % blocks * BLOCK_VECTORS, ld = vectors * VL
    cdef index_t end = min_index(vectors, first + BLOCK_VECTORS), vector, tap, rows
    cdef index_t height = c.axis[1].n_out, lines = c.batch * height
    cdef index_t line = lines * chunk // chunks, stop = lines * (chunk + 1) // chunks
    flush_denormals()
    partial += chunk * 10 * ld
    for tap in range(10):
        zero_run(partial + tap * ld + first * VL, (end - first) * VL)
    while line < stop:
        rows = min_index(min_index(stop - line, height - line % height),
                         ceil_div(STRIP_PIXELS, c.axis[2].n_out))
        for vector in range(first, end):
            if c.axis[2].step == 1:
                pixel_taps_strip(c, 1, line // height, line % height, rows, vector, zeros, partial, ld)
            else:
                pixel_taps_strip(c, 2, line // height, line % height, rows, vector, zeros, partial, ld)
        line += rows


cdef index_t weight_chunks(const conv_t *c) noexcept nogil:
    """Chunks of the long sum, by the shape alone: many channels are enough tasks."""
    cdef index_t blocks = ceil_div(ceil_div(c.groups, VL), BLOCK_VECTORS)
    return max_index(1, min_index(min_index(CHUNKS, 16 // blocks), c.batch * c.axis[1].n_out))


cdef index_t weight_pixels_scratch(const conv_t *c) noexcept nogil:
    return (weight_chunks(c) * 10 * ceil_div(c.groups, VL) * VL
            + padded((c.axis[2].n_in + 2) * c.groups))


cdef void weight_pixels_run(const weight_grad_t *g, real_t *db, real_t *scratch,
                            int threads) noexcept nogil:
    """scratch: weight_pixels_scratch elements."""
    cdef const conv_t *c = &g.conv
    cdef index_t vectors = ceil_div(c.groups, VL), ld = vectors * VL, chunks = weight_chunks(c)
    cdef index_t tasks = chunks * ceil_div(vectors, BLOCK_VECTORS), task, tap, k, at
    cdef real_t *zeros = scratch + chunks * 10 * ld
    zero_run(zeros, (c.axis[2].n_in + 2) * c.groups)
    zeros += c.groups
    if threads == 1:
        for task in range(tasks):
            weight_pixels_task(c, task, chunks, zeros, scratch)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            weight_pixels_task(c, task, chunks, zeros, scratch)
    add_chunks(scratch, chunks, 10 * ld, scratch, 0, 10 * ld)
    for k in range(c.groups):
        at = k
        if k >= c.groups // VL * VL:  # the last vector ends with the last channel
            at = ld - c.groups + k
        for tap in range(9):
            g.out[k * g.filter + weight_offset(g, 0, tap)] = scratch[tap * ld + at]
        if db != NULL:
            db[k] = scratch[9 * ld + at]
