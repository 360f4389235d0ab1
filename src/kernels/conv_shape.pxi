# What a convolution is, as numbers: axes, images, strides. One description serves all passes: along
# each axis the input position of output o and tap t is o * step + offset + t * tap_step.
#
#   forward           step = stride, tap_step = dilation
#   input gradient    such convolutions of dy: conv_input_grad.pxi
#   weight gradient   im2col of x once more, summed over pixels against dy: conv_weight_grad.pxi

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
    c.channels, c.filters = <index_t> dims[1] // c.groups, <index_t> dims[2] // c.groups
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
