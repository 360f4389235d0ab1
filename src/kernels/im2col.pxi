# im2col and col2im as operations of their own, for people who want the matrix. The convolutions
# never build it: they read it through the fill functions of window.pxi.
#
#   cols : (N, C taps, pixels), torch's unfold layout; row (c, t, r, s), column (o, p, q)

cdef inline void tap_range(const axis_t *axis, index_t tap, index_t *low, index_t *high) noexcept nogil:
    """The outputs low <= o < high whose input at `tap` exists."""
    cdef index_t start = axis.offset + tap * axis.tap_step
    low[0] = 0 if start >= 0 else min_index(ceil_div(-start, axis.step), axis.n_out)
    high[0] = 0 if start >= axis.n_in else min_index(ceil_div(axis.n_in - start, axis.step),
                                                     axis.n_out)
    high[0] = max_index(low[0], high[0])


cdef void im2col_row(const conv_t *c, index_t task, real_t *cols) noexcept nogil:
    """Output row (n, o, p) for all taps and channels."""
    cdef index_t p = task % c.axis[1].n_out, o = task // c.axis[1].n_out % c.axis[0].n_out
    cdef index_t n = task // (c.axis[1].n_out * c.axis[0].n_out)
    cdef index_t t, r, s, tap = 0, d, h, low, high, i, width = c.axis[2].n_out
    cdef index_t ld = c.taps * c.pixels
    cdef real_t *out
    cdef dense_t m
    m.row, m.col = c.x.c, c.x.at[2] * c.axis[2].step
    for t in range(c.axis[0].taps):
        for r in range(c.axis[1].taps):
            d = o * c.axis[0].step + c.axis[0].offset + t * c.axis[0].tap_step
            h = p * c.axis[1].step + c.axis[1].offset + r * c.axis[1].tap_step
            for s in range(c.axis[2].taps):
                out = (cols + n * c.channels * ld + tap * c.pixels
                       + (o * c.axis[1].n_out + p) * width)
                tap_range(&c.axis[2], s, &low, &high)
                if d < 0 or d >= c.axis[0].n_in or h < 0 or h >= c.axis[1].n_in:
                    low = high = 0
                for i in range(c.channels):
                    zero_run(out + i * ld, low)
                    zero_run(out + i * ld + high, width - high)
                m.data = (c.x.data + n * c.x.n + d * c.x.at[0] + h * c.x.at[1]
                          + (c.axis[2].offset + s * c.axis[2].tap_step) * c.x.at[2])
                fill_dense(&m, 0, c.channels, low, high - low, out + low, ld)
                tap += 1


cdef void col2im_plane(const conv_t *c, index_t task, const real_t *cols) noexcept nogil:
    """Plane (n, c) of x: zero, then tap by tap in order."""
    cdef index_t n = task // c.channels, channel = task % c.channels
    cdef index_t d, h, w, o, p, q, t, r, s, step = c.axis[2].step * c.x.at[2]
    cdef index_t low[3]
    cdef index_t high[3]
    cdef real_t *x = c.x.data + n * c.x.n + channel * c.x.c
    cdef real_t *out
    cdef const real_t *src
    for d in range(c.axis[0].n_in):
        for h in range(c.axis[1].n_in):
            for w in range(c.axis[2].n_in):
                x[d * c.x.at[0] + h * c.x.at[1] + w * c.x.at[2]] = 0
    for t in range(c.axis[0].taps):
        tap_range(&c.axis[0], t, &low[0], &high[0])
        for r in range(c.axis[1].taps):
            tap_range(&c.axis[1], r, &low[1], &high[1])
            for s in range(c.axis[2].taps):
                tap_range(&c.axis[2], s, &low[2], &high[2])
                for o in range(low[0], high[0]):
                    d = o * c.axis[0].step + c.axis[0].offset + t * c.axis[0].tap_step
                    for p in range(low[1], high[1]):
                        h = p * c.axis[1].step + c.axis[1].offset + r * c.axis[1].tap_step
                        src = cols + (o * c.axis[1].n_out + p) * c.axis[2].n_out
                        out = (x + d * c.x.at[0] + h * c.x.at[1]
                               + (c.axis[2].offset + s * c.axis[2].tap_step) * c.x.at[2])
                        for q in range(low[2], high[2]):
                            out[q * step] = out[q * step] + src[q]
                cols += c.pixels


def im2col(cnp.ndarray x, cnp.ndarray cols, dims, int n_threads):
    """cols[n, (c, taps), pixel] = the element of x that the tap of that pixel reads, or 0."""
    cdef conv_t c
    cdef real_t *out = pointer(cols)
    cdef index_t tasks, task
    cdef int threads
    set_forward(&c, x, None, None, dims)
    tasks = c.batch * c.axis[0].n_out * c.axis[1].n_out
    threads = threads_for(cnp.PyArray_SIZE(cols), n_threads)
    with nogil:
        if threads == 1:
            for task in range(tasks):
                im2col_row(&c, task, out)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                im2col_row(&c, task, out)


def col2im(cnp.ndarray cols, cnp.ndarray x, dims, int n_threads):
    """x = the sum of all elements of cols that im2col would have read from each place."""
    cdef conv_t c
    cdef const real_t *src = pointer(cols)
    cdef index_t tasks, task, size
    cdef int threads
    set_forward(&c, x, None, None, dims)
    tasks = c.batch * c.channels
    size = c.taps * c.pixels
    threads = threads_for(cnp.PyArray_SIZE(cols), n_threads)
    with nogil:
        if threads == 1:
            for task in range(tasks):
                col2im_plane(&c, task, src + task * size)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                col2im_plane(&c, task, src + task * size)
