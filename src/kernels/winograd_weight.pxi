# Winograd's weight gradient: the gradient of the algorithm of winograd.pxi.
#
#   dw = G' [ sum over tiles of (A dy A') * (B'xB) ] G
#
#   x tile 6x6   --B'xB-->   V[36][tile][C]  --.
#                                               >--  P[task][36][MR][NR]  --G'PG-->  dw
#   dy tile mxm  --AdyA'-->  D[36][tile][K]  --'     summed over tiles
#
# Both operands already have the tiles as rows: the micro-kernel reads D's columns and V's rows where
# they lie. A task is MR filters by NR channels, all 36 points: its sums are one block of 64 KB, and
# where all tiles fit into one block of tiles they never leave the cache.
#
# The sum over tiles runs block after block in one order; blocks depend on the shape alone, and the
# threads share each block: they split its channels and filters (transforms), then its tasks.

cdef enum:
    ONE_BLOCK = 10 << 20     # bytes of V and D up to which all tiles are one block
    SOME_TILES = 2 << 20     # bytes of V and D of a block otherwise
    SUMS = 10 << 20          # bytes of P; more filters are done in turns

cdef struct winograd_grad_t:
    const weight_grad_t *g
    winograd_t w                     # V's side; w.products is D
    index_t ld_d, d_point
    index_t filters, first_filter    # of this turn
    index_t tasks, across            # across: tasks with the same filters. Neighbours share V's
                                     # columns, the wider operand: it stays in L2, D streams by
    real_t *sums                     # P; NULL where tasks finish at once
    index_t row0, row1               # of tiles, of the current block
    bint first, last


cdef inline void gradient_line(const int m, const vec_t *y, index_t step, vec_t *o,
                               index_t o_step) noexcept nogil:
    """o = A y, m outputs to six points."""
    cdef real_t two = 2, four = 4, eight = 8
    cdef vec_t even = y[0], odd = y[step], even2 = y[0], odd2 = two * y[step]
    if m == 4:
        even = even + y[2 * step]
        odd = odd + y[3 * step]
        even2 = even2 + four * y[2 * step]
        odd2 = odd2 + eight * y[3 * step]
    o[0] = y[0]
    o[o_step] = even + odd
    o[2 * o_step] = even - odd
    o[3 * o_step] = even2 + odd2
    o[4 * o_step] = even2 - odd2
    o[5 * o_step] = y[(m - 1) * step]


cdef inline void transform_gradient(const int m, const real_t *t, index_t pitch, real_t *d,
                                    index_t d_point) noexcept nogil:
    """One tile of VL filters: m x m vectors of T to 36 points."""
    cdef vec_t y[4]
    cdef vec_t e[24]
    cdef vec_t o[SIX]
    cdef int i, j
    for j in range(m):
        for i in range(m):
            y[i] = vload(t + (i * pitch + j) * VL)
        gradient_line(m, y, 1, e + j, m)
    for i in range(SIX):
        gradient_line(m, e + i * m, 1, o, 1)
        for j in range(SIX):
            vstore(d + (i * SIX + j) * d_point, o[j])


