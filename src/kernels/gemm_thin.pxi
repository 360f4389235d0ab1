# Products with few rows: every element of B is used so seldom that copying it into panels would take as
# long as multiplying it. B is read where it lies, in one of two ways.
#
#   columns of B contiguous (x w' of a linear layer)     rows of B contiguous (x w)
#
#     a  |---- k ---->                                     for each 1024 columns of C, in L1:
#     b' |---- k ---->   dot products: sums of VL          c += a[k] b[k] + ... + a[k + 7] b[k + 7]
#        |---- k ---->   lanes along k, a tile of          eight rows of B run side by side, so that
#        |---- k ---->   4 x 6 of them in registers        the hardware prefetches them
#
# Few columns are few rows of the transpose: gemm has swapped them before.
#
# Bits: the sum of an element depends on k and on which of the two ways is taken, which depends on m and on
# the strides; not on n or on threads.

cdef enum:
    FEW_DOT = 16     # rows up to which dot products beat the engine, which transposes panels of B
    FEW_AXPY = 4     # rows up to which reading B in place beats copying it
    SPAN = 1024      # columns of C that stay in L1
    THIN_SCRATCH = MR * NR + FEW_AXPY * SPAN


cdef void dot_task(const product_t *p, index_t begin, index_t end, const real_t *a, index_t lda,
                   real_t *tile) noexcept nogil:
    """Columns begin ... end of C."""
    cdef const dense_t *right = <const dense_t *> p.b
    cdef index_t bands = ceil_div(p.m, DOT_ROWS), groups = ceil_div(end - begin, DOT_COLS)
    cdef index_t group, band, i, j, next_i, next_j
    j = begin
    for group in range(groups):
        next_j = begin + (end - begin) * (group + 1) // groups
        i = 0
        for band in range(bands):
            next_i = p.m * (band + 1) // bands
            dot_tile(<int> (next_i - i), <int> (next_j - j), p.k, a + i * lda, lda,
                     right.data + j * right.col, right.col, tile)
            p.store(p.c, i, next_i - i, j, next_j - j, tile, True, True)
            i = next_i
        j = next_j


cdef inline void axpy_rows(const int rows, const int steps, index_t n, const real_t *a, index_t row,
                           index_t step, const real_t *b, index_t ldb, real_t *sums) noexcept nogil:
    """sums[i * SPAN + j] += sum over `steps` k of a[i, k] b[k, j], for j < n rounded up to vectors."""
    cdef vec_t factors[FEW_AXPY][8]
    cdef vec_t s[FEW_AXPY]
    cdef vec_t line
    cdef int i, k
    cdef index_t j = 0
    for i in range(rows):
        for k in range(steps):
            factors[i][k] = vsplat(a[i * row + k * step])
    while j < n:
        for i in range(rows):
            s[i] = vload(sums + i * SPAN + j)
        for k in range(steps):
            if j + VL <= n:
                line = vload(b + k * ldb + j)
            else:
                line = vload_first(b + k * ldb + j, <int> (n - j), vzero())
            for i in range(rows):
                s[i] = s[i] + factors[i][k] * line
        for i in range(rows):
            vstore(sums + i * SPAN + j, s[i])
        j += VL


cdef inline void axpy_columns(const int rows, const int steps, index_t k, index_t n,
                              const real_t *a, index_t row, index_t step, const real_t *b,
                              index_t ldb, real_t *sums) noexcept nogil:
    cdef index_t at = 0
    while at + steps <= k:
        axpy_rows(rows, steps, n, a + at * step, row, step, b + at * ldb, ldb, sums)
        at += steps
    while at < k:
        axpy_rows(rows, 1, n, a + at * step, row, step, b + at * ldb, ldb, sums)
        at += 1


cdef void axpy_task(const product_t *p, index_t begin, index_t end, real_t *scratch) noexcept nogil:
    """Columns begin ... end of C, at most SPAN."""
    cdef const dense_t *left = <const dense_t *> p.a
    cdef const dense_t *right = <const dense_t *> p.b
    cdef const real_t *b = right.data + begin
    cdef real_t *sums = scratch + MR * NR
    cdef index_t i, j, n = end - begin, cols
    memset(sums, 0, p.m * SPAN * sizeof(real_t))
    if p.m == 4:
        axpy_columns(4, 4, p.k, n, left.data, left.row, left.col, b, right.row, sums)
    elif p.m == 3:
        axpy_columns(3, 4, p.k, n, left.data, left.row, left.col, b, right.row, sums)
    elif p.m == 2:
        axpy_columns(2, 8, p.k, n, left.data, left.row, left.col, b, right.row, sums)
    else:
        axpy_columns(1, 8, p.k, n, left.data, left.row, left.col, b, right.row, sums)
    j = 0
    while j < n:
        cols = min_index(NR, n - j)
        for i in range(p.m):
            memcpy(scratch + i * NR, sums + i * SPAN + j, cols * sizeof(real_t))
        p.store(p.c, 0, p.m, begin + j, cols, scratch, True, True)
        j += NR


cdef inline bint is_thin(const product_t *p) noexcept nogil:
    cdef const dense_t *left = <const dense_t *> p.a
    cdef const dense_t *right = <const dense_t *> p.b
    if right.row == 1 and p.k >= 4 * VL:
        return p.m <= FEW_DOT and left.col == 1
    return right.col == 1 and p.m <= FEW_AXPY and p.n >= VL


cdef index_t thin_blocks(product_t *p, index_t tasks, int n_threads) noexcept nogil:
    """Set block_n, the columns of a task, and return how many tasks there are."""
    cdef index_t wanted = ceil_div(4 * n_threads, tasks) if n_threads > 1 else 1
    p.block_n = p.n
    if (<const dense_t *> p.b).col == 1:
        p.block_n = min_index(SPAN, padded(ceil_div(p.n, wanted)))
    elif wanted > 1:
        p.block_n = max_index(4 * DOT_COLS, ceil_div(p.n, wanted))
    return ceil_div(p.n, p.block_n)


cdef void thin_task(const product_t *p, index_t task, real_t *scratch) noexcept nogil:
    """A thin product in columns of block_n."""
    cdef const dense_t *left = <const dense_t *> p.a
    cdef index_t begin = task * p.block_n, end = min_index(begin + p.block_n, p.n)
    if (<const dense_t *> p.b).col == 1:
        axpy_task(p, begin, end, scratch)
    else:
        dot_task(p, begin, end, left.data, left.row, scratch)
