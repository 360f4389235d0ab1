# Winograd's minimal filtering F(4x4, 3x3) and, on the same six points, F(2x2, 5x5): 3x3 convolutions
# with 36 multiplications for 16 outputs instead of 144, 5x5 ones with 36 for 4 instead of 100.
# (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; points 0, 1, -1, 2, -2, inf.)
#
#   x tile 6x6  --B'xB-->  V[36][tile][C]      U[36][panel][C][NR]  <--G w G'--  weights
#                                  \            /
#                           M[36][panel][tile][NR] = V U          36 products on the micro-kernel
#                                        |
#                                      A'M A  -->  m x m outputs, + bias, activation
#
# Vectors run along channels throughout. A block of tiles (whole rows of tiles) goes through all three
# steps before the next one, so that V and M stay in the cache. Channels-last rows are vectors as they
# lie; NCHW rows become pixels x VL channels in a small buffer T by register transposes (and back), so
# that neither format is converted as a whole.
#
# T is zero-padded to whole tiles: nothing below it asks where the image ends.
#
# Two ways to use threads: while the transformed weights fit in a core's cache each thread takes blocks of
# its own; larger ones are read once for all threads, which share a block and split channels, points
# and filters between them. An element's sum has one order in both.

cdef enum:
    POINTS = 36
    SIX = 6
    DEPTH = 512                    # channels summed in one go
    PRIVATE = 1200000              # bytes of V and M of a block of one thread
    SHARED = 6000000               # of a block of all threads
    TRANSFORMED_WEIGHTS = 64 << 20  # bytes

cdef struct winograd_t:
    const conv_t *c
    index_t m, r                   # outputs and taps of a tile along an axis
    index_t rows, across           # rows of tiles in an image; tiles in a row
    index_t block_rows             # rows of tiles in a block
    index_t ld, panels             # V: elements from a tile to the next; M, U: panels of NR filters
    index_t v_point, m_point, u_point
    index_t pitch                  # T: vectors from a row to the next
    bint shared
    real_t *u
    real_t *v
    real_t *products


cdef inline void input_line(const vec_t *d, index_t step, vec_t *o, index_t o_step) noexcept nogil:
    """o = B' d for six points."""
    cdef real_t two = 2, four = 4, five = 5
    cdef vec_t a = d[4 * step] - four * d[2 * step], b = d[3 * step] - four * d[step]
    cdef vec_t c = d[4 * step] - d[2 * step], e = two * (d[3 * step] - d[step])
    o[0] = four * d[0] - five * d[2 * step] + d[4 * step]
    o[o_step] = a + b
    o[2 * o_step] = a - b
    o[3 * o_step] = c + e
    o[4 * o_step] = c - e
    o[5 * o_step] = four * d[step] - five * d[3 * step] + d[5 * step]


cdef inline void output_line(const int m, const vec_t *d, index_t step, vec_t *o,
                             index_t o_step) noexcept nogil:
    """o = A' d, m outputs."""
    cdef real_t two = 2, four = 4, eight = 8
    cdef vec_t a = d[step] + d[2 * step], b = d[step] - d[2 * step]
    cdef vec_t c = d[3 * step] + d[4 * step], e = d[3 * step] - d[4 * step]
    o[0] = d[0] + a + c
    if m == 2:
        o[o_step] = b + two * e + d[5 * step]
    else:
        o[o_step] = b + two * e
        o[2 * o_step] = a + four * c
        o[3 * o_step] = b + eight * e + d[5 * step]


