# The split of element-wise work: flat arrays in memory order, over threads and into wide vectors.
#
#   x  |  thread 0  |  thread 1  | ... |tail|     each thread takes one run of wide vectors
#
# A function of this kind sees wide vectors alone (n is a multiple of WL). The elements that are
# left at the end go through the same function in buffers padded with zeros, so that an element's
# bits depend neither on its place nor on the threads. Outputs may be inputs.
#
# A large result goes past the caches, through a buffer in L1: the processor reads a line before it
# writes part of it, and these lines would be gone from the cache before anybody reads them. 102 MB,
# relu: 8.0 ms instead of 13.7; its gradient 13.3 instead of 19.2; below 64 MB, where the cache still
# holds something, it loses (25.7 MB: 3.7 instead of 3.0 ms).

ctypedef void (*map_t)(const real_t *a, const real_t *b, const real_t *c, real_t *out, index_t n,
                       real_t p) noexcept nogil

cdef enum:
    MAX_LANES = 32
    STREAM_CHUNK = 2048        # elements
    STREAM_BYTES = 64 << 20    # of the least result that is streamed


cdef void map_tail(map_t f, const real_t *a, const real_t *b, const real_t *c, real_t *out,
                   index_t n, real_t p) noexcept nogil:
    """Fewer elements than a wide vector holds. b and c may be NULL."""
    cdef real_t[4 * MAX_LANES] lanes
    cdef real_t *pb = NULL
    cdef real_t *pc = NULL
    memset(lanes, 0, sizeof(lanes))
    memcpy(lanes, a, n * sizeof(real_t))
    if b != NULL:
        pb = lanes + MAX_LANES
        memcpy(pb, b, n * sizeof(real_t))
    if c != NULL:
        pc = lanes + 2 * MAX_LANES
        memcpy(pc, c, n * sizeof(real_t))
    f(lanes, pb, pc, lanes + 3 * MAX_LANES, WL, p)
    memcpy(out, lanes + 3 * MAX_LANES, n * sizeof(real_t))


cdef void map_streaming(map_t f, const real_t *a, const real_t *b, const real_t *c, real_t *out,
                        index_t n, real_t p) noexcept nogil:
    """f on wide vectors, to a result that is no input."""
    cdef real_t[STREAM_CHUNK] buffer
    cdef index_t at = 0, length
    while at < n:
        length = min_index(STREAM_CHUNK, n - at)
        f(a + at, b + at if b != NULL else NULL, c + at if c != NULL else NULL, buffer, length, p)
        stream(buffer, out + at, length)
        at += length
    end_stream()


cdef void map_part(map_t f, const real_t *a, const real_t *b, const real_t *c, real_t *out,
                   index_t n, real_t p, index_t part, index_t parts) noexcept nogil:
    """Part number `part` of n elements; the last one has the tail."""
    cdef index_t vectors = n // WL
    cdef index_t begin = vectors * part // parts * WL, end = vectors * (part + 1) // parts * WL
    cdef bint streams = (CAN_STREAM and n * <index_t> sizeof(real_t) >= STREAM_BYTES
                         and out != a and out != b and out != c)
    if begin < end and streams:
        map_streaming(f, a + begin, b + begin if b != NULL else NULL,
                      c + begin if c != NULL else NULL, out + begin, end - begin, p)
    elif begin < end:
        f(a + begin, b + begin if b != NULL else NULL, c + begin if c != NULL else NULL,
          out + begin, end - begin, p)
    if part == parts - 1 and end < n:
        map_tail(f, a + end, b + end if b != NULL else NULL, c + end if c != NULL else NULL,
                 out + end, n - end, p)


cdef void elementwise(map_t function, const real_t *a, const real_t *b, const real_t *c,
                      real_t *out, index_t n, real_t p, int n_threads) noexcept nogil:
    """out = function(a, b, c, p), element by element; b and c may be NULL."""
    cdef map_t f = <map_t> opaque(<void *> function)
    cdef int parts = threads_for(n, n_threads), part
    if parts == 1:
        map_part(f, a, b, c, out, n, p, 0, 1)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        map_part(f, a, b, c, out, n, p, part, parts)


cdef void unary(map_t f, cnp.ndarray x, cnp.ndarray y, real_t p, int n_threads):
    cdef const real_t *px = pointer(x)
    cdef real_t *py = pointer(y)
    cdef index_t n = cnp.PyArray_SIZE(x)
    with nogil:
        elementwise(f, px, NULL, NULL, py, n, p, n_threads)


cdef void binary(map_t f, cnp.ndarray a, cnp.ndarray b, cnp.ndarray out, real_t p, int n_threads):
    cdef const real_t *pa = pointer(a)
    cdef const real_t *pb = pointer(b)
    cdef real_t *po = pointer(out)
    cdef index_t n = cnp.PyArray_SIZE(a)
    with nogil:
        elementwise(f, pa, pb, NULL, po, n, p, n_threads)
