# Weight gradient
#
#   NCHW           dw' = im2col x dy'     (c, t, r, s) x K    im2col's rows are runs of pixels
#   channels-last  dw = dy' x im2col'     K x (t, r, s, c)    im2col's rows are runs of channels, and so
#                                                             are dy's: A's columns stay columns
#
# A 1x1 kernel's x and dy may change places: the longer of them is read where it lies.
#
# The sum runs over all pixels of the batch. Where dw has too few blocks for the threads, it is cut
# into chunks; their number depends on the shape alone, and they are added in order.

cdef enum:
    CHUNKS = 8  # at most

cdef struct weight_grad_t:
    conv_t conv
    real_t *out      # one chunk's result, in dw's order
    index_t at[3]    # strides of its taps
    index_t filter, channel


cdef void fill_dy_columns(const void *matrix, index_t row, index_t rows, index_t col,
                          index_t cols, real_t *out, index_t ld) noexcept nogil:
    """Row pixel, column filter."""
    cdef const conv_t *c = &(<const weight_grad_t *> matrix).conv
    cdef index_t count
    cdef dense_t m
    m.row = c.y.at[2]
    m.col = c.y.c
    while rows > 0:  # image by image
        count = min_index(rows, c.pixels - row % c.pixels)
        m.data = c.y.data + row // c.pixels * c.y.n + row % c.pixels * m.row
        fill_dense(&m, 0, count, col, cols, out, ld)
        out += count * ld
        row += count
        rows -= count


cdef const real_t *locate_dy(const void *matrix, index_t row, index_t col) noexcept nogil:
    """Row pixel, column filter."""
    cdef const conv_t *c = &(<const weight_grad_t *> matrix).conv
    cdef index_t n = row // c.pixels
    return c.y.data + n * c.y.n + (row - n * c.pixels) * c.y.at[2] + col * c.y.c


cdef const real_t *locate_dy_row(const void *matrix, index_t row, index_t col) noexcept nogil:
    """Row filter, column pixel."""
    return locate_dy(matrix, col, row)


cdef const real_t *locate_channel(const void *matrix, index_t row, index_t col) noexcept nogil:
    """NCHW, one tap of stride 1: row channel, column pixel."""
    cdef const conv_t *c = (<const window_t *> matrix).c
    cdef index_t n = col // c.pixels
    return c.x.data + n * c.x.n + row * c.x.c + col - n * c.pixels


cdef inline bint reads_all(const conv_t *c) noexcept nogil:
    """One tap that reads every pixel once."""
    return is_trivial(&c.axis[0]) and is_trivial(&c.axis[1]) and is_trivial(&c.axis[2])


cdef inline bint better_transposed(const conv_t *c) noexcept nogil:
    """Whether to compute dw' = x dy' (1x1): the longer of x and dy is read where it lies.

    The other one is copied; NCHW, transposed into panels that should not stay half empty.
    """
    if c.filters <= c.channels:
        return False
    if c.x.channels_last:
        return c.channels <= IN_PLACE and spreads(c.y.at[2])
    return c.pixels >= KC // 2 and spreads(c.y.c) and 8 * padded(c.channels) <= 9 * c.channels


cdef inline index_t weight_offset(const weight_grad_t *g, index_t channel,
                                  index_t tap) noexcept nogil:
    cdef index_t s = tap % g.conv.axis[2].taps
    tap = tap // g.conv.axis[2].taps
    return (channel * g.channel + tap // g.conv.axis[1].taps * g.at[0]
            + tap % g.conv.axis[1].taps * g.at[1] + s * g.at[2])


