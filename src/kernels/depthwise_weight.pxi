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
    cdef bint direct
    set_forward(&g.conv, x, None, dy, dims)
    g.conv.copy_always = True
    direct = planes_fit(&g.conv) or weight_pixels_fit(&g.conv)
    if db is not None and (dw is None or not direct):
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
    if direct:
        if g.conv.x.channels_last:
            workspace = acquire(weight_pixels_scratch(&g.conv) * sizeof(real_t))
        else:
            workspace = acquire(planes_scratch(&g.conv) * sizeof(real_t))
        scratch = <real_t *> workspace.data
        with nogil:
            if g.conv.x.channels_last:
                weight_pixels_run(&g, pdb, scratch, threads)
            elif small_weight_fit(&g.conv):
                weight_small_run(&g, pdb, threads)
            else:
                weight_planes_run(&g, pdb, scratch, threads)
        release(workspace)
        return
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
