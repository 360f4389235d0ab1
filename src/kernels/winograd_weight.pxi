# Winograd's weight gradient: the gradient of the algorithm of winograd.pxi.
#
#   dw = G' [ sum over tiles of (A dy A') * (B'xB) ] G
#
# (36 points here, or 49, or 64)
#
#   x tile 6x6   --B'xB-->   V[block][36][tile][WIDE]  --.
#                                                         >--  P[36][filter][channel]  --G'PG-->  dw
#   dy tile mxm  --AdyA'-->  D[block][36][tile][WIDE]  --'     summed over tiles
#
# Both operands already have the tiles as rows: the micro-kernel reads D's columns and V's rows where they
# lie, in blocks of WIDE filters and channels that are contiguous in memory.
#
# Two orders. Where V and D of all tiles fit in ONE_GROUP, a task is WIDE or 2 WIDE filters by WIDE
# channels: its P stays in the cache and becomes dw at once. Otherwise groups of tiles follow one another;
# a task is a point and WIDE filters, whose P, V and D stay in the cache while P is added to, and dw is
# formed after the last group. P, and V with D, are kept within bounds by doing some filters and some
# channels at a time: each such part of dw goes through all tiles by itself.
#
# While P is small the groups are cut into chunks with sums of their own, which threads take whole: V and D
# then stay with the core that wrote them (C64 56x56: two threads 1.0 times one when they shared groups).
#
# Why blocks of 64: a tile of 14 x 32 alone reads 0.25 bytes from L3 a multiply-add, and one core gets
# 0.24 (C256 14x14, batch 8: 9.2 ms; in blocks 5.1).
#
# Groups and chunks depend on the shape alone, so that the bits do not depend on the number of threads.

cdef enum:
    WIDE = 64
    FEW_TILES = 64           # up to which a task of one group is WIDE filters; twice that otherwise
    ONE_GROUP = 16 << 20     # bytes of V and D up to which all tiles are one group
    SOME_TILES = 1 << 20     # at least so many in a group otherwise
    MOST_TILES = 8 << 20     # and at most
    SUMS = 20 << 20          # bytes of P, of all chunks
    MOST_CHUNKS = 4

cdef struct winograd_grad_t:
    const weight_grad_t *g
    winograd_t w                     # V's side; w.products is D
    index_t ld_d, d_point, d_block
    index_t filter, filters, channel, channels   # this part of dw
    index_t most_filters, most_channels          # of any part
    real_t *sums                                 # P
    index_t p_point
    index_t chunks                               # of groups, each with its own P
    bint at_once                     # one group of tiles
    index_t task_filters             # then
    index_t row0, row1               # of tiles, of the current group
    bint first                       # of its chunk


cdef inline void gradient_tile(const int side, const int m, const real_t *t, index_t pitch,
                               real_t *d, index_t d_point) noexcept nogil:
    """One tile of VL filters: m x m vectors of T to side x side points."""
    cdef vec_t y[MOST_SIDE]
    cdef vec_t e[MOST_POINTS]
    cdef vec_t o[MOST_SIDE]
    cdef int i, j
    for j in range(m):
        for i in range(m):
            y[i] = vload(t + (i * pitch + j) * VL)
        gradient_line(side, m, y, 1, e + j, m)
    for i in range(side):
        gradient_line(side, m, e + i * m, 1, o, 1)
        for j in range(side):
            vstore(d + (i * side + j) * d_point, o[j])


cdef inline void transform_gradient(index_t side, index_t m, const real_t *t, index_t pitch,
                                    real_t *d, index_t d_point) noexcept nogil:
    if m == 2:
        gradient_tile(6, 2, t, pitch, d, d_point)
    elif m == 5:
        gradient_tile(7, 5, t, pitch, d, d_point)
    elif m == 6:
        gradient_tile(8, 6, t, pitch, d, d_point)
    elif side == 6:
        gradient_tile(6, 4, t, pitch, d, d_point)
    else:
        gradient_tile(8, 4, t, pitch, d, d_point)


