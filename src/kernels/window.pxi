# A window: the part of x that a run of pixels reads, copied once with its padding, so that every tap
# of every pixel in it is an address and nothing is tested in the loops.
#
#   NCHW           [c][t][input row][phase][position]      the w axis split by phases of the stride:
#   channels-last  [t][input row][position][c]             neighbours in q are neighbours in memory
#
#     stride 2    x row    0 a b c d e f 0      copied row   | 0 b d f |   phase 0: taps 0, 2
#                                                            | a c e 0 |   phase 1: tap 1
#
#   address of (channel, pixel (n, o, p, q), tap)
#     = data + channel * channel_step + rows[n, o, p] + q * pixel_step + taps[tap]
#
# Pixels run on over rows and images; rows of one image share the input rows between them. Where no
# padding is needed and the positions are adjacent as they lie, data is x itself.
#
# Copies go in whole vectors past the end of a run: what follows is overwritten by the next run, and
# the buffers end in VL spare elements.
#
# Before: every run of im2col was clipped against the borders on its own; 14-wide images took as long to
# copy as to multiply (C32 K64 5x5 at 14x14: 79 GFLOP/s).

cdef struct window_t:
    const conv_t *c
    const real_t *data
    real_t *memory
    index_t *taps
    index_t *low                        # of each phase: the positions that are in the image
    index_t *high
    index_t *rows
    index_t first_row, height           # of the run: first row of outputs; input rows in memory
    index_t first_channel
    index_t channel_step, pixel_step
    index_t length, row                 # NCHW: of a phase; of an input row
    index_t phases
    index_t h_step                      # input rows from one output row to the next, in memory
    bint direct
    bint joined                         # channels-last: taps along w are adjacent runs of channels


cdef inline bint inside(const axis_t *axis) noexcept nogil:
    """Whether all taps of all outputs read existing inputs."""
    return (axis.offset >= 0 and (axis.n_out - 1) * axis.step + axis.offset
            + (axis.taps - 1) * axis.tap_step < axis.n_in)


cdef inline index_t reach_of(const axis_t *axis) noexcept nogil:
    return (axis.taps - 1) * axis.tap_step + 1


cdef void window_shape(window_t *v, const conv_t *c) noexcept nogil:
    """All that does not depend on the run."""
    cdef const axis_t *w = &c.axis[2]
    v.c = c
    v.direct = (not c.copy_always and inside(&c.axis[0]) and inside(&c.axis[1])
                and inside(w))
    v.h_step = c.axis[1].step if c.axis[1].taps > 1 else 1
    if c.x.channels_last:
        v.phases = 1
        v.length = (w.n_out - 1) * (w.step if w.taps > 1 else 1) + reach_of(w)
        v.row = v.length * c.channels
        v.pixel_step = c.channels * (w.step if w.taps > 1 else 1)
        v.channel_step = 1
        if v.direct:
            v.pixel_step = w.step * c.x.at[2]
        v.joined = w.tap_step == 1 and (c.x.at[2] == c.channels or not v.direct)
    else:
        v.direct = v.direct and w.step == 1
        v.phases = w.step if w.taps > 1 else 1
        v.length = w.n_out + (w.taps - 1) * w.tap_step // w.step
        v.row = v.length * v.phases
        v.pixel_step = 1
        v.joined = False


