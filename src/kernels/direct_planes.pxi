# Few input channels, NCHW planes, forward, and the input gradient at stride 1, a convolution with few
# outputs: vectors along the pixels of a row.
#
# im2col's matrix has C x R x S rows, of which each is copied for as few filters as there are. But the
# pixels of one tap are neighbours in a window (window.pxi: rows with their padding; at a stride, split
# into its phases), so a tile of filters by two vectors of pixels reads them where they lie:
#
#     window row h    | 0 0 a b c d e f g ... |     tap s = 0   0 0 a b ...   at row + 0
#                                                   tap s = 1   0 a b c ...   at row + 1
#
# Weights come as [tile of filters][c][r][s][filter], an offset in the window as [c][r][s]. A tile goes
# along the rows of a strip before the next one, so that planes of y are written in order; what the next
# tile will write is fetched meanwhile. With few filters a tile has several rows, or its sums would wait
# for themselves.

cdef enum:
    WINDOW_IN_L1 = 4096     # elements
    MOST_LINES = 4          # rows of a tile


cdef index_t direct_planes_rows(const conv_t *c) noexcept nogil:
    """Rows of outputs of a task: a window in L1, or FORWARD_ROWS."""
    cdef index_t rows = c.axis[1].n_out
    while rows > FORWARD_ROWS and window_size(c, rows * c.axis[2].n_out, c.channels) > WINDOW_IN_L1:
        rows = max_index(FORWARD_ROWS, ceil_div(rows, 2))
    return ceil_div(c.axis[1].n_out, ceil_div(c.axis[1].n_out, rows))


