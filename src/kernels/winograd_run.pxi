# Winograd's three steps (winograd.pxi) over a whole convolution: how tiles, channels and filters are cut
# into groups that the caches hold, who works on which, and the entry points.

cdef inline index_t round_up(index_t n, index_t unit) noexcept nogil:
    return ceil_div(n, unit) * unit


cdef inline bint is_strided(const conv_t *c, index_t m) noexcept nogil:
    """At stride 2, forward or the input gradient."""
    return c.axis[1].step == 2 or m == STRIDED_BACK


cdef void winograd_tiles(winograd_t *p, const conv_t *c, index_t m, index_t width) noexcept nogil:
    """What follows from the image and V's width."""
    p.c = c
    p.r = c.axis[1].taps
    p.m = p.advance = m
    p.reach = p.side = p.u_side = m + p.r - 1
    if is_strided(c, m):
        p.reach = p.side = STRIDED
        p.u_side = STRIDED_POINTS + 1
        p.advance = 2 * m
    if m == STRIDED_BACK:
        p.reach = STRIDED_POINTS
        p.advance = STRIDED - STRIDED_POINTS
    p.points, p.u_points = p.side * p.side, p.u_side * p.u_side
    p.rows = ceil_div(c.axis[1].n_out, p.m)
    p.across = ceil_div(c.axis[2].n_out, p.m)
    p.pitch = (p.across - 1) * p.advance + p.reach
    p.width = min_index(width, padded(c.channels))
    # Rows of a power of two would share cache sets, unless they follow one another.
    p.ld = p.width if p.width <= WIDTH // 2 else p.width + VL


