# Depthwise convolution channels-last, up to 3x3 taps at stride 1 or 2: forward and input gradient.
#
# A block is PIXELS outputs of one or two rows and one vector of channels, its taps' weights in registers:
# every input pixel is loaded once for all outputs that read it (24 loads for 72 multiply-adds at stride 1,
# against 72 when each pixel is on its own). The first and the last column of padding are no loads at
# all: whether a block stands at the left or the right edge is known when it is compiled. Rows above
# and below the image are zeros. The last block of a row overlaps the one before it: the same sums
# again. So does the last vector of channels.
#
# The input gradient at stride 2 goes through the four phases (conv_input_grad.pxi) row by row, so that dx
# and dy pass through the cache once.

cdef enum:
    PIXELS = 4
    LARGE_IMAGE = 1 << 20   # bytes


cdef inline bint axis_fits(const axis_t *axis) noexcept nogil:
    return 0 < axis.taps and axis.taps <= 3 and axis.n_out > 0 and axis.step <= 2 and (axis.tap_step == 1 or axis.taps == 1)


cdef inline index_t right_of(const axis_t *w) noexcept nogil:
    """Columns of inputs beyond the image that the last output reads."""
    return (w.n_out - 1) * w.step + w.offset + w.taps - w.n_in


cdef bint pixels_fit(const conv_t *c) noexcept nogil:
    """Whether the kernels of this file compute c: 3x3, or up to 2x2 at stride 1."""
    cdef const axis_t *h = &c.axis[1]
    cdef const axis_t *w = &c.axis[2]
    return (c.x.channels_last and c.y.c == 1 and c.filters == 1 and c.channels == 1
            and c.axis[0].taps == 1 and c.axis[0].n_in == 1 and c.axis[0].n_out == 1
            and c.axis[0].offset == 0 and c.groups >= VL and w.n_out >= PIXELS
            and axis_fits(h) and axis_fits(w) and w.offset >= -1 and right_of(w) <= 1
            and ((h.taps == 3 and w.taps == 3 and h.step == w.step)
                 or (h.taps < 3 and w.taps < 3 and h.step == 1 and w.step == 1)))


