# Gradients of 1-D pools whose windows lie side by side, kernel and stride alike, without padding:
#
#   dy      a     b     c
#   dx     a a   b b   c c   0         averages: each over the divisor
#          . a   b .   . c   0         maxima: at the place that won, if its window holds it
#
# A place of dx belongs to one window at most, and is written once. The rows of windows, columns and
# phases of pool_backward.pxi take longer to set up than a thousand elements take here.

cdef bint are_lines(const planes_t *f) noexcept nogil:
    cdef const pool_t *g = &f.g
    return (g.inner == 1 and g.n[0] == 1 and g.n[1] == 1 and g.k[0] == 1 and g.k[1] == 1
            and g.q[0] == 1 and g.q[1] == 1 and g.p[2] == 0 and g.d[2] == 1
            and (g.s[2] == g.k[2] or g.q[2] == 1) and g.q[2] * g.k[2] <= g.n[2])


cdef inline void store_pairs(real_t *dx, vec_t a, vec_t b, int n) noexcept nogil:
    """a[0], b[0], a[1], b[1] and so on, of n lanes each."""
    if n == VL:
        vstore_ahead(dx, vlower(a, b))
        vstore_ahead(dx + VL, vupper(a, b))
        return
    vstore_first(dx, <int> min_index(2 * n, VL), vlower(a, b))
    if 2 * n > VL:
        vstore_first(dx + VL, 2 * n - VL, vupper(a, b))


cdef inline vec_t load_ahead_first(const real_t *p, int n) noexcept nogil:
    return vload_ahead(p) if n == VL else vload_first(p, n, vzero())


cdef void spread_line(const real_t *dy, index_t n, index_t k, real_t factor,
                      real_t *dx) noexcept nogil:
    """Each of n elements, times factor, k times."""
    cdef index_t i = 0, j
    cdef int lanes
    cdef vec_t v
    cdef real_t share
    while k == 2 and i < n:
        lanes = <int> min_index(n - i, VL)
        v = load_ahead_first(dy + i, lanes) * vsplat(factor)
        store_pairs(dx + 2 * i, v, v, lanes)
        i += VL
    for i in range(i, n):
        share = dy[i] * factor
        for j in range(i * k, (i + 1) * k):
            dx[j] = share


cdef void place_line(const real_t *dy, const int32_t *at, index_t n, index_t k,
                     real_t *dx) noexcept nogil:
    """n windows' gradients at their places; all else is 0."""
    cdef lane_t lane[VL]
    cdef index_t i = 0, place
    cdef int lanes
    cdef mask_t won, here, step = isplat(2 * VL)
    cdef vec_t v, zero = vzero()
    cdef real_t nothing = 0
    if k != 2:
        zero_run(dx, n * k)
        for i in range(n):
            place = at[i] - i * k
            if 0 <= place < k:
                dx[i * k + place] = nothing + dy[i]
        return
    for i in range(VL):
        lane[i] = <lane_t> (2 * i)
    here = iload(lane)
    i = 0
    while i < n:
        lanes = <int> min_index(n - i, VL)
        v = zero + load_ahead_first(dy + i, lanes)
        prefetch_ahead(at + i)
        won = iload32(at + i) if lanes == VL else iload32_first(at + i, lanes)
        store_pairs(dx + 2 * i, vselect(iequal(won, here), v, zero),
                    vselect(iequal(won, here + isplat(1)), v, zero), lanes)
        here = here + step
        i += VL


cdef void lines_part(const planes_t *f, index_t part, index_t parts) noexcept nogil:
    """A thread's run of planes."""
    cdef pool_t g = f.g
    cdef index_t n = g.n[2], q = g.q[2], k = g.k[2]
    cdef index_t plane = g.planes * part // parts, end = g.planes * (part + 1) // parts
    cdef real_t factor = 1.0 / <double> (g.divisor if g.divisor else k)
    flush_denormals_if(not f.maximum)
    if f.maximum and not places_inside(f.indices + plane * q, (end - plane) * q, n):
        f.misplaced[0] = True
    if not f.maximum and n == q * k:
        spread_line(f.src + plane * q, (end - plane) * q, k, factor, f.dst + plane * n)
        return
    for plane in range(plane, end):
        if f.maximum:
            place_line(f.src + plane * q, f.indices + plane * q, q, k, f.dst + plane * n)
        else:
            spread_line(f.src + plane * q, q, k, factor, f.dst + plane * n)
        zero_run(f.dst + plane * n + q * k, n - q * k)


cdef void lines_run(const planes_t *f, index_t work, int n_threads) noexcept nogil:
    cdef int parts = <int> min_index(threads_for(work, n_threads), f.g.planes), part
    if parts == 1:
        lines_part(f, 0, 1)
        return
    for part in prange(parts, num_threads=parts, schedule="static"):
        lines_part(f, part, parts)


cdef bint lines_backward(planes_t *f, cnp.ndarray dy, cnp.ndarray dx, int n_threads):
    """Whether the windows are such, and dx is made."""
    cdef index_t work = max_index(cnp.PyArray_SIZE(dx), cnp.PyArray_SIZE(dy))
    if not are_lines(f):
        return False
    f.src = pointer(dy)
    f.dst = pointer(dx)
    with nogil:
        lines_run(f, work, n_threads)
    return True
