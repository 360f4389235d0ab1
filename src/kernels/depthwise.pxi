# Depthwise convolution: one input channel a group. A product would have a single row to work with
# (1/14 of the engine's speed), and memory is the limit anyway, so it is computed directly.
#
# NCHW: a plane at a time, in strips of rows that fit in L1. The strip's input rows are copied once,
# zero-padded and, for a stride of s, split into their s phases, so that every tap of a vector of
# outputs is one unaligned load:
#
#     stride 2    x     0 a b c d e f 0        copied rows   | 0 b d f |   phase 0: taps 0, 2
#                                                            | a c e 0 |   phase 1: tap 1
#
# Four vectors of outputs go through the taps together, wherever they lie: narrow images take them from
# several rows.
#
# Channels-last: vectors along channels, weights brought into the order (taps, C); a pixel's taps that
# exist are a range, so that there is nothing to pad.

cdef enum:
    STRIP = 4096    # elements of copied rows in a strip
    STREAMS = 4

cdef struct strip_t:
    # How a plane's rows are copied.
    index_t length, row     # of one phase; of one input row: all phases
    index_t rows            # output rows in a strip, at most
    index_t in_rows         # input rows of such a strip, each of axis[0].taps times


cdef strip_t strip_of(const conv_t *c) noexcept nogil:
    cdef strip_t s
    cdef const axis_t *w = &c.axis[2]
    cdef const axis_t *h = &c.axis[1]
    cdef index_t reach = (h.taps - 1) * h.tap_step + 1
    s.length = padded(w.n_out) + ((w.taps - 1) * w.tap_step // w.step + 1)
    s.length = padded(s.length)
    s.row = s.length * w.step
    s.rows = max_index(1, (STRIP // (s.row * c.axis[0].taps) - reach) // h.step + 1)
    s.rows = min_index(s.rows, h.n_out)
    s.in_rows = (s.rows - 1) * h.step + reach
    return s


cdef inline index_t strip_size(const conv_t *c, const strip_t *s) noexcept nogil:
    return s.row * s.in_rows * c.axis[0].taps + VL


cdef void copy_strip(const conv_t *c, const strip_t *s, const real_t *plane, index_t o, index_t p,
                     index_t rows, real_t *out) noexcept nogil:
    """The input rows of output rows p ... p + rows - 1 of slice o."""
    cdef const axis_t *w = &c.axis[2]
    cdef index_t in_rows = (rows - 1) * c.axis[1].step + (c.axis[1].taps - 1) * c.axis[1].tap_step + 1
    cdef index_t t, i, d, h, phase, start, low, high
    cdef real_t *dst
    for t in range(c.axis[0].taps):
        d = o * c.axis[0].step + c.axis[0].offset + t * c.axis[0].tap_step
        for i in range(in_rows):
            h = p * c.axis[1].step + c.axis[1].offset + i
            for phase in range(w.step):
                dst = out + (t * s.in_rows + i) * s.row + phase * s.length
                start = w.offset + phase
                low = 0 if start >= 0 else min_index(ceil_div(-start, w.step), s.length)
                high = 0 if start >= w.n_in else min_index(ceil_div(w.n_in - start, w.step),
                                                          s.length)
                if d < 0 or d >= c.axis[0].n_in or h < 0 or h >= c.axis[1].n_in:
                    high = 0
                high = max_index(low, high)
                zero_run(dst, low)
                copy_strided(plane + d * c.x.at[0] + h * c.x.at[1] + start + low * w.step, w.step,
                             dst + low, high - low)
                zero_run(dst + high, s.length - high)


cdef void tap_offsets(const conv_t *c, const strip_t *s, index_t *offsets) noexcept nogil:
    """Where in a copied strip each tap of output (0, 0) is."""
    cdef index_t t, r, k, tap = 0, u
    for t in range(c.axis[0].taps):
        for r in range(c.axis[1].taps):
            for k in range(c.axis[2].taps):
                u = k * c.axis[2].tap_step
                offsets[tap] = ((t * s.in_rows + r * c.axis[1].tap_step) * s.row
                                + u % c.axis[2].step * s.length + u // c.axis[2].step)
                tap += 1


cdef inline void streams_product(const int streams, const real_t **x, const index_t *offsets,
                                 const real_t *weights, index_t taps, real_t *out) noexcept nogil:
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
                              real_t bias) noexcept nogil:
    if c.y.at[2] == 1:
        store_run(out, sums, NULL, 1, 0, bias, n, True, c.relu)
    else:
        store_strided(out, c.y.at[2], sums, bias, n, True, c.relu)


cdef void depthwise_plane(const conv_t *c, const strip_t *s, index_t task, const index_t *offsets,
                          real_t *weights, real_t *scratch) noexcept nogil:
    """Plane (n, k) of y. weights: room for the taps of one filter."""
    cdef index_t filters = c.groups * c.filters, n = task // filters, k = task % filters
    cdef const real_t *plane = c.x.data + n * c.x.n + k // c.filters * c.x.c
    cdef real_t *y = c.y.data + n * c.y.n + k * c.y.c
    cdef real_t bias = c.bias[k] if c.bias != NULL else 0
    cdef const real_t *x[STREAMS]
    cdef real_t *out[STREAMS]
    cdef index_t left[STREAMS]
    cdef real_t sums[STREAMS * VL]
    cdef index_t o, p, q, i, rows, used = 0
    cdef conv_t one = c[0]
    one.w = c.w + k // c.filters * c.w_group + k % c.filters * c.w_filter
    pack_rows(&one, 0, weights)
    for o in range(c.axis[0].n_out):
        p = 0
        while p < c.axis[1].n_out:
            rows = min_index(s.rows, c.axis[1].n_out - p)
            copy_strip(c, s, plane, o, p, rows, scratch)
            for i in range(rows):
                q = 0
                while q < c.axis[2].n_out:
                    x[used] = scratch + i * c.axis[1].step * s.row + q
                    out[used] = y + o * c.y.at[0] + (p + i) * c.y.at[1] + q * c.y.at[2]
                    left[used] = min_index(VL, c.axis[2].n_out - q)
                    q += VL
                    used += 1
                    if used == STREAMS:
                        streams_product(STREAMS, x, offsets, weights, c.taps, sums)
                        for used in range(STREAMS):
                            store_stream(c, out[used], sums + used * VL, left[used], bias)
                        used = 0
            while used > 0:
                used -= 1
                streams_product(1, &x[used], offsets, weights, c.taps, sums)
                store_stream(c, out[used], sums, left[used], bias)
            p += rows


cdef void depthwise_pixels(const conv_t *c, index_t task, const real_t *weights) noexcept nogil:
    """Channels-last: output row (n, o, p). weights: (taps, C)."""
    cdef index_t channels = c.groups, p = task % c.axis[1].n_out
    cdef index_t o = task // c.axis[1].n_out % c.axis[0].n_out
    cdef index_t n = task // (c.axis[1].n_out * c.axis[0].n_out)
    cdef index_t q, t, r, s, d, h, w, low, high, k, between = c.axis[2].tap_step * c.x.at[2]
    cdef real_t *y
    cdef const real_t *image = c.x.data + n * c.x.n
    cdef const real_t *x
    cdef const real_t *weight
    cdef vec_t sums
    cdef real_t sum
    for q in range(c.axis[2].n_out):
        y = c.y.data + n * c.y.n + o * c.y.at[0] + p * c.y.at[1] + q * c.y.at[2]
        w = q * c.axis[2].step + c.axis[2].offset
        low = 0 if w >= 0 else ceil_div(-w, c.axis[2].tap_step)
        high = 0 if w >= c.axis[2].n_in else min_index(
            ceil_div(c.axis[2].n_in - w, c.axis[2].tap_step), c.axis[2].taps)
        k = 0
        while k < channels:
            sums = vzero()
            sum = 0
            for t in range(c.axis[0].taps):
                d = o * c.axis[0].step + c.axis[0].offset + t * c.axis[0].tap_step
                if d < 0 or d >= c.axis[0].n_in:
                    continue
                for r in range(c.axis[1].taps):
                    h = p * c.axis[1].step + c.axis[1].offset + r * c.axis[1].tap_step
                    if h < 0 or h >= c.axis[1].n_in:
                        continue
                    x = image + d * c.x.at[0] + h * c.x.at[1] + w * c.x.at[2] + k
                    weight = (weights + (t * c.axis[1].taps + r) * c.axis[2].taps * channels + k)
                    if k + VL <= channels:
                        for s in range(low, high):
                            sums = sums + vload(x + s * between) * vload(weight + s * channels)
                    else:
                        for s in range(low, high):
                            sum = sum + x[s * between] * weight[s * channels]
            if k + VL <= channels:
                if c.bias != NULL:
                    sums = sums + vload(c.bias + k)
                vstore(y + k, vrelu(sums) if c.relu else sums)
                k += VL
            else:
                if c.bias != NULL:
                    sum = sum + c.bias[k]
                y[k] = relu1(sum) if c.relu else sum
                k += 1


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


cdef void depthwise_run(const conv_t *c, index_t *offsets, real_t *scratch,
                        index_t per_thread, int n_threads) noexcept nogil:
    cdef index_t tasks, task
    cdef strip_t s
    cdef int threads
    if c.batch * c.pixels == 0:
        return
    threads = threads_for(c.batch * c.groups * c.filters * c.pixels * (c.taps + 8) // 16, n_threads)
    if c.x.channels_last:
        pack_taps(c, scratch)
        tasks = c.batch * c.axis[0].n_out * c.axis[1].n_out
        if threads == 1:
            for task in range(tasks):
                depthwise_pixels(c, task, scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                depthwise_pixels(c, task, scratch)
        return
    s = strip_of(c)
    tap_offsets(c, &s, offsets)
    tasks = c.batch * c.groups * c.filters
    if threads == 1:
        for task in range(tasks):
            depthwise_plane(c, &s, task, offsets, scratch, scratch + padded(c.taps))
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic", chunksize=8):
            depthwise_plane(c, &s, task, offsets, scratch + threadid() * per_thread,
                            scratch + threadid() * per_thread + padded(c.taps))


cdef index_t depthwise_scratch(const conv_t *c) noexcept nogil:
    """Elements of scratch memory that a thread needs at most."""
    cdef strip_t s
    if c.x.channels_last:
        return c.taps * c.groups
    s = strip_of(c)
    return padded(c.taps) + padded(strip_size(c, &s))


def depthwise(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, dims, activation,
              int n_threads):
    """Forward convolution, one input channel a group (channels-last: one output channel too)."""
    cdef conv_t c
    cdef workspace_t workspace
    cdef index_t per_thread, taps
    set_forward(&c, x, w, y, dims)
    c.bias = pointer(b)
    c.relu = activation is not None
    per_thread = depthwise_scratch(&c)
    taps = c.taps * sizeof(index_t)
    workspace = acquire(taps + ALIGNMENT + n_threads * per_thread * sizeof(real_t))
    with nogil:
        depthwise_run(&c, <index_t *> workspace.data,
                      <real_t *> (workspace.data + ceil_div(taps, ALIGNMENT) * ALIGNMENT),
                      per_thread, n_threads)
    release(workspace)


def depthwise_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                         int n_threads):
    """Input gradient, one input and one output channel a group: the same by phases of the stride."""
    cdef conv_t forward, c
    cdef workspace_t workspace
    cdef index_t per_thread = 0, taps, phases = 1, phase
    cdef int i
    set_forward(&forward, dx, w, dy, dims)
    forward.bias = pointer(b)
    for i in range(3):
        phases *= forward.axis[i].step
    for phase in range(phases):
        set_gradient(&c, &forward, phase)
        if c.taps > 0:
            per_thread = max_index(per_thread, depthwise_scratch(&c))
    taps = forward.taps * sizeof(index_t)
    workspace = acquire(taps + ALIGNMENT + n_threads * per_thread * sizeof(real_t))
    with nogil:
        for phase in range(phases):
            set_gradient(&c, &forward, phase)
            if c.taps == 0:
                fill_constant(&c)
            else:
                depthwise_run(&c, <index_t *> workspace.data,
                              <real_t *> (workspace.data + ceil_div(taps, ALIGNMENT) * ALIGNMENT),
                              per_thread, n_threads)
    release(workspace)


# Weight gradient: every tap's sum of dy times the input it reads, over all images and pixels.

cdef void depthwise_weight_plane(const weight_grad_t *g, const strip_t *s, index_t k,
                                 const index_t *offsets, real_t *scratch) noexcept nogil:
    """NCHW: the taps of filter k. Sums in vectors a tap, over images and strips in order."""
    cdef const conv_t *c = &g.conv
    cdef index_t width = padded(c.axis[2].n_out), n, o, p, i, q, rows, tap
    cdef real_t *sums = scratch
    cdef real_t *dy = sums + c.taps * VL
    cdef real_t *x = dy + s.rows * width
    cdef const real_t *plane
    cdef const real_t *src
    cdef vec_t sum
    cdef real_t lane[VL]
    cdef mask_t valid  # of a row's last vector: what lies behind it in x may be a NaN
    for i in range(VL):
        lane[i] = i - VL
    valid = vless(vload(lane), vsplat(c.axis[2].n_out - width))
    zero_run(sums, c.taps * VL)
    for n in range(c.batch):
        plane = c.x.data + n * c.x.n + k // c.filters * c.x.c
        for o in range(c.axis[0].n_out):
            p = 0
            while p < c.axis[1].n_out:
                rows = min_index(s.rows, c.axis[1].n_out - p)
                copy_strip(c, s, plane, o, p, rows, x)
                for i in range(rows):
                    src = c.y.data + n * c.y.n + k * c.y.c + o * c.y.at[0] + (p + i) * c.y.at[1]
                    copy_strided(src, c.y.at[2], dy + i * width, c.axis[2].n_out)
                    zero_run(dy + i * width + c.axis[2].n_out, width - c.axis[2].n_out)
                for tap in range(c.taps):
                    sum = vload(sums + tap * VL)
                    for i in range(rows):
                        src = x + offsets[tap] + i * c.axis[1].step * s.row
                        q = 0
                        while q + VL < width:
                            sum = sum + vload(dy + i * width + q) * vload(src + q)
                            q += VL
                        sum = sum + (vload(dy + i * width + q)
                                     * vselect(valid, vload(src + q), vzero()))
                    vstore(sums + tap * VL, sum)
                p += rows
    for tap in range(c.taps):
        g.out[k * g.filter + weight_offset(g, 0, tap)] = vsum(vload(sums + tap * VL))


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
    cdef vec_t sum
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
                                sum = vload(sums)
                                for q in range(low, high):
                                    sum = sum + vload(dy + q * c.y.at[2]) * vload(x + q * step)
                                vstore(sums, sum)
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
    depthwise_weight_pixels(g, task % blocks, g.conv.batch * chunk // chunks,
                            g.conv.batch * (chunk + 1) // chunks,
                            partial + chunk * g.conv.taps * g.conv.groups)


def depthwise_weight_grad(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dw, cnp.ndarray db,
                          dims, int n_threads):
    """dw and db of a depthwise convolution (channels-last: one output channel a group)."""
    cdef weight_grad_t g
    cdef strip_t s
    cdef image_t weights
    cdef workspace_t workspace
    cdef index_t chunks, size, tasks, task, per_thread, taps, tap, k
    cdef index_t *offsets
    cdef real_t *scratch
    cdef real_t *pdb = pointer(db)
    cdef int i, threads
    set_forward(&g.conv, x, None, dy, dims)
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
    s = strip_of(&g.conv)
    taps = ceil_div(g.conv.taps * sizeof(index_t), ALIGNMENT) * ALIGNMENT
    per_thread = (g.conv.taps * VL + s.rows * padded(g.conv.axis[2].n_out)
                  + padded(strip_size(&g.conv, &s)))
    workspace = acquire(taps + n_threads * per_thread * sizeof(real_t))
    offsets = <index_t *> workspace.data
    scratch = <real_t *> (workspace.data + taps)
    tasks = g.conv.groups * g.conv.filters
    with nogil:
        tap_offsets(&g.conv, &s, offsets)
        if threads == 1:
            for task in range(tasks):
                depthwise_weight_plane(&g, &s, task, offsets, scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                depthwise_weight_plane(&g, &s, task, offsets, scratch + threadid() * per_thread)
    release(workspace)