cdef inline void weight_line(const int r, const vec_t *g, index_t step, vec_t *o,
                             index_t o_step) noexcept nogil:
    """o = G g, r taps."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16
    cdef real_t quarter = 0.25, sixth = -1.0 / 6, small = 1.0 / 24
    cdef vec_t even = g[0] + g[2 * step], odd = g[step]
    cdef vec_t even2 = g[0] + four * g[2 * step], odd2 = two * g[step]
    if r == 5:
        even = even + g[4 * step]
        odd = odd + g[3 * step]
        even2 = even2 + sixteen * g[4 * step]
        odd2 = odd2 + eight * g[3 * step]
    o[0] = quarter * g[0]
    o[o_step] = sixth * (even + odd)
    o[2 * o_step] = sixth * (even - odd)
    o[3 * o_step] = small * (even2 + odd2)
    o[4 * o_step] = small * (even2 - odd2)
    o[5 * o_step] = g[(r - 1) * step]


# Weights

cdef inline void transform_filters(const int r, const real_t *t, index_t tap_step, real_t *u,
                                   index_t u_point) noexcept nogil:
    """VL filters of one channel: taps tap_step apart at t, points u_point apart at u."""
    cdef vec_t g[25]
    cdef vec_t e[30]
    cdef vec_t o[SIX]
    cdef int i, j
    for i in range(r * r):
        g[i] = vload(t + i * tap_step)
    for j in range(r):
        weight_line(r, g + j, r, e + j, r)
    for i in range(SIX):
        weight_line(r, e + i * r, 1, o, 1)
        for j in range(SIX):
            vstore(u + (i * SIX + j) * u_point, o[j])


cdef void winograd_weights(const winograd_t *p, index_t row0, index_t row1, index_t part,
                           index_t parts, real_t *t) noexcept nogil:
    """U for part of the groups of VL filters. t: room for the taps of all channels of VL filters."""
    cdef real_t *u = p.u
    cdef const conv_t *c = p.c
    cdef index_t groups = p.panels * NV, group, first, count, i, j, channel, k, tap
    cdef index_t t_tap = c.channels * VL, t_channel = VL
    cdef bint whole = c.w_tap[2] == 1 and c.w_tap[1] == p.r and c.w_channel == c.taps
    cdef const real_t *w
    flush_denormals()
    if whole:  # a filter is one run (c, r, s)
        t_tap, t_channel = VL, c.taps * VL
    for group in range(groups * part // parts, groups * (part + 1) // parts):
        first = group * VL
        count = min_index(VL, c.filters - first)
        if count < VL:
            zero_run(t, c.taps * c.channels * VL)
        tap = 0
        if whole:
            fill_transposed(c.w + first * c.w_filter, c.w_filter, c.channels * c.taps,
                            max_index(count, 0), t, VL)
        for i in range(0 if whole else p.r):
            for j in range(p.r):
                w = c.w + first * c.w_filter + i * c.w_tap[1] + j * c.w_tap[2]
                if c.w_filter == 1:
                    for channel in range(c.channels):
                        copy_run(w + channel * c.w_channel, t + (tap * c.channels + channel) * VL,
                                 max_index(count, 0))
                elif c.w_channel == 1:
                    fill_transposed(w, c.w_filter, c.channels, max_index(count, 0),
                                    t + tap * c.channels * VL, VL)
                else:
                    for channel in range(c.channels):
                        for k in range(count):
                            t[(tap * c.channels + channel) * VL + k] = w[channel * c.w_channel
                                                                          + k * c.w_filter]
                tap += 1
        for channel in range(c.channels):
            w = t + channel * t_channel
            if p.r == 3:
                transform_filters(3, w, t_tap, u + (group // NV * c.channels + channel)
                                  * NR + group % NV * VL, p.u_point)
            else:
                transform_filters(5, w, t_tap, u + (group // NV * c.channels + channel)
                                  * NR + group % NV * VL, p.u_point)


# Input

cdef struct plane_t:
    # One side of the convolution as the transforms see it.
    const image_t *image
    index_t channels, height, width
    index_t left, pitch            # T: zeros before a row; vectors from a row to the next


cdef void planes_to_pixels(const plane_t *p, index_t n, index_t y0, index_t y1, index_t channel,
                           real_t *t) noexcept nogil:
    """T = VL channels of the rows y0 ... y1 - 1 (which may lie outside) of image n."""
    cdef const image_t *x = p.image
    cdef index_t width = p.width, left = p.left, ld = p.pitch * VL
    cdef index_t low = max_index(y0, 0), high = min_index(y1, p.height)
    cdef index_t x0 = max_index(0, -left), x1 = min_index(width, p.pitch - left), i, k, row, col
    cdef index_t count = min_index(VL, p.channels - channel), flat, total
    cdef const real_t *src = x.data + n * x.n + channel * x.c
    cdef real_t block[VL * VL]
    for row in range(y0, y1):
        if row < low or row >= high:
            zero_run(t + (row - y0) * ld, ld)
        else:
            zero_run(t + (row - y0) * ld, max_index(0, left + x0) * VL)
            zero_run(t + ((row - y0) * p.pitch + left + x1) * VL, (p.pitch - left - x1) * VL)
    if low >= high or x0 >= x1:
        return
    if count < VL or (x.c != 1 and x.at[2] != 1):
        for row in range(low, high):
            for col in range(x0, x1):
                for k in range(VL):
                    t[((row - y0) * p.pitch + left + col) * VL + k] = (
                        src[row * x.at[1] + col * x.at[2] + k * x.c] if k < count else 0)
        return
    if x.c == 1:
        for row in range(low, high):
            for col in range(x0, x1):
                vstore(t + ((row - y0) * p.pitch + left + col) * VL,
                       vload(src + row * x.at[1] + col * x.at[2]))
        return
    # NCHW: the rows follow one another in memory; VL pixels at a time, across their ends.
    src += low * width
    total = (high - low) * width
    flat = row = col = 0
    while flat < total:
        if flat + VL <= total:
            vtranspose(src + flat, x.c, block, VL)
        else:
            for i in range(total - flat):
                for k in range(VL):
                    block[i * VL + k] = src[flat + i + k * x.c]
        for i in range(min_index(VL, total - flat)):
            if col >= x0 and col < x1:
                vstore(t + ((low - y0 + row) * p.pitch + left + col) * VL, vload(block + i * VL))
            col += 1
            if col == width:
                col = 0
                row += 1
        flat += VL


cdef inline void transform_input(const real_t *t, index_t pitch, real_t *v,
                                 index_t v_point) noexcept nogil:
    """One tile of VL channels: 6x6 vectors of T to 36 points."""
    cdef vec_t d[SIX]
    cdef vec_t e[POINTS]
    cdef vec_t o[SIX]
    cdef int i, j
    for j in range(SIX):
        for i in range(SIX):
            d[i] = vload(t + (i * pitch + j) * VL)
        input_line(d, 1, e + j, SIX)
    for i in range(SIX):
        input_line(e + i * SIX, 1, o, 1)
        for j in range(SIX):
            vstore(v + (i * SIX + j) * v_point, o[j])


cdef void winograd_input(const winograd_t *p, index_t row0, index_t row1, index_t part,
                         index_t parts, real_t *t) noexcept nogil:
    """V for the rows of tiles row0 ... row1 - 1 and part of the groups of VL channels."""
    cdef index_t groups = ceil_div(p.c.channels, VL), group, row, end, n, first, i, j
    cdef real_t *v
    cdef plane_t plane
    flush_denormals()
    plane.image, plane.channels = &p.c.x, p.c.channels
    plane.height, plane.width = p.c.axis[1].n_in, p.c.axis[2].n_in
    plane.left, plane.pitch = -p.c.axis[2].offset, p.pitch
    row = row0
    while row < row1:  # an image's rows
        n = row // p.rows
        first = row % p.rows
        end = min_index(row1, (n + 1) * p.rows)
        for group in range(groups * part // parts, groups * (part + 1) // parts):
            planes_to_pixels(&plane, n, first * p.m + p.c.axis[1].offset,
                             (first + end - row - 1) * p.m + SIX + p.c.axis[1].offset,
                             group * VL, t)
            v = p.v + (row - row0) * p.across * p.ld + group * VL
            for i in range(end - row):
                for j in range(p.across):
                    transform_input(t + (i * p.m * p.pitch + j * p.m) * VL, p.pitch, v, p.v_point)
                    v += p.ld
        row = end


# Products

cdef void winograd_products(const winograd_t *p, index_t row0, index_t row1, index_t part,
                            index_t parts, real_t *scratch) noexcept nogil:
    """M for part of the 36 points and panels."""
    cdef index_t pieces = POINTS * p.panels, piece, point, panel, k, kc, group, i, rows, j
    cdef index_t tiles = (row1 - row0) * p.across, channels = p.c.channels
    cdef index_t groups = ceil_div(tiles, MR)
    cdef const real_t *u
    cdef const real_t *v
    cdef real_t *out
    flush_denormals()
    for piece in range(pieces * part // parts, pieces * (part + 1) // parts):
        point, panel = piece // p.panels, piece % p.panels
        k = 0
        while k < channels:
            kc = min_index(DEPTH, channels - k)
            u = p.u + point * p.u_point + (panel * channels + k) * NR
            i = 0
            for group in range(groups):
                rows = tiles * (group + 1) // groups - i
                v = p.v + point * p.v_point + i * p.ld + k
                out = p.products + point * p.m_point + (panel * tiles + i) * NR
                if k == 0:
                    tile_product(<int> rows, NR, kc, v, p.ld, 1, u, NR, out)
                else:
                    tile_product(<int> rows, NR, kc, v, p.ld, 1, u, NR, scratch)
                    for j in range(rows * NV):
                        vstore(out + j * VL, vload(out + j * VL) + vload(scratch + j * VL))
                i += rows
            k += kc


# Output

cdef inline void transform_output(const int m, const real_t *products, index_t m_point,
                                  vec_t bias, bint relu, real_t *t, index_t pitch) noexcept nogil:
    """One tile of VL filters: 36 points to m x m vectors of T."""
    cdef vec_t d[SIX]
    cdef vec_t e[24]
    cdef vec_t o[4]
    cdef vec_t v
    cdef int i, j
    for j in range(SIX):
        for i in range(SIX):
            d[i] = vload(products + (i * SIX + j) * m_point)
        output_line(m, d, 1, e + j, SIX)
    for i in range(m):
        output_line(m, e + i * SIX, 1, o, 1)
        for j in range(m):
            v = o[j] + bias
            vstore(t + (i * pitch + j) * VL, vrelu(v) if relu else v)


cdef void pixels_to_planes(const winograd_t *p, index_t n, index_t y0, index_t y1, index_t filter,
                       const real_t *t, index_t pitch) noexcept nogil:
    """T to VL filters of the output rows y0 ... y1 - 1 of image n."""
    cdef const conv_t *c = p.c
    cdef index_t width = c.axis[2].n_out, count = min_index(VL, c.filters - filter)
    cdef index_t y, x, k, flat, total, i
    cdef real_t *out = c.y.data + n * c.y.n + filter * c.y.c
    cdef const real_t *src
    cdef real_t block[VL * VL]
    if count < VL or (c.y.c != 1 and c.y.at[2] != 1):
        for y in range(y0, y1):
            for x in range(width):
                for k in range(count):
                    out[y * c.y.at[1] + x * c.y.at[2] + k * c.y.c] = t[
                        ((y - y0) * pitch + x) * VL + k]
        return
    if c.y.c == 1:
        for y in range(y0, y1):
            for x in range(width):
                vstore(out + y * c.y.at[1] + x * c.y.at[2], vload(t + ((y - y0) * pitch + x) * VL))
        return
    out += y0 * width
    total = (y1 - y0) * width
    flat = y = x = 0
    while flat < total:
        for i in range(min_index(VL, total - flat)):
            vstore(block + i * VL, vload(t + (y * pitch + x) * VL))
            x += 1
            if x == width:
                x = 0
                y += 1
        if flat + VL <= total:
            vtranspose(block, VL, out + flat, c.y.c)
        else:
            for k in range(VL):
                for i in range(total - flat):
                    out[flat + i + k * c.y.c] = block[i * VL + k]
        flat += VL


cdef void winograd_output(const winograd_t *p, index_t row0, index_t row1, index_t part,
                          index_t parts, real_t *t) noexcept nogil:
    """y for the rows of tiles row0 ... row1 - 1 and part of the groups of VL filters."""
    cdef const conv_t *c = p.c
    cdef index_t groups = ceil_div(c.filters, VL), group, row, end, n, first, i, j, tile
    cdef index_t tiles = (row1 - row0) * p.across, pitch = p.across * p.m
    cdef const real_t *products
    cdef real_t *out
    cdef real_t bias_lanes[VL]
    cdef vec_t bias
    flush_denormals()
    for group in range(groups * part // parts, groups * (part + 1) // parts):
        zero_run(bias_lanes, VL)
        if c.bias != NULL:
            copy_run(c.bias + group * VL, bias_lanes, min_index(VL, c.filters - group * VL))
        bias = vload(bias_lanes)
        row = row0
        while row < row1:
            n = row // p.rows
            first = row % p.rows
            end = min_index(row1, (n + 1) * p.rows)
            tile = (row - row0) * p.across
            for i in range(end - row):
                for j in range(p.across):
                    products = (p.products + (group // NV * tiles + tile) * NR + group % NV * VL)
                    out = t + (i * p.m * pitch + j * p.m) * VL
                    if p.m == 4:
                        transform_output(4, products, p.m_point, bias, c.relu, out, pitch)
                    else:
                        transform_output(2, products, p.m_point, bias, c.relu, out, pitch)
                    tile += 1
            pixels_to_planes(p, n, first * p.m,
                         min_index((first + end - row) * p.m, c.axis[1].n_out), group * VL, t, pitch)
            row = end


# The whole

cdef void winograd_plan(winograd_t *p, const conv_t *c, int n_threads) noexcept nogil:
    cdef index_t tiles, limit, each
    p.c = c
    p.r = c.axis[1].taps
    p.m = SIX + 1 - p.r
    p.rows = ceil_div(c.axis[1].n_out, p.m)
    p.across = ceil_div(c.axis[2].n_out, p.m)
    p.pitch = (p.across - 1) * p.m + SIX
    p.panels = ceil_div(c.filters, NR)
    p.ld = padded(c.channels) + VL
    p.u_point = p.panels * c.channels * NR + VL
    p.shared = n_threads > 1 and p.u_point * POINTS * sizeof(real_t) > 4 << 20
    limit = PRIVATE
    if p.u_point * POINTS * sizeof(real_t) > 4 << 20:
        limit = SHARED
    each = POINTS * (p.ld + p.panels * NR) * sizeof(real_t)  # of a tile
    tiles = max_index(1, limit // each)
    p.block_rows = min_index(c.batch * p.rows, max_index(1, tiles // p.across))
    if not p.shared and n_threads > 1:  # enough blocks for all
        p.block_rows = min_index(p.block_rows, ceil_div(c.batch * p.rows, 4 * n_threads))
    tiles = p.block_rows * p.across
    p.v_point = tiles * p.ld + VL
    p.m_point = p.panels * tiles * NR + VL


cdef inline index_t winograd_block_size(const winograd_t *p) noexcept nogil:
    return POINTS * (p.v_point + p.m_point)


cdef inline index_t winograd_buffer_size(const winograd_t *p) noexcept nogil:
    """T, of input or output; also the tile of a split sum, and the weights' T."""
    cdef index_t rows = min_index(p.block_rows, p.rows) * p.m + SIX
    return max_index(padded((rows * p.pitch + MR) * VL * NV), p.c.taps * p.c.channels * VL)