cdef index_t rows_within(const conv_t *c, index_t pixels) noexcept nogil:
    """Rows of outputs that a run of so many pixels touches at most."""
    return min_index(c.batch * c.axis[0].n_out * c.axis[1].n_out,
                     (pixels - 1) // c.axis[2].n_out + 2)


cdef index_t window_tables(const conv_t *c, index_t pixels) noexcept nogil:
    """Elements of memory for the tables of offsets."""
    return padded((c.taps + 2 * c.axis[2].step + rows_within(c, pixels))
                  * sizeof(index_t) // sizeof(real_t) + 1)


cdef index_t window_size(const conv_t *c, index_t pixels, index_t channels) noexcept nogil:
    """Elements of memory for the window of a run of so many pixels, at most."""
    cdef window_t v
    cdef index_t rows = rows_within(c, pixels)
    cdef index_t bands = min_index(rows, rows // c.axis[1].n_out + 2)
    window_shape(&v, c)
    if v.direct:
        return window_tables(c, pixels)
    rows = rows * v.h_step + bands * max_index(0, reach_of(&c.axis[1]) - v.h_step)
    if not c.x.channels_last:
        rows *= channels
    return window_tables(c, pixels) + padded(rows * c.axis[0].taps * v.row + VL)


cdef void window_open(window_t *v, const conv_t *c, index_t pixels, real_t *memory) noexcept nogil:
    """A window for runs of at most `pixels` pixels in memory of window_size elements."""
    cdef const axis_t *w = &c.axis[2]
    cdef index_t phase, start, step = w.step
    window_shape(v, c)
    v.taps = <index_t *> memory
    v.low = v.taps + c.taps
    v.high = v.low + step
    v.rows = v.high + step
    v.memory = memory + window_tables(c, pixels)
    if c.x.channels_last and w.taps > 1:
        step = 1
    for phase in range(v.phases):
        start = w.offset + phase
        v.low[phase] = 0 if start >= 0 else min_index(ceil_div(-start, step), v.length)
        v.high[phase] = 0 if start >= w.n_in else min_index(ceil_div(w.n_in - start, step),
                                                            v.length)
        v.high[phase] = max_index(v.low[phase], v.high[phase])


cdef inline void copy_strided(const real_t *src, index_t step, real_t *dst,
                              index_t n) noexcept nogil:
    cdef index_t i = 0
    if step == 1:
        copy_run(src, dst, n)
        return
    if step == 2:
        while i + VL < n:  # reads one element past its last: the run's next one
            vstore(dst + i, veven(vload(src + 2 * i), vload(src + 2 * i + VL)))
            i += VL
    while i < n:
        dst[i] = src[i * step]
        i += 1


cdef void copy_padded_row(const window_t *v, const real_t *row, real_t *out) noexcept nogil:
    """One input row (of one channel, if NCHW); row is NULL outside the image."""
    cdef const axis_t *w = &v.c.axis[2]
    cdef index_t phase, start, low, high, i
    cdef index_t unit = v.c.channels if v.c.x.channels_last else 1
    cdef index_t step = 1 if v.c.x.channels_last and w.taps > 1 else w.step
    if row == NULL:
        zero_run(out, v.row)
        return
    for phase in range(v.phases):
        start, low, high = w.offset + phase, v.low[phase], v.high[phase]
        zero_run(out, low * unit)
        if not v.c.x.channels_last:
            copy_strided(row + start + low * step, step, out + low, high - low)
        elif step == 1 and v.c.x.at[2] == unit:
            copy_run(row + (start + low) * unit, out + low * unit, (high - low) * unit)
        else:
            for i in range(low, high):
                copy_run(row + (start + i * step) * v.c.x.at[2], out + i * unit, unit)
        zero_run(out + high * unit, (v.length - high) * unit)
        out += v.length * unit


cdef inline void split_row(const conv_t *c, index_t row, index_t *n, index_t *o,
                           index_t *p) noexcept nogil:
    p[0] = row % c.axis[1].n_out
    row = row // c.axis[1].n_out
    o[0] = row % c.axis[0].n_out
    n[0] = row // c.axis[0].n_out


cdef void window_offsets(window_t *v, index_t end_row) noexcept nogil:
    """Fill the tables for the rows of outputs first_row ... end_row - 1."""
    cdef const conv_t *c = v.c
    cdef index_t row, n, o, p, t, r, s, u, tap = 0, at = 0, slice_step
    for row in range(v.first_row, end_row):
        split_row(c, row, &n, &o, &p)
        if v.direct:
            v.rows[row - v.first_row] = (
                n * c.x.n + (o * c.axis[0].step + c.axis[0].offset) * c.x.at[0]
                + (p * c.axis[1].step + c.axis[1].offset) * c.x.at[1]
                + c.axis[2].offset * c.x.at[2])
            continue
        if row > v.first_row:
            at += v.h_step if p > 0 else reach_of(&c.axis[1])
        v.rows[row - v.first_row] = at * v.row
    v.height = at + reach_of(&c.axis[1])
    slice_step = v.height * v.row
    for t in range(c.axis[0].taps):
        for r in range(c.axis[1].taps):
            for s in range(c.axis[2].taps):
                u = s * c.axis[2].tap_step
                if v.direct:
                    v.taps[tap] = (t * c.axis[0].tap_step * c.x.at[0]
                                   + r * c.axis[1].tap_step * c.x.at[1] + u * c.x.at[2])
                elif c.x.channels_last:
                    v.taps[tap] = (t * slice_step + r * c.axis[1].tap_step * v.row
                                   + u * c.channels)
                else:
                    v.taps[tap] = (t * slice_step + r * c.axis[1].tap_step * v.row
                                   + u % c.axis[2].step * v.length + u // c.axis[2].step)
                tap += 1


cdef void window_move(window_t *v, index_t pixel, index_t pixels, index_t channel,
                      index_t channels) noexcept nogil:
    """Make the window that of a run of pixels, and (NCHW) of some channels."""
    cdef const conv_t *c = v.c
    cdef index_t row, end_row, n, o, p, t, i, k, d, h, rows, first, slice_step, planes, ahead, unit
    cdef const real_t *src
    cdef real_t *out
    v.first_row = pixel // c.axis[2].n_out
    end_row = (pixel + pixels - 1) // c.axis[2].n_out + 1
    v.first_channel = channel
    window_offsets(v, end_row)
    if v.direct:
        v.data = c.x.data + channel * c.x.c
        if not c.x.channels_last:
            v.channel_step = c.x.c
        return
    v.data = v.memory
    slice_step = v.height * v.row
    planes = 1
    # What comes next lies pages away: the row below, or the same row of the next channel.
    ahead, unit = c.x.at[1], c.channels
    if not c.x.channels_last:
        ahead, unit = c.x.c, 1
        planes = channels
        v.channel_step = slice_step * c.axis[0].taps
    row = v.first_row
    while row < end_row:  # a band: the rows of one slice of one image
        split_row(c, row, &n, &o, &p)
        rows = min_index(end_row - row, c.axis[1].n_out - p)
        first = p * c.axis[1].step + c.axis[1].offset
        for k in range(planes):
            for t in range(c.axis[0].taps):
                d = o * c.axis[0].step + c.axis[0].offset + t * c.axis[0].tap_step
                out = (v.memory + v.rows[row - v.first_row] + t * slice_step
                       + k * v.channel_step)
                for i in range((rows - 1) * v.h_step + reach_of(&c.axis[1])):
                    h = first + (i if c.axis[1].taps > 1 else i * c.axis[1].step)
                    src = NULL
                    if d >= 0 and d < c.axis[0].n_in and h >= 0 and h < c.axis[1].n_in:
                        src = (c.x.data + n * c.x.n + (channel + k) * c.x.c + d * c.x.at[0]
                               + h * c.x.at[1])
                        prefetch_run(src + ahead, c.axis[2].n_in * unit)
                    copy_padded_row(v, src, out + i * v.row)
        row += rows


# The two ways of reading im2col

cdef inline void copy_over(const real_t *src, real_t *dst, index_t n) noexcept nogil:
    """Copy n elements in whole vectors: up to VL - 1 more are read and written."""
    cdef index_t i = 0
    while i < n:
        vstore(dst + i, vload(src + i))
        i += VL


cdef void copy_lanes(const real_t *src, index_t stride, index_t rows, index_t n, real_t *out,
                     index_t ld) noexcept nogil:
    """out[i * ld + j] = src[i * stride + j] for j < n, and nothing beside them."""
    cdef lanes_t lanes
    cdef index_t i, j = 0
    while j < n:
        lanes = vlanes(0, n - j)
        for i in range(rows):
            vstore_some(out + i * ld + j, lanes, vload_some(src + i * stride + j, lanes))
        j += VL


cdef void fill_im2col_rows(const void *matrix, index_t row, index_t rows, index_t col,
                           index_t cols, real_t *out, index_t ld) noexcept nogil:
    """NCHW. Row (c, t, r, s), column pixel: runs of pixels that are adjacent in the window."""
    cdef const window_t *v = <const window_t *> matrix
    cdef index_t starts[KC]
    cdef index_t lengths[KC]
    cdef index_t width = v.c.axis[2].n_out, runs = 0, left = cols, i, k
    cdef index_t line = col // width - v.first_row, q = col % width
    cdef index_t channel = row // v.c.taps, tap = row % v.c.taps
    cdef const real_t *plane = v.data + (channel - v.first_channel) * v.channel_step
    cdef const real_t *src
    cdef real_t *dst
    while left > 0:
        starts[runs] = v.rows[line] + q
        lengths[runs] = min_index(left, width - q)
        left -= lengths[runs]
        runs += 1
        line += 1
        q = 0
    if runs == 1 and cols == NR:
        for i in range(rows):
            src = plane + v.taps[tap] + starts[0]
            for k in range(NV):
                vstore(out + i * ld + k * VL, vload(src + k * VL))
            tap += 1
            if tap == v.c.taps:
                tap = 0
                plane += v.channel_step
        return
    if v.direct and v.c.taps == 1:
        left = 0
        for k in range(runs):
            copy_lanes(plane + v.taps[0] + starts[k], v.channel_step, rows, lengths[k], out + left,
                       ld)
            left += lengths[k]
        return
    for i in range(rows):
        src = plane + v.taps[tap]
        dst = out + i * ld
        if v.direct:
            for k in range(runs):
                copy_run(src + starts[k], dst, lengths[k])
                dst += lengths[k]
        else:
            for k in range(runs):
                copy_over(src + starts[k], dst, lengths[k])
                dst += lengths[k]
        tap += 1
        if tap == v.c.taps:
            tap = 0
            plane += v.channel_step


cdef const real_t *locate_im2col_row(const void *matrix, index_t row, index_t col) noexcept nogil:
    """One tap, x read as it lies: rows are channels."""
    cdef const window_t *v = <const window_t *> matrix
    cdef index_t line = col // v.c.axis[2].n_out
    return (v.data + (row - v.first_channel) * v.channel_step + v.rows[line - v.first_row] + col
            - line * v.c.axis[2].n_out + v.taps[0])


cdef const real_t *place_im2col_row(const void *matrix, index_t row, index_t col) noexcept nogil:
    """The same, where NR pixels from col on are adjacent; else NULL."""
    cdef const window_t *v = <const window_t *> matrix
    if col % v.c.axis[2].n_out + NR > v.c.axis[2].n_out:
        return NULL
    return locate_im2col_row(matrix, row, col)


cdef const real_t *locate_im2col_pixel(const void *matrix, index_t row,
                                       index_t col) noexcept nogil:
    """One tap, x read as it lies: rows are pixels; row may be beyond the window."""
    cdef const window_t *v = <const window_t *> matrix
    cdef index_t line = row // v.c.axis[2].n_out, n, o, p
    split_row(v.c, line, &n, &o, &p)
    return (v.c.x.data + n * v.c.x.n + (o * v.c.axis[0].step + v.c.axis[0].offset) * v.c.x.at[0]
            + (p * v.c.axis[1].step + v.c.axis[1].offset) * v.c.x.at[1]
            + (row - line * v.c.axis[2].n_out) * v.pixel_step + v.c.axis[2].offset * v.c.x.at[2]
            + col)


cdef void fill_im2col_pixels(const void *matrix, index_t row, index_t rows, index_t col,
                             index_t cols, real_t *out, index_t ld) noexcept nogil:
    """Channels-last. Row pixel, column (t, r, s, c): runs of channels, over s too if joined."""
    cdef const window_t *v = <const window_t *> matrix
    cdef index_t across = v.c.axis[2].taps if v.joined else 1  # taps of a run
    cdef index_t run = across * v.c.channels, width = v.c.axis[2].n_out
    cdef index_t line = row // width - v.first_row, q = row % width, i, k, begin, end
    cdef index_t first = col // run, start = col % run
    cdef const real_t *pixel
    cdef real_t *dst
    for i in range(rows):
        pixel = v.data + v.rows[line] + q * v.pixel_step
        dst = out + i * ld
        k = first
        begin = start
        end = cols + start
        while True:
            if v.direct:
                copy_run(pixel + v.taps[k * across] + begin, dst, min_index(end, run) - begin)
            else:
                copy_over(pixel + v.taps[k * across] + begin, dst, min_index(end, run) - begin)
            if end <= run:
                break
            dst += run - begin
            end -= run
            begin = 0
            k += 1
        q += 1
        if q == width:
            q = 0
            line += 1