cdef void gradient_input(const winograd_grad_t *q, index_t part, index_t parts,
                         real_t *t) noexcept nogil:
    """D of the current group, part of the groups of VL filters."""
    cdef const winograd_t *p = &q.w
    cdef const conv_t *c = p.c
    cdef index_t groups = ceil_div(q.filters, VL), group, row, end, n, first, i, j
    cdef real_t *d
    cdef plane_t plane
    plane.image, plane.channels = &c.y, q.filter + q.filters
    plane.height, plane.width = c.axis[1].n_out, c.axis[2].n_out
    plane.left, plane.pitch = 0, p.across * p.m
    row = q.row0
    while row < q.row1:
        n = row // p.rows
        first = row % p.rows
        end = min_index(q.row1, (n + 1) * p.rows)
        for group in range(groups * part // parts, groups * (part + 1) // parts):
            planes_to_pixels(&plane, n, first * p.m, (first + end - row) * p.m,
                             q.filter + group * VL, t)
            d = (p.products + group * VL // WIDE * q.d_block + (row - q.row0) * p.across * q.ld_d
                 + group * VL % WIDE)
            for i in range(end - row):
                for j in range(p.across):
                    transform_gradient(p.side, p.m, t + (i * plane.pitch + j) * p.m * VL,
                                       plane.pitch, d, q.d_point)
                    d += q.ld_d
        row = end


cdef void gradient_transforms(const winograd_grad_t *q, index_t part, index_t parts,
                              real_t *t) noexcept nogil:
    """V and D of the current group."""
    flush_denormals()
    winograd_input(&q.w, q.row0, q.row1, part, parts, t)
    gradient_input(q, part, parts, t)


cdef inline const real_t *point_d(const winograd_grad_t *q, index_t point,
                                  index_t filter) noexcept nogil:
    return q.w.products + filter // WIDE * q.d_block + point * q.d_point


cdef inline const real_t *point_v(const winograd_grad_t *q, index_t point,
                                  index_t channel) noexcept nogil:
    return q.w.v + channel // WIDE * q.w.v_block + point * q.w.v_point


cdef void gradient_point(const winograd_grad_t *q, const real_t *d, index_t filters,
                         const real_t *v, index_t channels, real_t *sums, index_t ld,
                         const real_t *next_d, const real_t *next_v) noexcept nogil:
    """P of one point, of one block of filters and one of channels: += the current group's tiles.

    next_d, next_v: the operands after these, or the same; they are on their way into L2 meanwhile.
    """
    cdef const winograd_t *p = &q.w
    cdef index_t tiles = (q.row1 - q.row0) * p.across, groups = ceil_div(filters, MR), group, i, j
    cdef index_t rows
    cdef real_t zeros[NR]
    cdef fetch_t fetch
    zero_run(zeros, NR)
    fetch_operands(&fetch, next_v, tiles * p.ld if next_v != v else 0,
                   next_d, tiles * q.ld_d if next_d != d else 0, ceil_div(channels, NR) * groups,
                   tiles)
    fetch.c_rows, fetch.c_stride = ceil_div(MR, ceil_div(tiles, STRIDE)), ld
    j = 0
    while j < channels:
        i = 0
        for group in range(groups):
            rows = filters * (group + 1) // groups - i
            fetch.c = sums + (i + rows) * ld + j if group + 1 < groups else sums + j + NR
            part_product(<int> rows, channels - j, tiles, d + i, q.ld_d, v + j, p.ld,
                         &zeros[0] if q.first else sums + i * ld + j, 0 if q.first else ld,
                         sums + i * ld + j, ld, &fetch)
            i += rows
        j += NR


cdef inline void store_taps(const real_t *lanes, const int taps, real_t *out, index_t count,
                            bint last) noexcept nogil:
    """out[k * taps + tap] = lanes[tap * VL + k], k < count, lanes having VL - 1 more rows.

    Unless they are the last ones, later taps will be stored behind them.
    """
    cdef real_t block[VL * VL]
    cdef index_t k
    cdef int tap = 0, n
    if taps <= VL and not last:
        vtranspose(lanes, VL, out, taps)
        return
    while tap < taps:
        n = <int> min_index(VL, taps - tap)
        vtranspose(lanes + tap * VL, VL, block, VL)
        for k in range(count):
            vstore_first(out + k * taps + tap, n, vload(block + k * VL))
        tap += VL


cdef inline void finish_taps(const winograd_grad_t *q, const int side, const int r,
                             const real_t *sums, index_t p_point, index_t filter, index_t channel,
                             index_t left) noexcept nogil:
    """G'PG for one filter and VL channels, or the `left` ones that remain, into dw."""
    cdef const weight_grad_t *g = q.g
    cdef vec_t d[MOST_SIDE]
    cdef vec_t e[5 * MOST_SIDE]
    cdef vec_t o[5]
    cdef real_t lanes[(25 + VL) * VL]
    cdef index_t k, count = min_index(VL, left)
    cdef int i, j
    cdef real_t *out = g.out + filter * g.filter + channel * g.channel
    for j in range(side):
        for i in range(side):
            d[i] = vload(sums + (i * side + j) * p_point)
        taps_line(side, r, d, 1, e + j, side)
    for i in range(r):
        taps_line(side, r, e + i * side, 1, o, 1)
        for j in range(r):
            vstore(lanes + (i * r + j) * VL, o[j])
    if g.channel == r * r and g.at[2] == 1 and g.at[1] == r:
        store_taps(lanes, r * r, out, count, left <= VL)
        return
    for i in range(r):
        for j in range(r):
            if g.channel == 1 and count == VL:
                vstore(out + i * g.at[1] + j * g.at[2], vload(lanes + (i * r + j) * VL))
            else:
                for k in range(count):
                    out[k * g.channel + i * g.at[1] + j * g.at[2]] = lanes[(i * r + j) * VL + k]


cdef void finish_block(const winograd_grad_t *q, index_t filter, index_t filters, index_t channel,
                       index_t channels, const real_t *sums, index_t ld,
                       index_t p_point) noexcept nogil:
    """dw of a block of this part, from its P."""
    cdef index_t i, k, at, left
    cdef const real_t *p
    for i in range(filters):
        k = 0
        while k < channels:
            p = sums + i * ld + k
            at, left = q.channel + channel + k, channels - k
            if q.w.r == 5 and q.w.side == 6:
                finish_taps(q, 6, 5, p, p_point, q.filter + filter + i, at, left)
            elif q.w.r == 5:
                finish_taps(q, 8, 5, p, p_point, q.filter + filter + i, at, left)
            elif q.w.side == 6:
                finish_taps(q, 6, 3, p, p_point, q.filter + filter + i, at, left)
            elif q.w.side == 7:
                finish_taps(q, 7, 3, p, p_point, q.filter + filter + i, at, left)
            else:
                finish_taps(q, 8, 3, p, p_point, q.filter + filter + i, at, left)
            k += VL


cdef void gradient_block(const winograd_grad_t *q, index_t task, real_t *sums) noexcept nogil:
    """task_filters filters, WIDE channels, all tiles: P in a thread's own memory, then dw."""
    cdef index_t across = ceil_div(q.filters, q.task_filters), point, i, next_point, next_filter
    cdef index_t filter = task % across * q.task_filters, channel = task // across * WIDE
    cdef index_t filters = min_index(q.task_filters, q.filters - filter)
    cdef index_t channels = min_index(WIDE, q.channels - channel)
    flush_denormals()
    for point in range(q.w.points):
        i = 0
        while i < filters:
            next_point, next_filter = point, filter + i + WIDE
            if i + WIDE >= filters:
                next_point, next_filter = min_index(point + 1, q.w.points - 1), filter
            gradient_point(q, point_d(q, point, filter + i), min_index(WIDE, filters - i),
                           point_v(q, point, channel), channels,
                           sums + point * q.p_point + i * WIDE, WIDE,
                           point_d(q, next_point, next_filter), point_v(q, next_point, channel))
            i += WIDE
    finish_block(q, filter, filters, channel, channels, sums, WIDE, q.p_point)


cdef void gradient_sums(const winograd_grad_t *q, index_t task) noexcept nogil:
    """One point and one block of filters: all channels."""
    cdef index_t point = task % q.w.points, filter = task // q.w.points * WIDE, channel = 0
    cdef index_t filters = min_index(WIDE, q.filters - filter), ld = padded(q.channels) + VL
    cdef index_t next_point = min_index(point + 1, q.w.points - 1)
    cdef const real_t *d = point_d(q, point, filter)
    cdef bint last
    flush_denormals()
    while channel < q.channels:
        last = channel + WIDE >= q.channels
        gradient_point(q, d, filters, point_v(q, point, channel),
                       min_index(WIDE, q.channels - channel),
                       q.sums + point * q.p_point + filter * ld + channel, ld,
                       point_d(q, next_point, filter) if last else d,
                       point_v(q, next_point, 0) if last else point_v(q, point, channel + WIDE))
        channel += WIDE


cdef void finish_filter(const winograd_grad_t *q, index_t filter) noexcept nogil:
    """dw of a filter, from the sums of all chunks."""
    cdef index_t ld = padded(q.channels) + VL, chunk, point, i
    cdef real_t *sums = q.sums + filter * ld
    cdef real_t *total
    flush_denormals()
    for chunk in range(1, q.chunks):
        for point in range(q.w.points):
            total = sums + point * q.p_point
            i = 0
            while i < q.channels:
                vstore(total + i, vload(total + i) + vload(total + chunk * q.w.points * q.p_point + i))
                i += VL
    finish_block(q, filter, 1, 0, q.channels, sums, ld, q.p_point)


cdef inline index_t half(index_t n) noexcept nogil:
    return round_up(ceil_div(n, 2), WIDE)


cdef void winograd_grad_plan(winograd_grad_t *q, const weight_grad_t *g, index_t m) noexcept nogil:
    """By the shape alone: the sums must not depend on the number of threads."""
    cdef winograd_t *p = &q.w
    cdef const conv_t *c = &g.conv
    cdef index_t each, tiles, limit, sums
    q.g = g
    winograd_tiles(p, c, m, WIDE)
    p.panels = 0
    tiles = c.batch * p.rows * p.across
    q.most_filters, q.most_channels = c.filters, c.channels
    while True:
        each = p.points * (padded(q.most_filters) + padded(q.most_channels)) * sizeof(real_t)
        sums = p.points * q.most_filters * q.most_channels * sizeof(real_t)
        if tiles * each <= ONE_GROUP or sums <= SUMS:
            break
        if q.most_filters >= q.most_channels:
            q.most_filters = half(q.most_filters)
        else:
            q.most_channels = half(q.most_channels)
    q.at_once = tiles * each <= ONE_GROUP
    q.chunks = 1
    if not q.at_once:  # P is read and written once a group
        limit = min_index(MOST_TILES, max_index(SOME_TILES, 2 * sums))
        tiles = limit // each
        q.chunks = max_index(1, min_index(MOST_CHUNKS, SUMS // sums))
    set_groups(p, tiles, q.chunks)
    q.chunks = min_index(q.chunks, ceil_div(c.batch * p.rows, p.group_rows))
    tiles = p.group_rows * p.across
    p.v_size = ceil_div(q.most_channels, WIDE) * p.v_block
    q.ld_d = min_index(WIDE, padded(q.most_filters))
    q.d_point = tiles * q.ld_d + VL
    q.d_block = p.points * q.d_point
    q.task_filters = WIDE if tiles <= FEW_TILES else 2 * WIDE
    if q.at_once:
        q.p_point = q.task_filters * WIDE + VL
    else:
        q.p_point = q.most_filters * (padded(q.most_channels) + VL) + VL


cdef inline index_t winograd_grad_d(const winograd_grad_t *q) noexcept nogil:
    return ceil_div(q.most_filters, WIDE) * q.d_block


cdef inline index_t winograd_grad_private(const winograd_grad_t *q) noexcept nogil:
    """A thread's own: T, or P of a block."""
    cdef index_t rows = min_index(q.w.group_rows, q.w.rows) * q.w.m + q.w.side
    cdef index_t t = ((rows + 1) * q.w.pitch + VL) * VL
    return max_index(t, q.w.points * q.p_point) if q.at_once else t


cdef inline index_t winograd_grad_operands(const winograd_grad_t *q) noexcept nogil:
    """V and D."""
    return q.w.v_size + winograd_grad_d(q)


cdef index_t winograd_grad_memory(const winograd_grad_t *q, int n_threads) noexcept nogil:
    return (winograd_grad_operands(q) * (n_threads if q.chunks > 1 else 1)
            + n_threads * winograd_grad_private(q)
            + (0 if q.at_once else q.chunks * q.w.points * q.p_point))


cdef void gradient_chunk(const winograd_grad_t *plan, index_t chunk, real_t *memory) noexcept nogil:
    """P of a chunk of the groups of tiles, V and D in a thread's own memory."""
    cdef winograd_grad_t q = plan[0]
    cdef index_t rows = q.w.c.batch * q.w.rows, groups = ceil_div(rows, q.w.group_rows), task
    cdef index_t end = min_index(rows, groups * (chunk + 1) // q.chunks * q.w.group_rows)
    q.w.v = memory
    q.w.products = memory + q.w.v_size
    q.sums += chunk * q.w.points * q.p_point
    q.row0 = groups * chunk // q.chunks * q.w.group_rows
    q.first = True
    while q.row0 < end:
        q.row1 = min_index(q.row0 + q.w.group_rows, end)
        gradient_transforms(&q, 0, 1, memory + winograd_grad_operands(&q))
        for task in range(ceil_div(q.filters, WIDE) * q.w.points):
            gradient_sums(&q, task)
        q.row0 = q.row1
        q.first = False


cdef void gradient_groups(winograd_grad_t *q, real_t *buffers, int n_threads) noexcept nogil:
    """All groups of tiles, one after the other, V and D shared by the threads."""
    cdef index_t rows = q.w.c.batch * q.w.rows, per_thread = winograd_grad_private(q), task, tasks
    cdef int part
    if q.at_once:
        tasks = ceil_div(q.filters, q.task_filters) * ceil_div(q.channels, WIDE)
    else:
        tasks = ceil_div(q.filters, WIDE) * q.w.points
    q.row0 = 0
    while q.row0 < rows:
        q.row1 = min_index(q.row0 + q.w.group_rows, rows)
        q.first = q.row0 == 0
        if n_threads == 1:
            gradient_transforms(q, 0, 1, buffers)
            for task in range(tasks):
                if q.at_once:
                    gradient_block(q, task, buffers)
                else:
                    gradient_sums(q, task)
        else:
            for part in prange(n_threads, num_threads=n_threads, schedule="static"):
                gradient_transforms(q, part, n_threads, buffers + part * per_thread)
            if q.at_once:
                for task in prange(tasks, num_threads=n_threads, schedule="dynamic"):
                    gradient_block(q, task, buffers + threadid() * per_thread)
            else:
                for task in prange(tasks, num_threads=n_threads, schedule="static"):
                    gradient_sums(q, task)
        q.row0 = q.row1


cdef void winograd_grad_part(winograd_grad_t *q, real_t *memory, int n_threads) noexcept nogil:
    """Some filters and channels of dw, all tiles."""
    cdef index_t per_thread = winograd_grad_operands(q) + winograd_grad_private(q), task
    if q.chunks == 1:
        q.w.v = memory
        q.w.products = memory + q.w.v_size
        gradient_groups(q, memory + winograd_grad_operands(q), n_threads)
    elif n_threads == 1:
        for task in range(q.chunks):
            gradient_chunk(q, task, memory)
    else:
        for task in prange(q.chunks, num_threads=n_threads, schedule="dynamic"):
            gradient_chunk(q, task, memory + threadid() * per_thread)
    if q.at_once:
        return
    for task in prange(q.filters, num_threads=n_threads, schedule="static"):
        finish_filter(q, task)


cdef void winograd_grad_run(winograd_grad_t *q, real_t *memory, int n_threads) noexcept nogil:
    cdef const conv_t *whole = &q.g.conv
    cdef conv_t c = whole[0]  # the part's channels, to V's transform
    q.w.c = &c
    q.sums = memory + winograd_grad_memory(q, n_threads)
    if not q.at_once:
        q.sums -= q.chunks * q.w.points * q.p_point
    q.channel = 0
    while q.channel < whole.channels:
        q.channels = min_index(q.most_channels, whole.channels - q.channel)
        c.channels = q.channels
        c.x.data = whole.x.data + q.channel * whole.x.c
        q.filter = 0
        while q.filter < whole.filters:
            q.filters = min_index(q.most_filters, whole.filters - q.filter)
            winograd_grad_part(q, memory, n_threads)
            q.filter += q.filters
        q.channel += q.channels


def winograd_weight_grad(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dw, cnp.ndarray db, dims,
                         int n_threads, index_t tile):
    """dw and db of a 2-D convolution with 3x3 or 5x5 taps, stride and dilation 1, one group."""
    cdef weight_grad_t g
    cdef winograd_grad_t q
    cdef image_t weights
    cdef workspace_t workspace
    cdef real_t *pdb = pointer(db)
    cdef int i
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
    n_threads = conv_threads(&g.conv, n_threads)
    winograd_grad_plan(&q, &g, tile)
    workspace = acquire(winograd_grad_memory(&q, n_threads) * sizeof(real_t))
    with nogil:
        winograd_grad_run(&q, <real_t *> workspace.data, n_threads)
    release(workspace)
