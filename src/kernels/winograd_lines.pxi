# Winograd's transforms of one line: `side` points, r taps, m = side + 1 - r outputs. A tile is
# transformed along its columns, then along its rows. Elements are vectors, `step` apart.
#
#   side   points                            tiles
#   6      0, 1, -1, 2, -2, inf              F(4x4, 3x3), F(2x2, 5x5)
#   7      0, 1, -1, 2, -2, 1/2, -1/2        F(5x5, 3x3)
#   8      those and inf                     F(6x6, 3x3), F(4x4, 5x5)
#   11     0, 1, -1, 2, -2, inf; 5 products  3x3 at stride 2, 5x5 outputs; its input gradient, 10x10
#
# At stride 2 the outer two taps read every other input, the middle one those between. The former are
# a convolution of stride 1 with two taps, F(5, 2) in six points; the latter 5 inputs for 5 outputs, which
# go through as they are and meet the same weight: 11 products for 5 outputs, and 7 numbers of U.
# The input gradient is F(5, 2) of 6 elements of dy for every other element of dx, and 5 products with the
# middle tap for those between: 11 for 10.
#
# Points come in pairs p, -p: what is even and what is odd in p is summed once, which also rounds
# less than row by row. Nine points (7x7 outputs, 0.74 times the products of 4x4 at 28 and 56) come
# to 1.5 to 9 times the allowed error with C = 64, whatever the ninth point is.

cdef enum:
    STRIDED = 11            # the side of a tile at stride 2
    STRIDED_POINTS = 6      # of its F(5, 2)
    STRIDED_BACK = 10       # elements of dx along an axis that a tile of the input gradient gives
    MOST_SIDE = 11
    MOST_POINTS = 121


cdef inline void input_line(const int side, const vec_t *d, index_t step, vec_t *o,
                            index_t o_step) noexcept nogil:
    """o = B' d."""
    cdef real_t half = 0.5, two = 2, four = 4, five = 5
    cdef real_t quarter = 0.25, near = 5.25, near1 = 4.25, near2 = 1.25
    cdef vec_t a, b, c, e, f, g
    if side == 6:
        a, b = d[4 * step] - four * d[2 * step], d[3 * step] - four * d[step]
        c, e = d[4 * step] - d[2 * step], two * (d[3 * step] - d[step])
        o[0] = four * d[0] - five * d[2 * step] + d[4 * step]
        o[5 * o_step] = four * d[step] - five * d[3 * step] + d[5 * step]
    else:
        a = d[6 * step] + d[2 * step] - near1 * d[4 * step]
        b = d[5 * step] + d[step] - near1 * d[3 * step]
        c = d[6 * step] + quarter * d[2 * step] - near2 * d[4 * step]
        e = two * d[5 * step] + half * d[step] - two * near2 * d[3 * step]
        f = d[6 * step] + four * d[2 * step] - five * d[4 * step]
        g = half * d[5 * step] + two * d[step] - two * near2 * d[3 * step]
        o[0] = d[0] - d[6 * step] + near * (d[4 * step] - d[2 * step])
        o[5 * o_step] = f + g
        o[6 * o_step] = f - g
        if side == 8:
            o[7 * o_step] = d[7 * step] - d[step] + near * (d[3 * step] - d[5 * step])
    o[o_step] = a + b
    o[2 * o_step] = a - b
    o[3 * o_step] = c + e
    o[4 * o_step] = c - e