cdef void winograd_block(const winograd_t *plan, index_t block, real_t *memory) noexcept nogil:
    """One block of tiles in memory of one thread."""
    cdef winograd_t p = plan[0]
    cdef index_t row0 = block * p.block_rows, row1 = min_index(row0 + p.block_rows,
                                                               p.c.batch * p.rows)
    cdef real_t *t = memory + winograd_block_size(&p)
    p.v = memory
    p.products = memory + POINTS * p.v_point
    winograd_input(&p, row0, row1, 0, 1, t)
    winograd_products(&p, row0, row1, 0, 1, t)
    winograd_output(&p, row0, row1, 0, 1, t)


cdef index_t winograd_filters(const conv_t *c) noexcept nogil:
    """Filters whose transformed weights fit."""
    cdef index_t each = POINTS * c.channels * sizeof(real_t)
    return min_index(c.filters, max_index(1, TRANSFORMED_WEIGHTS // (each * NR)) * NR)


ctypedef void (*winograd_step_t)(const winograd_t *p, index_t row0, index_t row1, index_t part,
                                 index_t parts, real_t *t) noexcept nogil


cdef void winograd_together(winograd_step_t step, const winograd_t *p, index_t row0,
                            index_t row1, real_t *t, index_t per_thread,
                            int n_threads) noexcept nogil:
    """One step of a block, its parts shared by all threads."""
    cdef int part
    if n_threads == 1:
        step(p, row0, row1, 0, 1, t)
    else:
        for part in prange(n_threads, num_threads=n_threads, schedule="static"):
            step(p, row0, row1, part, n_threads, t + part * per_thread)


cdef void winograd_run(const conv_t *whole, real_t *memory, int n_threads) noexcept nogil:
    cdef conv_t c = whole[0]
    cdef winograd_t p
    cdef index_t done = 0, blocks, block, row0, row1, per_thread
    cdef real_t *u = memory
    cdef real_t *t
    while done < whole.filters:
        c.filters = min_index(winograd_filters(whole), whole.filters - done)
        c.w = whole.w + done * whole.w_filter
        c.y.data = whole.y.data + done * c.y.c
        if whole.bias != NULL:
            c.bias = whole.bias + done
        winograd_plan(&p, &c, n_threads)
        p.u = u
        memory = u + POINTS * p.u_point
        t = memory + winograd_block_size(&p)
        per_thread = winograd_buffer_size(&p)
        if not p.shared:
            per_thread += winograd_block_size(&p)
        winograd_together(winograd_weights, &p, 0, 0, t, per_thread, n_threads)
        blocks = ceil_div(c.batch * p.rows, p.block_rows)
        if p.shared:
            p.v = memory
            p.products = memory + POINTS * p.v_point
            for block in range(blocks):
                row0 = block * p.block_rows
                row1 = min_index(row0 + p.block_rows, c.batch * p.rows)
                winograd_together(winograd_input, &p, row0, row1, t, per_thread, n_threads)
                winograd_together(winograd_products, &p, row0, row1, t, per_thread, n_threads)
                winograd_together(winograd_output, &p, row0, row1, t, per_thread, n_threads)
        elif n_threads == 1:
            for block in range(blocks):
                winograd_block(&p, block, memory)
        else:
            for block in prange(blocks, num_threads=n_threads, schedule="dynamic"):
                winograd_block(&p, block, memory + threadid() * per_thread)
        done += c.filters


cdef index_t winograd_memory(const conv_t *whole, int n_threads) noexcept nogil:
    """Elements of workspace for winograd_run."""
    cdef conv_t c = whole[0]
    cdef winograd_t p
    cdef index_t blocks, at_once = winograd_filters(whole), size = 0, turn
    for turn in range(2):  # the first block of filters, the last one
        c.filters = at_once if turn == 0 else (whole.filters - 1) % at_once + 1
        winograd_plan(&p, &c, n_threads)
        blocks = 1 if p.shared else n_threads
        size = max_index(size, POINTS * p.u_point + blocks * winograd_block_size(&p)
                         + n_threads * winograd_buffer_size(&p))
    return size


def winograd(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, dims, activation,
             int n_threads):
    """Forward convolution, 2-D, 3x3 or 5x5 taps, stride and dilation 1, one group."""
    cdef conv_t c
    cdef workspace_t workspace
    set_forward(&c, x, w, y, dims)
    c.bias = pointer(b)
    c.relu = activation is not None
    n_threads = conv_threads(&c, n_threads)
    workspace = acquire(winograd_memory(&c, n_threads) * sizeof(real_t))
    with nogil:
        winograd_run(&c, <real_t *> workspace.data, n_threads)
    release(workspace)


def winograd_input_grad(cnp.ndarray dy, cnp.ndarray w, cnp.ndarray b, cnp.ndarray dx, dims,
                        int n_threads):
    """Input gradient of such a convolution (+ b by channel): one of dy with the taps turned round."""
    cdef conv_t forward, c
    cdef workspace_t workspace
    set_forward(&forward, dx, w, dy, dims)
    forward.bias = pointer(b)
    set_gradient(&c, &forward, 0)
    n_threads = conv_threads(&c, n_threads)
    workspace = acquire(winograd_memory(&c, n_threads) * sizeof(real_t))
    with nogil:
        winograd_run(&c, <real_t *> workspace.data, n_threads)
    release(workspace)
