# Convolution on the engine of gemm.pxi: im2col happens while panels are copied, and nowhere else.
#
#   N images, C channels in, K out (both of one group), spatial axes D H W (1-D and 2-D: size 1 before),
#   taps T R S, outputs O P Q. A pixel is one output position of one image.
#
#   NCHW           C = weights x im2col        K x pixels       vectors along pixels
#   channels-last  C = im2col' x weights'      pixels x K       vectors along channels
#
# In both, im2col's runs that are contiguous in memory (a row's pixels; a pixel's channels) are copied as
# they lie, from a window of x (window.pxi). One description serves all passes: along each axis the input position of output o and tap t
# is o * step + offset + t * tap_step.
#
#   forward           step = stride, tap_step = dilation
#   input gradient    such convolutions of dy: conv_input_grad.pxi
#   weight gradient   im2col of x once more, summed over pixels against dy: conv_weight_grad.pxi
#
# Weights are brought once a call into the order that the kernel reads (rows of A; panels of B), in
# blocks of WEIGHTS bytes of filters.

cdef enum:
    WEIGHTS = 16 << 20

cdef struct axis_t:
    index_t n_in, n_out, taps, step, offset, tap_step

cdef struct image_t:
    # An image tensor: strides in elements of n, c and the three spatial axes.
    real_t *data
    index_t n, c
    index_t at[3]
    bint channels_last

cdef struct conv_t:
    index_t batch, channels, filters, groups
    index_t taps, pixels    # products over the axes
    axis_t axis[3]
    image_t x, y
    const real_t *bias
    bint relu
    bint copy_always        # windows are read in whole vectors, past the ends of rows
    # the weight of filter k, channel c, tap (t, r, s)
    const real_t *w
    index_t w_filter, w_channel, w_group
    index_t w_tap[3]
    index_t w_first         # how far from the beginning of the filter in memory w is


cdef inline bint is_channels_last(cnp.ndarray array) noexcept:
    return not cnp.PyArray_IS_C_CONTIGUOUS(array)


cdef void set_image(image_t *image, cnp.ndarray array):
    """A dense (N, C, spatial...) array, or (K, C, taps...) weights."""
    cdef int ndim = cnp.PyArray_NDIM(array), i
    cdef index_t stride = 1
    image.data = pointer(array)
    image.channels_last = is_channels_last(array)
    if image.channels_last:
        image.c = 1
        stride = array.shape[1]
    for i in range(3):
        image.at[i] = 0
    for i in range(ndim - 1, 1, -1):
        image.at[3 - ndim + i] = stride
        stride *= array.shape[i]
    if not image.channels_last:
        image.c = stride
        stride *= array.shape[1]
    image.n = stride


cdef inline void set_axis(axis_t *axis, index_t n_in, index_t n_out, index_t taps, index_t step,
                          index_t offset, index_t tap_step) noexcept nogil:
    axis.n_in, axis.n_out, axis.taps = n_in, n_out, taps
    axis.step, axis.offset, axis.tap_step = step, offset, tap_step


cdef void complete(conv_t *c) noexcept nogil:
    """What follows from the axes."""
    cdef int i
    c.taps = c.pixels = 1
    for i in range(3):
        c.taps *= c.axis[i].taps
        c.pixels *= c.axis[i].n_out


cdef inline bint is_trivial(const axis_t *axis) noexcept nogil:
    """One tap that reads every input once, in order."""
    return axis.taps == 1 and axis.step == 1 and axis.offset == 0 and axis.n_in == axis.n_out


cdef void join_axes(conv_t *c) noexcept nogil:
    """Make one long axis of w and h, and of d, where taps join no rows (1x1 convolutions)."""
    cdef int i
    for i in range(1, -1, -1):
        if not (is_trivial(&c.axis[2]) and is_trivial(&c.axis[i])):
            return
        if c.axis[i].n_in > 1 and (c.x.at[i] != c.x.at[2] * c.axis[2].n_in
                                   or c.y.at[i] != c.y.at[2] * c.axis[2].n_out):
            return
        set_axis(&c.axis[2], c.axis[2].n_in * c.axis[i].n_in, c.axis[2].n_out * c.axis[i].n_out,
                 1, 1, 0, 1)
        set_axis(&c.axis[i], 1, 1, 1, 1, 0, 1)


