# Winograd's weights: U[point][panel][channel][NR] = G w G' for some filters and some channels.
#
# VL filters at a time lie in a buffer [channel][tap][VL] that stays in L1: transposed in registers from
# rows of taps or of channels, or, where filters are contiguous, copied.

cdef enum:
    WEIGHT_CHANNELS = 64           # in the buffer


cdef inline void transform_filters(const int side, const int r, const real_t *t, index_t tap_step,
                                   real_t *u, index_t u_point) noexcept nogil:
    """VL filters of one channel: taps tap_step apart at t, points u_point apart at u."""
    cdef int points = STRIDED_POINTS + 1 if side == STRIDED else side
    cdef vec_t g[25]
    cdef vec_t e[5 * MOST_SIDE]
    cdef vec_t o[MOST_SIDE]
    cdef int i, j
    for i in range(r * r):
        g[i] = vload(t + i * tap_step)
    for j in range(r):
        tile_weight_line(side, r, g + j, r, e + j, r)
    for i in range(points):
        tile_weight_line(side, r, e + i * r, 1, o, 1)
        for j in range(points):
            vstore(u + (i * points + j) * u_point, o[j])


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


cdef inline void swap_vectors(real_t *a, real_t *b) noexcept nogil:
    cdef vec_t v = vload(a)
    vstore(a, vload(b))
    vstore(b, v)


cdef bint fill_taps(const conv_t *c, index_t filter, index_t channel, index_t channels,
                    real_t *t) noexcept nogil:
    """t[channel][tap][VL] of VL filters; True where the taps come last first.

    Writes up to VL * VL elements past its end.
    """
    cdef index_t r = c.axis[1].taps, taps = c.taps, count = min_index(VL, c.filters - filter)
    cdef index_t i, j, k, tap
    cdef bint last_tap_first = c.w_tap[2] == -1 and c.w_tap[1] == -r
    cdef const real_t *w = c.w + filter * c.w_filter + channel * c.w_channel
    if count == VL and c.w_channel == taps and c.w_tap[2] == 1 and c.w_tap[1] == r:
        fill_transposed(w, c.w_filter, channels * taps, VL, t, VL)
    elif count == VL and c.w_filter == taps and last_tap_first:
        # Rows of taps a filter apart; a row is shorter than a vector or longer.
        w -= taps - 1
        for k in range(channels):
            if channel + k == c.channels - 1 and filter + VL >= c.filters:  # nothing beyond
                gather_taps(c, filter, VL, channel + k, t + k * taps * VL)
                for i in range(taps // 2):
                    swap_vectors(t + (k * taps + i) * VL, t + ((k + 1) * taps - 1 - i) * VL)
                break
            i = 0
            while i < taps:
                vtranspose(w + k * c.w_channel + i, taps, t + (k * taps + i) * VL, VL)
                i += VL
        return True
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
    return False


cdef inline index_t taps_size(const conv_t *c) noexcept nogil:
    """Elements of the buffer of transform_weights."""
    return (WEIGHT_CHANNELS * c.taps + VL) * VL


cdef inline void transform_channels(const int side, const int r, const real_t *t, index_t tap_step,
                                    index_t channels, real_t *u, index_t u_point) noexcept nogil:
    cdef index_t k
    for k in range(channels):
        transform_filters(side, r, t + k * r * r * VL, tap_step, u + k * NR, u_point)


cdef void transform_weights(const conv_t *c, index_t side, index_t filter, index_t groups,
                            index_t channel, index_t channels, real_t *u, index_t u_point,
                            index_t u_panel, real_t *t) noexcept nogil:
    """U for `groups` times VL filters from `filter`, and some channels; a panel is u_panel long."""
    cdef index_t done, count, group, taps = c.taps
    cdef index_t first, tap_step
    cdef real_t *out
    for group in range(groups):
        done = 0
        while done < channels:
            count = min_index(WEIGHT_CHANNELS, channels - done)
            first, tap_step = 0, VL
            if fill_taps(c, filter + group * VL, channel + done, count, t):
                first, tap_step = (taps - 1) * VL, -VL
            out = u + group // NV * u_panel + done * NR + group % NV * VL
            if taps == 25 and side == 6:
                transform_channels(6, 5, t + first, tap_step, count, out, u_point)
            elif taps == 25:
                transform_channels(8, 5, t + first, tap_step, count, out, u_point)
            elif side == 6:
                transform_channels(6, 3, t + first, tap_step, count, out, u_point)
            elif side == STRIDED:
                transform_channels(STRIDED, 3, t + first, tap_step, count, out, u_point)
            elif side == 7:
                transform_channels(7, 3, t + first, tap_step, count, out, u_point)
            else:
                transform_channels(8, 3, t + first, tap_step, count, out, u_point)
            done += count
