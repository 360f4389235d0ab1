# Depthwise convolution: one input channel a group. A product would have a single row to work with
# (1/14 of the engine's speed), and memory is the limit anyway, so it is computed directly.
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
    pack_rows(&one, 0, weights)
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
    if c.x.channels_last:
        return padded(4 * c.taps * sizeof(index_t) // sizeof(real_t))
    return padded(c.taps) + window_size(c, strip_rows(c) * c.axis[2].n_out, 1)


cdef index_t depthwise_weights(const conv_t *c) noexcept nogil:
    """Elements for the weights in the order (taps, C)."""
    return padded(c.taps * c.groups) if c.x.channels_last else 0


cdef void depthwise_run(const conv_t *c, real_t *weights, real_t *scratch, index_t per_thread,
                        int n_threads) noexcept nogil:
    cdef index_t tasks, task, strip
    cdef int threads, part
    if c.batch * c.pixels == 0:
        return
    threads = threads_for(c.batch * c.groups * c.filters * c.pixels * (c.taps + 8) // 16, n_threads)
    if c.x.channels_last:
        pack_taps(c, weights)
        tasks = c.batch * c.axis[0].n_out * c.axis[1].n_out
        if threads == 1:
            for task in range(tasks):
                depthwise_pixels(c, task, weights, <index_t *> scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                depthwise_pixels(c, task, weights,
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
    per_thread, weights = depthwise_scratch(&c), depthwise_weights(&c)
    workspace = acquire((weights + n_threads * per_thread) * sizeof(real_t))
    with nogil:
        depthwise_run(&c, <real_t *> workspace.data, <real_t *> workspace.data + weights,
                      per_thread, n_threads)
    release(workspace)


def depthwise_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                         int n_threads):
    """Input gradient, one input and one output channel a group: the same by phases of the stride."""
    cdef conv_t forward, c
    cdef workspace_t workspace
    cdef index_t per_thread = 0, weights = 0, phases = 1, phase
    cdef int i
    set_forward(&forward, dx, w, dy, dims)
    forward.copy_always = True
    forward.bias = pointer(b)
    for i in range(3):
        phases *= forward.axis[i].step
    for phase in range(phases):
        set_gradient(&c, &forward, phase)
        if c.taps * c.pixels > 0:
            per_thread = max_index(per_thread, depthwise_scratch(&c))
            weights = max_index(weights, depthwise_weights(&c))
    workspace = acquire((weights + n_threads * per_thread) * sizeof(real_t))
    with nogil:
        for phase in range(phases):
            set_gradient(&c, &forward, phase)
            if c.taps == 0:
                fill_constant(&c)
            else:
                depthwise_run(&c, <real_t *> workspace.data, <real_t *> workspace.data + weights,
                              per_thread, n_threads)
    release(workspace)


# Weight gradient: every tap's sum of dy times the input it reads, over all images and pixels.

cdef void depthwise_weight_plane(const weight_grad_t *g, window_t *v, index_t k, index_t strip,
                                 real_t *sums, real_t *dy) noexcept nogil:
    """NCHW: the taps of filter k. Sums in vectors a tap, over images and strips in order."""
    cdef const conv_t *c = &g.conv
    cdef index_t width = c.axis[2].n_out, ld = padded(width), lines, line, n, i, q, rows, tap
    cdef const real_t *src
    cdef vec_t sum
    cdef real_t lane[VL]
    cdef mask_t valid  # of a row's last vector: what lies behind it in x may be a NaN
    for i in range(VL):
        lane[i] = i - VL
    valid = vless(vload(lane), vsplat(width - ld))
    zero_run(sums, c.taps * VL)
    lines = c.axis[0].n_out * c.axis[1].n_out
    for n in range(c.batch):
        line = 0
        while line < lines:
            rows = min_index(strip, c.axis[1].n_out - line % c.axis[1].n_out)
            window_move(v, (n * lines + line) * width, rows * width, k // c.filters, 1)
            for i in range(rows):
                src = (c.y.data + n * c.y.n + k * c.y.c
                       + (line + i) // c.axis[1].n_out * c.y.at[0]
                       + (line + i) % c.axis[1].n_out * c.y.at[1])
                copy_strided(src, c.y.at[2], dy + i * ld, width)
                zero_run(dy + i * ld + width, ld - width)
            for tap in range(c.taps):
                sum = vload(sums + tap * VL)
                for i in range(rows):
                    src = v.data + v.taps[tap] + v.rows[i]
                    q = 0
                    while q + VL < ld:
                        sum = sum + vload(dy + i * ld + q) * vload(src + q)
                        q += VL
                    sum = sum + (vload(dy + i * ld + q)
                                 * vselect(valid, vload(src + q), vzero()))
                vstore(sums + tap * VL, sum)
            line += rows
    for tap in range(c.taps):
        g.out[k * g.filter + weight_offset(g, 0, tap)] = vsum(vload(sums + tap * VL))


cdef void depthwise_weight_part(const weight_grad_t *g, index_t strip, index_t part,
                                index_t parts, real_t *scratch) noexcept nogil:
    cdef const conv_t *c = &g.conv
    cdef index_t filters = c.groups * c.filters, k
    cdef real_t *dy = scratch + c.taps * VL
    cdef window_t v
    flush_denormals()
    window_open(&v, c, strip * c.axis[2].n_out, dy + strip * padded(c.axis[2].n_out))
    for k in range(filters * part // parts, filters * (part + 1) // parts):
        depthwise_weight_plane(g, &v, k, strip, scratch, dy)


cdef inline vec_t row_product(const real_t *a, index_t a_step, const real_t *b, index_t b_step,
                              index_t n) noexcept nogil:
    """The sum of a[i] b[i] over i, in four interleaved chains: one would wait for itself."""
    cdef vec_t sums[4]
    cdef index_t i = 0
    cdef int j
    for j in range(4):
        sums[j] = vzero()
    while i + 4 <= n:
        for j in range(4):
            sums[j] = sums[j] + vload(a + (i + j) * a_step) * vload(b + (i + j) * b_step)
        i += 4
    while i < n:
        sums[0] = sums[0] + vload(a + i * a_step) * vload(b + i * b_step)
        i += 1
    return (sums[0] + sums[1]) + (sums[2] + sums[3])


cdef void depthwise_weight_pixels(const weight_grad_t *g, index_t block, index_t begin,
                                  index_t end, real_t *out) noexcept nogil:
    """Channels-last: VL channels, all taps, images begin ... end - 1, into out (taps, C)."""
    cdef const conv_t *c = &g.conv
    cdef index_t channels = c.groups, first = block * VL, count = min_index(VL, channels - first)
    cdef index_t n, o, p, q, t, r, s, d, h, w, tap, low, high, k
    cdef index_t step = c.axis[2].step * c.x.at[2]
    cdef const real_t *x
    cdef const real_t *dy
    cdef real_t *sums
    cdef real_t scalar
    for tap in range(c.taps):
        zero_run(out + tap * channels + first, count)
    for n in range(begin, end):
        for o in range(c.axis[0].n_out):
            for p in range(c.axis[1].n_out):
                tap = -1
                for t in range(c.axis[0].taps):
                    d = o * c.axis[0].step + c.axis[0].offset + t * c.axis[0].tap_step
                    for r in range(c.axis[1].taps):
                        h = p * c.axis[1].step + c.axis[1].offset + r * c.axis[1].tap_step
                        for s in range(c.axis[2].taps):
                            tap += 1
                            if d < 0 or d >= c.axis[0].n_in or h < 0 or h >= c.axis[1].n_in:
                                continue
                            tap_range(&c.axis[2], s, &low, &high)
                            w = c.axis[2].offset + s * c.axis[2].tap_step
                            x = (c.x.data + n * c.x.n + d * c.x.at[0] + h * c.x.at[1]
                                 + w * c.x.at[2] + first)
                            dy = (c.y.data + n * c.y.n + o * c.y.at[0] + p * c.y.at[1]
                                  + first * c.y.c)
                            sums = out + tap * channels + first
                            if count == VL and c.y.c == 1:
                                vstore(sums, vload(sums) + row_product(
                                    dy + low * c.y.at[2], c.y.at[2], x + low * step, step,
                                    high - low))
                            else:
                                for k in range(count):
                                    scalar = sums[k]
                                    for q in range(low, high):
                                        scalar = (scalar + dy[q * c.y.at[2] + k * c.y.c]
                                                  * x[q * step + k])
                                    sums[k] = scalar


cdef void depthwise_weight_task(const weight_grad_t *g, index_t task, index_t chunks,
                                real_t *partial) noexcept nogil:
    cdef index_t blocks = ceil_div(g.conv.groups, VL), chunk = task // blocks
    flush_denormals()
    depthwise_weight_pixels(g, task % blocks, g.conv.batch * chunk // chunks,
                            g.conv.batch * (chunk + 1) // chunks,
                            partial + chunk * g.conv.taps * g.conv.groups)


def depthwise_weight_grad(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dw, cnp.ndarray db,
                          dims, int n_threads):
    """dw and db of a depthwise convolution (channels-last: one output channel a group)."""
    cdef weight_grad_t g
    cdef image_t weights
    cdef workspace_t workspace
    cdef index_t chunks, size, tasks, task, per_thread, strip, tap, k
    cdef real_t *scratch
    cdef real_t *pdb = pointer(db)
    cdef int i, threads, part
    set_forward(&g.conv, x, None, dy, dims)
    g.conv.copy_always = True
    if db is not None:
        with nogil:
            sum_pixels(&g.conv, pdb, n_threads)
    if dw is None:
        return
    set_image(&weights, dw)
    g.out, g.filter, g.channel = weights.data, weights.n, weights.c
    for i in range(3):
        g.at[i] = weights.at[i]
    size = cnp.PyArray_SIZE(dw)
    threads = threads_for(size * g.conv.batch * g.conv.pixels // 16, n_threads)
    if g.conv.x.channels_last:
        chunks = min_index(CHUNKS, g.conv.batch)
        tasks = chunks * ceil_div(g.conv.groups, VL)
        workspace = acquire(chunks * size * sizeof(real_t))
        scratch = <real_t *> workspace.data
        with nogil:
            if threads == 1:
                for task in range(tasks):
                    depthwise_weight_task(&g, task, chunks, scratch)
            else:
                for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                    depthwise_weight_task(&g, task, chunks, scratch)
            add_chunks(scratch, chunks, size, scratch, 0, size)
            for tap in range(g.conv.taps):
                for k in range(g.conv.groups):
                    g.out[k * g.filter + weight_offset(&g, 0, tap)] = scratch[
                        tap * g.conv.groups + k]
        release(workspace)
        return
    strip = strip_rows(&g.conv)
    per_thread = (g.conv.taps * VL + strip * padded(g.conv.axis[2].n_out)
                  + window_size(&g.conv, strip * g.conv.axis[2].n_out, 1))
    workspace = acquire(n_threads * per_thread * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        if threads == 1:
            depthwise_weight_part(&g, strip, 0, 1, scratch)
        else:
            for part in prange(threads, num_threads=threads, schedule="static"):
                depthwise_weight_part(&g, strip, part, threads, scratch + part * per_thread)
    release(workspace)
