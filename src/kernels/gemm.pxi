# Products of dense matrices, on the engine of engine.pxi.

cdef struct dense_t:
    const real_t *data
    index_t row, col  # strides


cdef inline void copy_run(const real_t *src, real_t *dst, index_t n) noexcept nogil:
    """dst[:n] = src[:n], nothing beyond; the last vector overlaps the one before."""
    cdef index_t i = 0
    if n < VL:
        copy_few(src, dst, n)
        return
    while i + VL <= n:
        vstore(dst + i, vload(src + i))
        i += VL
    if i < n:
        vstore(dst + n - VL, vload(src + n - VL))


cdef inline void zero_run(real_t *dst, index_t n) noexcept nogil:
    cdef index_t i
    for i in range(n):
        dst[i] = 0


cdef void fill_transposed(const real_t *src, index_t stride, index_t rows, index_t cols,
                          real_t *out, index_t ld) noexcept nogil:
    """out[i * ld + j] = src[i + j * stride]: columns contiguous in memory."""
    cdef index_t i, j = 0, k
    while j + VL <= cols:
        i = 0
        while i + VL <= rows:
            vtranspose(src + i + j * stride, stride, out + i * ld + j, ld)
            i += VL
        while i < rows:
            for k in range(VL):
                out[i * ld + j + k] = src[i + (j + k) * stride]
            i += 1
        j += VL
    while j < cols:
        for i in range(rows):
            out[i * ld + j] = src[i + j * stride]
        j += 1


cdef void fill_dense(const void *matrix, index_t row, index_t rows, index_t col, index_t cols,
                     real_t *out, index_t ld) noexcept nogil:
    cdef const dense_t *m = <const dense_t *> matrix
    cdef const real_t *src = m.data + row * m.row + col * m.col
    cdef index_t i, j
    if m.col == 1 and cols == NR:
        for i in range(rows):
            for j in range(NV):
                vstore(out + i * ld + j * VL, vload(src + i * m.row + j * VL))
    elif m.col == 1:
        for i in range(rows):
            copy_run(src + i * m.row, out + i * ld, cols)
    elif m.row == 1:
        fill_transposed(src, m.col, rows, cols, out, ld)
    else:
        for i in range(rows):
            for j in range(cols):
                out[i * ld + j] = src[i * m.row + j * m.col]


cdef const real_t *locate_dense(const void *matrix, index_t row, index_t col) noexcept nogil:
    cdef const dense_t *m = <const dense_t *> matrix
    return m.data + row * m.row + col * m.col


cdef struct dense_result_t:
    real_t *data
    index_t row, col            # strides
    const real_t *addend        # beta * addend is added, NULL for none
    index_t addend_row, addend_col
    real_t alpha, beta
    bint relu


cdef inline vec_t finish(vec_t sums, vec_t old, bint first, bint relu) noexcept nogil:
    if not first:
        sums = sums + old
    return vrelu(sums) if relu else sums


cdef inline void store_run(real_t *out, const real_t *sums, const real_t *addend, real_t alpha,
                           real_t beta, real_t bias, index_t n, bint first,
                           bint relu) noexcept nogil:
    """out[:n] = (out if not first) + alpha sums + beta addend + bias; addend may be NULL.

    In whole vectors of sums; nothing of out and addend beyond n is touched.
    """
    cdef vec_t v, old
    cdef index_t j = 0
    cdef int rest
    while j + VL <= n:
        v = vsplat(alpha) * vload(sums + j) + vsplat(bias)
        if addend != NULL:
            v = v + vsplat(beta) * vload(addend + j)
        vstore(out + j, finish(v, v if first else vload(out + j), first, relu))
        j += VL
    rest = <int> (n - j)
    if rest > 0:
        v = vsplat(alpha) * vload(sums + j) + vsplat(bias)
        if addend != NULL:
            v = v + vsplat(beta) * vload_first(addend + j, rest, vzero())
        old = v if first else vload_first(out + j, rest, vzero())
        vstore_first(out + j, rest, finish(v, old, first, relu))


# What is added to a tile's sums: nothing, one number a row, one a column
cdef enum:
    NO_BIAS, ROW_BIAS, COLUMN_BIAS


cdef inline void store_as(const bint first, const bint relu, const int kind, real_t *out,
                          index_t stride, const real_t *tile, index_t rows,
                          const real_t *bias) noexcept nogil:
    cdef vec_t v
    cdef int i, j
    for i in range(<int> rows):
        for j in range(NV):
            v = vload(tile + i * NR + j * VL)
            if kind == ROW_BIAS:
                v = v + vsplat(bias[i])
            elif kind == COLUMN_BIAS:
                v = v + vload(bias + j * VL)
            vstore(out + i * stride + j * VL,
                   finish(v, v if first else vload(out + i * stride + j * VL), first, relu))


