# Dropout with counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, Parallel
# random numbers: as easy as 1, 2, 3; 2011).
#
#   element   0 1 2 3 | 4 5 6 7 | ...     in logical (NCHW) order, whatever the memory format
#   counter   offset  | offset+1| ...     four words of 32 bits each; kept if word >= p 2^32
#
# No state: a thread starts anywhere. COUNTERS counters go through the rounds side by side, as
# plain loops that the compiler turns into vector multiplies; with 16 of them it unrolled the loops
# instead (10 ns an element, not 2). Channels-last memory takes its mask
# through a buffer: a range of one image's channels in logical order, then written pixel by pixel.

cdef enum:
    COUNTERS = 64
    DRAWN = 4 * COUNTERS
    MASK_BUFFER = 1 << 18   # bytes, of a thread

ctypedef uint8_t byte_t


cdef void philox(uint64_t counter, uint64_t seed, uint32_t *words) noexcept nogil:
    """The 4 * COUNTERS words of COUNTERS counters from `counter` on."""
    cdef uint32_t a[COUNTERS]
    cdef uint32_t b[COUNTERS]
    cdef uint32_t c[COUNTERS]
    cdef uint32_t d[COUNTERS]
    cdef uint32_t k0 = <uint32_t> seed, k1 = <uint32_t> (seed >> 32)
    cdef uint64_t p, q
    cdef int i, turn
    for i in range(COUNTERS):
        a[i] = <uint32_t> (counter + i)
        b[i] = <uint32_t> ((counter + i) >> 32)
        c[i] = d[i] = 0
    for turn in range(10):
        for i in range(COUNTERS):
            p = <uint64_t> a[i] * <uint64_t> 0xD2511F53
            q = <uint64_t> c[i] * <uint64_t> 0xCD9E8D57
            a[i] = <uint32_t> (q >> 32) ^ b[i] ^ k0
            c[i] = <uint32_t> (p >> 32) ^ d[i] ^ k1
            b[i] = <uint32_t> q
            d[i] = <uint32_t> p
        k0 += <uint32_t> 0x9E3779B9
        k1 += <uint32_t> 0xBB67AE85
    for i in range(COUNTERS):
        words[4 * i] = a[i]
        words[4 * i + 1] = b[i]
        words[4 * i + 2] = c[i]
        words[4 * i + 3] = d[i]


cdef struct dropout_t:
    const real_t *x
    real_t *y
    byte_t *mask
    index_t size, channels, plane
    index_t block           # channels-last: channels that are drawn at a time
    uint64_t seed, offset
    uint64_t threshold      # ceil(p 2^32)
    real_t scale


