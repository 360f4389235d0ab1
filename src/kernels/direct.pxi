# Few input channels: the entry points of direct_planes.pxi (NCHW) and direct_pixels.pxi
# (channels-last). 2-D, one group, no dilation; x and y in one format.

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
    if not c.x.channels_last:
        workspace = acquire(direct_planes_scratch(&c) * sizeof(real_t))
        with nogil:
            direct_planes_run(&c, 1, 1, <real_t *> workspace.data, n_threads)
        release(workspace)
        return
    n_threads = direct_threads(&c, n_threads)
    shared, per_thread = padded(direct_panels(&c, False)), padded(direct_pixels_scratch(&c))
    workspace = acquire((shared + n_threads * per_thread) * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        direct_pixels_run(&c, scratch, scratch + shared, per_thread, n_threads)
    release(workspace)


def direct_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                      int n_threads):
    """Input gradient of few channels (+ b by channel); strides of 1 and 2 in NCHW."""
    cdef conv_t forward
    cdef conv_t c[4]
    cdef workspace_t workspace
    cdef index_t shared, per_thread
    cdef real_t *scratch
    cdef int phase, down, across
    set_forward(&forward, dx, w, dy, dims)
    forward.bias = pointer(b)
    if not forward.x.channels_last:
        down, across = <int> forward.axis[1].step, <int> forward.axis[2].step
        for phase in range(down * across):
            set_gradient(&c[phase], &forward, phase)
        workspace = acquire(direct_planes_scratch(&forward) * sizeof(real_t))
        with nogil:
            direct_planes_run(c, down, across, <real_t *> workspace.data, n_threads)
        release(workspace)
        return
    n_threads = direct_threads(&forward, n_threads)
    shared, per_thread = padded(direct_panels(&forward, True)), padded(MR * direct_sums(&forward) + VL)
    workspace = acquire((shared + n_threads * per_thread) * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        direct_gradient_run(&forward, scratch, scratch + shared, per_thread, n_threads)
    release(workspace)
