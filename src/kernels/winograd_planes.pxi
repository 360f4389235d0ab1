# Images as the transforms want them: T, a few rows of VL channels, pixel after pixel, each a vector.
# Channels-last rows are copied as they lie. NCHW rows are transposed in registers, VL pixels of VL
# channels at a time, so that neither format is ever converted as a whole.

cdef struct plane_t:
    # One side of the convolution as the transforms see it.
    const image_t *image
    index_t channels, height, width
    index_t left, pitch            # T: zeros before a row; vectors from a row to the next


cdef inline void zero_pads(const plane_t *p, index_t y0, index_t y1, real_t *t) noexcept nogil:
    """Zeros wherever T lies outside the image."""
    cdef index_t left = min_index(max_index(0, p.left), p.pitch), ld = p.pitch * VL, row
    cdef index_t end = max_index(left, min_index(p.left + p.width, p.pitch))
    for row in range(y0, y1):
        if row < 0 or row >= p.height:
            zero_run(t, ld)
        else:
            zero_run(t, left * VL)
            zero_run(t + end * VL, (p.pitch - end) * VL)
        t += ld


cdef void planes_to_pixels(const plane_t *p, index_t n, index_t y0, index_t y1, index_t channel,
                           real_t *t) noexcept nogil:
    """T = VL channels of the rows y0 ... y1 - 1 (which may lie outside) of image n, zero-padded.

    Writes up to VL * VL elements past T's end.
    """
    cdef const image_t *x = p.image
    cdef index_t width = p.width, k, row, col
    cdef index_t low = max_index(y0, 0), high = min_index(y1, p.height)
    cdef index_t x0 = max_index(0, -p.left), x1 = min_index(width, p.pitch - p.left)
    cdef index_t count = min_index(VL, p.channels - channel)
    cdef const real_t *src = x.data + n * x.n + channel * x.c
    cdef real_t *out
    cdef real_t block[VL * VL]
    cdef bint rows = count == VL and x.at[2] == 1 and x1 - x0 >= VL
    cdef bint short_rows = (count == VL and x.at[2] == 1 and width < VL and p.left >= 0
                            and p.height * width >= VL)
    for row in range(low, high):
        out = t + ((row - y0) * p.pitch + p.left) * VL
        if count == VL and x.c == 1:
            for col in range(x0, x1):
                prefetch_far(src + row * x.at[1] + col * x.at[2] + VL)  # of the next channels
                vstore(out + col * VL, vload(src + row * x.at[1] + col * x.at[2]))
        elif rows:  # the last vector overlaps the one before
            col = x0
            while col < x1:
                col = min_index(col, x1 - VL)
                vtranspose(src + row * width + col, x.c, out + col * VL, VL)
                col += VL
        elif short_rows and row * width + VL <= p.height * width:
            # A vector reaches into the next row. So does what is written, but that row comes later.
            vtranspose(src + row * width, x.c, out, VL)
        elif short_rows:
            vtranspose(src + p.height * width - VL, x.c, block, VL)
            for col in range(x0, x1):
                vstore(out + col * VL, vload(block + (VL - (p.height - row) * width + col) * VL))
        else:
            for col in range(x0, x1):
                for k in range(VL):
                    out[col * VL + k] = (
                        src[row * x.at[1] + col * x.at[2] + k * x.c] if k < count else 0)
    zero_pads(p, y0, y1, t)


cdef void pixels_to_planes(const image_t *y, index_t width, index_t n, index_t y0, index_t y1,
                           index_t channel, index_t count, const real_t *t) noexcept nogil:
    """T, its rows one after the other, to `count` channels of the rows y0 ... y1 - 1 of image n."""
    cdef index_t total = (y1 - y0) * width, row, col, flat, k
    cdef real_t *out = y.data + n * y.n + channel * y.c
    if count < VL or y.at[2] != 1 or total < VL:
        for row in range(y1 - y0):
            for col in range(width):
                for k in range(count):
                    out[(y0 + row) * y.at[1] + col * y.at[2] + k * y.c] = t[
                        (row * width + col) * VL + k]
        return
    out += y0 * width
    flat = 0
    while flat < total:  # the last vector overlaps the one before
        flat = min_index(flat, total - VL)
        vtranspose(t + flat * VL, VL, out + flat, y.c)
        flat += VL


cdef void copy_pixels(const image_t *y, index_t width, index_t n, index_t y0, index_t y1,
                      index_t channel, const real_t *t) noexcept nogil:
    """The same, channels-last: VL channels lie together."""
    cdef index_t row, col
    cdef real_t *out
    for row in range(y0, y1):
        out = y.data + n * y.n + row * y.at[1] + channel
        for col in range(width):
            prefetch_far(out + VL)
            vstore(out, vload(t))
            out += y.at[2]
            t += VL