cdef inline index_t direct_offsets(const conv_t *c) noexcept nogil:
    """Elements of memory for the offsets of all terms of a sum."""
    return padded(c.channels * c.taps * sizeof(index_t) // sizeof(real_t) + 1)


cdef inline index_t direct_planes_scratch(const conv_t *c) noexcept nogil:
    """Elements of memory of a thread: offsets, the window, and what a tile reads behind it."""
    return direct_offsets(c) + NR + window_size(c, direct_planes_rows(c) * c.axis[2].n_out,
                                                c.channels)


cdef void pack_direct_tiles(const conv_t *c, real_t *out) noexcept nogil:
    cdef index_t filter = 0, channel, r, s, k, rows = 0
    cdef const real_t *w
    while filter < c.filters:
        tile_rows_of(c.filters, filter, &rows)
        for channel in range(c.channels):
            for r in range(c.axis[1].taps):
                for s in range(c.axis[2].taps):
                    w = (c.w + filter * c.w_filter + channel * c.w_channel + r * c.w_tap[1]
                         + s * c.w_tap[2])
                    for k in range(rows):
                        out[k] = w[k * c.w_filter]
                    out += rows
        filter += rows


cdef inline void direct_plane_kernel(const int mr, const int lines, const int nv,
                                     const conv_t *c, const window_t *v, index_t p, index_t q,
                                     const index_t *offsets, const real_t *w, const real_t *bias,
                                     real_t *y, index_t cols, index_t ahead) noexcept nogil:
    """mr filters by `lines` rows from p on by cols <= nv VL pixels from q on.

    y: where p and q lie; ahead: from there to what is written next.
    """
    cdef vec_t sums[MR][NV]
    cdef vec_t line[NV]
    cdef vec_t factor
    cdef lanes_t lanes
    cdef const real_t *x[MOST_LINES]
    cdef index_t k, ld = c.y.c, row = c.y.at[1]
    cdef int i, j, h
    for h in range(lines):
        x[h] = v.data + v.rows[p + h] + q
    for i in range(mr):
        factor = vsplat(bias[i]) if bias != NULL else vzero()
        for h in range(lines):
            for j in range(nv):
                prefetch_near(y + i * ld + h * row + j * VL + ahead)
                sums[i * lines + h][j] = factor
    for k in range(c.channels * c.taps):
        for h in range(lines):
            for j in range(nv):
                line[j] = vload(x[h] + offsets[k] + j * VL)
            for i in range(mr):
                factor = vsplat(w[i])
                for j in range(nv):
                    sums[i * lines + h][j] = sums[i * lines + h][j] + factor * line[j]
        w += mr
    if c.relu:
        for i in range(mr * lines):
            for j in range(nv):
                sums[i][j] = vrelu(sums[i][j])
    if cols == nv * VL:
        for i in range(mr):
            for h in range(lines):
                for j in range(nv):
                    vstore(y + i * ld + h * row + j * VL, sums[i * lines + h][j])
        return
    for j in range(nv):
        lanes = vlanes(0, cols - j * VL)
        for i in range(mr):
            for h in range(lines):
                vstore_some(y + i * ld + h * row + j * VL, lanes, sums[i * lines + h][j])


cdef inline void direct_plane_lines(const int mr, const int lines, const conv_t *c, index_t p,
                                    const window_t *v, const index_t *offsets, const real_t *w,
                                    const real_t *bias, real_t *y, index_t ahead) noexcept nogil:
    cdef index_t width = c.axis[2].n_out, q = 0, cols
    y += p * c.y.at[1]
    while q < width:
        cols = min_index(NR, width - q)
        if cols > VL:
            direct_plane_kernel(mr, lines, 2, c, v, p, q, offsets, w, bias, y + q, cols, ahead)
        else:
            direct_plane_kernel(mr, lines, 1, c, v, p, q, offsets, w, bias, y + q, cols, ahead)
        q += NR


cdef inline void direct_plane_rows(const int mr, const conv_t *c, index_t rows, const window_t *v,
                                   const index_t *offsets, const real_t *w, const real_t *bias,
                                   real_t *y, index_t ahead) noexcept nogil:
    """Some rows of mr filters' planes."""
    cdef int lines = MOST_LINES if MOST_LINES * mr <= MR else 2 if 2 * mr <= MR else 1
    cdef index_t p = 0
    while p + lines <= rows:
        direct_plane_lines(mr, lines, c, p, v, offsets, w, bias, y, ahead)
        p += lines
    if lines > 1:
        while p < rows:
            direct_plane_lines(mr, 1, c, p, v, offsets, w, bias, y, ahead)
            p += 1


cdef void direct_plane_tile(int mr, const conv_t *c, index_t rows, const window_t *v,
                            const index_t *offsets, const real_t *w, const real_t *bias, real_t *y,
                            index_t ahead) noexcept nogil:
    # The compiler drops the heights above its MR.
    if MR >= 14 and mr == 14:
        direct_plane_rows(14, c, rows, v, offsets, w, bias, y, ahead)
    elif MR >= 13 and mr == 13:
        direct_plane_rows(13, c, rows, v, offsets, w, bias, y, ahead)
    elif MR >= 12 and mr == 12:
        direct_plane_rows(12, c, rows, v, offsets, w, bias, y, ahead)
    elif MR >= 11 and mr == 11:
        direct_plane_rows(11, c, rows, v, offsets, w, bias, y, ahead)
    elif MR >= 10 and mr == 10:
        direct_plane_rows(10, c, rows, v, offsets, w, bias, y, ahead)
    elif MR >= 9 and mr == 9:
        direct_plane_rows(9, c, rows, v, offsets, w, bias, y, ahead)
    elif MR >= 8 and mr == 8:
        direct_plane_rows(8, c, rows, v, offsets, w, bias, y, ahead)
    elif MR >= 7 and mr == 7:
        direct_plane_rows(7, c, rows, v, offsets, w, bias, y, ahead)
    elif mr == 6:
        direct_plane_rows(6, c, rows, v, offsets, w, bias, y, ahead)
    elif mr == 5:
        direct_plane_rows(5, c, rows, v, offsets, w, bias, y, ahead)
    elif mr == 4:
        direct_plane_rows(4, c, rows, v, offsets, w, bias, y, ahead)
    elif mr == 3:
        direct_plane_rows(3, c, rows, v, offsets, w, bias, y, ahead)
    elif mr == 2:
        direct_plane_rows(2, c, rows, v, offsets, w, bias, y, ahead)
    else:
        direct_plane_rows(1, c, rows, v, offsets, w, bias, y, ahead)


cdef inline index_t first_pixel(const conv_t *c, index_t task, index_t height) noexcept nogil:
    """A task's, of those of all images."""
    cdef index_t blocks = ceil_div(c.axis[1].n_out, height)
    return task // blocks * c.pixels + task % blocks * height * c.axis[2].n_out


cdef void direct_planes_task(const conv_t *c, index_t task, const real_t *w,
                             real_t *scratch) noexcept nogil:
    """Some rows of one image, all filters."""
    cdef index_t height = direct_planes_rows(c), width = c.axis[2].n_out, filter = 0
    cdef index_t *offsets = <index_t *> scratch
    cdef index_t pixel = first_pixel(c, task, height), mr = 0, channel, tap
    cdef index_t rows = min_index(height, c.axis[1].n_out - pixel % c.pixels // width)
    cdef real_t *y = c.y.data + pixel_offset(c, pixel)
    cdef real_t *next_y = c.y.data + pixel_offset(c, first_pixel(c, task + 1, height))
    cdef const real_t *bias
    cdef window_t v
    flush_denormals()
    window_open(&v, c, height * width, scratch + direct_offsets(c))
    window_move(&v, pixel, rows * width, 0, c.channels)
    for channel in range(c.channels):
        for tap in range(c.taps):
            offsets[channel * c.taps + tap] = channel * v.channel_step + v.taps[tap]
    while filter < c.filters:
        tile_rows_of(c.filters, filter, &mr)
        bias = c.bias + filter if c.bias != NULL else NULL
        direct_plane_tile(<int> mr, c, rows, &v, offsets, w, bias, y + filter * c.y.c,
                          mr * c.y.c if filter + mr < c.filters else next_y - y - filter * c.y.c)
        w += mr * c.channels * c.taps
        filter += mr


cdef void direct_planes_run(const conv_t *c, real_t *packed, real_t *scratch, index_t per_thread,
                            int threads) noexcept nogil:
    cdef index_t tasks = c.batch * ceil_div(c.axis[1].n_out, direct_planes_rows(c)), task
    pack_direct_tiles(c, packed)
    if threads == 1:
        for task in range(tasks):
            direct_planes_task(c, task, packed, scratch)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            direct_planes_task(c, task, packed, scratch + threadid() * per_thread)
