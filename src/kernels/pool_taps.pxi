# Reductions over runs: what pools of any kernel, stride and dilation, in either format, are made of.
#
# Everything works on rows. A row is one line of the image's last axis: W elements in NCHW, W pixels of
# C channels each in channels-last ("inner" is 1 or C). A strip of Q windows along a row is then
# Q * inner outputs that lie side by side in memory, and the k-th tap of all of them is one run of
# elements too, once a row is spread over its stride's phases:
#
#   row, stride 2, pad 1       . a b c d e f .
#   phase 0 (even places)      . b d f          tap 0 of windows 0, 1, 2 ...; tap 2 from its second element
#   phase 1 (odd places)       a c e .          tap 1
#
# So a pool of any kernel, stride and dilation in either format is a reduction over a list of runs,
# element by element: max_taps, max_taps_at (with indices), sum_taps, match_taps (gradient of a
# maximum) below, each a loop over vectors that loops over runs. Spreading costs a copy within L1, and
# is left out where rows can be read as they lie: stride 1 without padding, and channels-last
# with enough channels, where a pixel is a run by itself.
#
# Indices are kept in the lanes' integers beside the values (int32 in float32 modules, int64 in
# float64 ones), counted from the window's first row, and become int32 or int64 when they are stored.

cdef struct forward_t:
    pool_t g
    const real_t *x
    const real_t *x_end
    real_t *y
    char *indices
    int index_size        # 0: no indices
    bint maximum
    bint shared
    index_t strip         # windows along a row at once
    index_t phase         # elements from one phase of a spread row to the next
    index_t flat          # elements of a strip's results
    index_t rows          # rows of a strip that are kept: spread, or reduced
    index_t ring          # of them, for each tap along the first axis: a power of two if shared


cdef struct taps_t:
    # Runs to be reduced; element i of the result comes from src[t][start + i] of every t.
    index_t count
    index_t start
    const real_t **src
    const lane_t **at        # indices beside src, at the result's own position
    lane_t *offset           # added to them
    real_t *weight           # of a sum's runs


cdef inline void store_part(real_t *y, vec_t v, index_t n) noexcept nogil:
    cdef real_t lanes[VL]
    vstore(lanes, v)
    memcpy(y, lanes, n * sizeof(real_t))


cdef inline void store_part_at(lane_t *y, mask_t v, index_t n) noexcept nogil:
    cdef lane_t lanes[VL]
    istore(lanes, v)
    memcpy(y, lanes, n * sizeof(lane_t))


# Each function below writes y[0 ... length-1]. The last vector overlaps its neighbour; a run shorter
# than a vector is read to a vector's end (its memory is ours then), and written so if there is room.

cdef inline void prefetch_run_ahead(const real_t *src, const real_t *y) noexcept nogil:
    """What four vectors of a source and of a result will be, soon."""
    cdef int i
    for i in range(4):
        prefetch_ahead(src + i * VL)
        prefetch_ahead(y + i * VL)


cdef inline vec_t max_vector(const taps_t *taps, index_t i) noexcept nogil:
    cdef index_t t
    cdef vec_t best = vload(taps.src[0] + i)
    for t in range(1, taps.count):
        best = vmaxnan(best, vload(taps.src[t] + i))
    return best


cdef void max_taps(const taps_t *taps, index_t length, real_t *y, index_t room) noexcept nogil:
    """The maximum over the runs, NaN winning."""
    cdef index_t i = 0, t
    cdef const real_t *src
    cdef vec_t a, b, c, d
    while i + 4 * VL <= length:
        src = taps.src[0] + taps.start + i
        a = vload(src)
        b = vload(src + VL)
        c = vload(src + 2 * VL)
        d = vload(src + 3 * VL)
        for t in range(1, taps.count):
            src = taps.src[t] + taps.start + i
            a = vmaxnan(a, vload(src))
            b = vmaxnan(b, vload(src + VL))
            c = vmaxnan(c, vload(src + 2 * VL))
            d = vmaxnan(d, vload(src + 3 * VL))
        prefetch_run_ahead(src, y + i)
        vstore(y + i, a)
        vstore(y + i + VL, b)
        vstore(y + i + 2 * VL, c)
        vstore(y + i + 3 * VL, d)
        i += 4 * VL
    while i + VL <= length:
        vstore(y + i, max_vector(taps, taps.start + i))
        i += VL
    if i == length:
        return
    if length >= VL:
        i = length - VL
        vstore(y + i, max_vector(taps, taps.start + i))
    elif room >= VL:
        vstore(y, max_vector(taps, taps.start))
    else:
        store_part(y, max_vector(taps, taps.start), length)


cdef inline void max_vector_at(const taps_t *taps, index_t i, index_t pos, vec_t *y,
                               mask_t *at) noexcept nogil:
    cdef index_t t
    cdef vec_t best = vload(taps.src[0] + i), value
    cdef mask_t where = iload(taps.at[0] + pos) + isplat(taps.offset[0]), better
    for t in range(1, taps.count):
        value = vload(taps.src[t] + i)
        better = vbeats(value, best)
        best = vselect(better, value, best)
        where = iselect(better, iload(taps.at[t] + pos) + isplat(taps.offset[t]), where)
    y[0] = best
    at[0] = where