cdef inline void output_line(const int side, const int m, const vec_t *d, index_t step, vec_t *o,
                             index_t o_step) noexcept nogil:
    """o = A' d."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16, two5 = 32
    cdef real_t half = 0.5, quarter = 0.25, eighth = 0.125, half4 = 1.0 / 16, half5 = 1.0 / 32
    cdef vec_t a = d[step] + d[2 * step], b = d[step] - d[2 * step]
    cdef vec_t c = d[3 * step] + d[4 * step], e = d[3 * step] - d[4 * step]
    cdef vec_t f, g
    o[0] = d[0] + a + c
    o[o_step] = b + two * e
    if m > 2:
        o[2 * o_step] = a + four * c
        o[3 * o_step] = b + eight * e
    if side > 6:
        f, g = d[5 * step] + d[6 * step], d[5 * step] - d[6 * step]
        o[0] = o[0] + f
        o[o_step] = o[o_step] + half * g
        o[2 * o_step] = o[2 * o_step] + quarter * f
        o[3 * o_step] = o[3 * o_step] + eighth * g
        if m > 4:
            o[4 * o_step] = a + sixteen * c + half4 * f
        if m > 5:
            o[5 * o_step] = b + two5 * e + half5 * g
    elif m > 4:
        o[4 * o_step] = a + sixteen * c
    if side != 7:
        o[(m - 1) * o_step] = o[(m - 1) * o_step] + d[(side - 1) * step]


cdef inline void weight_line(const int side, const int r, const vec_t *g, index_t step, vec_t *o,
                             index_t o_step) noexcept nogil:
    """o = G g."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16
    cdef real_t half = 0.5, quarter = 0.25, eighth = 0.125, half4 = 1.0 / 16
    cdef real_t zero = 0.25 if side == 6 else 1, one = -1.0 / 6 if side == 6 else -2.0 / 9
    cdef real_t large = 1.0 / 24 if side == 6 else 1.0 / 90, small = 32.0 / 45
    cdef vec_t even = g[0], even2 = g[0], even3 = g[0]
    cdef vec_t odd = g[step], odd2 = two * g[step], odd3 = half * g[step]
    if r > 2:
        even = even + g[2 * step]
        even2 = even2 + four * g[2 * step]
        even3 = even3 + quarter * g[2 * step]
    if r == 5:
        even = even + g[4 * step]
        odd = odd + g[3 * step]
        even2 = even2 + sixteen * g[4 * step]
        odd2 = odd2 + eight * g[3 * step]
        even3 = even3 + half4 * g[4 * step]
        odd3 = odd3 + eighth * g[3 * step]
    o[0] = zero * g[0]
    o[o_step] = one * (even + odd)
    o[2 * o_step] = one * (even - odd)
    o[3 * o_step] = large * (even2 + odd2)
    o[4 * o_step] = large * (even2 - odd2)
    if side > 6:
        o[5 * o_step] = small * (even3 + odd3)
        o[6 * o_step] = small * (even3 - odd3)
    if side != 7:
        o[(side - 1) * o_step] = g[(r - 1) * step]


