# The one engine: a matrix product whose operands are known by how to copy a part of them.
#
#            B  k x n                     A block of C is a task of one thread. For every KC of k it copies
#          +--+--+--+--+                  its rows of A into a buffer (in L2), then goes through its columns
#          |  |  |  |  | KC               NR at a time: copies that panel of B (it stays in L1), multiplies
#          +--+--+--+--+                  it with all rows, MR at a time, sums in registers, and hands
#             NR                          each MR x NR tile to `store`.
#   A  m x k
#   +---------+   +--+--+--+--+           Convolution is this engine with other copies: a fill function
#   |   KC    |   |  |##|  |  | MR        that reads im2col's matrix straight out of x, a store function
#   |         |   +--+--+--+--+           that knows where a pixel lies. Nobody else loops over tiles.
#   +---------+   |  |  |  |  |
#   |         |   +--+--+--+--+           Bits: an element of C is one chain of multiply-adds over k within
#   +---------+    C  m x n               a KC, and the KCs are added in order. Blocks, tiles and threads
#                                         only choose who computes it.
#
# The rows of a micro-tile are split evenly (15 rows are 8 + 7, not 14 + 1), with a kernel compiled for each
# height: a short kernel waits for its own sums. A's rows stay rows (a broadcast reads them where they
# are), so that row-major operands and im2col's rows are copied, not transposed.
#
# Tried: A interleaved by MR as in BLIS: the same 236 GFLOP/s of 242 in L1, and every row-major source would
# need a transposing copy. Splat as 0 + x: the addition survives (-0), half the speed.

# out[i * ld + j] = matrix[row + i, col + j] for i < rows, j < cols. A fill may write up to VL - 1
# elements past a row's end; columns of a panel beyond cols are multiplied and never stored.
ctypedef void (*fill_t)(const void *matrix, index_t row, index_t rows, index_t col, index_t cols,
                        real_t *out, index_t ld) noexcept nogil
# C[row + i, col + j] = or += tile[i * NR + j] for i < rows, j < cols; first, last: of the sum's parts
ctypedef void (*store_t)(const void *matrix, index_t row, index_t rows, index_t col, index_t cols,
                         const real_t *tile, bint first, bint last) noexcept nogil
# Bring the same part of a matrix into the cache: the next panel's rows of B while this one is
# multiplied, C's tile while its sums are formed. Rows that lie pages apart are beyond the hardware's
# prefetching (n = 2048: 149 GFLOP/s without, see docs/performance.md).
ctypedef void (*touch_t)(const void *matrix, index_t row, index_t rows, index_t col,
                         index_t cols) noexcept nogil
# Called before each part of a block's sum: rows i0 <= i < i1, columns j0 <= j < j1, k ... k + kc
ctypedef void (*prepare_t)(void *state, index_t i0, index_t i1, index_t j0, index_t j1, index_t k,
                           index_t kc) noexcept nogil

cdef struct product_t:
    index_t m, n, k
    prepare_t prepare       # or NULL
    void *state
    fill_t fill_a
    const void *a
    const real_t *rows_a    # instead of fill_a: rows that lie in memory as the kernel wants them,
    index_t ld_a            # ld_a apart
    fill_t fill_b
    const void *b
    const real_t *panels_b  # instead of fill_b: all panels, packed [n / NR][k][NR]
    touch_t touch_b         # or NULL
    store_t store
    touch_t touch_c         # or NULL
    const void *c
    index_t block_m, block_n


