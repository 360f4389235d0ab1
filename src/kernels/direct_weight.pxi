# Weight gradient of few input channels, channels-last: a strip of x, copied once with its
# padding (direct_pixels.pxi), and dy where it lies.
#
#     strip row h    | 0 0 0 | r g b | r g b | ...     pixel q, tap row r     |-- S x C --|   x
#     dy             |  k k k k |  k k k k | ...                              |--- K ---|
#
# A tile of sums is some of the S x C elements of a tap row, or of two, by two vectors of filters:
# an element of x times dy's vectors, pixel after pixel. im2col's matrix, which the engine
# would copy for 32 filters only, and dy's transpose are never formed: docs/performance/few-channels.md.
#
# Strips belong to chunks, whose sums are added in order; how many depends on the shape alone.

cdef inline index_t direct_weight_strips(const conv_t *c) noexcept nogil:
    return c.batch * ceil_div(c.axis[1].n_out, direct_rows_of(c))


cdef inline index_t direct_weight_sums(const conv_t *c) noexcept nogil:
    """Elements of a chunk's sums: (panel of NR filters, r, s, c, filter)."""
    return ceil_div(c.filters, NR) * NR * c.taps * c.channels


cdef void direct_weight_strip(const conv_t *c, index_t task, real_t *strip,
                              real_t *sums) noexcept nogil:
    """sums += x' dy over one strip."""
    cdef index_t height = direct_rows_of(c), blocks = ceil_div(c.axis[1].n_out, height)
    cdef index_t n = task // blocks, p0 = task % blocks * height, ld = direct_row(c)
    cdef index_t count = min_index(height, c.axis[1].n_out - p0), run = c.axis[2].taps * c.channels
    cdef index_t taps = c.axis[1].taps, pixels = c.axis[2].n_out
    cdef index_t i, h, r, k = 0, j, rows, lines, cols
    cdef const real_t *dy = c.y.data + n * c.y.n + p0 * c.y.at[1]
    cdef const real_t *x
    cdef direct_t shape
    shape.taps, shape.run, shape.ld, shape.step = taps, run, ld, c.axis[2].step * c.channels
    shape.y_ld, shape.relu = c.y.at[2], False
    for i in range((count - 1) * c.axis[1].step + taps):
        h = p0 * c.axis[1].step + c.axis[1].offset + i
        x = NULL
        if h >= 0 and h < c.axis[1].n_in:
            x = c.x.data + n * c.x.n + h * c.x.at[1]
        copy_direct_row(c, x, strip + i * ld)
    while k < c.filters:
        cols = min_index(NR, c.filters - k)
        j = 0
        while j < run:
            tile_rows_of(run, j, &rows)
            r = 0
            while r < taps:
                lines = 2 if 2 * rows <= MR and r + 1 < taps else 1
                direct_weight_tile(<int> (lines * rows), <int> lines, &shape, strip + r * ld + j,
                                   c.axis[1].step * ld, dy + k, count, pixels,
                                   sums + (r * run + j) * NR, run * NR, cols)
                r += lines
            j += rows
        sums += taps * run * NR
        k += NR


cdef void direct_weight_task(const conv_t *c, index_t chunk, index_t chunks, real_t *strip,
                             real_t *sums) noexcept nogil:
    cdef index_t strips = direct_weight_strips(c), size = direct_weight_sums(c), i
    flush_denormals()
    sums += chunk * size
    zero_run(sums, size)
    for i in range(strips * chunk // chunks, strips * (chunk + 1) // chunks):
        direct_weight_strip(c, i, strip, sums)


cdef void direct_weight_run(const weight_grad_t *g, index_t chunks, real_t *sums, real_t *strips,
                            index_t per_thread, int threads) noexcept nogil:
    cdef const conv_t *c = &g.conv
    cdef index_t size = direct_weight_sums(c), taps = c.taps * c.channels, chunk, k, i
    cdef real_t *out
    if threads == 1:
        for chunk in range(chunks):
            direct_weight_task(c, chunk, chunks, strips, sums)
    else:
        for chunk in prange(chunks, num_threads=threads, schedule="dynamic"):
            direct_weight_task(c, chunk, chunks, strips + threadid() * per_thread, sums)
    add_chunks(sums, chunks, size, sums, 0, size)
    for i in range(taps):
        out = g.out + weight_offset(g, i % c.channels, i // c.channels)
        for k in range(c.filters):
            out[k * g.filter] = sums[(k // NR * taps + i) * NR + k % NR]


def direct_weight_grad(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dw, cnp.ndarray db, dims,
                       int n_threads):
    """dw and db of a convolution of few channels, dy channels-last."""
    cdef weight_grad_t g
    cdef image_t weights
    cdef workspace_t workspace
    cdef index_t chunks, size, per_thread
    cdef real_t *pdb = pointer(db)
    cdef real_t *scratch
    cdef int i
    set_forward(&g.conv, x, None, dy, dims)
    g.conv.x.channels_last = True  # one channel's array is in both formats
    if db is not None:
        with nogil:
            sum_pixels(&g.conv, pdb, n_threads)
    if dw is None:
        return
    set_image(&weights, dw)
    g.out, g.filter, g.channel = weights.data, weights.n, weights.c
    for i in range(3):
        g.at[i] = weights.at[i]
    n_threads = direct_threads(&g.conv, n_threads)
    chunks = min_index(CHUNKS, direct_weight_strips(&g.conv))
    size, per_thread = padded(chunks * direct_weight_sums(&g.conv)), padded(direct_strip(&g.conv))
    workspace = acquire((size + n_threads * per_thread) * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        direct_weight_run(&g, chunks, scratch, scratch + size, per_thread, n_threads)
    release(workspace)