cdef inline void taps_line(const int r, const vec_t *p, index_t step, vec_t *o,
                           index_t o_step) noexcept nogil:
    """o = G' p, six points to r taps."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16
    cdef real_t quarter = 0.25, sixth = -1.0 / 6, small = 1.0 / 24
    cdef vec_t a = sixth * (p[step] + p[2 * step]), b = sixth * (p[step] - p[2 * step])
    cdef vec_t c = small * (p[3 * step] + p[4 * step]), e = small * (p[3 * step] - p[4 * step])
    o[0] = quarter * p[0] + a + c
    o[o_step] = b + two * e
    if r == 3:
        o[2 * o_step] = a + four * c + p[5 * step]
    else:
        o[2 * o_step] = a + four * c
        o[3 * o_step] = b + eight * e
        o[4 * o_step] = a + sixteen * c + p[5 * step]


cdef void gradient_transforms(const winograd_grad_t *q, index_t part, index_t parts,
                              real_t *t) noexcept nogil:
    """V and D of the current block, part of the groups of VL channels and filters."""
    cdef const winograd_t *p = &q.w
    cdef const conv_t *c = p.c
    cdef index_t groups = ceil_div(q.filters, VL), group, row, end, n, first, i, j
    cdef real_t *d
    cdef plane_t plane
    flush_denormals()
    winograd_input(p, q.row0, q.row1, part, parts, t)
    plane.image, plane.channels = &c.y, q.first_filter + q.filters
    plane.height, plane.width = c.axis[1].n_out, c.axis[2].n_out
    plane.left, plane.pitch = 0, p.across * p.m
    row = q.row0
    while row < q.row1:
        n = row // p.rows
        first = row % p.rows
        end = min_index(q.row1, (n + 1) * p.rows)
        for group in range(groups * part // parts, groups * (part + 1) // parts):
            planes_to_pixels(&plane, n, first * p.m, (first + end - row) * p.m,
                             q.first_filter + group * VL, t)
            d = p.products + (row - q.row0) * p.across * q.ld_d + group * VL
            for i in range(end - row):
                for j in range(p.across):
                    if p.m == 4:
                        transform_gradient(4, t + (i * 4 * plane.pitch + j * 4) * VL, plane.pitch,
                                           d, q.d_point)
                    else:
                        transform_gradient(2, t + (i * 2 * plane.pitch + j * 2) * VL, plane.pitch,
                                           d, q.d_point)
                    d += q.ld_d
        row = end


cdef inline void finish_taps(const winograd_grad_t *q, const int r, const real_t *sums,
                             index_t filter, index_t channel) noexcept nogil:
    """G'PG for one filter and VL channels, into dw."""
    cdef const weight_grad_t *g = q.g
    cdef vec_t d[SIX]
    cdef vec_t e[30]
    cdef vec_t o[5]
    cdef real_t lanes[25 * VL]
    cdef index_t count = min_index(VL, g.conv.channels - channel), k
    cdef int i, j
    cdef real_t *out = g.out + filter * g.filter + channel * g.channel
    for j in range(SIX):
        for i in range(SIX):
            d[i] = vload(sums + (i * SIX + j) * MR * NR)
        taps_line(r, d, 1, e + j, SIX)
    for i in range(r):
        taps_line(r, e + i * SIX, 1, o, 1)
        for j in range(r):
            vstore(lanes + (i * r + j) * VL, o[j])
    for i in range(r):
        for j in range(r):
            if g.channel == 1 and count == VL:
                vstore(out + i * g.at[1] + j * g.at[2], vload(lanes + (i * r + j) * VL))
            else:
                for k in range(count):
                    out[k * g.channel + i * g.at[1] + j * g.at[2]] = lanes[(i * r + j) * VL + k]


cdef void gradient_task(const winograd_grad_t *q, index_t task, real_t *scratch) noexcept nogil:
    """MR filters, NR channels, the tiles of the current block; dw after the last one."""
    cdef const winograd_t *p = &q.w
    cdef index_t groups = q.tasks // q.across, group = task % groups
    cdef index_t filter = q.filters * group // groups
    cdef index_t rows = q.filters * (group + 1) // groups - filter
    cdef index_t channel = task // groups * NR, cols = min_index(NR, p.c.channels - channel)
    cdef index_t tiles = (q.row1 - q.row0) * p.across, point, i, k
    cdef real_t *sums = scratch + MR * NR
    cdef real_t *out
    flush_denormals()
    if q.sums != NULL:
        sums = q.sums + task * POINTS * MR * NR
    for point in range(POINTS):
        out = sums + point * MR * NR
        tile_product(<int> rows, cols, tiles, p.products + point * q.d_point + filter, 1, q.ld_d,
                     p.v + point * p.v_point + channel, p.ld, out if q.first else scratch)
        if not q.first:
            for i in range(rows * NV):
                vstore(out + i * VL, vload(out + i * VL) + vload(scratch + i * VL))
    if not q.last:
        return
    for i in range(rows):
        k = 0
        while k < cols:
            if p.r == 3:
                finish_taps(q, 3, sums + i * NR + k, q.first_filter + filter + i, channel + k)
            else:
                finish_taps(q, 5, sums + i * NR + k, q.first_filter + filter + i, channel + k)
            k += VL


