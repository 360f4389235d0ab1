# Few input channels: the entry points of direct_pixels.pxi and direct_planes.pxi. 1-D and 2-D, one group, no
# dilation; x and y in one format.

cdef enum:
    LARGEST_WINDOW = 1 << 19    # elements, of a task


cdef inline bint along_rows(const conv_t *c) noexcept nogil:
    """NCHW: whether vectors lie along rows; else images become pixels.

    Measured 17 to 32 wide: 1.0 to 3 times as fast, but for rows up to 24 with more channels and
    filters (0.7 to 1.0).
    """
    cdef index_t width = c.axis[2].n_out
    return not c.x.channels_last and (
        width > 24 or (width > 16 and (c.channels < 4 or c.filters < 16)))

cdef bint gradient_along_rows(const conv_t *forward, conv_t *c) noexcept:
    """NCHW at stride 1: whether dx is a convolution with vectors along rows, which c becomes.

    Measured 18 to 56 wide: 1.1 to 5 times as fast as dx formed pixel by pixel with few filters, which
    are the terms of its sums here; from 32 on, with 6 channels from 64 on, half as fast to as fast.
    """
    cdef index_t width = forward.axis[2].n_in
    if forward.x.channels_last or forward.axis[1].step * forward.axis[2].step > 1 or width <= 16:
        return False
    if forward.filters > 8 and (width <= 20
                                or forward.filters > (32 if forward.channels >= 6 else 16)):
        return False
    set_gradient(c, forward, 0)
    c.copy_always = True
    return direct_planes_scratch(c) <= LARGEST_WINDOW


cdef int direct_threads(const conv_t *c, int n_threads) noexcept nogil:
    return threads_for(c.filters * c.batch * c.pixels * c.channels * c.taps // 16, n_threads)


def direct(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, dims, activation,
           int n_threads):
    """Forward convolution of few channels."""
    cdef conv_t c
    cdef workspace_t workspace
    cdef index_t shared, per_thread
    cdef real_t *scratch
    set_forward(&c, x, w, y, dims)
    c.bias = pointer(b)
    c.relu = activation is not None
    n_threads = direct_threads(&c, n_threads)
    if along_rows(&c):
        c.copy_always = True
        shared = padded(c.filters * c.channels * c.taps)
        per_thread = padded(direct_planes_scratch(&c))
    else:
        shared, per_thread = padded(direct_panels(&c, False)), padded(direct_pixels_scratch(&c))
    workspace = acquire((shared + n_threads * per_thread) * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        if along_rows(&c):
            direct_planes_run(&c, scratch, scratch + shared, per_thread, n_threads)
        else:
            direct_pixels_run(&c, scratch, scratch + shared, per_thread, n_threads)
    release(workspace)


def direct_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                      int n_threads):
    """Input gradient of few channels (+ b by channel)."""
    cdef conv_t forward, c
    cdef workspace_t workspace
    cdef bint rows
    cdef index_t shared, per_thread
    cdef real_t *scratch
    set_forward(&forward, dx, w, dy, dims)
    forward.bias = pointer(b)
    n_threads = direct_threads(&forward, n_threads)
    rows = gradient_along_rows(&forward, &c)
    if rows:
        shared = padded(c.filters * c.channels * c.taps)
        per_thread = padded(direct_planes_scratch(&c))
    else:
        shared = padded(direct_panels(&forward, True))
        per_thread = padded(direct_gradient_scratch(&forward))
    workspace = acquire((shared + n_threads * per_thread) * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        if rows:
            direct_planes_run(&c, scratch, scratch + shared, per_thread, n_threads)
        else:
            direct_gradient_run(&forward, scratch, scratch + shared, per_thread, n_threads)
    release(workspace)