cdef inline void pixel_input(const int taps_h, const int taps_w, const int step, const int rows,
                             const bint left, const bint right, const int h, const int j,
                             const real_t *x, index_t ld, const vec_t *w,
                             vec_t *sums) noexcept nogil:
    """The input pixel in row h, column j of a block, times all taps that read it."""
    cdef int r, s
    cdef vec_t v
    if (j >= (PIXELS - 1) * step + taps_w or (left and j == 0)
            or (right and j == (PIXELS - 1) * step + taps_w - 1)):
        return
    v = vload(x + j * ld)
    for r in range(taps_h):
        for s in range(taps_w):
            if (h >= r and (h - r) % step == 0 and (h - r) // step < rows
                    and j >= s and (j - s) % step == 0 and (j - s) // step < PIXELS):
                sums[(h - r) // step * PIXELS + (j - s) // step] = (
                    sums[(h - r) // step * PIXELS + (j - s) // step] + w[r * taps_w + s] * v)


cdef inline void pixel_line(const int taps_h, const int taps_w, const int step, const int rows,
                            const bint left, const bint right, const int h, const real_t *x,
                            index_t ld, const vec_t *w, vec_t *sums) noexcept nogil:
    """Input row h of a block; left, right: its first, its last column is padding."""
    if h >= (rows - 1) * step + taps_h:
        return
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 0, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 1, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 2, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 3, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 4, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 5, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 6, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 7, x, ld, w, sums)
    pixel_input(taps_h, taps_w, step, rows, left, right, h, 8, x, ld, w, sums)


cdef inline void pixel_block(const conv_t *c, const int taps_h, const int taps_w, const int step,
                             const int rows, const bint left, const bint right, const real_t **x,
                             index_t at, const real_t *weights, real_t *y) noexcept nogil:
    """All channels of PIXELS outputs in each of `rows` rows. weights: (taps, C)."""
    cdef index_t channels = c.groups, k = 0, first, ld = c.x.at[2]
    # Large images at stride 2: what the next block reads and writes, or a page on where blocks are
    # shorter. Elsewhere that took longer than it saved.
    cdef bint fetch = (step == 2 or taps_h < 3) and (
        max_index(c.axis[1].n_in * c.x.at[1], c.axis[1].n_out * c.y.at[1])
        * sizeof(real_t) > LARGE_IMAGE)
    cdef index_t ahead = max_index(PAGE // sizeof(real_t), PIXELS * step * ld)
    cdef index_t y_ahead = max_index(PAGE // sizeof(real_t), PIXELS * c.y.at[2])
    cdef vec_t w[9]
    cdef vec_t sums[2 * PIXELS]
    cdef vec_t bias
    cdef int i, j
    while k < channels:
        first = min_index(k, channels - VL)
        for i in range(taps_h * taps_w):
            w[i] = vload(weights + i * channels + first)
        bias = vload(c.bias + first) if c.bias != NULL else vzero()
        for i in range(rows * PIXELS):
            sums[i] = bias
        if fetch and taps_h * taps_w > 2:  # else the phase of 2x2 taps has done it
            # Each pixel of x once: the others belong to the blocks beside.
            for i in range(rows * step):
                for j in range(PIXELS * step):
                    prefetch_near(x[taps_h // 2 + i] + at + (taps_w // 2 + j) * ld + first + ahead)
        pixel_line(taps_h, taps_w, step, rows, left, right, 0, x[0] + at + first, ld, w, sums)
        pixel_line(taps_h, taps_w, step, rows, left, right, 1, x[1] + at + first, ld, w, sums)
        pixel_line(taps_h, taps_w, step, rows, left, right, 2, x[2] + at + first, ld, w, sums)
        pixel_line(taps_h, taps_w, step, rows, left, right, 3, x[3] + at + first, ld, w, sums)
        for i in range(rows):
            for j in range(PIXELS):
                if fetch:
                    prefetch_near(y + i * c.y.at[1] + j * c.y.at[2] + first + y_ahead)
                vstore(y + i * c.y.at[1] + j * c.y.at[2] + first,
                       vrelu(sums[i * PIXELS + j]) if c.relu else sums[i * PIXELS + j])
        k += VL


cdef inline void pixel_rows(const conv_t *c, const int taps_h, const int taps_w, const int step,
                            const int rows, index_t n, index_t p, index_t first, index_t end,
                            const real_t *weights, const real_t *zeros) noexcept nogil:
    """Outputs first <= q < end of rows p ... p + rows - 1 of image n. zeros: a row of x."""
    cdef const axis_t *w = &c.axis[2]
    cdef index_t q = min_index(first, w.n_out - PIXELS), at, h
    cdef const real_t *x[4]
    cdef real_t *y
    cdef bint left, right, last = right_of(w) == 1
    cdef int i
    for i in range((rows - 1) * step + taps_h):
        h = p * step + c.axis[1].offset + i
        x[i] = zeros
        if h >= 0 and h < c.axis[1].n_in:
            x[i] = c.x.data + n * c.x.n + h * c.x.at[1]
    while True:
        at = (q * step + w.offset) * c.x.at[2]
        y = c.y.data + n * c.y.n + p * c.y.at[1] + q * c.y.at[2]
        left, right = at < 0, last and q + PIXELS == w.n_out
        if left and right:
            pixel_block(c, taps_h, taps_w, step, rows, True, True, x, at, weights, y)
        elif left:
            pixel_block(c, taps_h, taps_w, step, rows, True, False, x, at, weights, y)
        elif right:
            pixel_block(c, taps_h, taps_w, step, rows, False, True, x, at, weights, y)
        else:
            pixel_block(c, taps_h, taps_w, step, rows, False, False, x, at, weights, y)
        if q + PIXELS >= min_index(end, w.n_out):
            return
        q = min_index(q + PIXELS, w.n_out - PIXELS)


cdef void pixels_task(const conv_t *c, index_t task, const real_t *weights,
                      const real_t *zeros) noexcept nogil:
    """Two rows of outputs."""
    cdef index_t pairs = ceil_div(c.axis[1].n_out, 2), n = task // pairs, p = task % pairs * 2
    cdef index_t end = c.axis[2].n_out, last = min_index(c.axis[1].n_out, p + 2)
    flush_denormals()
    if c.axis[1].step == 1 and p + 2 == last:
        pixel_rows(c, 3, 3, 1, 2, n, p, 0, end, weights, zeros)
    elif c.axis[1].step == 1:
        pixel_rows(c, 3, 3, 1, 1, n, p, 0, end, weights, zeros)
    else:
        for p in range(p, last):
            pixel_rows(c, 3, 3, 2, 1, n, p, 0, end, weights, zeros)


cdef void pixel_phases_task(const conv_t *c, int phases, index_t task, const real_t *weights,
                            const real_t *zeros) noexcept nogil:
    """One row of outputs of every phase, PIXELS by PIXELS, so that lines of dx are written once."""
    cdef index_t n = task // c.axis[1].n_out, p = task % c.axis[1].n_out, q = 0, end
    cdef const conv_t *one
    cdef const real_t *w
    cdef int phase
    flush_denormals()
    while q < c.axis[2].n_out:
        w = weights
        end = q + PIXELS
        for phase in range(phases):
            one = &c[phase]
            if p < one.axis[1].n_out and q < one.axis[2].n_out:
                if one.axis[1].taps == 2 and one.axis[2].taps == 2:
                    pixel_rows(one, 2, 2, 1, 1, n, p, q, end, w, zeros)
                elif one.axis[1].taps == 2:
                    pixel_rows(one, 2, 1, 1, 1, n, p, q, end, w, zeros)
                elif one.axis[2].taps == 2:
                    pixel_rows(one, 1, 2, 1, 1, n, p, q, end, w, zeros)
                else:
                    pixel_rows(one, 1, 1, 1, 1, n, p, q, end, w, zeros)
            w += one.taps * c.groups
        q += PIXELS


cdef void pack_taps(const conv_t *c, real_t *out) noexcept nogil:
    """Weights in the order (taps, C)."""
    cdef index_t t, r, s, k
    for t in range(c.axis[0].taps):
        for r in range(c.axis[1].taps):
            for s in range(c.axis[2].taps):
                for k in range(c.groups):
                    out[k] = c.w[k * c.w_group + t * c.w_tap[0] + r * c.w_tap[1]
                                 + s * c.w_tap[2]]
                out += c.groups


cdef inline index_t pixels_scratch(const conv_t *c) noexcept nogil:
    """Elements of memory that all threads share: weights, and a row of zeros with its padding."""
    return padded(9 * c.groups) + padded((c.axis[2].n_in + 2) * c.groups)


cdef void pixels_run(const conv_t *c, int phases, real_t *scratch, int threads) noexcept nogil:
    """c: the convolutions of all phases, the first no smaller than the others."""
    cdef bint pairs = c.axis[1].taps == 3
    cdef index_t tasks = c.batch * ceil_div(c.axis[1].n_out, 2 if pairs else 1), task
    cdef real_t *zeros = scratch + padded(9 * c.groups)
    cdef real_t *weights = scratch
    cdef int phase
    zero_run(zeros, (c.axis[2].n_in + 2) * c.groups)
    zeros += c.groups
    for phase in range(phases):
        pack_taps(&c[phase], weights)
        weights += c[phase].taps * c.groups
    if threads == 1:
        for task in range(tasks):
            if pairs:
                pixels_task(c, task, scratch, zeros)
            else:
                pixel_phases_task(c, phases, task, scratch, zeros)
    elif pairs:
        for task in prange(tasks, num_threads=threads, schedule="static"):
            pixels_task(c, task, scratch, zeros)
    else:
        for task in prange(tasks, num_threads=threads, schedule="static"):
            pixel_phases_task(c, phases, task, scratch, zeros)
