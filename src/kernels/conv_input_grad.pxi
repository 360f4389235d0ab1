# The input gradient on the same engine: one convolution of dy for each phase of the stride, the pixels
# of dx at phase, phase + stride, ... Each sees the taps that can reach it, and never a zero that a
# scatter or a dilated dy would add.

cdef index_t gcd(index_t a, index_t b) noexcept nogil:
    while b != 0:
        a, b = b, a % b
    return a


cdef void set_phase(axis_t *axis, index_t *tap, index_t *tap_base, const axis_t *forward,
                    index_t phase) noexcept nogil:
    """One axis of the input gradient, for the inputs phase, phase + stride, ...

    Tap t of output p falls on input p * stride - pad + t * dilation. tap: the weights' stride along
    the axis, in and out; tap_base: where the phase's first weight lies.
    """
    cdef index_t stride = forward.step, dilation = forward.tap_step, pad = -forward.offset
    cdef index_t common = gcd(stride, dilation), between = stride // common
    cdef index_t first = 0, taps = 0
    while first < between and (phase + pad - first * dilation) % stride != 0:
        first += 1
    if first < between and first < forward.taps:
        taps = ceil_div(forward.taps - first, between)
    # Backwards through the taps, so that the position in dy grows with them.
    set_axis(axis, forward.n_out, ceil_div(forward.n_in - phase, stride), taps, 1, 0,
             dilation // common)
    if phase >= forward.n_in:
        axis.n_out = 0
    if taps > 0:
        axis.offset = ((phase + pad - first * dilation) // stride
                       - (taps - 1) * axis.tap_step)
        tap_base[0] = (first + (taps - 1) * between) * tap[0]
        tap[0] = -between * tap[0]


cdef void set_gradient(conv_t *c, const conv_t *forward, index_t phase) noexcept nogil:
    """The convolution of dy that gives the phase's pixels of dx. forward.x is dx, forward.y is dy."""
    cdef index_t offset = 0
    cdef index_t at[3]
    cdef int i
    c[0] = forward[0]
    c.x, c.y = forward.y, forward.x
    c.channels, c.filters = forward.filters, forward.channels
    c.w_channel, c.w_filter = forward.w_filter, forward.w_channel
    for i in range(2, -1, -1):
        at[i] = phase % forward.axis[i].step
        phase = phase // forward.axis[i].step
    for i in range(3):
        offset = 0
        set_phase(&c.axis[i], &c.w_tap[i], &offset, &forward.axis[i], at[i])
        c.w += offset
        c.w_first += offset
        c.y.data += at[i] * c.y.at[i]
        c.y.at[i] *= forward.axis[i].step
    complete(c)
    join_axes(c)


cdef void fill_part(const conv_t *forward, index_t part, index_t parts) noexcept nogil:
    """dx = bias, a part of it: what no tap reaches stays so."""
    cdef index_t filters = forward.groups * forward.channels, pixels = 1, rows, row, i
    cdef real_t *out
    cdef real_t value
    for i in range(3):
        pixels *= forward.axis[i].n_in
    if forward.bias == NULL:
        rows = forward.batch * filters
        row = rows * part // parts
        memset(forward.x.data + row * pixels, 0,
               (rows * (part + 1) // parts - row) * pixels * sizeof(real_t))
    elif forward.x.channels_last:
        rows = forward.batch * pixels
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            copy_run(forward.bias, forward.x.data + row * filters, filters)
    else:
        rows = forward.batch * filters
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            out = forward.x.data + row * pixels
            value = forward.bias[row % filters]
            for i in range(pixels):
                out[i] = value


cdef void fill_all(const conv_t *forward, int n_threads) noexcept nogil:
    cdef int part
    if n_threads == 1:
        fill_part(forward, 0, 1)
    else:
        for part in prange(n_threads, num_threads=n_threads, schedule="static"):
            fill_part(forward, part, n_threads)


cdef inline bint is_sparse(const conv_t *forward) noexcept nogil:
    """Whether there are phases of the stride that no tap reaches."""
    cdef int i
    for i in range(3):
        if forward.axis[i].step > forward.axis[i].taps or (
                gcd(forward.axis[i].step, forward.axis[i].tap_step) > 1):
            return True
    return False


def conv_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                    int n_threads):
    """dx = the convolution's input gradient (+ b by channel), phase by phase of the stride."""
    cdef conv_t forward, c
    cdef workspace_t workspace
    cdef index_t packed = 0, per_thread = 0, phases = 1, phase
    cdef int i
    set_forward(&forward, dx, w, dy, dims)
    if b is None and covers(&forward, dx, w):
        make_pixels(&forward)
    forward.bias = pointer(b)
    n_threads = conv_threads(&forward, n_threads)
    for i in range(3):
        phases *= forward.axis[i].step
    for phase in range(phases):
        set_gradient(&c, &forward, phase)
        if c.taps * c.pixels > 0:
            packed = max_index(packed, padded(weights_size(&c, filters_at_once(&c))))
            per_thread = max_index(per_thread, conv_scratch(&c, n_threads))
    workspace = acquire((packed + n_threads * per_thread) * sizeof(real_t))
    with nogil:
        if is_sparse(&forward):
            fill_all(&forward, n_threads)
        for phase in range(phases):
            set_gradient(&c, &forward, phase)
            if c.taps * c.pixels > 0:
                conv_run(&c, <real_t *> workspace.data, <real_t *> workspace.data + packed,
                         per_thread, n_threads)
    release(workspace)