cdef void max_taps_at(const taps_t *taps, index_t pos, index_t length, real_t *y, lane_t *at,
                      lane_t base, index_t room) noexcept nogil:
    """The maximum over the runs, and where: taps.at from `pos` on, plus offset, plus base."""
    cdef index_t i = 0, t
    cdef const real_t *src
    cdef const lane_t *src_at
    cdef vec_t a, b, u, v
    cdef mask_t a_at, b_at, better, offset
    cdef mask_t origin = isplat(base)
    while i + 2 * VL <= length:
        src = taps.src[0] + taps.start + i
        src_at = taps.at[0] + pos + i
        offset = isplat(taps.offset[0])
        a = vload(src)
        b = vload(src + VL)
        a_at = iload(src_at) + offset
        b_at = iload(src_at + VL) + offset
        for t in range(1, taps.count):
            src = taps.src[t] + taps.start + i
            src_at = taps.at[t] + pos + i
            offset = isplat(taps.offset[t])
            u = vload(src)
            v = vload(src + VL)
            better = vbeats(u, a)
            a = vselect(better, u, a)
            a_at = iselect(better, iload(src_at) + offset, a_at)
            better = vbeats(v, b)
            b = vselect(better, v, b)
            b_at = iselect(better, iload(src_at + VL) + offset, b_at)
        prefetch_ahead(src)
        prefetch_ahead(src + VL)
        prefetch_ahead(y + i)
        prefetch_ahead(y + i + VL)
        prefetch_ahead(at + i)
        prefetch_ahead(at + i + VL)
        vstore(y + i, a)
        vstore(y + i + VL, b)
        istore(at + i, a_at + origin)
        istore(at + i + VL, b_at + origin)
        i += 2 * VL
    while i < length:
        if i + VL > length and length >= VL:
            i = length - VL
        max_vector_at(taps, taps.start + i, pos + i, &a, &a_at)
        if length >= VL or room >= VL:
            vstore(y + i, a)
            istore(at + i, a_at + origin)
        else:
            store_part(y, a, length)
            store_part_at(at, a_at + origin, length)
        i += VL


cdef inline vec_t sum_vector(const taps_t *taps, index_t i) noexcept nogil:
    cdef index_t t
    cdef vec_t sum = vzero()
    for t in range(taps.count):
        sum = sum + vsplat(taps.weight[t]) * vload(taps.src[t] + i)
    return sum


cdef void sum_taps(const taps_t *taps, index_t length, real_t *y, const real_t *scale,
                   index_t room) noexcept nogil:
    """The weighted sum of the runs, in their order, times scale (element by element) unless NULL."""
    cdef index_t i = 0, t
    cdef const real_t *src
    cdef vec_t a, b, c, d, w
    while i + 4 * VL <= length:
        a = b = c = d = vzero()
        for t in range(taps.count):
            src = taps.src[t] + taps.start + i
            w = vsplat(taps.weight[t])
            a = a + w * vload(src)
            b = b + w * vload(src + VL)
            c = c + w * vload(src + 2 * VL)
            d = d + w * vload(src + 3 * VL)
        if scale != NULL:
            a = a * vload(scale + i)
            b = b * vload(scale + i + VL)
            c = c * vload(scale + i + 2 * VL)
            d = d * vload(scale + i + 3 * VL)
        prefetch_run_ahead(src, y + i)
        vstore(y + i, a)
        vstore(y + i + VL, b)
        vstore(y + i + 2 * VL, c)
        vstore(y + i + 3 * VL, d)
        i += 4 * VL
    while i < length:
        if i + VL > length and length >= VL:
            i = length - VL
        a = sum_vector(taps, taps.start + i)
        if scale != NULL:
            a = a * vload(scale + i)
        if length >= VL or room >= VL:
            vstore(y + i, a)
        else:
            store_part(y, a, length)
        i += VL


cdef inline vec_t match_vector(const taps_t *taps, index_t i, mask_t place) noexcept nogil:
    cdef index_t t
    cdef vec_t sum = vzero()
    for t in range(taps.count):
        sum = sum + vselect(iequal(iload(taps.at[t] + i), place + isplat(taps.offset[t])),
                            vload(taps.src[t] + i), vzero())
    return sum


cdef void match_taps(const taps_t *taps, index_t length, const lane_t *places, real_t *y,
                     index_t room) noexcept nogil:
    """The sum of src[t] where at[t] is the result's own place + offset[t]."""
    cdef index_t i = 0
    cdef vec_t a
    while i < length:
        if i + VL > length and length >= VL:
            i = length - VL
        a = match_vector(taps, taps.start + i, iload(places + i))
        prefetch_ahead(taps.src[0] + taps.start + i)
        prefetch_ahead(taps.at[0] + taps.start + i)
        prefetch_ahead(y + i)
        if length >= VL or room >= VL:
            vstore(y + i, a)
        else:
            store_part(y, a, length)
        i += VL


cdef void copy_to(const real_t *src, real_t *dst, index_t n, const real_t *src_end) noexcept nogil:
    """n elements, in whole vectors where src's memory goes on; dst has room for a vector more."""
    cdef index_t i = 0
    if src + n + VL > src_end:
        memcpy(dst, src, n * sizeof(real_t))
        return
    while i < n:
        vstore(dst + i, vload(src + i))
        i += VL


cdef void fill_run(real_t *dst, index_t n, real_t value) noexcept nogil:
    cdef index_t i
    for i in range(n):
        dst[i] = value


cdef inline char *carve(char **memory, size_t size) noexcept nogil:
    """The next `size` bytes of scratch memory, from a cache line's start."""
    cdef char *piece = memory[0]
    memory[0] = piece + (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    return piece
