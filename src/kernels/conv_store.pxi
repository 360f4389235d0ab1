# Where results of convolution go: tiles into y in either format, whole blocks that are scattered.

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