cdef inline void gradient_line(const int side, const int m, const vec_t *y, index_t step, vec_t *o,
                               index_t o_step) noexcept nogil:
    """o = A y."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16, two5 = 32
    cdef real_t half = 0.5, quarter = 0.25, eighth = 0.125, half4 = 1.0 / 16, half5 = 1.0 / 32
    cdef vec_t even = y[0], even2 = even, even3 = even
    cdef vec_t odd = y[step], odd2 = two * odd, odd3 = half * odd
    if m > 2:
        even = even + y[2 * step]
        odd = odd + y[3 * step]
        even2 = even2 + four * y[2 * step]
        odd2 = odd2 + eight * y[3 * step]
        even3 = even3 + quarter * y[2 * step]
        odd3 = odd3 + eighth * y[3 * step]
    if m > 4:
        even = even + y[4 * step]
        even2 = even2 + sixteen * y[4 * step]
        even3 = even3 + half4 * y[4 * step]
    if m > 5:
        odd = odd + y[5 * step]
        odd2 = odd2 + two5 * y[5 * step]
        odd3 = odd3 + half5 * y[5 * step]
    o[0] = y[0]
    o[o_step] = even + odd
    o[2 * o_step] = even - odd
    o[3 * o_step] = even2 + odd2
    o[4 * o_step] = even2 - odd2
    if side > 6:
        o[5 * o_step] = even3 + odd3
        o[6 * o_step] = even3 - odd3
    if side != 7:
        o[(side - 1) * o_step] = y[(m - 1) * step]


cdef inline void taps_line(const int side, const int r, const vec_t *p, index_t step, vec_t *o,
                           index_t o_step) noexcept nogil:
    """o = G' p, points to taps."""
    cdef real_t two = 2, four = 4, eight = 8, sixteen = 16
    cdef real_t half = 0.5, quarter = 0.25, eighth = 0.125, half4 = 1.0 / 16
    cdef real_t zero = 0.25 if side == 6 else 1, one = -1.0 / 6 if side == 6 else -2.0 / 9
    cdef real_t large = 1.0 / 24 if side == 6 else 1.0 / 90, small = 32.0 / 45
    cdef vec_t a = one * (p[step] + p[2 * step]), b = one * (p[step] - p[2 * step])
    cdef vec_t c = large * (p[3 * step] + p[4 * step]), e = large * (p[3 * step] - p[4 * step])
    cdef vec_t f, g
    o[0] = zero * p[0] + a + c
    o[o_step] = b + two * e
    o[2 * o_step] = a + four * c
    if r == 5:
        o[3 * o_step] = b + eight * e
        o[4 * o_step] = a + sixteen * c
    if side > 6:
        f, g = small * (p[5 * step] + p[6 * step]), small * (p[5 * step] - p[6 * step])
        o[0] = o[0] + f
        o[o_step] = o[o_step] + half * g
        o[2 * o_step] = o[2 * o_step] + quarter * f
        if r == 5:
            o[3 * o_step] = o[3 * o_step] + eighth * g
            o[4 * o_step] = o[4 * o_step] + half4 * f
    if side != 7:
        o[(r - 1) * o_step] = o[(r - 1) * o_step] + p[(side - 1) * step]


# Those of any tile

cdef inline void tile_input_line(const int side, const int reach, const vec_t *d, index_t step,
                                 vec_t *o, index_t o_step) noexcept nogil:
    """`reach` inputs: a tile's side, or at stride 2 six of dy."""
    cdef int i
    if side != STRIDED:
        input_line(side, d, step, o, o_step)
    elif reach == STRIDED:
        input_line(STRIDED_POINTS, d, 2 * step, o, o_step)
        for i in range(STRIDED - STRIDED_POINTS):
            o[(STRIDED_POINTS + i) * o_step] = d[(2 * i + 1) * step]
    else:
        input_line(STRIDED_POINTS, d, step, o, o_step)
        for i in range(STRIDED - STRIDED_POINTS):
            o[(STRIDED_POINTS + i) * o_step] = d[i * step]


cdef inline void tile_output_line(const int side, const int m, const vec_t *d, index_t step,
                                  vec_t *o, index_t o_step) noexcept nogil:
    cdef int i
    if side != STRIDED:
        output_line(side, m, d, step, o, o_step)
    elif m == STRIDED_BACK:
        output_line(STRIDED_POINTS, m // 2, d, step, o + o_step, 2 * o_step)
        for i in range(m // 2):
            o[2 * i * o_step] = d[(STRIDED_POINTS + i) * step]
    else:
        output_line(STRIDED_POINTS, m, d, step, o, o_step)
        for i in range(m):
            o[i * o_step] = o[i * o_step] + d[(STRIDED_POINTS + i) * step]


cdef inline void tile_weight_line(const int side, const int r, const vec_t *g, index_t step,
                                  vec_t *o, index_t o_step) noexcept nogil:
    if side != STRIDED:
        weight_line(side, r, g, step, o, o_step)
        return
    weight_line(STRIDED_POINTS, 2, g, 2 * step, o, o_step)
    o[STRIDED_POINTS * o_step] = g[step]