cdef inline void micro_kernel(const int mr, const int nv, index_t kc, const real_t *a, index_t row,
                              index_t step, const real_t *b, index_t ldb,
                              real_t *tile) noexcept nogil:
    """tile (mr x nv vectors, NR apart) = a (mr x kc) b (kc rows, ldb apart)

    a's element (i, k) is at i * row + k * step: rows or columns may be the contiguous ones.
    """
    cdef vec_t sums[MR][NV]
    cdef vec_t line[NV]
    cdef int i, j
    cdef index_t k
    for i in range(mr):
        for j in range(nv):
            sums[i][j] = vzero()
    for k in range(kc):
        for j in range(nv):
            line[j] = vload(b + j * VL)
        for i in range(mr):
            for j in range(nv):
                sums[i][j] = sums[i][j] + vsplat(a[i * row]) * line[j]
        a = a + step
        b = b + ldb
    for i in range(mr):
        for j in range(nv):
            vstore(tile + i * NR + j * VL, sums[i][j])


cdef inline void micro_kernel_rows(const int nv, int mr, index_t kc, const real_t *a, index_t row,
                                   index_t step, const real_t *b, index_t ldb,
                                   real_t *tile) noexcept nogil:
    # The compiler drops the heights above its MR.
    if MR >= 14 and mr == 14:
        micro_kernel(14, nv, kc, a, row, step, b, ldb, tile)
    elif MR >= 13 and mr == 13:
        micro_kernel(13, nv, kc, a, row, step, b, ldb, tile)
    elif MR >= 12 and mr == 12:
        micro_kernel(12, nv, kc, a, row, step, b, ldb, tile)
    elif MR >= 11 and mr == 11:
        micro_kernel(11, nv, kc, a, row, step, b, ldb, tile)
    elif MR >= 10 and mr == 10:
        micro_kernel(10, nv, kc, a, row, step, b, ldb, tile)
    elif MR >= 9 and mr == 9:
        micro_kernel(9, nv, kc, a, row, step, b, ldb, tile)
    elif MR >= 8 and mr == 8:
        micro_kernel(8, nv, kc, a, row, step, b, ldb, tile)
    elif MR >= 7 and mr == 7:
        micro_kernel(7, nv, kc, a, row, step, b, ldb, tile)
    elif mr == 6:
        micro_kernel(6, nv, kc, a, row, step, b, ldb, tile)
    elif mr == 5:
        micro_kernel(5, nv, kc, a, row, step, b, ldb, tile)
    elif mr == 4:
        micro_kernel(4, nv, kc, a, row, step, b, ldb, tile)
    elif mr == 3:
        micro_kernel(3, nv, kc, a, row, step, b, ldb, tile)
    elif mr == 2:
        micro_kernel(2, nv, kc, a, row, step, b, ldb, tile)
    else:
        micro_kernel(1, nv, kc, a, row, step, b, ldb, tile)


cdef void tile_product(int mr, index_t cols, index_t kc, const real_t *a, index_t row,
                       index_t step, const real_t *b, index_t ldb, real_t *tile) noexcept nogil:
    if cols <= VL:
        micro_kernel_rows(1, mr, kc, a, row, step, b, ldb, tile)
    else:
        micro_kernel_rows(2, mr, kc, a, row, step, b, ldb, tile)


cdef index_t scratch_size(const product_t *p) noexcept nogil:
    """Elements of scratch memory that a thread needs."""
    return (0 if p.rows_a != NULL else p.block_m * LDA + VL) + (KC + MR) * NR + VL