cdef void store_tile(real_t *out, index_t stride, const real_t *tile, index_t rows,
                     const real_t *bias, int kind, bint first, bint relu) noexcept nogil:
    """A tile of whole rows, NR wide: one loop for each case, nothing tested in it."""
    if not first:
        if relu:
            store_as(False, True, NO_BIAS, out, stride, tile, rows, NULL)
        else:
            store_as(False, False, NO_BIAS, out, stride, tile, rows, NULL)
    elif bias == NULL:
        if relu:
            store_as(True, True, NO_BIAS, out, stride, tile, rows, NULL)
        else:
            store_as(True, False, NO_BIAS, out, stride, tile, rows, NULL)
    elif kind == ROW_BIAS:
        if relu:
            store_as(True, True, ROW_BIAS, out, stride, tile, rows, bias)
        else:
            store_as(True, False, ROW_BIAS, out, stride, tile, rows, bias)
    elif relu:
        store_as(True, True, COLUMN_BIAS, out, stride, tile, rows, bias)
    else:
        store_as(True, False, COLUMN_BIAS, out, stride, tile, rows, bias)


cdef void store_dense(const void *matrix, index_t row, index_t rows, index_t col, index_t cols,
                      const real_t *tile, bint first, bint last) noexcept nogil:
    cdef const dense_result_t *c = <const dense_result_t *> matrix
    cdef bint add = c.addend != NULL and first, relu = last and c.relu
    cdef index_t i, j
    cdef real_t *out
    cdef const real_t *addend = NULL
    cdef real_t v
    if cols == NR and c.col == 1 and c.alpha == 1 and not add:
        store_tile(c.data + row * c.row + col, c.row, tile, rows, NULL, NO_BIAS, first, relu)
        return
    if cols == NR and c.col == 1 and c.alpha == 1 and c.beta == 1 and c.addend_row == 1 and (
            c.addend_col == 0):  # a linear layer's bias, turned
        store_tile(c.data + row * c.row + col, c.row, tile, rows, c.addend + row, ROW_BIAS, True,
                   relu)
        return
    for i in range(rows):
        out = c.data + (row + i) * c.row + col * c.col
        if add:
            addend = c.addend + (row + i) * c.addend_row + col * c.addend_col
        if c.col == 1 and (not add or c.addend_col == 1):
            store_run(out, tile + i * NR, addend, c.alpha, c.beta, 0, cols, first, relu)
            continue
        for j in range(cols):
            v = c.alpha * tile[i * NR + j]
            if add:
                v = v + c.beta * addend[j * c.addend_col]
            if not first:
                v = v + out[j * c.col]
            out[j * c.col] = relu1(v) if relu else v


cdef const real_t *locate_result(const void *matrix, index_t row, index_t col) noexcept nogil:
    cdef const dense_result_t *c = <const dense_result_t *> matrix
    return c.data + row * c.row + col


cdef inline index_t padded(index_t n) noexcept nogil:
    return ceil_div(n, VL) * VL


include "gemm_thin.pxi"


cdef inline bint lies_well(const dense_t *m, index_t size) noexcept nogil:
    """Whether the micro-kernel may read a matrix of so many elements where it lies.

    Rows or columns contiguous, few, and not so far apart that they share the sets of the cache.
    """
    cdef index_t distance = max_index(m.row, m.col) * <index_t> sizeof(real_t)
    return (min_index(m.row, m.col) == 1 and size <= 16384
            and (distance < 1024 or distance % 512 != 0))


cdef inline bint lies_in_lines(const dense_t *b) noexcept nogil:
    """Whether no vector of B's rows lies in two cache lines."""
    return b.row % VL == 0 and <index_t> b.data % (VL * <index_t> sizeof(real_t)) == 0


cdef inline bint serves_few(const dense_t *b, index_t m) noexcept nogil:
    """Whether copies of B would serve four tiles at most, and none of its vectors lies in two lines."""
    return m <= 4 * MR and b.row * <index_t> sizeof(real_t) % 1024 != 0 and lies_in_lines(b)


cdef inline bint is_turned(const dense_result_t *c) noexcept nogil:
    """Whether C's columns are its runs: a block is formed in rows and turned once, at its end.

    Tile by tile and element by element this took a fifth of a product with 50 columns.
    """
    return c.row == 1 and c.col != 1


cdef inline index_t turned_size(const product_t *p) noexcept nogil:
    return (p.block_m + VL) * result_ld(p)