cdef void winograd_grad_plan(winograd_grad_t *q, const weight_grad_t *g) noexcept nogil:
    """By the shape alone: the sums must not depend on the number of threads."""
    cdef winograd_t *p = &q.w
    cdef const conv_t *c = &g.conv
    cdef index_t each, tiles, limit
    q.g = g
    winograd_plan(p, c, 1)
    q.across = ceil_div(c.channels, NR)
    q.filters = c.filters
    q.ld_d = padded(q.filters) + VL
    each = POINTS * (p.ld + q.ld_d) * sizeof(real_t)
    tiles = c.batch * p.rows * p.across
    q.sums = NULL
    if tiles * each > ONE_BLOCK:
        limit = SUMS // (POINTS * q.across * MR * NR * sizeof(real_t))  # groups of filters
        q.filters = min_index(c.filters, max_index(1, limit) * MR)
        q.ld_d = padded(q.filters) + VL
        each = POINTS * (p.ld + q.ld_d) * sizeof(real_t)
        # Each block reads and writes P: the larger P, the more tiles should share that.
        limit = max_index(SOME_TILES, POINTS * q.filters * c.channels * sizeof(real_t))
        tiles = max_index(p.across, limit // each)
        q.sums = p.products  # anything: there are sums to keep
    p.block_rows = min_index(c.batch * p.rows, tiles // p.across)
    tiles = p.block_rows * p.across
    p.v_point = tiles * p.ld + VL
    q.d_point = tiles * q.ld_d + VL
    q.tasks = q.across * ceil_div(q.filters, MR)


cdef inline index_t winograd_grad_buffer(const winograd_grad_t *q) noexcept nogil:
    """A thread's own: T, or a tile and the sums of a task."""
    return max_index(winograd_buffer_size(&q.w), (POINTS + 1) * MR * NR)


cdef index_t winograd_grad_memory(const winograd_grad_t *q, int n_threads) noexcept nogil:
    return (POINTS * (q.w.v_point + q.d_point) + n_threads * winograd_grad_buffer(q)
            + (0 if q.sums == NULL else q.tasks * POINTS * MR * NR))


cdef void winograd_grad_run(winograd_grad_t *q, real_t *memory, int n_threads) noexcept nogil:
    cdef const conv_t *c = &q.g.conv
    cdef index_t rows = c.batch * q.w.rows, per_thread = winograd_grad_buffer(q), task
    cdef index_t at_once = q.filters
    cdef int part
    cdef real_t *buffers
    q.w.v = memory
    q.w.products = memory + POINTS * q.w.v_point
    buffers = q.w.products + POINTS * q.d_point
    if q.sums != NULL:
        q.sums = buffers + n_threads * per_thread
    q.first_filter = 0
    while q.first_filter < c.filters:
        q.filters = min_index(at_once, c.filters - q.first_filter)
        q.tasks = q.across * ceil_div(q.filters, MR)
        q.row0 = 0
        while q.row0 < rows:
            q.row1 = min_index(q.row0 + q.w.block_rows, rows)
            q.first, q.last = q.row0 == 0, q.row1 == rows
            if n_threads == 1:
                gradient_transforms(q, 0, 1, buffers)
                for task in range(q.tasks):
                    gradient_task(q, task, buffers)
            else:
                for part in prange(n_threads, num_threads=n_threads, schedule="static"):
                    gradient_transforms(q, part, n_threads, buffers + part * per_thread)
                for task in prange(q.tasks, num_threads=n_threads, schedule="dynamic"):
                    gradient_task(q, task, buffers + threadid() * per_thread)
            q.row0 = q.row1
        q.first_filter += q.filters


def winograd_weight_grad(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dw, cnp.ndarray db, dims,
                         int n_threads):
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
    winograd_grad_plan(&q, &g)
    workspace = acquire(winograd_grad_memory(&q, n_threads) * sizeof(real_t))
    with nogil:
        winograd_grad_run(&q, <real_t *> workspace.data, n_threads)
    release(workspace)
