# Winograd's minimal filtering: 3x3 convolutions with 36 multiplications for 16 outputs instead of
# 144, or 49 for 25, or 64 for 36; 5x5 ones with 36 for 4 instead of 100, or 64 for 16; 3x3 at stride 2
# and its input gradient with 121 for 25 instead of 225. What is said here of 6x6 points holds for 7x7, 8x8 and 11x11.
# (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; points: winograd_lines.pxi.)
#
#   x tile 6x6  --B'xB-->  V[block][36][tile][width]    U[36][panel][C][NR]  <--G w G'--  weights
#                                          \            /
#                                  M[36][panel][tile][NR] = V U       36 products
#                                                |
#                                              A'M A  -->  m x m outputs, + bias, activation
#
# Vectors run along channels throughout; V's channels lie in blocks of `width`. A group of tiles (whole
# rows of tiles) goes through all steps before the next one, so that V and M stay in the cache.
#
# Two orders, by what is large:
#
#   weights first    U of all filters once a call, then each thread takes groups of tiles of its own.
#                    Point by point: what a point needs of V, U and M lies in L2, so that each of them
#                    comes from memory once a group.
#   weights between  V of few tiles, shared; each thread takes blocks of FILTERS filters, transposes
#                    the taps of some channels, and forms one row of points of their U after the other
#                    in its cache, each just before it is used: U as a whole would be written to memory
#                    and read back (C512 K512: 38 MB, for weights of 9; 7x7 batch 8: 5.0 ms instead of
#                    9.0), and all its points at once are more than L2 holds beside V and M.
#
# An element's sum is one chain over the channels in both (winograd_product.h). While a tile is
# multiplied, U's next part and the next point's V are prefetched into L2, one line for every
# channel: C512 at 28x28 71 -> 55 ms, together with weights first there.

cdef enum:
    WIDTH = 128             # channels summed in one go: a panel of U stays in L1, beside V's next tile
    MOST_FILTERS = 256      # in M
    FEW_FILTERS = 32        # in M beside small weights
    # V and M of a group of tiles, in bytes, by U's size
    SMALL_WEIGHTS = 5 << 18
    BESIDE_SMALL = 600000   # all three stay in L2
    MEDIUM_WEIGHTS = 6 << 20
    BESIDE_MEDIUM = 3000000
    BESIDE_LARGE = 8000000  # what is read again for each group is U
    # U is formed between from so many bytes on, while it is formed for few groups
    LARGE_WEIGHTS = 10 << 20
    MOST_GROUPS = 2
    TILES_BETWEEN = 9000000  # bytes of V and M
    FILTERS = 64
    TAPS = 300000            # bytes of their taps at a time
    WEIGHT_CHANNELS = 32     # channels whose taps stay in L1
    TRANSFORMED_WEIGHTS = 64 << 20  # bytes of U at a time otherwise

cdef struct winograd_t:
    const conv_t *c
    index_t m, r                   # outputs and taps of a tile along an axis
    index_t advance, reach         # inputs from a tile to the next; inputs of a tile
    index_t side, points           # points along an axis, of a tile
    index_t u_side, u_points       # of U: at stride 2 the products between share a weight
    index_t rows, across           # rows of tiles in an image; tiles in a row
    index_t group_rows             # rows of tiles in a group
    index_t width, ld              # V: channels in a block; elements from a tile to the next
    index_t v_point, v_block, v_size
    index_t pitch                  # T: vectors from a row to the next
    index_t filters, panels        # of U and M
    index_t u_point, u_panel, m_point
    index_t u_row, u_channels      # between: the row of points that is in memory, of so many channels
    bint between
    bint prefetch                  # U is not in L2 anyway
    real_t *u
    real_t *v
    real_t *products


cdef inline void transform_tile(const int side, const int reach, const real_t *t, index_t pitch,
                                real_t *v, index_t v_point) noexcept nogil:
    """One tile of VL channels: reach x reach vectors of T to side x side points."""
    cdef vec_t d[MOST_SIDE]
    cdef vec_t e[MOST_POINTS]
    cdef vec_t o[MOST_SIDE]
    cdef int i, j
    for j in range(reach):
        for i in range(reach):
            d[i] = vload(t + (i * pitch + j) * VL)
        tile_input_line(side, reach, d, 1, e + j, reach)
    for i in range(side):
        tile_input_line(side, reach, e + i * reach, 1, o, 1)
        for j in range(side):
            vstore(v + (i * side + j) * v_point, o[j])


cdef inline void transform_input(const winograd_t *p, const real_t *t, real_t *v) noexcept nogil:
    if p.side == 6:
        transform_tile(6, 6, t, p.pitch, v, p.v_point)
    elif p.side == 7:
        transform_tile(7, 7, t, p.pitch, v, p.v_point)
    elif p.side == 8:
        transform_tile(8, 8, t, p.pitch, v, p.v_point)
    elif p.m == STRIDED_BACK:
        transform_tile(STRIDED, STRIDED_POINTS, t, p.pitch, v, p.v_point)
    else:
        transform_tile(STRIDED, STRIDED, t, p.pitch, v, p.v_point)


