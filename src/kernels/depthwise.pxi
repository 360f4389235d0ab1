# Depthwise convolution: one input channel a group. A product would have a single row to work with
# (1/14 of the engine's speed), and memory is the limit anyway, so it is computed directly.
#
# 3x3 and 5x5 in NCHW and 3x3 channels-last have kernels of their own (depthwise_planes.pxi,
# depthwise_pixels.pxi). Here is what computes the rest: other kernels, dilation, 3-D, a few channels.
#
# NCHW: a plane at a time, in strips of rows whose window (window.pxi) fits in L1, so that every tap of
# a vector of outputs is one unaligned load. Four vectors of outputs go through the taps together,
# wherever they lie: narrow images take them from several rows.
#
# Channels-last: vectors along channels, weights brought into the order (taps, C); four pixels go
# through the taps together. The taps that exist are listed once a row, and for each pixel at a border.

cdef enum:
    STRIP = 4096    # elements of a strip's window, about
    STREAMS = 4


cdef index_t strip_rows(const conv_t *c) noexcept nogil:
    """Rows of outputs in a strip."""
    cdef index_t rows = c.axis[1].n_out, width = c.axis[2].n_out
    while rows > 1 and window_size(c, (rows - 1) * width + 1, 1) > STRIP + window_tables(c, 1):
        rows = (rows + 1) // 2
    return rows


cdef inline void streams_product(const int streams, const real_t **x, const index_t *offsets,
                                 const real_t *weights, index_t taps, real_t *out) noexcept nogil:
    """NCHW: sums over the taps of `streams` vectors of outputs; a weight a tap."""
    cdef vec_t sums[STREAMS]
    cdef vec_t w
    cdef index_t tap
    cdef int i
    for i in range(streams):
        sums[i] = vzero()
    for tap in range(taps):
        w = vsplat(weights[tap])
        for i in range(streams):
            sums[i] = sums[i] + w * vload(x[i] + offsets[tap])
    for i in range(streams):
        vstore(out + i * VL, sums[i])


cdef inline void store_stream(const conv_t *c, real_t *out, const real_t *sums, index_t n,
                              bint spare, real_t bias) noexcept nogil:
    """n outputs of a row; spare: what follows within a vector is stored later, and may be spoilt."""
    if c.y.at[2] == 1:
        store_run(out, sums, NULL, 1, 0, bias, VL if spare else n, True, c.relu)
    else:
        store_strided(out, c.y.at[2], sums, bias, n, True, c.relu)


