# Winograd's weights: U[point][panel][channel][NR] = G w G' for some filters and some channels.
#
# VL filters at a time lie in a buffer [channel][tap][VL]: transposed in registers from rows of taps or of
# channels, or, where filters are contiguous, copied. From there each row of points is formed by itself,
# so that its products can follow while it is in the cache.

cdef inline void filter_points(const int side, const int r, const int i, const real_t *t,
                               index_t channels, real_t *u, index_t u_point) noexcept nogil:
    """Row i of the points of VL filters: points u_point apart at u."""
    cdef int points = STRIDED_POINTS + 1 if side == STRIDED else side
    cdef vec_t g[5]
    cdef vec_t column[MOST_SIDE]
    cdef vec_t e[5]
    cdef vec_t o[MOST_SIDE]
    cdef int j, k
    cdef index_t channel
    for channel in range(channels):
        for j in range(r):
            for k in range(r):
                g[k] = vload(t + (k * r + j) * VL)
            tile_weight_line(side, r, g, 1, column, 1)
            e[j] = column[i]
        tile_weight_line(side, r, e, 1, o, 1)
        for j in range(points):
            vstore(u + j * u_point, o[j])
        t = t + r * r * VL
        u = u + NR


cdef inline void filter_row(const int side, const int r, int i, const real_t *t,
                            index_t channels, real_t *u, index_t u_point) noexcept nogil:
    # What other rows want of a column is no work where i is a constant.
    if i == 0:
        filter_points(side, r, 0, t, channels, u, u_point)
    elif i == 1:
        filter_points(side, r, 1, t, channels, u, u_point)
    elif i == 2:
        filter_points(side, r, 2, t, channels, u, u_point)
    elif i == 3:
        filter_points(side, r, 3, t, channels, u, u_point)
    elif i == 4:
        filter_points(side, r, 4, t, channels, u, u_point)
    elif i == 5:
        filter_points(side, r, 5, t, channels, u, u_point)
    elif side > 6 and i == 6:
        filter_points(side, r, 6, t, channels, u, u_point)
    elif side == 8:
        filter_points(side, r, 7, t, channels, u, u_point)


cdef void gather_taps(const conv_t *c, index_t filter, index_t count, index_t channel,
                      real_t *t) noexcept nogil:
    """One channel's taps of `count` filters, element by element; zeros for filters beyond."""
    cdef index_t i, j, k
    cdef const real_t *w = c.w + filter * c.w_filter + channel * c.w_channel
    for i in range(c.axis[1].taps):
        for j in range(c.axis[2].taps):
            for k in range(VL):
                t[k] = 0
                if k < count:
                    t[k] = w[k * c.w_filter + i * c.w_tap[1] + j * c.w_tap[2]]
            t += VL


cdef void fill_taps(const conv_t *c, index_t filter, index_t channel, index_t channels,
                    real_t *t) noexcept nogil:
    """t[channel][tap][VL] of VL filters.

    Writes up to VL * VL elements before its start or past its end.
    """
    cdef index_t r = c.axis[1].taps, taps = c.taps, count = min_index(VL, c.filters - filter)
    cdef index_t i, j, k, tap
    cdef const real_t *w = c.w + filter * c.w_filter + channel * c.w_channel
    if count == VL and c.w_channel == taps and c.w_tap[2] == 1 and c.w_tap[1] == r:
        fill_transposed(w, c.w_filter, channels * taps, VL, t, VL)
    elif count == VL and c.w_filter == taps and c.w_tap[2] == -1 and c.w_tap[1] == -r:
        # Rows of taps, the last one first, a filter apart; a row is shorter than a vector or longer.
        w -= taps - 1
        for k in range(channels - 1, -1, -1):
            if channel + k == c.channels - 1 and filter + VL >= c.filters:  # nothing beyond
                gather_taps(c, filter, VL, channel + k, t + k * taps * VL)
                continue
            i = (taps - 1) // VL * VL
            while i >= 0:
                vtranspose(w + k * c.w_channel + i, taps, t + ((k + 1) * taps - 1 - i) * VL, -VL)
                i -= VL
    elif count == VL and (c.w_filter == 1 or c.w_channel == 1):
        tap = 0
        for i in range(r):
            for j in range(r):
                if c.w_filter == 1:
                    for k in range(channels):
                        vstore(t + (k * taps + tap) * VL,
                               vload(w + i * c.w_tap[1] + j * c.w_tap[2] + k * c.w_channel))
                else:
                    fill_transposed(w + i * c.w_tap[1] + j * c.w_tap[2], c.w_filter, channels, VL,
                                    t + tap * VL, taps * VL)
                tap += 1
    else:
        for k in range(channels):
            gather_taps(c, filter, count, channel + k, t + k * taps * VL)


cdef inline index_t taps_size(const conv_t *c, index_t groups, index_t channels) noexcept nogil:
    """Elements of the buffers of taps of `groups` times VL filters, with room around each."""
    return (groups * (channels * c.taps + VL) + VL) * VL


cdef void gather_weights(const conv_t *c, index_t filter, index_t groups, index_t channel,
                         index_t channels, real_t *t) noexcept nogil:
    """The taps of `groups` times VL filters."""
    cdef index_t group
    for group in range(groups):
        t += VL * VL
        fill_taps(c, filter + group * VL, channel, channels, t)
        t += channels * c.taps * VL


cdef void weight_points(const conv_t *c, index_t side, index_t row, index_t groups,
                        index_t channels, const real_t *t, real_t *u, index_t u_point,
                        index_t u_panel) noexcept nogil:
    """A row of U's points for `groups` times VL filters, from their taps; a panel is u_panel long."""
    cdef index_t group
    cdef int i = <int> row
    cdef real_t *out
    for group in range(groups):
        out = u + group // NV * u_panel + group % NV * VL
        t += VL * VL
        if c.taps == 25 and side == 6:
            filter_row(6, 5, i, t, channels, out, u_point)
        elif c.taps == 25:
            filter_row(8, 5, i, t, channels, out, u_point)
        elif side == 6:
            filter_row(6, 3, i, t, channels, out, u_point)
        elif side == STRIDED:
            filter_row(STRIDED, 3, i, t, channels, out, u_point)
        elif side == 7:
            filter_row(7, 3, i, t, channels, out, u_point)
        else:
            filter_row(8, 3, i, t, channels, out, u_point)
        t += channels * c.taps * VL