cdef void set_groups(winograd_t *p, index_t tiles, index_t multiple) noexcept nogil:
    """Groups of at most so many tiles, evenly; about a multiple of so many groups."""
    cdef index_t rows = p.c.batch * p.rows
    p.group_rows = min_index(rows, max_index(1, tiles // p.across))
    p.group_rows = ceil_div(rows, round_up(ceil_div(rows, p.group_rows), multiple))
    tiles = p.group_rows * p.across
    p.v_point = tiles * p.ld + VL
    p.v_block = p.points * p.v_point
    p.v_size = ceil_div(p.c.channels, p.width) * p.v_block
    p.m_point = p.panels * tiles * NR + VL


cdef inline index_t tiles_in(const winograd_t *p, index_t bytes) noexcept nogil:
    """Tiles of which V and M take so much."""
    return bytes // (p.points * (padded(p.c.channels) + p.panels * NR) * sizeof(real_t))


cdef void winograd_plan(winograd_t *p, const conv_t *c, index_t m, int n_threads) noexcept nogil:
    # Two turns a thread: the last group of few is a short one, and the thread that gets it waits.
    cdef index_t multiple = 1 if n_threads == 1 else 2 * n_threads, bytes_of_u
    winograd_tiles(p, c, m, WIDTH)
    bytes_of_u = p.u_points * c.channels * round_up(c.filters, NR) * sizeof(real_t)
    p.filters = min_index(c.filters, FILTERS)
    p.panels = ceil_div(p.filters, NR)
    p.u_channels = max_index(1, TAPS // (FILTERS * c.taps * <index_t> sizeof(real_t)) // p.width)
    p.u_channels = min_index(p.u_channels * p.width, c.channels)
    p.u_panel = p.u_channels * NR
    p.u_point = p.panels * p.u_panel + VL
    p.u_row = 0
    p.prefetch = bytes_of_u > SMALL_WEIGHTS
    set_groups(p, tiles_in(p, TILES_BETWEEN), 1)
    p.between = (bytes_of_u > LARGE_WEIGHTS
                 and ceil_div(c.batch * p.rows, p.group_rows) <= MOST_GROUPS)
    if p.between:
        return
    p.filters = min_index(c.filters,
                          FEW_FILTERS if bytes_of_u <= SMALL_WEIGHTS else MOST_FILTERS)
    p.panels = ceil_div(p.filters, NR)
    p.u_panel = c.channels * NR
    p.u_point = ceil_div(c.filters, NR) * p.u_panel + VL
    if bytes_of_u <= SMALL_WEIGHTS:
        set_groups(p, tiles_in(p, BESIDE_SMALL), multiple)
    elif bytes_of_u <= MEDIUM_WEIGHTS:
        set_groups(p, tiles_in(p, BESIDE_MEDIUM), multiple)
    else:
        set_groups(p, tiles_in(p, BESIDE_LARGE), multiple)


cdef inline index_t winograd_buffer(const winograd_t *p) noexcept nogil:
    """T, of input or output, or the weights' buffer."""
    cdef index_t rows = min_index(p.group_rows, p.rows)
    cdef index_t size = (rows * p.advance + p.reach + 1) * p.pitch
    size = max_index(size, (rows + 1) * p.m * (p.across + 1) * p.m)
    return max_index((size + VL) * VL,
                     taps_size(p.c, ceil_div(FILTERS, VL), p.u_channels) if p.between
                     else taps_size(p.c, 1, WEIGHT_CHANNELS))


cdef inline index_t winograd_private(const winograd_t *p) noexcept nogil:
    """Elements of memory of one thread."""
    cdef index_t size = winograd_buffer(p) + p.points * p.m_point
    return size + (p.u_side * p.u_point if p.between else p.v_size)


cdef inline index_t winograd_common(const winograd_t *p) noexcept nogil:
    """Of all threads."""
    return p.v_size if p.between else p.u_points * p.u_point


cdef void some_weights(const winograd_t *p, index_t part, index_t parts, real_t *t) noexcept nogil:
    """Part of U."""
    cdef index_t groups = ceil_div(p.c.filters, VL), begin = groups * part // parts
    cdef index_t end = groups * (part + 1) // parts, group, channel, count, row
    cdef real_t *u
    flush_denormals()
    begin, end = begin // NV * NV, (groups if part == parts - 1 else end // NV * NV)
    for group in range(begin, end):
        channel = 0
        while channel < p.c.channels:
            count = min_index(WEIGHT_CHANNELS, p.c.channels - channel)
            gather_weights(p.c, group * VL, 1, channel, count, t)
            u = p.u + group // NV * p.u_panel + channel * NR + group % NV * VL
            for row in range(p.u_side):
                weight_points(p.c, p.side, row, 1, count, t,
                              u + row * p.u_side * p.u_point, p.u_point, p.u_panel)
            channel += count


cdef void some_tiles(const winograd_t *plan, index_t group, real_t *memory) noexcept nogil:
    """A group of tiles, all filters."""
    cdef winograd_t p = plan[0]
    cdef index_t row0 = group * p.group_rows
    cdef index_t row1 = min_index(row0 + p.group_rows, p.c.batch * p.rows), filter = 0
    cdef real_t *t = memory + p.v_size + p.points * p.m_point
    flush_denormals()
    p.v = memory
    p.products = memory + p.v_size
    winograd_input(&p, row0, row1, 0, 1, t)
    while filter < p.c.filters:
        p.filters = min_index(plan.filters, p.c.filters - filter)
        p.panels = ceil_div(p.filters, NR)
        winograd_products(&p, (row1 - row0) * p.across, 0, p.c.channels, 0, p.u_points)
        winograd_output(&p, row0, row1, filter, t)
        filter += p.filters
        p.u = p.u + p.panels * p.u_panel


cdef void some_filters(const winograd_t *plan, index_t row0, index_t row1, index_t block,
                       real_t *memory) noexcept nogil:
    """A block of filters, all tiles of V."""
    cdef winograd_t p = plan[0]
    cdef const conv_t *c = p.c
    cdef index_t filter = block * FILTERS, channel = 0, count, groups, row
    cdef real_t *t
    flush_denormals()
    p.filters = min_index(FILTERS, c.filters - filter)
    groups = ceil_div(p.filters, VL)
    p.panels = ceil_div(p.filters, NR)
    p.u = memory
    p.products = memory + p.u_side * p.u_point
    t = p.products + p.points * p.m_point
    while channel < c.channels:
        count = min_index(p.u_channels, c.channels - channel)
        gather_weights(c, filter, groups, channel, count, t)
        for row in range(p.u_side):
            p.u_row = row
            weight_points(c, p.side, row, groups, count, t, p.u, p.u_point, p.u_panel)
            winograd_products(&p, (row1 - row0) * p.across, channel, channel + count,
                              row * p.u_side, (row + 1) * p.u_side)
        channel += count
    winograd_output(&p, row0, row1, filter, t)


cdef index_t winograd_filters(const conv_t *c, index_t m) noexcept nogil:
    """Filters whose transformed weights fit."""
    cdef index_t side = m + c.axis[1].taps - 1, each
    if is_strided(c, m):
        side = STRIDED_POINTS + 1
    each = side * side * c.channels * sizeof(real_t)
    return min_index(c.filters, max_index(1, TRANSFORMED_WEIGHTS // (each * NR)) * NR)


cdef void winograd_filter_turn(const conv_t *c, index_t m, real_t *memory,
                               int n_threads) noexcept nogil:
    cdef winograd_t p
    cdef index_t per_thread, tasks, task, row0, row1
    cdef int part
    winograd_plan(&p, c, m, n_threads)
    per_thread = winograd_private(&p)
    if p.between:
        p.v = memory
        memory += winograd_common(&p)
        tasks = ceil_div(c.filters, FILTERS)
        row0 = 0
        while row0 < c.batch * p.rows:
            row1 = min_index(row0 + p.group_rows, c.batch * p.rows)
            if n_threads == 1:
                winograd_input(&p, row0, row1, 0, 1, memory)
                for task in range(tasks):
                    some_filters(&p, row0, row1, task, memory)
            else:
                for part in prange(n_threads, num_threads=n_threads, schedule="static"):
                    winograd_input(&p, row0, row1, part, n_threads, memory + part * per_thread)
                for task in prange(tasks, num_threads=n_threads, schedule="dynamic"):
                    some_filters(&p, row0, row1, task, memory + threadid() * per_thread)
            row0 = row1
        return
    p.u = memory
    memory += winograd_common(&p)
    tasks = ceil_div(c.batch * p.rows, p.group_rows)
    if n_threads == 1:
        some_weights(&p, 0, 1, memory)
        for task in range(tasks):
            some_tiles(&p, task, memory)
    else:
        for part in prange(n_threads, num_threads=n_threads, schedule="static"):
            some_weights(&p, part, n_threads, memory + part * per_thread)
        for task in prange(tasks, num_threads=n_threads, schedule="dynamic"):
            some_tiles(&p, task, memory + threadid() * per_thread)


cdef void winograd_run(const conv_t *whole, index_t m, real_t *memory,
                       int n_threads) noexcept nogil:
    cdef conv_t c = whole[0]
    cdef index_t done = 0
    while done < whole.filters:
        c.filters = min_index(winograd_filters(whole, m), whole.filters - done)
        c.w = whole.w + done * whole.w_filter
        c.y.data = whole.y.data + done * c.y.c
        if whole.bias != NULL:
            c.bias = whole.bias + done
        winograd_filter_turn(&c, m, memory, n_threads)
        done += c.filters


cdef index_t winograd_memory(const conv_t *whole, index_t m, int n_threads) noexcept nogil:
    """Elements of workspace for winograd_run."""
    cdef conv_t c = whole[0]
    cdef winograd_t p
    cdef index_t at_once = winograd_filters(whole, m), size = 0, turn
    for turn in range(2):  # the first block of filters, the last one
        c.filters = at_once if turn == 0 else (whole.filters - 1) % at_once + 1
        winograd_plan(&p, &c, m, n_threads)
        size = max_index(size, winograd_common(&p) + n_threads * winograd_private(&p))
    return size


def winograd(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, dims, activation,
             int n_threads, index_t tile):
    """Forward convolution, 2-D, 3x3 or 5x5 taps, stride 1 (3x3: or 2), dilation 1, one group."""
    cdef conv_t c
    cdef workspace_t workspace
    set_forward(&c, x, w, y, dims)
    c.bias = pointer(b)
    c.relu = activation is not None
    n_threads = conv_threads(&c, n_threads)
    workspace = acquire(winograd_memory(&c, tile, n_threads) * sizeof(real_t))
    with nogil:
        winograd_run(&c, tile, <real_t *> workspace.data, n_threads)
    release(workspace)


def winograd_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                        int n_threads, index_t tile):
    """Input gradient of such a convolution (+ b by channel): one of dy with the taps turned round.

    At stride 2 the padding is 1: a tile's first element of dx is one that the middle tap reaches.
    """
    cdef conv_t forward, c
    cdef workspace_t workspace
    set_forward(&forward, dx, w, dy, dims)
    forward.bias = pointer(b)
    if forward.axis[1].step == 2:
        tile = STRIDED_BACK
        forward.axis[1].step = forward.axis[2].step = 1
    set_gradient(&c, &forward, 0)
    if tile == STRIDED_BACK:
        c.axis[1].offset = c.axis[2].offset = 0
    n_threads = conv_threads(&c, n_threads)
    workspace = acquire(winograd_memory(&c, tile, n_threads) * sizeof(real_t))
    with nogil:
        winograd_run(&c, tile, <real_t *> workspace.data, n_threads)
    release(workspace)
