# Convolution on the engine of engine.pxi: im2col happens while panels are copied, and nowhere else.
#
#   N images, C channels in, K out (both of one group), spatial axes D H W (1-D and 2-D: size 1 before),
#   taps T R S, outputs O P Q. A pixel is one output position of one image.
#
#   NCHW           C = weights x im2col        K x pixels       vectors along pixels
#   channels-last  C = im2col' x weights'      pixels x K       vectors along channels
#
# In both, im2col's runs that are contiguous in memory (a row's pixels; a pixel's channels) are copied as
# they lie, from a window of x (window.pxi); a 1x1 kernel's x is multiplied where it lies, or copied by the
# first tile that reads it.

cdef enum:
    WINDOW = 131072 # elements of a window that is copied, as far as blocks of a few tiles allow
    RESULT = 262144 # elements of a block of results that are scattered: half of L2
    IN_PLACE = 256  # filters up to which x is multiplied where it lies: each copy would serve few tiles
    STRADDLING = 2  # rows of tiles, the same where x's vectors straddle cache lines


cdef inline bint straddles(const conv_t *c) noexcept nogil:
    """Whether vectors of x's planes may lie across cache lines: such a load is two of L1, and one line more.

    The first tile of rows copies such panels as it reads them: C384 K64 14x14 1.14 times as fast.
    """
    return (<size_t> c.x.data | <size_t> (c.x.c * sizeof(real_t))) % (VL * sizeof(real_t)) != 0


cdef void move_to_columns(void *state, index_t i0, index_t i1, index_t j0, index_t j1, index_t k,
                          index_t kc, bint again) noexcept nogil:
    """NCHW: the block's columns are pixels, this part of the sum some channels."""
    cdef window_t *v = <window_t *> state
    cdef index_t first = k // v.c.taps, last = (k + kc - 1) // v.c.taps
    if not again:
        window_move(v, j0, j1 - j0, first, last - first + 1)


cdef void move_to_rows(void *state, index_t i0, index_t i1, index_t j0, index_t j1, index_t k,
                       index_t kc, bint again) noexcept nogil:
    """Channels-last: the block's rows are pixels; all channels, for the whole sum."""
    if k == 0:
        window_move(<window_t *> state, i0, i1 - i0, 0, 0)


cdef void conv_product(const conv_t *c, product_t *p) noexcept nogil:
    """The product that computes one group; operands are set by conv_task."""
    p.k = p.period = c.taps * c.channels
    p.period_a = 0
    p.rows_a = p.panels_b = NULL
    p.place_b = NULL
    p.copies_b = False
    p.locate_a = p.locate_b = p.locate_c = NULL
    p.columns_a = p.columns_b = p.bounded = False
    p.begins, p.ends = c.bias != NULL, c.relu
    if c.x.channels_last:
        p.m, p.n = c.batch * c.pixels, c.filters
        p.run = p.n
        p.fill_a, p.store, p.prepare = fill_im2col_pixels, store_pixels, move_to_rows
        p.locate_c, p.c_stride = locate_pixel, c.y.at[2]
        p.panels_b = c.w  # any: there are panels to read
    else:
        p.m, p.n = c.filters, c.batch * c.pixels
        p.run = c.axis[2].n_out
        p.fill_b, p.store, p.prepare = fill_im2col_rows, store_planes, move_to_columns
        if is_plane(c):
            p.locate_c, p.c_stride = locate_plane, c.y.c
        p.rows_a = c.w  # any: there are rows to read
    if is_scattered(c):
        p.store, p.locate_c = store_dense, locate_result
        p.begins = p.ends = False