cdef bint covers(const conv_t *c, cnp.ndarray x, cnp.ndarray w) noexcept:
    """Whether the kernel is as large as the image, and w in x's order: one product of matrices."""
    cdef int i
    for i in range(3):
        if c.axis[i].n_in != c.axis[i].taps or c.axis[i].n_out != 1 or c.axis[i].offset != 0 or (
                c.axis[i].tap_step != 1 and c.axis[i].taps > 1):
            return False
    return c.groups == 1 and c.taps > 1 and is_channels_last(x) == is_channels_last(w)


cdef void make_pixels(conv_t *c) noexcept:
    """Of images that the kernel covers, pixels with a channel for each of their elements."""
    cdef int i
    c.channels *= c.taps
    for i in range(3):
        set_axis(&c.axis[i], 1, 1, 1, 1, 0, 1)
        c.w_tap[i] = 0
    c.x.channels_last = c.y.channels_last = True
    c.x.c = c.y.c = c.w_channel = 1
    c.x.at[2], c.y.at[2] = c.channels, c.filters
    complete(c)


cdef void set_forward(conv_t *c, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, named_dims):
    """The convolution that dims describe; x, w or y may be None."""
    cdef tuple dims = <tuple> named_dims  # a ConvDims: a tuple by another name
    cdef tuple in_size = <tuple> dims[4], kernel_size = <tuple> dims[5], out_size = <tuple> dims[6]
    cdef tuple stride = <tuple> dims[7], pad_low = <tuple> dims[8], dilation = <tuple> dims[10]
    cdef int rank = <int> len(in_size), i, j
    cdef image_t weights
    c.batch, c.groups = dims[0], dims[3]
    c.channels, c.filters = dims[1] // c.groups, dims[2] // c.groups
    c.bias, c.relu, c.w, c.w_first, c.copy_always = NULL, False, NULL, 0, False
    for i in range(3):
        j = i - 3 + rank
        if j < 0:
            set_axis(&c.axis[i], 1, 1, 1, 1, 0, 1)
        else:
            set_axis(&c.axis[i], in_size[j], out_size[j], kernel_size[j], stride[j],
                     -<index_t> pad_low[j], dilation[j])
    if x is not None:
        set_image(&c.x, x)
    if y is not None:
        set_image(&c.y, y)
    if w is not None:
        set_image(&weights, w)
        c.w, c.w_filter, c.w_channel = weights.data, weights.n, weights.c
        c.w_group = c.filters * weights.n
        for i in range(3):
            c.w_tap[i] = weights.at[i]
    complete(c)


cdef void select_group(conv_t *c, index_t group) noexcept nogil:
    c.x.data += group * c.channels * c.x.c
    c.y.data += group * c.filters * c.y.c
    c.w += group * c.w_group
    if c.bias != NULL:
        c.bias += group * c.filters


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


include "window.pxi"


# Where a tile goes

cdef inline index_t pixel_offset(const conv_t *c, index_t pixel) noexcept nogil:
    """Where in y a pixel lies (in its first channel)."""
    cdef index_t n = pixel // c.pixels, rest = pixel % c.pixels
    cdef index_t q = rest % c.axis[2].n_out
    rest = rest // c.axis[2].n_out
    return (n * c.y.n + rest // c.axis[1].n_out * c.y.at[0]
            + rest % c.axis[1].n_out * c.y.at[1] + q * c.y.at[2])


cdef inline bint is_plane(const conv_t *c) noexcept nogil:
    """Whether the pixels of an image are adjacent in y, channel by channel."""
    return (c.y.at[2] == 1 and (c.axis[1].n_out == 1 or c.y.at[1] == c.axis[2].n_out)
            and (c.axis[0].n_out == 1 or c.y.at[0] == c.axis[1].n_out * c.axis[2].n_out))


cdef inline bint pixels_are_rows(const conv_t *c) noexcept nogil:
    """Whether a pixel's channels are adjacent in y, and all pixels follow one another."""
    return (c.y.c == 1 and c.y.n == c.pixels * c.y.at[2]
            and (c.axis[1].n_out == 1 or c.y.at[1] == c.axis[2].n_out * c.y.at[2])
            and (c.axis[0].n_out == 1
                 or c.y.at[0] == c.axis[1].n_out * c.axis[2].n_out * c.y.at[2]))