cdef void store_turned(const dense_result_t *c, index_t i0, index_t i1, index_t j0, index_t j1,
                       const real_t *block, index_t ld) noexcept nogil:
    """Rows i0 ... i1 and columns j0 ... j1 of C from block, whose rows are ld apart."""
    cdef real_t square[VL * VL]
    cdef index_t i = i0, j, k
    while i < i1:
        j = j0
        while j < j1:
            # Rows and columns that do not exist lie in the block's memory, and stay in the square.
            vtranspose(block + (i - i0) * ld + j - j0, ld, square, VL)
            for k in range(min_index(VL, j1 - j)):
                store_run(c.data + i + (j + k) * c.col, square + k * VL, NULL, 1, 0, 0,
                          min_index(VL, i1 - i), True, c.relu)
            j += VL
        i += VL


cdef void gemm_task(const product_t *p, bint thin, index_t task, index_t blocks, index_t a_batch,
                    index_t b_batch, index_t c_batch, index_t addend_batch,
                    real_t *scratch) noexcept nogil:
    cdef index_t batch = task // blocks, i0, i1, j0, j1
    cdef product_t mine = p[0]
    cdef dense_result_t rows
    cdef real_t *block
    cdef dense_t a = (<const dense_t *> p.a)[0], b = (<const dense_t *> p.b)[0]
    cdef dense_result_t c = (<const dense_result_t *> p.c)[0]
    flush_denormals()
    a.data = a.data + batch * a_batch
    b.data = b.data + batch * b_batch
    c.data = c.data + batch * c_batch
    if c.addend != NULL:
        c.addend = c.addend + batch * addend_batch
    mine.a, mine.b, mine.c = &a, &b, &c
    if thin:
        thin_task(&mine, task % blocks, scratch)
        return
    if p.rows_a != NULL:
        mine.rows_a = a.data
    if not is_turned(&c):
        product_block(&mine, task % blocks, 0, p.k, scratch)
        return
    block_bounds(p, task % blocks, &i0, &i1, &j0, &j1)
    block = scratch + scratch_size(p)
    rows = c
    rows.row, rows.col, rows.relu = result_ld(p), 1, False
    rows.data = block - i0 * rows.row - j0
    mine.c, mine.c_stride, mine.ends = &rows, rows.row, False
    if c.alpha == 1:
        mine.locate_c = locate_result
    product_block(&mine, task % blocks, 0, p.k, scratch)
    store_turned(&c, i0, i1, j0, j1, block, rows.row)


cdef inline index_t stride_of(cnp.ndarray array, int axis) noexcept:
    return cnp.PyArray_STRIDE(array, axis) // <index_t> sizeof(real_t)