cdef inline index_t conv_window(const conv_t *c, const product_t *p) noexcept nogil:
    """Elements of a block's window."""
    if c.x.channels_last:
        return window_size(c, p.block_m, c.channels)
    return window_size(c, p.block_n, min_index(c.channels, (KC - 1) // c.taps + 2))


cdef void choose_conv_blocks(const conv_t *c, product_t *p, int n_threads) noexcept nogil:
    """choose_blocks, and windows that fit into L2."""
    conv_product(c, p)
    choose_blocks(p, not c.x.channels_last, 1, 1)
    while conv_window(c, p) > WINDOW or result_size(c, p) > RESULT:
        if c.x.channels_last and p.block_m > 4 * MR:
            p.block_m = p.band = p.block_m // 2
        elif not c.x.channels_last and p.block_n > 4 * NR:
            p.block_n = ceil_div(p.block_n // 2, NR) * NR
        else:
            break
    share_blocks(p, c.groups, n_threads)


cdef void conv_task(const conv_t *c, const product_t *plan, index_t task, const real_t *packed,
                    real_t *scratch) noexcept nogil:
    cdef index_t group = task // blocks_of(plan)
    cdef conv_t mine = c[0]
    cdef product_t p = plan[0]
    cdef window_t window
    cdef dense_result_t result
    cdef dense_t weights
    cdef real_t *out
    cdef index_t i0, i1, j0, j1
    flush_denormals()
    select_group(&mine, group)
    packed += group * (weights_size(c, c.filters) // c.groups)
    window_open(&window, &mine, p.block_m if c.x.channels_last else p.block_n,
                scratch + scratch_size(&p))
    p.c = &mine
    p.a = p.b = p.state = &window
    if c.x.channels_last:
        p.panels_b = packed
        if window.direct and c.taps == 1:
            p.locate_a, p.a_stride = locate_im2col_pixel, c.x.at[2]
            if is_copy(c) and spreads(c.x.at[2]):
                p.rows_a, p.ld_a, p.step_a = mine.x.data, c.x.at[2], 1
    else:
        p.rows_a, p.ld_a, p.step_a = packed, weights_ld(c), 1
        weights.data, weights.row, weights.col = packed, p.ld_a, 1
        p.a, p.locate_a, p.a_stride = &weights, locate_dense, p.ld_a
        if window.direct and c.taps == 1:
            p.locate_b, p.b_stride = locate_im2col_row, c.x.c
            p.copies_b = p.block_m > STRADDLING * MR and straddles(&mine)
            if (p.copies_b or p.m <= IN_PLACE) and spreads(c.x.c):
                p.place_b, p.ld_b = place_im2col_row, c.x.c
    if is_scattered(c):
        block_bounds(&p, task % blocks_of(plan), &i0, &i1, &j0, &j1)
        out = scratch + scratch_size(plan) + conv_window(c, plan)
        result.row, result.col, result.data = result_ld(&p), 1, out - i0 * result_ld(&p) - j0
        result.addend, result.alpha, result.beta, result.relu = NULL, 1, 0, False
        p.c, p.c_stride = &result, result.row
    product_block(&p, task % blocks_of(plan), 0, p.k, scratch)
    if is_scattered(c) and c.x.channels_last:
        scatter_pixels(&mine, i0, i1, j0, j1, out, result.row)
    elif is_scattered(c):
        scatter_planes(&mine, i0, i1, j0, j1, out, result.row)


cdef inline index_t block_scratch(const conv_t *c, const product_t *p) noexcept nogil:
    """Elements of scratch memory that a block needs."""
    return scratch_size(p) + conv_window(c, p) + result_size(c, p)


cdef index_t conv_scratch(const conv_t *whole, int n_threads) noexcept nogil:
    """Elements of scratch memory that a thread of conv_run needs at most."""
    cdef conv_t c = whole[0]
    cdef product_t p
    cdef index_t size
    c.filters = filters_at_once(whole)
    choose_conv_blocks(&c, &p, n_threads)
    size = block_scratch(&c, &p)
    if whole.filters % c.filters > 0:
        c.filters = whole.filters % c.filters
        choose_conv_blocks(&c, &p, n_threads)
        size = max_index(size, block_scratch(&c, &p))
    return size


cdef inline int conv_threads(const conv_t *c, int n_threads) noexcept nogil:
    return threads_for(c.groups * c.filters * c.batch * c.pixels * c.channels * c.taps // 16,
                       n_threads)


cdef void conv_run(const conv_t *whole, real_t *packed, real_t *scratch, index_t per_thread,
                   int n_threads) noexcept nogil:
    """All groups and filters, by blocks of filters whose weights fit."""
    cdef conv_t c = whole[0]
    cdef product_t plan
    cdef index_t at_once = filters_at_once(whole), done = 0, tasks, task
    cdef int threads, part
    while done < whole.filters:
        c.filters = min_index(at_once, whole.filters - done)
        c.w = whole.w + done * whole.w_filter
        c.y.data = whole.y.data + done * c.y.c
        if whole.bias != NULL:
            c.bias = whole.bias + done
        threads = threads_for(weights_size(&c, c.filters), n_threads)
        if threads == 1:
            pack_weights_part(&c, 0, 1, c.filters, packed)
        else:
            for part in prange(threads, num_threads=threads, schedule="static"):
                pack_weights_part(&c, part, threads, c.filters, packed)
        choose_conv_blocks(&c, &plan, n_threads)
        tasks = c.groups * blocks_of(&plan)
        threads = <int> min_index(n_threads, tasks)
        if threads == 1:
            for task in range(tasks):
                conv_task(&c, &plan, task, packed, scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                conv_task(&c, &plan, task, packed, scratch + threadid() * per_thread)
        done += c.filters


def conv(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, dims, activation,
         int n_threads):
    """Forward convolution by implicit GEMM."""
    cdef conv_t c
    cdef workspace_t workspace
    cdef index_t packed, per_thread
    set_forward(&c, x, w, y, dims)
    c.bias = pointer(b)
    c.relu = activation is not None
    if covers(&c, x, w):
        make_pixels(&c)
    join_axes(&c)
    n_threads = conv_threads(&c, n_threads)
    packed = padded(weights_size(&c, filters_at_once(&c)))
    per_thread = conv_scratch(&c, n_threads)
    workspace = acquire((packed + n_threads * per_thread) * sizeof(real_t))
    with nogil:
        conv_run(&c, <real_t *> workspace.data, <real_t *> workspace.data + packed, per_thread,
                 n_threads)
    release(workspace)