cdef void draw(const dropout_t *s, index_t begin, index_t end, byte_t *mask) noexcept nogil:
    """The mask of the elements begin to end, in logical order."""
    cdef uint32_t words[DRAWN]
    cdef uint32_t least = <uint32_t> s.threshold
    cdef index_t at = begin // 4 * 4, i, first, last
    if s.threshold >> 32 != 0:
        memset(mask, 0, end - begin)
        return
    while at < end:
        philox(s.offset + <uint64_t> (at // 4), s.seed, words)
        first, last = max_index(at, begin), min_index(at + DRAWN, end)
        for i in range(last - first):
            mask[first - begin + i] = words[first - at + i] >= least
        at += DRAWN


cdef void keep(const real_t *x, const byte_t *mask, real_t *y, index_t n,
               real_t scale) noexcept nogil:
    cdef index_t i
    for i in range(n):
        y[i] = x[i] * scale if mask[i] else 0


cdef void drop_run(const dropout_t *s, index_t part, index_t parts) noexcept nogil:
    """A run of NCHW memory, in pieces that stay in cache between the mask and the product."""
    cdef index_t begin = s.size * part // parts // 4 * 4, end = s.size * (part + 1) // parts
    cdef index_t at, n
    end = s.size if part == parts - 1 else end // 4 * 4
    at = begin
    while at < end:
        n = min_index(2048, end - at)
        draw(s, at, at + n, s.mask + at)
        keep(s.x + at, s.mask + at, s.y + at, n, s.scale)
        at += n


cdef void drop_pixels(const dropout_t *s, index_t unit, byte_t *buffer) noexcept nogil:
    """Channels-last: one block of channels of one image."""
    cdef index_t blocks = ceil_div(s.channels, s.block), image = unit // blocks
    cdef index_t first = unit % blocks * s.block, n = min_index(s.block, s.channels - first)
    cdef index_t begin = (image * s.channels + first) * s.plane, i, c, at
    draw(s, begin, begin + n * s.plane, buffer)
    for i in range(s.plane):
        at = (image * s.plane + i) * s.channels + first
        for c in range(n):
            s.mask[at + c] = buffer[c * s.plane + i]
        keep(s.x + at, s.mask + at, s.y + at, n, s.scale)


cdef void drop_images(const dropout_t *s, index_t units, index_t part, index_t parts,
                      byte_t *buffer) noexcept nogil:
    cdef index_t unit
    for unit in range(units * part // parts, units * (part + 1) // parts):
        drop_pixels(s, unit, buffer)


def dropout(cnp.ndarray x, cnp.ndarray y, cnp.ndarray mask, double p, uint64_t seed,
            uint64_t offset, int n_threads):
    """mask = word >= p 2^32; y = x / (1 - p) where mask, else 0."""
    cdef dropout_t s
    cdef int ndim = cnp.PyArray_NDIM(x), parts, part
    cdef index_t room, units
    cdef workspace_t w
    s.x, s.y, s.mask = pointer(x), pointer(y), <byte_t *> cnp.PyArray_DATA(mask)
    s.size = cnp.PyArray_SIZE(x)
    s.seed, s.offset, s.threshold = seed, offset, <uint64_t> ceil(p * 4294967296.0)
    s.scale = 1 / (1 - p) if p < 1 else 0.0
    parts = threads_for(2 * s.size, n_threads)
    if cnp.PyArray_IS_C_CONTIGUOUS(x):
        with nogil:
            if parts == 1:
                drop_run(&s, 0, 1)
            else:
                for part in prange(parts, num_threads=parts, schedule="static"):
                    drop_run(&s, part, parts)
        return
    s.channels = cnp.PyArray_DIM(x, 1)
    s.plane = s.size // s.channels // cnp.PyArray_DIM(x, 0)
    s.block = min_index(s.channels, max_index(1, MASK_BUFFER // s.plane))
    units = cnp.PyArray_DIM(x, 0) * ceil_div(s.channels, s.block)
    room = s.block * s.plane
    w = acquire(parts * room)
    with nogil:
        if parts == 1:
            drop_images(&s, units, 0, 1, <byte_t *> w.data)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                drop_images(&s, units, part, parts, <byte_t *> w.data + part * room)
    release(w)


cdef void keep_part(const real_t *dy, const byte_t *mask, real_t *dx, index_t n, real_t scale,
                    index_t part, index_t parts) noexcept nogil:
    cdef index_t begin = n * part // parts, end = n * (part + 1) // parts
    keep(dy + begin, mask + begin, dx + begin, end - begin, scale)


def dropout_backward(cnp.ndarray dy, cnp.ndarray mask, cnp.ndarray dx, double p, int n_threads):
    """dx = dy / (1 - p) where mask, else 0."""
    cdef const real_t *pdy = pointer(dy)
    cdef const byte_t *pmask = <const byte_t *> cnp.PyArray_DATA(mask)
    cdef real_t *pdx = pointer(dx)
    cdef real_t scale = 1 / (1 - p) if p < 1 else 0.0
    cdef index_t n = cnp.PyArray_SIZE(dy)
    cdef int parts = threads_for(n, n_threads), part
    with nogil:
        if parts == 1:
            keep_part(pdy, pmask, pdx, n, scale, 0, 1)
        else:
            for part in prange(parts, num_threads=parts, schedule="static"):
                keep_part(pdy, pmask, pdx, n, scale, part, parts)