def gemm(cnp.ndarray a, cnp.ndarray b, cnp.ndarray c, cnp.ndarray out, double alpha, double beta,
         activation, int n_threads):
    """out = activation(alpha a b + beta c); a (.., m, k), b (.., k, n), at most one batch axis."""
    cdef int ndim = cnp.PyArray_NDIM(out), r = ndim - 2, q = ndim - 1
    cdef product_t p
    cdef dense_t left, right
    cdef dense_result_t result
    cdef index_t batch = 1, a_batch = 0, b_batch = 0, c_batch = 0, addend_batch = 0, tasks, task
    cdef index_t blocks, per_thread
    cdef int threads
    cdef bint thin, small
    cdef workspace_t workspace
    cdef real_t *scratch
    p.m, p.n, p.k = out.shape[r], out.shape[q], a.shape[q]
    left.data, left.row, left.col = pointer(a), stride_of(a, r), stride_of(a, q)
    right.data, right.row, right.col = pointer(b), stride_of(b, r), stride_of(b, q)
    result.data, result.row, result.col = pointer(out), p.n, 1
    result.addend = NULL
    result.addend_row, result.addend_col = 0, 1
    if c is not None and beta != 0:
        result.addend = pointer(c)
        if cnp.PyArray_NDIM(c) > 1:
            result.addend_row = stride_of(c, cnp.PyArray_NDIM(c) - 2)
        result.addend_col = stride_of(c, cnp.PyArray_NDIM(c) - 1)
    result.alpha, result.beta = alpha, beta
    result.relu = activation is not None
    if ndim == 3:
        batch = out.shape[0]
        a_batch, b_batch, c_batch = stride_of(a, 0), stride_of(b, 0), p.m * p.n
        if c is not None and cnp.PyArray_NDIM(c) == 3:
            addend_batch = stride_of(c, 0)
    # Few columns: compute the transpose. To turn it costs what short sums do not earn: 100 x 50 x 10
    # took 3.6 us instead of 2.1.
    if 10 * p.n * padded(p.m) < (9 if p.k >= 64 else 8) * p.m * padded(p.n):
        left.row, left.col, right.row, right.col = left.col, left.row, right.col, right.row
        left, right = right, left
        a_batch, b_batch = b_batch, a_batch
        p.m, p.n = p.n, p.m
        result.row, result.col = result.col, result.row
        result.addend_row, result.addend_col = result.addend_col, result.addend_row
    p.prepare = NULL
    p.period, p.period_a, p.run = p.k, 0, p.n
    p.fill_a, p.a, p.rows_a = fill_dense, &left, NULL
    p.fill_b, p.b, p.panels_b, p.place_b = fill_dense, &right, NULL, NULL
    p.copies_b = False
    p.store, p.c = store_dense, &result
    p.locate_a = p.locate_b = p.locate_c = NULL
    p.columns_a = p.columns_b = False
    p.bounded = True
    threads = threads_for(batch * p.m * p.n * p.k // 16, n_threads)
    thin = is_thin(&p)
    if thin:
        blocks = thin_blocks(&p, batch, threads)
        per_thread = THIN_SCRATCH
    else:
        if lies_well(&left, p.m * p.k):
            p.rows_a, p.ld_a, p.step_a = left.data, left.row, left.col
        elif left.col == 1:
            p.locate_a, p.a_stride = locate_dense, left.row
        small = lies_well(&right, p.k * p.n)
        # Vectors in two lines, read by every tile of rows: from six tiles on copies take less.
        if right.col == 1 and (small and (p.m <= 5 * MR or lies_in_lines(&right))
                               or serves_few(&right, p.m)):
            p.place_b, p.ld_b = locate_dense, right.row
        if right.col != 1 or not small:
            p.columns_b = right.row == 1
            p.locate_b, p.b_stride = locate_dense, right.col if p.columns_b else right.row
        if result.col == 1 and alpha == 1:
            p.locate_c, p.c_stride = locate_result, result.row
        p.begins, p.ends = result.addend != NULL, result.relu
        # Blocks beside and below one another copy the same parts of A and B once more: as few as share
        # out evenly.
        choose_blocks(&p, True, batch, threads, 1 if threads & (threads - 1) == 0 else 4)
        blocks = blocks_of(&p)
        per_thread = scratch_size(&p)
        if is_turned(&result):
            per_thread += turned_size(&p)
    tasks = batch * blocks
    threads = <int> min_index(threads, tasks)
    workspace = acquire(threads * per_thread * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        if threads == 1:
            for task in range(tasks):
                gemm_task(&p, thin, task, blocks, a_batch, b_batch, c_batch, addend_batch, scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                gemm_task(&p, thin, task, blocks, a_batch, b_batch, c_batch, addend_batch,
                          scratch + threadid() * per_thread)
    release(workspace)


# Sums over rows: the bias gradient of a linear layer and of a channels-last convolution.

cdef void sum_rows_part(const real_t *x, index_t rows, index_t cols, index_t ld, index_t part,
                        real_t *out) noexcept nogil:
    """Columns part * VL ... of the sum, in blocks of 64 rows that are added in order."""
    cdef index_t j = part * VL, n = min_index(VL, cols - j), i, begin, end, k
    cdef vec_t total = vzero(), block
    cdef real_t sums[VL]
    begin = 0
    while begin < rows:
        end = min_index(begin + 64, rows)
        block = vzero()
        if n == VL:
            for i in range(begin, end):
                block = block + vload(x + i * ld + j)
        else:
            for k in range(VL):
                sums[k] = 0
            for i in range(begin, end):
                for k in range(n):
                    sums[k] = sums[k] + x[i * ld + j + k]
            block = vload(sums)
        total = total + block
        begin = end
    vstore(sums, total)
    for k in range(n):
        out[j + k] = sums[k]


cdef void sum_rows_run(const real_t *x, index_t rows, index_t cols, real_t *out,
                       int n_threads) noexcept nogil:
    cdef index_t parts = ceil_div(cols, VL), part
    cdef int threads = <int> min_index(parts, threads_for(rows * cols // 4, n_threads))
    if threads == 1:
        for part in range(parts):
            sum_rows_part(x, rows, cols, cols, part, out)
    else:
        for part in prange(parts, num_threads=threads, schedule="static"):
            sum_rows_part(x, rows, cols, cols, part, out)


def sum_rows(cnp.ndarray x, cnp.ndarray out, int n_threads):
    """out[j] = sum over i of x[i, j]"""
    cdef const real_t *px = pointer(x)
    cdef real_t *pout = pointer(out)
    cdef index_t rows = x.shape[0], cols = x.shape[1]
    with nogil:
        sum_rows_run(px, rows, cols, pout, n_threads)