cdef void choose_blocks(product_t *p, index_t tasks, int n_threads) noexcept nogil:
    """Blocks of C: as large as the caches like, but enough of them for all threads.

    tasks: how many products like this one run at the same time.
    """
    cdef index_t wanted = 4 * n_threads if n_threads > 1 else 1
    p.block_m = ceil_div(p.m, ceil_div(p.m, MC))
    p.block_n = min_index(p.n, 1024)
    tasks *= ceil_div(p.m, p.block_m)
    if tasks * ceil_div(p.n, p.block_n) < wanted and p.n > NR:
        p.block_n = min_index(p.block_n, max_index(4 * NR, ceil_div(p.n, ceil_div(wanted, tasks))))
    p.block_n = min_index(ceil_div(p.block_n, NR) * NR, p.n)
    tasks *= ceil_div(p.n, p.block_n)
    if tasks < wanted and p.m > 2 * MR:
        p.block_m = min_index(p.block_m, max_index(2 * MR, p.block_m // ceil_div(wanted, tasks)))


cdef inline index_t blocks_of(const product_t *p) noexcept nogil:
    return ceil_div(p.m, p.block_m) * ceil_div(p.n, p.block_n)


cdef void block_bounds(const product_t *p, index_t block, index_t *i0, index_t *i1, index_t *j0,
                       index_t *j1) noexcept nogil:
    """The block's rows i0 <= i < i1 and columns j0 <= j < j1."""
    cdef index_t across = ceil_div(p.n, p.block_n)
    i0[0] = block // across * p.block_m
    i1[0] = min_index(i0[0] + p.block_m, p.m)
    j0[0] = block % across * p.block_n
    j1[0] = min_index(j0[0] + p.block_n, p.n)


cdef void product_block(const product_t *p, index_t block, index_t k_begin, index_t k_end,
                        real_t *scratch) noexcept nogil:
    """One block of C, the sum over k_begin <= k < k_end."""
    cdef real_t *tile = scratch
    cdef real_t *panel = tile + MR * NR
    cdef real_t *buffer = panel + KC * NR + VL
    cdef const real_t *a
    cdef const real_t *b
    cdef index_t i0, i1, j0, j1, k, kc, j, cols, i, rows, lda, ahead, group, groups
    cdef bint first, last
    block_bounds(p, block, &i0, &i1, &j0, &j1)
    groups = ceil_div(i1 - i0, MR)
    k = k_begin
    while k < k_end:
        kc = min_index(KC, k_end - k)
        first = k == k_begin
        last = k + kc == k_end
        if p.prepare != NULL:
            p.prepare(p.state, i0, i1, j0, j1, k, kc)
        if p.rows_a != NULL:
            a = p.rows_a + i0 * p.ld_a + k
            lda = p.ld_a
        else:
            p.fill_a(p.a, i0, i1 - i0, k, kc, buffer, LDA)
            a = buffer
            lda = LDA
        j = j0
        while j < j1:
            cols = min_index(NR, j1 - j)
            if p.panels_b != NULL:
                b = p.panels_b + j * p.k + k * NR
            else:
                p.fill_b(p.b, k, kc, j, cols, panel, NR)
                b = panel
            i = 0
            for group in range(groups):
                rows = (i1 - i0) * (group + 1) // groups - i
                if p.touch_c != NULL:
                    p.touch_c(p.c, i0 + i, rows, j, cols)
                if p.touch_b != NULL and j + NR < j1:
                    ahead = kc * group // groups
                    p.touch_b(p.b, k + ahead, kc * (group + 1) // groups - ahead, j + NR,
                              min_index(NR, j1 - j - NR))
                tile_product(<int> rows, cols, kc, a + i * lda, lda, 1, b, NR, tile)
                p.store(p.c, i0 + i, rows, j, cols, tile, first, last)
                i += rows
            j += NR
        k += kc


# Dense matrices

cdef struct dense_t:
    const real_t *data
    index_t row, col  # strides


cdef inline void copy_run(const real_t *src, real_t *dst, index_t n) noexcept nogil:
    """dst[:n] = src[:n], nothing beyond; the last vector overlaps the one before."""
    cdef index_t i = 0
    if n < VL:
        memcpy(dst, src, n * sizeof(real_t))
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


cdef void touch_dense(const void *matrix, index_t row, index_t rows, index_t col,
                      index_t cols) noexcept nogil:
    cdef const dense_t *m = <const dense_t *> matrix
    cdef index_t i
    for i in range(row, row + rows):
        prefetch_run(m.data + i * m.row + col, cols)


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

    In whole vectors of sums; the last elements of out and addend by way of a buffer.
    """
    cdef real_t old[VL]
    cdef real_t extra[VL]
    cdef vec_t v
    cdef index_t j = 0, k
    while j + VL <= n:
        v = vsplat(alpha) * vload(sums + j) + vsplat(bias)
        if addend != NULL:
            v = v + vsplat(beta) * vload(addend + j)
        vstore(out + j, finish(v, v if first else vload(out + j), first, relu))
        j += VL
    if j < n:
        for k in range(VL):
            old[k] = extra[k] = 0
        if not first:
            for k in range(n - j):
                old[k] = out[j + k]
        v = vsplat(alpha) * vload(sums + j) + vsplat(bias)
        if addend != NULL:
            for k in range(n - j):
                extra[k] = addend[j + k]
            v = v + vsplat(beta) * vload(extra)
        vstore(old, finish(v, vload(old), first, relu))
        for k in range(n - j):
            out[j + k] = old[k]


cdef void store_dense(const void *matrix, index_t row, index_t rows, index_t col, index_t cols,
                      const real_t *tile, bint first, bint last) noexcept nogil:
    cdef const dense_result_t *c = <const dense_result_t *> matrix
    cdef bint add = c.addend != NULL and first, relu = last and c.relu
    cdef index_t i, j
    cdef real_t *out
    cdef const real_t *addend = NULL
    cdef real_t v
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


cdef void touch_dense_result(const void *matrix, index_t row, index_t rows, index_t col,
                             index_t cols) noexcept nogil:
    cdef const dense_result_t *c = <const dense_result_t *> matrix
    cdef index_t i
    for i in range(row, row + rows):
        prefetch_for_write(c.data + i * c.row + col, cols)


cdef void gemm_task(const product_t *p, index_t task, index_t a_batch, index_t b_batch,
                    index_t c_batch, index_t addend_batch, real_t *scratch) noexcept nogil:
    cdef index_t batch = task // blocks_of(p)
    cdef product_t mine = p[0]
    cdef dense_t a = (<const dense_t *> p.a)[0], b = (<const dense_t *> p.b)[0]
    cdef dense_result_t c = (<const dense_result_t *> p.c)[0]
    flush_denormals()
    a.data = a.data + batch * a_batch
    b.data = b.data + batch * b_batch
    c.data = c.data + batch * c_batch
    if c.addend != NULL:
        c.addend = c.addend + batch * addend_batch
    mine.a, mine.b, mine.c = &a, &b, &c
    product_block(&mine, task % blocks_of(p), 0, p.k, scratch)


cdef inline index_t padded(index_t n) noexcept nogil:
    return ceil_div(n, VL) * VL


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
    cdef index_t per_thread
    cdef int threads
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
    if 5 * p.n * padded(p.m) < 4 * p.m * padded(p.n):  # few columns: compute the transpose
        left.row, left.col, right.row, right.col = left.col, left.row, right.col, right.row
        left, right = right, left
        a_batch, b_batch = b_batch, a_batch
        p.m, p.n = p.n, p.m
        result.row, result.col = result.col, result.row
        result.addend_row, result.addend_col = result.addend_col, result.addend_row
    p.prepare = NULL
    p.fill_a, p.a, p.rows_a = fill_dense, &left, NULL
    p.fill_b, p.b, p.panels_b = fill_dense, &right, NULL
    p.store, p.c = store_dense, &result
    p.touch_b = p.touch_c = NULL
    if right.col == 1:
        p.touch_b = touch_dense
    if result.col == 1:
        p.touch_c = touch_dense_result
    threads = threads_for(batch * p.m * p.n * p.k // 16, n_threads)
    choose_blocks(&p, batch, threads)
    tasks = batch * blocks_of(&p)
    per_thread = scratch_size(&p)
    threads = <int> min_index(threads, tasks)
    workspace = acquire(threads * per_thread * sizeof(real_t))
    scratch = <real_t *> workspace.data
    with nogil:
        if threads == 1:
            for task in range(tasks):
                gemm_task(&p, task, a_batch, b_batch, c_batch, addend_batch, scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                gemm_task(&p, task, a_batch, b_batch, c_batch, addend_batch,
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