cdef void store_strided(real_t *out, index_t stride, const real_t *sums, real_t bias, index_t n,
                        bint first, bint relu) noexcept nogil:
    cdef index_t j = 0
    cdef int count
    cdef vec_t v, old = vzero()
    cdef real_t x
    if stride == 2:
        while j < n:
            count = <int> min_index(VL, n - j)
            v = vload(sums + j) + vsplat(bias)
            if not first:
                # Nothing behind the last element is read.
                old = vload_even(out + 2 * j, count)
            vstore_even(out + 2 * j, count, finish(v, old, first, relu))
            j += VL
        return
    for j in range(n):
        x = sums[j] + bias
        if not first:
            x = x + out[j * stride]
        out[j * stride] = relu1(x) if relu else x


cdef void store_lanes(real_t *out, index_t stride, const real_t *tile, index_t rows, index_t begin,
                      index_t end, const real_t *bias, bint first, bint relu) noexcept nogil:
    """Columns begin ... end of a tile to out[i * stride], and nothing beside them."""
    cdef lanes_t lanes
    cdef vec_t v, old
    cdef index_t i, j
    for j in range(begin // VL, (end - 1) // VL + 1):
        lanes = vlanes(begin - j * VL, end - j * VL)
        for i in range(rows):
            v = vload(tile + i * NR + j * VL)
            old = v
            if bias != NULL:
                v = v + vsplat(bias[i])
            if not first:
                old = vload_some(out + i * stride + j * VL - begin, lanes)
            vstore_some(out + i * stride + j * VL - begin, lanes, finish(v, old, first, relu))


cdef void store_planes(const void *matrix, index_t row, index_t rows, index_t col, index_t cols,
                       const real_t *tile, bint first, bint last) noexcept nogil:
    """Rows filters, columns pixels: a tile's row is a run of a plane, or of several images' planes."""
    cdef const conv_t *c = <const conv_t *> matrix
    cdef bint relu = last and c.relu, plane = is_plane(c)
    cdef index_t j, k, n
    cdef index_t starts[NR]
    cdef index_t lengths[NR]
    cdef index_t runs = 0, at = 0
    cdef index_t unit = c.pixels if plane else c.axis[2].n_out
    cdef real_t *out
    cdef const real_t *bias = NULL
    if plane and cols == NR:
        n = col // c.pixels
        if col + NR <= (n + 1) * c.pixels:
            store_tile(c.y.data + n * c.y.n + row * c.y.c + col - n * c.pixels, c.y.c, tile, rows,
                       c.bias + row if c.bias != NULL else NULL, ROW_BIAS, first, relu)
            return
    j = 0
    while j < cols:
        starts[runs] = pixel_offset(c, col + j)
        lengths[runs] = min_index(cols - j, unit - (col + j) % unit)
        j += lengths[runs]
        runs += 1
    out = c.y.data + row * c.y.c
    if c.bias != NULL and first:
        bias = c.bias + row
    for k in range(runs):
        store_lanes(out + starts[k], c.y.c, tile, rows, at, at + lengths[k], bias, first, relu)
        at += lengths[k]


cdef const real_t *locate_plane(const void *matrix, index_t row, index_t col) noexcept nogil:
    """Where is_plane; NULL for a tile that goes on in the next image."""
    cdef const conv_t *c = <const conv_t *> matrix
    cdef index_t n = col // c.pixels, pixel = col - n * c.pixels
    if pixel + NR > c.pixels:
        return NULL
    return c.y.data + n * c.y.n + row * c.y.c + pixel


cdef const real_t *locate_pixel(const void *matrix, index_t row, index_t col) noexcept nogil:
    """Where pixels_are_rows."""
    cdef const conv_t *c = <const conv_t *> matrix
    return c.y.data + row * c.y.at[2] + col


cdef void store_pixels(const void *matrix, index_t row, index_t rows, index_t col, index_t cols,
                       const real_t *tile, bint first, bint last) noexcept nogil:
    """Rows pixels, columns filters: a tile's row is a run of one pixel's channels."""
    cdef const conv_t *c = <const conv_t *> matrix
    cdef bint relu = last and c.relu
    cdef index_t i
    cdef real_t *out
    cdef const real_t *bias = NULL
    if c.bias != NULL and first:
        bias = c.bias + col
    out = c.y.data + row * c.y.at[2] + col
    if cols == NR:
        store_tile(out, c.y.at[2], tile, rows, bias, COLUMN_BIAS, first, relu)
        return
    for i in range(rows):
        store_run(out + i * c.y.at[2], tile + i * NR, bias, 1, 1, 0, cols, first, relu)


# Weights

cdef enum:
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


# Forward and input gradient

cdef enum:
    WINDOW = 131072 # elements of a window that is copied, as far as blocks of a few tiles allow
    RESULT = 262144 # elements of a block of results that are scattered: half of L2
    IN_PLACE = 256  # filters up to which x is multiplied where it lies: each copy would serve few tiles


cdef inline bint is_copy(const conv_t *c) noexcept nogil:
    """Whether im2col's matrix is x, channels-last, as it lies."""
    return (is_trivial(&c.axis[0]) and is_trivial(&c.axis[1]) and is_trivial(&c.axis[2])
            and c.x.n == c.pixels * c.x.at[2]
            and (c.axis[1].n_in == 1 or c.x.at[1] == c.axis[2].n_in * c.x.at[2])
            and (c.axis[0].n_in == 1
                 or c.x.at[0] == c.axis[1].n_in * c.axis[2].n_in * c.x.at[2]))


cdef inline bint spreads(index_t distance) noexcept nogil:
    """Whether rows so far apart spread over the sets of the caches."""
    return distance * <index_t> sizeof(real_t) % 2048 != 0


cdef inline bint is_scattered(const conv_t *c) noexcept nogil:
    """Whether results lie apart: a phase of an input gradient, an output in the other format.

    Blocks are then formed in scratch memory, where the micro-kernel adds to them, and scattered once.
    """
    return not pixels_are_rows(c) if c.x.channels_last else c.y.at[2] != 1


cdef inline index_t result_ld(const product_t *p) noexcept nogil:
    return padded(p.block_n) + VL


cdef inline index_t result_size(const conv_t *c, const product_t *p) noexcept nogil:
    return p.block_m * result_ld(p) if is_scattered(c) else 0


cdef void scatter_pixels(const conv_t *c, index_t i0, index_t i1, index_t j0, index_t j1,
                         const real_t *block, index_t ld) noexcept nogil:
    """Channels-last: rows pixels, columns filters. y may be NCHW."""
    cdef index_t pixel = i0, at, n, j
    cdef real_t *out
    cdef const real_t *bias = c.bias + j0 if c.bias != NULL else NULL
    while pixel < i1:
        out = c.y.data + pixel_offset(c, pixel) + j0 * c.y.c
        n = min_index(i1 - pixel, c.axis[2].n_out - pixel % c.axis[2].n_out)
        for at in range(n):
            if c.y.c == 1:
                store_run(out, block, bias, 1, 1, 0, j1 - j0, True, c.relu)
            else:
                for j in range(j1 - j0):
                    store_strided(out + j * c.y.c, 1, block + j, bias[j] if bias != NULL else 0, 1,
                                  True, c.relu)
            out += c.y.at[2]
            block += ld
        pixel += n


cdef void scatter_planes(const conv_t *c, index_t i0, index_t i1, index_t j0, index_t j1,
                         const real_t *block, index_t ld) noexcept nogil:
    """NCHW: rows filters, columns pixels."""
    cdef index_t pixel, n, i
    cdef real_t bias
    for i in range(i0, i1):
        bias = c.bias[i] if c.bias != NULL else 0
        pixel = j0
        while pixel < j1:
            n = min_index(j1 - pixel, c.axis[2].n_out - pixel % c.axis[2].n_out)
            store_strided(c.y.data + pixel_offset(c, pixel) + i * c.y.c, c.y.at[2],
                          block + pixel - j0, bias, n, True, c.relu)
            pixel += n
        block += ld

cdef void move_to_columns(void *state, index_t i0, index_t i1, index_t j0, index_t j1, index_t k,
                          index_t kc, bint again) noexcept nogil:
    """NCHW: the block's columns are pixels, this part of the sum some channels."""
    cdef window_t *v = <window_t *> state
    cdef index_t first = k // v.c.taps, last = (k + kc - 1) // v.c.taps
    if not again:
        window_move(v, j0, j1 - j0, first, last - first + 1)


cdef void move_to_rows(void *state, index_t i0, index_t i1, index_t j0, index_t j1, index_t k,
                       index_t kc, bint again) noexcept nogil:
    """Channels-last: the block's rows are pixels; all channels, for the whole sum."""
    if k == 0:
        window_move(<window_t *> state, i0, i1 - i0, 0, 0)


cdef void conv_product(const conv_t *c, product_t *p) noexcept nogil:
    """The product that computes one group; operands are set by conv_task."""
    p.k = p.period = c.taps * c.channels
    p.period_a = 0
    p.rows_a = p.panels_b = NULL
    p.place_b = NULL
    p.locate_a = p.locate_b = p.locate_c = NULL
    p.columns_a = p.columns_b = False
    p.begins, p.ends = c.bias != NULL, c.relu
    if c.x.channels_last:
        p.m, p.n = c.batch * c.pixels, c.filters
        p.fill_a, p.store, p.prepare = fill_im2col_pixels, store_pixels, move_to_rows
        p.locate_c, p.c_stride = locate_pixel, c.y.at[2]
    else:
        p.m, p.n = c.filters, c.batch * c.pixels
        p.fill_b, p.store, p.prepare = fill_im2col_rows, store_planes, move_to_columns
        if is_plane(c):
            p.locate_c, p.c_stride = locate_plane, c.y.c
        p.rows_a = c.w  # any: there are rows to read
    if is_scattered(c):
        p.store, p.locate_c = store_dense, locate_result
        p.begins = p.ends = False


cdef inline index_t conv_window(const conv_t *c, const product_t *p) noexcept nogil:
    """Elements of a block's window."""
    if c.x.channels_last:
        return window_size(c, p.block_m, c.channels)
    return window_size(c, p.block_n, min_index(c.channels, (KC - 1) // c.taps + 2))


cdef void choose_conv_blocks(const conv_t *c, product_t *p, int n_threads) noexcept nogil:
    """choose_blocks, and windows that fit into L2."""
    conv_product(c, p)
    choose_blocks(p, not c.x.channels_last, c.groups, n_threads)
    while conv_window(c, p) > WINDOW or result_size(c, p) > RESULT:
        if c.x.channels_last and p.block_m > 4 * MR:
            p.block_m = p.band = p.block_m // 2
        elif not c.x.channels_last and p.block_n > 4 * NR:
            p.block_n = ceil_div(p.block_n // 2, NR) * NR
        else:
            return


cdef void conv_task(const conv_t *c, const product_t *plan, index_t task, const real_t *packed,
                    real_t *scratch) noexcept nogil:
    cdef index_t group = task // blocks_of(plan)
    cdef conv_t mine = c[0]
    cdef product_t p = plan[0]
    cdef window_t window
    cdef dense_result_t result
    cdef dense_t weights
    cdef real_t *out
    cdef index_t i0, i1, j0, j1
    flush_denormals()
    select_group(&mine, group)
    packed += group * (weights_size(c, c.filters) // c.groups)
    window_open(&window, &mine, p.block_m if c.x.channels_last else p.block_n,
                scratch + scratch_size(&p))
    p.c = &mine
    p.a = p.b = p.state = &window
    if c.x.channels_last:
        p.panels_b = packed
        if window.direct and c.taps == 1:
            p.locate_a, p.a_stride = locate_im2col_pixel, c.x.at[2]
            if is_copy(c) and spreads(c.x.at[2]):
                p.rows_a, p.ld_a, p.step_a = mine.x.data, c.x.at[2], 1
    else:
        p.rows_a, p.ld_a, p.step_a = packed, weights_ld(c), 1
        weights.data, weights.row, weights.col = packed, p.ld_a, 1
        p.a, p.locate_a, p.a_stride = &weights, locate_dense, p.ld_a
        if window.direct and c.taps == 1:
            p.locate_b, p.b_stride = locate_im2col_row, c.x.c
            if p.m <= IN_PLACE and spreads(c.x.c):
                p.place_b, p.ld_b = place_im2col_row, c.x.c
    if is_scattered(c):
        block_bounds(&p, task % blocks_of(plan), &i0, &i1, &j0, &j1)
        out = scratch + scratch_size(plan) + conv_window(c, plan)
        result.row, result.col, result.data = result_ld(&p), 1, out - i0 * result_ld(&p) - j0
        result.addend, result.alpha, result.beta, result.relu = NULL, 1, 0, False
        p.c, p.c_stride = &result, result.row
    product_block(&p, task % blocks_of(plan), 0, p.k, scratch)
    if is_scattered(c) and c.x.channels_last:
        scatter_pixels(&mine, i0, i1, j0, j1, out, result.row)
    elif is_scattered(c):
        scatter_planes(&mine, i0, i1, j0, j1, out, result.row)


cdef inline index_t block_scratch(const conv_t *c, const product_t *p) noexcept nogil:
    """Elements of scratch memory that a block needs."""
    return scratch_size(p) + conv_window(c, p) + result_size(c, p)


cdef index_t conv_scratch(const conv_t *whole, int n_threads) noexcept nogil:
    """Elements of scratch memory that a thread of conv_run needs at most."""
    cdef conv_t c = whole[0]
    cdef product_t p
    cdef index_t size
    c.filters = filters_at_once(whole)
    choose_conv_blocks(&c, &p, n_threads)
    size = block_scratch(&c, &p)
    if whole.filters % c.filters > 0:
        c.filters = whole.filters % c.filters
        choose_conv_blocks(&c, &p, n_threads)
        size = max_index(size, block_scratch(&c, &p))
    return size


cdef inline int conv_threads(const conv_t *c, int n_threads) noexcept nogil:
    return threads_for(c.groups * c.filters * c.batch * c.pixels * c.channels * c.taps // 16,
                       n_threads)


cdef void conv_run(const conv_t *whole, real_t *packed, real_t *scratch, index_t per_thread,
                   int n_threads) noexcept nogil:
    """All groups and filters, by blocks of filters whose weights fit."""
    cdef conv_t c = whole[0]
    cdef product_t plan
    cdef index_t at_once = filters_at_once(whole), done = 0, tasks, task
    cdef int threads, part
    while done < whole.filters:
        c.filters = min_index(at_once, whole.filters - done)
        c.w = whole.w + done * whole.w_filter
        c.y.data = whole.y.data + done * c.y.c
        if whole.bias != NULL:
            c.bias = whole.bias + done
        threads = threads_for(weights_size(&c, c.filters), n_threads)
        if threads == 1:
            pack_weights_part(&c, 0, 1, c.filters, packed)
        else:
            for part in prange(threads, num_threads=threads, schedule="static"):
                pack_weights_part(&c, part, threads, c.filters, packed)
        choose_conv_blocks(&c, &plan, n_threads)
        tasks = c.groups * blocks_of(&plan)
        threads = <int> min_index(n_threads, tasks)
        if threads == 1:
            for task in range(tasks):
                conv_task(&c, &plan, task, packed, scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                conv_task(&c, &plan, task, packed, scratch + threadid() * per_thread)
        done += c.filters


def conv(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, dims, activation,
         int n_threads):
    """Forward convolution by implicit GEMM."""
    cdef conv_t c
    cdef workspace_t workspace
    cdef index_t packed, per_thread
    set_forward(&c, x, w, y, dims)
    c.bias = pointer(b)
    c.relu = activation is not None
    if covers(&c, x, w):
        make_pixels(&c)
    join_axes(&c)
    n_threads = conv_threads(&c, n_threads)
    packed = padded(weights_size(&c, filters_at_once(&c)))
    per_thread = conv_scratch(&c, n_threads)
    workspace = acquire((packed + n_threads * per_thread) * sizeof(real_t))
    with nogil:
        conv_run(&c, <real_t *> workspace.data, <real_t *> workspace.data + packed, per_thread,
                 n_threads)
    release(workspace)
