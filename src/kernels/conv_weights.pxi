# Weights, brought once a call into the order that the kernel reads, in blocks of WEIGHTS bytes of
# filters.
#
#   NCHW           rows of A: (c, t, r, s), weights_ld apart
#   channels-last  panels of B: NR filters, rows (t, r, s, c)

cdef enum:
    WEIGHTS = 16 << 20
    FILTER_TAPS = 9     # of a filter in memory, that pack_phase transposes


cdef bint pack_phase(const conv_t *c, index_t filter, index_t filters, real_t *out,
                     index_t ld) noexcept nogil:
    """pack_rows for the 1, 2 or 4 taps of a phase of an input gradient; False where it does not apply.

    A filter's taps lie side by side, its channels far apart. Squares of all taps by VL channels are
    transposed, and those of the phase interleaved. One element after the other took a quarter of the
    time of a 7x7 image's input gradient with 512 channels.
    """
    cdef real_t square[FILTER_TAPS * VL * VL]
    cdef index_t begin = 0, i, j, t, r, s, tap = 0
    cdef index_t taps[4]
    cdef const real_t *v
    cdef real_t *to
    cdef vec_t even, odd, low, high
    if (c.taps == 3 or c.taps > 4 or c.w_filter > FILTER_TAPS or filters % VL > 0
            or c.channels % VL > 0):
        return False
    for t in range(c.axis[0].taps):
        for r in range(c.axis[1].taps):
            for s in range(c.axis[2].taps):
                taps[tap] = c.w_first + t * c.w_tap[0] + r * c.w_tap[1] + s * c.w_tap[2]
                if taps[tap] < 0 or taps[tap] >= c.w_filter:
                    return False
                taps[tap] *= VL
                tap += 1
    while begin < c.channels:
        i = 0
        while i < filters:
            v = c.w - c.w_first + (filter + i) * c.w_filter + begin * c.w_channel
            for j in range(c.w_filter):
                vtranspose(v + j * VL, c.w_channel, square + j * VL * VL, VL)
            for j in range(VL):
                v = square + j * c.w_filter * VL
                to = out + (i + j) * ld + begin * c.taps
                if tap == 1:
                    vstore(to, vload(v + taps[0]))
                elif tap == 2:
                    vstore(to, vlower(vload(v + taps[0]), vload(v + taps[1])))
                    vstore(to + VL, vupper(vload(v + taps[0]), vload(v + taps[1])))
                else:
                    even = vlower(vload(v + taps[0]), vload(v + taps[2]))
                    odd = vlower(vload(v + taps[1]), vload(v + taps[3]))
                    low = vupper(vload(v + taps[0]), vload(v + taps[2]))
                    high = vupper(vload(v + taps[1]), vload(v + taps[3]))
                    vstore(to, vlower(even, odd))
                    vstore(to + VL, vupper(even, odd))
                    vstore(to + 2 * VL, vlower(low, high))
                    vstore(to + 3 * VL, vupper(low, high))
            i += VL
        begin += VL
    return True


cdef void pack_rows(const conv_t *c, index_t filter, index_t filters, real_t *out,
                    index_t ld) noexcept nogil:
    """The rows (c, t, r, s) of some filters, ld apart.

    VL channels at a time: in the input gradient neighbours of a row lie far apart in w, but the
    lines that hold them have other rows' elements too.
    """
    cdef index_t channel, end, begin = 0, i, t, r, s, at
    cdef const real_t *w
    cdef const real_t *row
    if c.w_tap[2] == 1 and c.w_channel == c.taps and c.w_tap[1] == c.axis[2].taps \
            and (c.axis[0].taps == 1 or c.w_tap[0] == c.axis[1].taps * c.axis[2].taps):
        for i in range(filters):
            copy_run(c.w + (filter + i) * c.w_filter, out + i * ld, c.channels * c.taps)
        return
    if pack_phase(c, filter, filters, out, ld):
        return
    while begin < c.channels:
        end = min_index(begin + VL, c.channels)
        for i in range(filters):
            w = c.w + (filter + i) * c.w_filter
            at = i * ld + begin * c.taps
            for channel in range(begin, end):
                for t in range(c.axis[0].taps):
                    for r in range(c.axis[1].taps):
                        row = w + channel * c.w_channel + t * c.w_tap[0] + r * c.w_tap[1]
                        for s in range(c.axis[2].taps):
                            out[at] = row[s * c.w_tap[2]]
                            at += 1
        begin = end


cdef void pack_panel(const conv_t *c, index_t filter, index_t filters, real_t *out) noexcept nogil:
    """The panel of NR filters from `filter` on: rows (t, r, s, c)."""
    cdef index_t t, r, s
    cdef dense_t m
    m.row, m.col = c.w_channel, c.w_filter
    if filters < NR:
        memset(out, 0, c.taps * c.channels * NR * sizeof(real_t))
    for t in range(c.axis[0].taps):
        for r in range(c.axis[1].taps):
            for s in range(c.axis[2].taps):
                m.data = (c.w + filter * c.w_filter + t * c.w_tap[0] + r * c.w_tap[1]
                          + s * c.w_tap[2])
                fill_dense(&m, 0, c.channels, 0, filters, out, NR)
                out += c.channels * NR


cdef inline index_t weights_ld(const conv_t *c) noexcept nogil:
    """Elements from one filter's packed weights to the next: no multiple of 256 bytes."""
    cdef index_t line = 64 // sizeof(real_t), lines = ceil_div(c.channels * c.taps, line)
    return (lines | 1) * line + 1


cdef index_t weights_size(const conv_t *c, index_t filters) noexcept nogil:
    """Elements of the packed weights of `filters` filters in each group."""
    if c.x.channels_last:
        return c.groups * ceil_div(filters, NR) * NR * c.taps * c.channels
    return c.groups * filters * weights_ld(c)


cdef index_t filters_at_once(const conv_t *c) noexcept nogil:
    """As many filters of each group as WEIGHTS bytes hold, in whole tiles."""
    cdef index_t each = c.groups * (c.taps * c.channels + 64) * sizeof(real_t)
    return min_index(c.filters, max_index(1, WEIGHTS // (each * NR)) * NR)


cdef void pack_weights_part(const conv_t *c, index_t part, index_t parts, index_t filters,
                            real_t *packed) noexcept nogil:
    """Part `part` of the first `filters` filters of all groups."""
    cdef index_t per_group = ceil_div(filters, NR), units = c.groups * per_group, u, filter
    cdef index_t group_size = weights_size(c, filters) // c.groups, ld = weights_ld(c)
    cdef conv_t group
    cdef dense_t m
    cdef real_t *out
    m.row, m.col = c.w_filter, c.w_channel
    for u in range(units * part // parts, units * (part + 1) // parts):
        group = c[0]
        group.w = c.w + u // per_group * c.w_group
        out = packed + u // per_group * group_size
        filter = u % per_group * NR
        if c.x.channels_last:
            pack_panel(&group, filter, min_index(NR, filters - filter),
                       out + filter * c.taps * c.channels)
        elif c.taps == 1:
            m.data = group.w
            fill_dense(&m, filter, min_index(NR, filters - filter), 0, c.channels,
                       out + filter * ld, ld)
        else:
            pack_rows(&group, filter, min_index(NR, filters - filter), out + filter * ld, ld)
