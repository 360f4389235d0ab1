# Depthwise 3x3 convolution of small NCHW planes, and its gradients: small_planes.h and row_pairs.h
# have the kernels; here is which convolutions they fit, and the split over threads.

cdef bint pairs_fit(const conv_t *c) noexcept nogil:
    """Whether a vector has two rows of outputs, 7 rows a plane, stride 1 or 2."""
    cdef const axis_t *h = &c.axis[1]
    cdef const axis_t *w = &c.axis[2]
    return (ROW_PAIRS and h.n_out == PAIR_ROWS and 2 * w.n_out <= VL
            and (w.step == 1 or w.n_in < VL) and ceil_div(h.n_in, h.step) == h.n_out)


cdef bint small_weight_fit(const conv_t *c) noexcept nogil:
    """Whether the kernels compute c's weight gradient: 3x3, padded by 1."""
    cdef const axis_t *h = &c.axis[1]
    cdef const axis_t *w = &c.axis[2]
    if not planes_fit(c) or c.filters != 1 or h.taps != 3:
        return False
    if h.offset != -1 or w.offset != -1 or c.x.at[1] != w.n_in or c.y.at[1] != w.n_out:
        return False
    if ceil_div(w.n_in, w.step) != w.n_out:
        return False
    return pairs_fit(c) or (w.step == 1 and h.n_in == h.n_out)


cdef bint small_fit(const conv_t *c) noexcept nogil:
    """Whether they compute c: its rows of outputs fill one vector at most, too."""
    return c.axis[2].n_out <= VL and small_weight_fit(c)


cdef void set_small(small_planes_t *planes, const conv_t *c) noexcept nogil:
    planes.x, planes.y, planes.w, planes.bias = c.x.data, c.y.data, c.w, c.bias
    planes.channels, planes.height, planes.width = c.groups, c.axis[1].n_in, c.axis[2].n_in
    planes.columns = c.axis[2].n_out
    planes.w_filter, planes.w_row, planes.w_tap = c.w_group, c.w_tap[1], c.w_tap[2]
    set_row(planes)
    if pairs_fit(c):
        set_pairs(planes)


cdef void small_part(const conv_t *c, const small_planes_t *planes, bint gradient, index_t part,
                     index_t parts) noexcept nogil:
    cdef index_t count = c.batch * c.groups
    cdef index_t begin = count * part // parts, end = count * (part + 1) // parts
    flush_denormals()
    if gradient:
        pairs_input_grad(planes, begin, end)
    elif pairs_fit(c):
        pairs_forward(planes, <int> c.axis[2].step, c.relu, begin, end)
    else:
        rows_forward(planes, c.relu, begin, end)


cdef void small_run(const conv_t *c, bint gradient, int threads) noexcept nogil:
    """y; gradient: dx, at stride 2 (at stride 1 dx is a convolution's y)."""
    cdef small_planes_t planes
    cdef int part
    set_small(&planes, c)
    if threads == 1:
        small_part(c, &planes, gradient, 0, 1)
    else:
        for part in prange(threads, num_threads=threads, schedule="static"):
            small_part(c, &planes, gradient, part, threads)


cdef void weight_small_part(const weight_grad_t *g, const small_planes_t *planes, real_t *db,
                            index_t part, index_t parts) noexcept nogil:
    cdef index_t filters = g.conv.groups, k, tap
    cdef real_t sums[10 + VL]
    flush_denormals()
    for k in range(filters * part // parts, filters * (part + 1) // parts):
        if pairs_fit(&g.conv):
            pairs_weight_grad(planes, <int> g.conv.axis[2].step, k, g.conv.batch, sums)
        else:
            rows_weight_grad(planes, k, g.conv.batch, sums)
        for tap in range(9):
            g.out[k * g.filter + weight_offset(g, 0, tap)] = sums[tap]
        if db != NULL:
            db[k] = sums[9]


cdef void weight_small_run(const weight_grad_t *g, real_t *db, int threads) noexcept nogil:
    cdef small_planes_t planes
    cdef int part
    set_small(&planes, &g.conv)
    if threads == 1:
        weight_small_part(g, &planes, db, 0, 1)
    else:
        for part in prange(threads, num_threads=threads, schedule="static"):
            weight_small_part(g, &planes, db, part, threads)