cdef void scatter_weights(const weight_grad_t *g, index_t row, index_t rows, index_t col,
                          index_t cols, const real_t *block) noexcept nogil:
    """A finished block of the product, rows x cols, to its places in dw."""
    cdef index_t i, j, taps = g.conv.taps, channels = g.conv.channels
    cdef real_t *out
    if g.conv.x.channels_last:
        if g.channel == 1 and (taps == 1 or g.at[2] == channels):  # dw has the product's order
            for i in range(rows):
                copy_run(block + i * cols, g.out + (row + i) * g.filter + col, cols)
            return
        if taps == 1 and g.filter == 1:  # x and dy have changed places
            fill_transposed(block, cols, cols, rows, g.out + col * g.channel + row, g.channel)
            return
        for j in range(cols):
            out = g.out + row * g.filter + weight_offset(g, (col + j) % channels,
                                                         (col + j) // channels)
            for i in range(rows):
                out[i * g.filter] = block[i * cols + j]
    elif g.channel == taps and (taps == 1 or g.at[2] == 1):
        fill_transposed(block, cols, cols, rows, g.out + col * g.filter + row, g.filter)
    else:
        for i in range(rows):
            out = g.out + col * g.filter + weight_offset(g, (row + i) // taps, (row + i) % taps)
            if g.filter == 1:
                copy_run(block + i * cols, out, cols)
                continue
            for j in range(cols):
                out[j * g.filter] = block[i * cols + j]


cdef void move_to_sum(void *state, index_t i0, index_t i1, index_t j0, index_t j1, index_t k,
                      index_t kc, bint again) noexcept nogil:
    """This part of the sum is a run of pixels; NCHW: the block's rows are some channels."""
    cdef window_t *v = <window_t *> state
    cdef index_t first = i0 // v.c.taps, last = (i1 - 1) // v.c.taps
    window_move(v, k, kc, 0 if v.c.x.channels_last else first, last - first + 1)


cdef void weight_grad_product(const weight_grad_t *g, product_t *p) noexcept nogil:
    """The product that computes one group; operands are set by weight_grad_task."""
    cdef const conv_t *c = &g.conv
    p.k = p.period = c.batch * c.pixels
    p.period_a = 0
    p.rows_a = p.panels_b = NULL
    p.place_b = NULL
    p.copies_b = False
    p.locate_a, p.locate_b, p.locate_c = NULL, NULL, locate_result
    p.columns_a, p.columns_b = c.x.channels_last, not c.x.channels_last
    p.begins = p.ends = p.bounded = False
    p.store, p.prepare = store_dense, move_to_sum
    if c.x.channels_last:
        p.m, p.n = c.filters, c.channels * c.taps
        p.fill_a, p.fill_b = fill_dy_columns, fill_im2col_pixels
        p.locate_a, p.a_stride = locate_dy_row, c.y.at[2]
        if c.taps == 1:
            p.locate_b, p.b_stride = locate_im2col_pixel, c.x.at[2] * c.axis[2].step
    else:
        p.m, p.n = c.channels * c.taps, c.filters
        p.fill_a, p.fill_b = fill_im2col_rows, fill_dy_columns
        p.locate_b, p.b_stride = locate_dy, c.y.c
        if reads_all(c):
            p.locate_a, p.a_stride = locate_channel, c.x.c
            if c.pixels >= KC // 2 and spreads(c.x.c):
                p.period, p.period_a = c.pixels, c.x.n
    p.run = p.n


cdef inline index_t weight_grad_window(const conv_t *c, const product_t *p) noexcept nogil:
    return window_size(c, min_index(KC, p.k), min_index(c.channels, (p.block_m - 1) // c.taps + 2))


cdef inline index_t weight_grad_scratch(const weight_grad_t *g, const product_t *p) noexcept nogil:
    return (padded(scratch_size(p)) + padded(p.block_m * p.block_n)
            + weight_grad_window(&g.conv, p))


cdef void weight_grad_task(const weight_grad_t *g, const product_t *plan, index_t task,
                           index_t chunks, index_t size, real_t *scratch) noexcept nogil:
    cdef index_t block = task % blocks_of(plan), rest = task // blocks_of(plan)
    cdef index_t group = rest % g.conv.groups, chunk = rest // g.conv.groups
    cdef index_t parts = ceil_div(plan.k, KC), i0, i1, j0, j1
    cdef weight_grad_t mine = g[0]
    cdef product_t p = plan[0]
    cdef window_t window
    cdef dense_result_t result
    cdef real_t *sums = scratch + padded(scratch_size(plan))
    flush_denormals()
    mine.conv.x.data += group * g.conv.channels * g.conv.x.c
    mine.conv.y.data += group * g.conv.filters * g.conv.y.c
    mine.out += chunk * size + group * g.conv.filters * g.filter
    window_open(&window, &mine.conv, min_index(KC, p.k), sums + padded(p.block_m * p.block_n))
    p.state = &window
    p.a, p.b = &window, &mine
    if g.conv.x.channels_last:
        p.a, p.b = &mine, &window
    if p.period_a > 0:
        p.rows_a, p.ld_a, p.step_a = mine.conv.x.data, mine.conv.x.c, 1
    elif g.conv.x.channels_last and is_copy(&mine.conv) and pixels_are_rows(&mine.conv):
        # Where the copies would serve few tiles.
        if p.m <= IN_PLACE and spreads(mine.conv.x.at[2]):
            p.place_b, p.ld_b = locate_im2col_pixel, mine.conv.x.at[2]
        if p.m <= IN_PLACE // 2 and p.n <= IN_PLACE // 2:
            p.rows_a, p.ld_a, p.step_a = mine.conv.y.data, 1, mine.conv.y.at[2]
    # The block's sum is formed in scratch memory, row after row, and goes to dw once.
    block_bounds(plan, block, &i0, &i1, &j0, &j1)
    result.row, result.col, result.data = j1 - j0, 1, sums - i0 * (j1 - j0) - j0
    result.addend, result.alpha, result.beta, result.relu = NULL, 1, 0, False
    p.c, p.c_stride = &result, result.row
    product_block(&p, block, parts * chunk // chunks * KC,
                  min_index(parts * (chunk + 1) // chunks * KC, p.k), scratch)
    scatter_weights(&mine, i0, i1 - i0, j0, j1 - j0, sums)


cdef void add_chunks(const real_t *chunks, index_t count, index_t size, real_t *out, index_t begin,
                     index_t end) noexcept nogil:
    cdef index_t i, chunk
    for i in range(begin, end):
        out[i] = chunks[i]
    for chunk in range(1, count):
        for i in range(begin, end):
            out[i] = out[i] + chunks[chunk * size + i]


cdef index_t chunks_for(const conv_t *c) noexcept nogil:
    """How many chunks the sum is cut into: by the shape alone."""
    cdef index_t size = c.groups * c.filters * c.channels * c.taps
    cdef index_t tiles = (c.groups * ceil_div(c.filters, NR)
                          * ceil_div(c.channels * c.taps, 4 * MR))
    cdef index_t chunks = min_index(CHUNKS, c.batch * c.pixels // (4 * KC))
    if tiles >= 16 or size * chunks * sizeof(real_t) > 4 << 20:
        return 1
    return max_index(1, chunks)


cdef void sum_plane(const conv_t *c, index_t k, real_t *out) noexcept nogil:
    """The sum of channel k of y over all images, plane by plane."""
    cdef index_t n, i
    cdef vec_t total = vzero(), plane
    cdef real_t rest = 0
    cdef const real_t *y
    for n in range(c.batch):
        y = c.y.data + n * c.y.n + k * c.y.c
        plane = vzero()
        i = 0
        while i + VL <= c.pixels:
            plane = plane + vload(y + i)
            i += VL
        total = total + plane
        while i < c.pixels:
            rest = rest + y[i]
            i += 1
    out[k] = vsum(total) + rest


cdef void sum_pixels(const conv_t *c, real_t *out, int n_threads) noexcept nogil:
    """The bias gradient: y summed over images and pixels."""
    cdef index_t k, filters = c.groups * c.filters
    cdef int threads = threads_for(filters * c.batch * c.pixels // 4, n_threads)
    threads = <int> min_index(threads, filters)
    if c.y.channels_last:
        sum_rows_run(c.y.data, c.batch * c.pixels, filters, out, n_threads)
    elif threads == 1:
        for k in range(filters):
            sum_plane(c, k, out)
    else:
        for k in prange(filters, num_threads=threads, schedule="static"):
            sum_plane(c, k, out)


cdef void weight_grad_run(const weight_grad_t *g, const product_t *p, real_t *dw, index_t size,
                          index_t chunks, real_t *scratch, int n_threads) noexcept nogil:
    cdef index_t tasks = chunks * g.conv.groups * blocks_of(p), task
    cdef index_t per_thread = weight_grad_scratch(g, p)
    cdef int threads = <int> min_index(n_threads, tasks)
    if threads == 1:
        for task in range(tasks):
            weight_grad_task(g, p, task, chunks, size, scratch)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            weight_grad_task(g, p, task, chunks, size, scratch + threadid() * per_thread)
    if chunks > 1:
        add_chunks(g.out, chunks, size, dw, 0, size)


def conv_weight_grad(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dw, cnp.ndarray db, dims,
                     int n_threads):
    """dw = the convolution's weight gradient, db = dy summed over images and pixels."""
    cdef weight_grad_t g
    cdef product_t p
    cdef image_t weights
    cdef workspace_t workspace
    cdef index_t size, chunks, partial, work
    cdef real_t *pdb = pointer(db)
    cdef int i
    set_forward(&g.conv, x, None, dy, dims)
    if db is not None:
        with nogil:
            sum_pixels(&g.conv, pdb, n_threads)
    if dw is None:
        return
    join_axes(&g.conv)
    set_image(&weights, dw)
    size = cnp.PyArray_SIZE(dw)
    g.filter, g.channel = weights.n, weights.c
    for i in range(3):
        g.at[i] = weights.at[i]
    if covers(&g.conv, x, dw):
        make_pixels(&g.conv)
        g.channel = 1
    if reads_all(&g.conv) and g.conv.groups == 1 and better_transposed(&g.conv):
        # x and dy exchange their parts
        g.conv.x, g.conv.y = g.conv.y, g.conv.x
        g.conv.channels, g.conv.filters = g.conv.filters, g.conv.channels
        g.channel, g.filter = g.filter, g.channel
    weight_grad_product(&g, &p)
    work = size * p.k
    n_threads = threads_for(work // 16, n_threads)
    chunks = chunks_for(&g.conv)
    choose_blocks(&p, False, 1, 1)
    share_blocks(&p, chunks * g.conv.groups, n_threads)
    partial = padded(size) * chunks if chunks > 1 else 0
    workspace = acquire((partial + n_threads * weight_grad_scratch(&g, &p)) * sizeof(real_t))
    g.out = <real_t *> workspace.data if chunks > 1 else weights.data
    with nogil:
        weight_grad_run(&g, &p, weights.data, size, chunks,
                        <real_t *> workspace.data + partial, n_threads)
    release(workspace)