cdef void winograd_input(const winograd_t *p, index_t row0, index_t row1, index_t part,
                         index_t parts, real_t *t) noexcept nogil:
    """V for the rows of tiles row0 ... row1 - 1 and part of the groups of VL channels."""
    cdef index_t groups = ceil_div(p.c.channels, VL), group, row, end, n, first, i, j, channel
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
            channel = group * VL
            planes_to_pixels(&plane, n, first * p.advance + p.c.axis[1].offset,
                             (first + end - row - 1) * p.advance + p.reach + p.c.axis[1].offset,
                             channel, t)
            v = (p.v + channel // p.width * p.v_block + (row - row0) * p.across * p.ld
                 + channel % p.width)
            for i in range(end - row):
                for j in range(p.across):
                    transform_input(p, t + (i * p.pitch + j) * p.advance * VL, v)
                    v += p.ld
        row = end


cdef inline void fetch_operands(fetch_t *fetch, const real_t *first, index_t n_first,
                                const real_t *second, index_t n_second, index_t products,
                                index_t kc) noexcept nogil:
    """Elements of two operands for L2, evenly over so many products of kc steps."""
    cdef index_t turn = 0
    if n_first > 0:
        turn = (kc * n_first // (n_first + n_second) + STRIDE // 2) // STRIDE * STRIDE
        turn = min_index(turn, kc)
    fetch.far, fetch.later, fetch.turn, fetch.far_pace = first, second, turn, 0
    if turn > 0:
        fetch.far_pace = ceil_div(n_first, products * turn)
    if turn < kc:
        fetch.far_pace = max_index(fetch.far_pace, ceil_div(n_second, products * (kc - turn)))


cdef inline void point_products(const winograd_t *p, index_t tiles, index_t point, index_t u_at,
                                index_t next_point, index_t next_u, index_t begin, index_t end,
                                const real_t *zeros) noexcept nogil:
    """Of one point of V, u_at being U's; next_point, next_u: those after it."""
    cdef index_t groups = ceil_div(tiles, MR), low = tiles // groups, longer = tiles % groups
    cdef index_t high = ceil_div(tiles, groups), panel, channel, kc, group, i, rows, row, run
    cdef const real_t *u
    cdef const real_t *v
    cdef const real_t *next_u_rows
    cdef const real_t *next_v
    cdef real_t *out
    cdef fetch_t fetch
    fetch.c_stride = NR
    for panel in range(p.panels):
        channel = begin
        row = tiles * panel // p.panels
        run = (tiles * (panel + 1) // p.panels - row) * p.ld
        u = p.u + (u_at - p.u_row * p.u_side) * p.u_point + panel * p.u_panel
        v = p.v + begin // p.width * p.v_block + point * p.v_point
        out = p.products + point * p.m_point + panel * tiles * NR
        while channel < end:
            kc = min_index(p.width, end - channel)
            next_v = v + (next_point - point) * p.v_point + row * p.ld
            next_u_rows = u + kc * NR
            if channel + kc == end and panel + 1 < p.panels:
                next_u_rows = p.u + u_at * p.u_point + (panel + 1) * p.u_panel
            elif channel + kc == end:
                next_u_rows = p.u + next_u * p.u_point
            if not p.prefetch:
                fetch_operands(&fetch, zeros, 0, zeros, 0, groups, kc)
            elif p.between:
                fetch_operands(&fetch, zeros, 0, next_v, run, groups, kc)
            else:
                fetch_operands(&fetch, next_u_rows, kc * NR, next_v, run, groups, kc)
            fetch.c_rows = ceil_div(high, ceil_div(kc, STRIDE)) if p.prefetch else 0
            fetch.pace = ceil_div(high * p.ld, kc)
            i = 0
            for group in range(groups):
                rows = low + (group < longer)
                fetch.c = out + (i + rows) * NR
                fetch.stream = v + ((i + rows) * p.ld if group + 1 < groups else 0)
                chain_product(<int> rows, p.filters - panel * NR, kc, v + i * p.ld, p.ld, u,
                              out + i * NR if channel > 0 else zeros, NR if channel > 0 else 0,
                              out + i * NR, &fetch)
                i += rows
            channel += kc
            u = u + kc * NR
            v = v + p.v_block


cdef inline index_t sharing(const winograd_t *p, index_t i) noexcept nogil:
    """How many points along an axis meet U's point i there."""
    return STRIDED - STRIDED_POINTS if p.side == STRIDED and i + 1 == p.u_side else 1


cdef void winograd_products(const winograd_t *p, index_t tiles, index_t begin, index_t end,
                            index_t u_begin, index_t u_end) noexcept nogil:
    """M = or += V U for the channels begin <= c < end, which are U's, and some of U's points.

    The next part of U, and a part of the next point's V, are on their way into L2 meanwhile.
    """
    cdef index_t u_at, i, j, down, along, turn, point
    cdef real_t zeros[NR]
    zero_run(zeros, NR)
    for u_at in range(u_begin, u_end):
        i, j = u_at // p.u_side, u_at % p.u_side
        along = sharing(p, j)
        down = sharing(p, i) * along
        for turn in range(down):
            point = (i + turn // along) * p.side + j + turn % along
            if turn + 1 < down:
                point_products(p, tiles, point, u_at,
                               (i + (turn + 1) // along) * p.side + j + (turn + 1) % along, u_at,
                               begin, end, zeros)
            else:
                turn = min_index(u_at + 1, p.u_points - 1)
                point_products(p, tiles, point, u_at,
                               turn // p.u_side * p.side + turn % p.u_side, turn, begin, end, zeros)
                break


cdef inline void inverse_tile(const int side, const int m, const real_t *products,
                              index_t m_point, vec_t bias, bint relu, real_t *out, index_t row,
                              index_t col) noexcept nogil:
    """One tile of VL filters: points to m x m vectors."""
    cdef vec_t d[MOST_SIDE]
    cdef vec_t e[MOST_POINTS]
    cdef vec_t o[MOST_SIDE]
    cdef vec_t v
    cdef int i, j
    for j in range(side):
        for i in range(side):
            d[i] = vload(products + (i * side + j) * m_point)
        tile_output_line(side, m, d, 1, e + j, side)
    for i in range(m):
        tile_output_line(side, m, e + i * side, 1, o, 1)
        for j in range(m):
            v = o[j] + bias
            vstore(out + i * row + j * col, vrelu(v) if relu else v)


cdef inline void transform_output(index_t side, index_t m, const real_t *products, index_t m_point,
                                  vec_t bias, bint relu, real_t *out, index_t row,
                                  index_t col) noexcept nogil:
    if m == STRIDED_BACK:
        inverse_tile(STRIDED, STRIDED_BACK, products, m_point, bias, relu, out, row, col)
    elif side == STRIDED:
        inverse_tile(STRIDED, 5, products, m_point, bias, relu, out, row, col)
    elif m == 2:
        inverse_tile(6, 2, products, m_point, bias, relu, out, row, col)
    elif m == 5:
        inverse_tile(7, 5, products, m_point, bias, relu, out, row, col)
    elif m == 6:
        inverse_tile(8, 6, products, m_point, bias, relu, out, row, col)
    elif side == 6:
        inverse_tile(6, 4, products, m_point, bias, relu, out, row, col)
    else:
        inverse_tile(8, 4, products, m_point, bias, relu, out, row, col)


cdef void winograd_output(const winograd_t *p, index_t row0, index_t row1, index_t first_filter,
                          real_t *t) noexcept nogil:
    """y for the rows of tiles row0 ... row1 - 1 and M's filters, of which the first is given.

    Tiles go from right to left: T has no room between its rows, and what a tile has beyond the right
    edge lands at the start of a later row, where the tile that belongs there follows.
    """
    cdef const conv_t *c = p.c
    cdef index_t width = c.axis[2].n_out, height = c.axis[1].n_out, row, end, n, first, i, j
    cdef index_t tiles = (row1 - row0) * p.across, tile, group, filter, count
    cdef const real_t *products
    cdef real_t *y
    cdef real_t bias_lanes[VL]
    cdef vec_t bias
    for group in range(ceil_div(p.filters, VL)):
        filter = first_filter + group * VL
        count = min_index(VL, c.filters - filter)
        zero_run(bias_lanes, VL)
        if c.bias != NULL:
            copy_run(c.bias + filter, bias_lanes, count)
        bias = vload(bias_lanes)
        row = row0
        while row < row1:
            n = row // p.rows
            first = row % p.rows
            end = min_index(row1, (n + 1) * p.rows)
            for i in range(end - row):
                tile = (row - row0 + i) * p.across + p.across
                products = p.products + (group // NV * tiles + tile) * NR + group % NV * VL
                j = p.across * p.m
                while j > 0:
                    j -= p.m
                    products = products - NR
                    y = t + (i * p.m * width + j) * VL
                    transform_output(p.side, p.m, products, p.m_point, bias, c.relu, y, width * VL,
                                     VL)
            if c.y.c == 1 and count == VL:
                copy_pixels(&c.y, width, n, first * p.m,
                            min_index((first + end - row) * p.m, height), filter, t)
            else:
                pixels_to_planes(&c.y, width, n, first * p.m,
                                 min_index((first + end - row) * p.m, height), filter, count, t)
            row = end
