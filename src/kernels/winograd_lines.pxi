# Winograd's transforms of one line: six points, 3 or 5 taps, 4 or 2 outputs; points 0, 1, -1, 2, -2, inf.
# A tile is transformed along its columns, then along its rows. Elements are vectors, `step` apart.

cdef enum:
    POINTS = 36
    SIX = 6


cdef inline void input_line(const vec_t *d, index_t step, vec_t *o, index_t o_step) noexcept nogil:
    """o = B' d for six points."""
    cdef real_t two = 2, four = 4, five = 5
    cdef vec_t a = d[4 * step] - four * d[2 * step], b = d[3 * step] - four * d[step]
    cdef vec_t c = d[4 * step] - d[2 * step], e = two * (d[3 * step] - d[step])
    o[0] = four * d[0] - five * d[2 * step] + d[4 * step]
    o[o_step] = a + b
    o[2 * o_step] = a - b
    o[3 * o_step] = c + e
    o[4 * o_step] = c - e
    o[5 * o_step] = four * d[step] - five * d[3 * step] + d[5 * step]


cdef inline void output_line(const int m, const vec_t *d, index_t step, vec_t *o,
                             index_t o_step) noexcept nogil:
    """o = A' d, m outputs."""
    cdef real_t two = 2, four = 4, eight = 8
    cdef vec_t a = d[step] + d[2 * step], b = d[step] - d[2 * step]
    cdef vec_t c = d[3 * step] + d[4 * step], e = d[3 * step] - d[4 * step]
    o[0] = d[0] + a + c
    if m == 2:
        o[o_step] = b + two * e + d[5 * step]
    else:
        o[o_step] = b + two * e
        o[2 * o_step] = a + four * c
        o[3 * o_step] = b + eight * e + d[5 * step]


cdef inline void weight_line(const int r, const vec_t *g, index_t step, vec_t *o,
                             index_t o_step) noexcept nogil:
    """o = G g, r taps."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16
    cdef real_t quarter = 0.25, sixth = -1.0 / 6, small = 1.0 / 24
    cdef vec_t even = g[0] + g[2 * step], odd = g[step]
    cdef vec_t even2 = g[0] + four * g[2 * step], odd2 = two * g[step]
    if r == 5:
        even = even + g[4 * step]
        odd = odd + g[3 * step]
        even2 = even2 + sixteen * g[4 * step]
        odd2 = odd2 + eight * g[3 * step]
    o[0] = quarter * g[0]
    o[o_step] = sixth * (even + odd)
    o[2 * o_step] = sixth * (even - odd)
    o[3 * o_step] = small * (even2 + odd2)
    o[4 * o_step] = small * (even2 - odd2)
    o[5 * o_step] = g[(r - 1) * step]


cdef inline void gradient_line(const int m, const vec_t *y, index_t step, vec_t *o,
                               index_t o_step) noexcept nogil:
    """o = A y, m outputs to six points."""
    cdef real_t two = 2, four = 4, eight = 8
    cdef vec_t even = y[0], odd = y[step], even2 = y[0], odd2 = two * y[step]
    if m == 4:
        even = even + y[2 * step]
        odd = odd + y[3 * step]
        even2 = even2 + four * y[2 * step]
        odd2 = odd2 + eight * y[3 * step]
    o[0] = y[0]
    o[o_step] = even + odd
    o[2 * o_step] = even - odd
    o[3 * o_step] = even2 + odd2
    o[4 * o_step] = even2 - odd2
    o[5 * o_step] = y[(m - 1) * step]


cdef inline void taps_line(const int r, const vec_t *p, index_t step, vec_t *o,
                           index_t o_step) noexcept nogil:
    """o = G' p, six points to r taps."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16
    cdef real_t quarter = 0.25, sixth = -1.0 / 6, small = 1.0 / 24
    cdef vec_t a = sixth * (p[step] + p[2 * step]), b = sixth * (p[step] - p[2 * step])
    cdef vec_t c = small * (p[3 * step] + p[4 * step]), e = small * (p[3 * step] - p[4 * step])
    o[0] = quarter * p[0] + a + c
    o[o_step] = b + two * e
    if r == 3:
        o[2 * o_step] = a + four * c + p[5 * step]
    else:
        o[2 * o_step] = a + four * c
        o[3 * o_step] = b + eight * e
        o[4 * o_step] = a + sixteen * c + p[5 * step]