cdef void depthwise_plane(const conv_t *c, window_t *v, index_t task, index_t strip,
                          real_t *weights) noexcept nogil:
    """Plane (n, k) of y. weights: room for the taps of one filter."""
    cdef index_t filters = c.groups * c.filters, n = task // filters, k = task % filters
    cdef index_t width = c.axis[2].n_out, lines = c.axis[0].n_out * c.axis[1].n_out
    cdef index_t line, i, q, rows, used, j
    cdef real_t *plane = c.y.data + n * c.y.n + k * c.y.c
    cdef real_t *y
    cdef real_t *end = plane + (c.axis[0].n_out - 1) * c.y.at[0] \
        + (c.axis[1].n_out - 1) * c.y.at[1] + (width - 1) * c.y.at[2] + 1
    cdef real_t bias = c.bias[k] if c.bias != NULL else 0
    cdef bint adjacent = is_plane(c)  # else other phases' rows lie between these
    cdef const real_t *x[STREAMS]
    cdef real_t *out[STREAMS]
    cdef index_t left[STREAMS]
    cdef real_t sums[STREAMS * VL]
    cdef conv_t one = c[0]
    one.w = c.w + k // c.filters * c.w_group + k % c.filters * c.w_filter
    pack_rows(&one, 0, 1, weights, 0)
    line = used = 0
    while line < lines:  # strips do not cross slices
        rows = min_index(strip, c.axis[1].n_out - line % c.axis[1].n_out)
        window_move(v, (n * lines + line) * width, rows * width, k // c.filters, 1)
        for i in range(rows):
            y = plane + (line + i) // c.axis[1].n_out * c.y.at[0] \
                + (line + i) % c.axis[1].n_out * c.y.at[1]
            q = 0
            while q < width:
                x[used] = v.data + v.rows[i] + q
                out[used] = y + q * c.y.at[2]
                left[used] = min_index(VL, width - q)
                q += VL
                used += 1
                if used == STREAMS or (q >= width and i + 1 == rows):
                    if used == STREAMS:
                        streams_product(STREAMS, x, v.taps, weights, c.taps, sums)
                    else:
                        for j in range(used):
                            streams_product(1, &x[j], v.taps, weights, c.taps, sums + j * VL)
                    for j in range(used):
                        store_stream(c, out[j], sums + j * VL, left[j],
                                     adjacent and out[j] + VL <= end, bias)
                    used = 0
        line += rows


cdef inline void pixels_product(const conv_t *c, const int streams, const real_t *x,
                                index_t x_step, const index_t *x_taps, const real_t *weights,
                                const index_t *w_taps, index_t taps, real_t *y,
                                index_t y_step) noexcept nogil:
    """Channels-last: all channels of `streams` neighbouring pixels; a vector of weights a tap."""
    cdef vec_t sums[STREAMS]
    cdef vec_t w, bias
    cdef index_t k = 0, tap
    cdef int i
    cdef real_t sum
    while k + VL <= c.groups:
        bias = vload(c.bias + k) if c.bias != NULL else vzero()
        for i in range(streams):
            sums[i] = bias
        for tap in range(taps):
            w = vload(weights + w_taps[tap] + k)
            for i in range(streams):
                sums[i] = sums[i] + w * vload(x + i * x_step + x_taps[tap] + k)
        for i in range(streams):
            vstore(y + i * y_step + k, vrelu(sums[i]) if c.relu else sums[i])
        k += VL
    while k < c.groups:
        for i in range(streams):
            sum = c.bias[k] if c.bias != NULL else 0
            for tap in range(taps):
                sum = sum + weights[w_taps[tap] + k] * x[i * x_step + x_taps[tap] + k]
            y[i * y_step + k] = relu1(sum) if c.relu else sum
        k += 1


cdef index_t list_taps(const conv_t *c, index_t o, index_t p, index_t low, index_t high,
                       index_t *x_taps, index_t *w_taps) noexcept nogil:
    """The taps of output row (o, p) that exist, low <= s < high: where in the image, in the weights."""
    cdef index_t t, r, s, d, h, used = 0
    for t in range(c.axis[0].taps):
        d = o * c.axis[0].step + c.axis[0].offset + t * c.axis[0].tap_step
        for r in range(c.axis[1].taps):
            h = p * c.axis[1].step + c.axis[1].offset + r * c.axis[1].tap_step
            if d < 0 or d >= c.axis[0].n_in or h < 0 or h >= c.axis[1].n_in:
                continue
            for s in range(low, high):
                x_taps[used] = (d * c.x.at[0] + h * c.x.at[1]
                                + s * c.axis[2].tap_step * c.x.at[2])
                w_taps[used] = ((t * c.axis[1].taps + r) * c.axis[2].taps + s) * c.groups
                used += 1
    return used


cdef void depthwise_pixels(const conv_t *c, index_t task, const real_t *weights,
                           index_t *tables) noexcept nogil:
    """Channels-last: output row (n, o, p). weights: (taps, C); tables: room for 4 taps."""
    cdef const axis_t *axis = &c.axis[2]
    cdef index_t p = task % c.axis[1].n_out, o = task // c.axis[1].n_out % c.axis[0].n_out
    cdef index_t n = task // (c.axis[1].n_out * c.axis[0].n_out)
    cdef index_t q = 0, w, low, high, taps, listed, x_step = axis.step * c.x.at[2]
    cdef index_t *x_taps = tables + 2 * c.taps
    cdef const real_t *x
    cdef real_t *y = c.y.data + n * c.y.n + o * c.y.at[0] + p * c.y.at[1]
    flush_denormals()
    listed = list_taps(c, o, p, 0, axis.taps, tables, tables + c.taps)
    while q < axis.n_out:
        w = q * axis.step + axis.offset
        x = c.x.data + n * c.x.n + w * c.x.at[2]
        if w >= 0 and w + (axis.taps - 1) * axis.tap_step < axis.n_in:
            if (q + STREAMS <= axis.n_out and w + (STREAMS - 1) * axis.step
                    + (axis.taps - 1) * axis.tap_step < axis.n_in):
                pixels_product(c, STREAMS, x, x_step, tables, weights, tables + c.taps, listed,
                               y + q * c.y.at[2], c.y.at[2])
                q += STREAMS
            else:
                pixels_product(c, 1, x, x_step, tables, weights, tables + c.taps, listed,
                               y + q * c.y.at[2], c.y.at[2])
                q += 1
            continue
        low = 0 if w >= 0 else min_index(ceil_div(-w, axis.tap_step), axis.taps)
        high = 0 if w >= axis.n_in else min_index(ceil_div(axis.n_in - w, axis.tap_step),
                                                  axis.taps)
        taps = list_taps(c, o, p, low, max_index(low, high), x_taps, x_taps + c.taps)
        pixels_product(c, 1, x, x_step, x_taps, weights, x_taps + c.taps, taps,
                       y + q * c.y.at[2], c.y.at[2])
        q += 1


cdef void depthwise_planes_part(const conv_t *c, index_t strip, index_t part, index_t parts,
                                real_t *scratch) noexcept nogil:
    cdef index_t planes = c.batch * c.groups * c.filters, plane
    cdef window_t v
    flush_denormals()
    window_open(&v, c, strip * c.axis[2].n_out, scratch + padded(c.taps))
    for plane in range(planes * part // parts, planes * (part + 1) // parts):
        depthwise_plane(c, &v, plane, strip, scratch)


cdef index_t depthwise_scratch(const conv_t *c) noexcept nogil:
    """Elements of scratch memory that a thread needs at most; channels-last: all threads alike."""
    if planes_fit(c) or pixels_fit(c):
        return 0
    if c.x.channels_last:
        return padded(4 * c.taps * sizeof(index_t) // sizeof(real_t))
    return padded(c.taps) + window_size(c, strip_rows(c) * c.axis[2].n_out, 1)


cdef index_t depthwise_shared(const conv_t *c) noexcept nogil:
    """Elements of scratch memory that all threads share."""
    if planes_fit(c):
        return planes_scratch(c)
    if pixels_fit(c):
        return pixels_scratch(c)
    return padded(c.taps * c.groups) if c.x.channels_last else 0


cdef void depthwise_run(const conv_t *c, real_t *shared, real_t *scratch, index_t per_thread,
                        int n_threads) noexcept nogil:
    cdef index_t tasks, task, strip
    cdef int threads, part
    if c.batch * c.pixels == 0:
        return
    threads = threads_for(c.batch * c.groups * c.filters * c.pixels * (c.taps + 8) // 16, n_threads)
    if small_fit(c):
        small_run(c, False, threads)
        return
    if planes_fit(c):
        planes_run(c, shared, threads)
        return
    if pixels_fit(c):
        pixels_run(c, 1, shared, threads)
        return
    if c.x.channels_last:
        pack_taps(c, shared)
        tasks = c.batch * c.axis[0].n_out * c.axis[1].n_out
        if threads == 1:
            for task in range(tasks):
                depthwise_pixels(c, task, shared, <index_t *> scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                depthwise_pixels(c, task, shared,
                                 <index_t *> (scratch + threadid() * per_thread))
        return
    strip = strip_rows(c)
    if threads == 1:
        depthwise_planes_part(c, strip, 0, 1, scratch)
    else:
        for part in prange(threads, num_threads=threads, schedule="static"):
            depthwise_planes_part(c, strip, part, threads, scratch + part * per_thread)


def depthwise(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, dims, activation,
              int n_threads):
    """Forward convolution, one input channel a group (channels-last: one output channel too)."""
    cdef conv_t c
    cdef workspace_t workspace
    cdef index_t per_thread, weights
    set_forward(&c, x, w, y, dims)
    c.copy_always = True
    c.bias = pointer(b)
    c.relu = activation is not None
    per_thread, weights = depthwise_scratch(&c), depthwise_shared(&c)
    workspace = acquire((weights + n_threads * per_thread) * sizeof(real_t))
    with nogil:
        depthwise_run(&c, <real_t *> workspace.data, <real_t *> workspace.data + weights,
                      per_thread, n_threads)
    release(workspace)


cdef enum:
    PHASES = 4  # of a stride, that go through dx together


cdef index_t phases_of(const conv_t *forward) noexcept nogil:
    return forward.axis[0].step * forward.axis[1].step * forward.axis[2].step


cdef bint pixel_phases_fit(const conv_t *forward) noexcept nogil:
    """Channels-last: whether all phases of dx go through pixels_run together."""
    cdef index_t phase, phases = phases_of(forward)
    cdef conv_t c
    if phases > PHASES:
        return False
    for phase in range(phases):
        set_gradient(&c, forward, phase)
        if not pixels_fit(&c):
            return False
    return True


cdef index_t input_grad_scratch(const conv_t *forward, index_t *shared) noexcept nogil:
    """Elements of scratch memory that a thread needs at most, and that all threads share."""
    cdef index_t phase, per_thread = 0
    cdef conv_t c
    shared[0] = 0
    for phase in range(phases_of(forward)):
        set_gradient(&c, forward, phase)
        if c.taps * c.pixels > 0:
            per_thread = max_index(per_thread, depthwise_scratch(&c))
            shared[0] = max_index(shared[0], max_index(depthwise_shared(&c), phases_scratch(&c)))
    return per_thread


cdef void input_grad_run(const conv_t *forward, real_t *shared, real_t *scratch,
                         index_t per_thread, int n_threads) noexcept nogil:
    cdef index_t phase, phases = phases_of(forward)
    cdef conv_t c[PHASES]
    cdef int threads
    if forward.batch == 0:
        return
    if phases_fit(forward) or pixel_phases_fit(forward):
        for phase in range(phases):
            set_gradient(&c[phase], forward, phase)
        threads = threads_for(forward.batch * forward.groups * (c[0].pixels * 4 + forward.pixels),
                              n_threads)
        if small_fit(forward):
            small_run(forward, True, threads)
        elif forward.x.channels_last:
            pixels_run(c, <int> phases, shared, threads)
        else:
            phases_run(c, shared, threads)
        return
    if is_sparse(forward):
        fill_all(forward, n_threads)
    for phase in range(phases):
        set_gradient(c, forward, phase)
        if c.taps * c.pixels > 0:
            depthwise_run(c, shared, scratch, per_thread, n_threads)


def depthwise_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                         int n_threads):
    """Input gradient, one input and one output channel a group: the same by phases of the stride."""
    cdef conv_t forward
    cdef workspace_t workspace
    cdef index_t per_thread, shared
    set_forward(&forward, dx, w, dy, dims)
    forward.copy_always = True
    forward.bias = pointer(b)
    per_thread = input_grad_scratch(&forward, &shared)
    workspace = acquire((shared + n_threads * per_thread) * sizeof(real_t))
    with nogil:
        input_grad_run(&forward, <real_t *> workspace.data, <real_t *> workspace.data + shared,
                       per_thread, n_threads)
    release(workspace)
