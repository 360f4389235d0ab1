# Pooling: geometry, and what all its files share.
#
#   pool_planes.pxi ..._indices ..._backward   NCHW, the windows nearly every network has;
#               ..._maxima                     gradients of maxima of 3x3
#   pool_triples.pxi                           NCHW, 3x3 in registers, where vectors have masks
#   pool_pixels.pxi ..._backward               channels-last: 3 columns; gradients
#   pool_taps.pxi                              everything else, as reductions over runs:
#   pool_forward.pxi pool_backward.pxi         which runs
#   pool_short_rows.pxi                        rows of windows that fit a vector
#   pool_lines.pxi                             gradients of 1-D windows side by side
#   pool_plain.pxi                             very large windows, few windows a row, short rows of dx
#   adaptive_pool.pxi                          cells that follow from the output's size

cdef enum:
    STRIP_LENGTH = 2048   # outputs of a row at once: with kernel_size rows of them L1 or L2 is full

cdef struct pool_t:
    index_t planes, inner
    # input, output, kernel, stride, low padding, dilation, end of the padded input; D, H, W
    index_t n[3]
    index_t q[3]
    index_t k[3]
    index_t s[3]
    index_t p[3]
    index_t d[3]
    index_t end[3]
    bint count_pad
    index_t divisor       # 0: none given


cdef int set_pool(pool_t *g, named_dims, cnp.ndarray a, cnp.ndarray b) except -1:
    """Geometry of dims (any rank, lifted to 3) and the memory format that a and b have in common."""
    cdef tuple dims = <tuple> named_dims  # a PoolDims: a tuple by another name
    cdef tuple in_size = <tuple> dims[2], kernel_size = <tuple> dims[3], out_size = <tuple> dims[4]
    cdef tuple stride = <tuple> dims[5], pad_low = <tuple> dims[6], pad_high = <tuple> dims[7]
    cdef tuple dilation = <tuple> dims[8]
    cdef int rank = <int> len(in_size), i, j
    for i in range(3):
        j = i - (3 - rank)
        if j < 0:
            g.n[i] = g.q[i] = g.k[i] = g.s[i] = g.d[i] = g.end[i] = 1
            g.p[i] = 0
        else:
            g.n[i] = in_size[j]
            g.q[i] = out_size[j]
            g.k[i] = kernel_size[j]
            g.s[i] = stride[j]
            g.p[i] = pad_low[j]
            g.d[i] = dilation[j]
            g.end[i] = g.n[i] + <index_t> pad_high[j]
    g.count_pad = dims[9]
    g.divisor = 0 if dims[10] is None else dims[10]
    set_planes(a, b, &g.planes, &g.inner)
    return 0


cdef void set_planes(cnp.ndarray a, cnp.ndarray b, index_t *planes, index_t *inner):
    """Channels-last: a plane an image, of C interleaved channels. An array that is both is neither."""
    cdef index_t n = cnp.PyArray_DIM(a, 0), c = cnp.PyArray_DIM(a, 1)
    if cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(b):
        planes[0], inner[0] = n * c, 1
    else:
        planes[0], inner[0] = n, c


cdef inline index_t extent(const pool_t *g, int axis) noexcept nogil:
    return (g.k[axis] - 1) * g.d[axis] + 1


cdef inline index_t floor_div(index_t a, index_t b) noexcept nogil:
    return a // b if a >= 0 else -((b - 1 - a) // b)


cdef inline index_t power_of_two(index_t n) noexcept nogil:
    """The least power of two that is no less than n: rings of such a size need no division."""
    cdef index_t size = 1
    while size < n:
        size *= 2
    return size


cdef index_t counted(const pool_t *g, int axis, index_t q) noexcept nogil:
    """How many places of window q along an axis an average counts."""
    cdef index_t begin = q * g.s[axis] - g.p[axis]
    cdef index_t low = -g.p[axis] if g.count_pad else 0
    cdef index_t high = g.end[axis] if g.count_pad else g.n[axis]
    if g.divisor:
        return 1
    return min_index(begin + g.k[axis], high) - max_index(begin, low)


cdef inline index_t taps_inside(const pool_t *g, int axis, index_t q, index_t *first) noexcept nogil:
    """How many taps of window q along an axis lie in the image, a dilation apart, and the first."""
    cdef index_t i = q * g.s[axis] - g.p[axis], taps = g.k[axis], outside
    if i < 0:
        outside = ceil_div(-i, g.d[axis])
        taps -= outside
        i += outside * g.d[axis]
    if i + (taps - 1) * g.d[axis] >= g.n[axis]:
        taps = (g.n[axis] - 1 - i) // g.d[axis] + 1
    first[0] = i
    return taps


cdef bint places_inside(const int32_t *at, index_t n, index_t places) noexcept nogil:
    """Whether n indices all are places of a plane."""
    cdef lane_t last = <lane_t> (places - 1)
    cdef mask_t wrong = isplat(0), v
    cdef lane_t lanes[VL]
    cdef index_t i = 0
    while i + VL <= n:
        prefetch_ahead(at + i)
        v = iload32(at + i)
        wrong = wrong | v | (isplat(last) - v)
        i += VL
    if i < n:
        v = iload32_some(at + i, vlanes(0, n - i))
        wrong = wrong | v | (isplat(last) - v)
    istore(lanes, wrong)
    for i in range(VL):
        if lanes[i] < 0:
            return False
    return True
