# The one engine: a matrix product whose operands are known by how to copy a part of them.
#
#            B  k x n                     A block of C is a task of one thread. For every KC of k it goes
#          +--+--+--+--+                  through its rows in bands: copies a band of A into a buffer (in
#          |  |  |  |  | KC               L2), then goes through its columns GROUP panels at a time: copies
#          +--+--+--+--+                  these panels of B (L2 holds them too), multiplies them in turn
#             NR                          with MR rows of the band at a time (they stay in L1), sums in
#   A  m x k                              registers, and hands each MR x NR tile to `store`. A block of
#   +---------+   +--+--+--+--+           several bands keeps its panels for all of them.
#   |   KC    |   |  |##|  |  | MR        Convolution is this engine with other copies: a fill function
#   |         |   +--+--+--+--+           that reads im2col's matrix straight out of x, a store function
#   +---------+   |  |  |  |  |           that knows where a pixel lies. What lies in memory as the kernel
#   |         |   +--+--+--+--+           wants it is not copied. Nobody else loops over tiles.
#   +---------+    C  m x n
#                                         Bits: an element of C is one chain of multiply-adds over k within
#                                         a KC, and the KCs are added in order. Blocks, tiles and threads
#                                         only choose who computes it.
#
# `copies_b`: the first rows of tiles copy a panel that lies in memory while they multiply it, for the others.
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
# Where an element lies, for prefetching: rows that lie pages apart are beyond the hardware's (n = 2048:
# 149 GFLOP/s without).
ctypedef const real_t *(*locate_t)(const void *matrix, index_t row, index_t col) noexcept nogil
# Called before each part of a band's sum: rows i0 <= i < i1, columns j0 <= j < j1, k ... k + kc.
# again: the block's panels of this part are there already; only A is going to be read.
ctypedef void (*prepare_t)(void *state, index_t i0, index_t i1, index_t j0, index_t j1, index_t k,
                           index_t kc, bint again) noexcept nogil

cdef struct product_t:
    index_t m, n, k
    prepare_t prepare       # or NULL
    void *state
    fill_t fill_a
    const void *a
    const real_t *rows_a    # instead of fill_a: rows that lie in memory as the kernel wants them,
    index_t ld_a            # ld_a apart, their elements step_a
    index_t step_a
    index_t period          # parts of the sum end at its multiples; there rows_a's rows go on,
    index_t period_a        # so far from where they began
    fill_t fill_b
    const void *b
    const real_t *panels_b  # instead of fill_b: all panels, packed [n / NR][k][NR]
    locate_t place_b        # or NULL: where a panel lies as the kernel wants it, rows ld_b apart;
    index_t ld_b            # gives NULL for a panel that fill_b has to copy
    bint copies_b           # such a panel is copied by the first tile that reads it, for the others
    store_t store
    const void *c
    locate_t locate_a       # or NULL: where fill_a reads; rows a_stride apart
    index_t a_stride
    bint columns_a          # A's columns are contiguous: fill_a copies A' (k x m), a_stride is theirs
    locate_t locate_b       # or NULL: where fill_b reads; rows b_stride apart
    index_t b_stride
    bint columns_b          # B's columns are contiguous, and b_stride apart
    bint bounded            # nothing beyond what is copied next is asked for
    locate_t locate_c       # or NULL (or NULL for a tile whose rows are no runs); rows c_stride apart
    index_t c_stride
    index_t run             # whole tiles between its multiples follow one another, where they are located
    bint begins, ends       # whether store does more than add on the first, on the last part
    index_t block_m, block_n
    index_t band            # rows of a block that are in the buffer at a time, at most


cdef enum:
    PANELS = 1 << 20  # bytes of B's panels that a block keeps, at most: half of L2
    GROUP = 4         # panels at a time, more where they are short: runs along B's rows, and C's
    MOST_PANELS = 32  # of a group
    # What it takes to read an element of an operand for one more block, in multiply-adds:
    COPIED = 64       # 0.5 ns (im2col of rows of 7: 1.5)
    IN_MEMORY = 16    # from L3, as it lies

cdef inline bint keeps_panels(const product_t *p) noexcept nogil:
    return p.panels_b == NULL and p.block_m > p.band


cdef inline index_t blocks_of(const product_t *p) noexcept nogil:
    return ceil_div(p.m, p.block_m) * ceil_div(p.n, p.block_n)


cdef inline index_t group_of(index_t kc, index_t groups) noexcept nogil:
    """Columns of the panels that are multiplied in turn with the same rows of A.

    A's rows stay in L1, the panels come from L2 in order, well prefetched; and B and C are read
    and written in longer runs. Short panels that are read twice stay in L1 too.
    """
    if groups <= 2 and kc <= 2 * STRIDE:
        return GROUP * NR
    return min_index(KC * GROUP // kc, MOST_PANELS) * NR


cdef inline index_t panels_size(const product_t *p) noexcept nogil:
    """Elements of the panels that are in memory at a time, at most."""
    cdef index_t size = min_index(KC, p.k) * ceil_div(p.block_n, NR) * NR
    if p.panels_b != NULL:
        return 0
    return size if keeps_panels(p) else min_index(size, KC * GROUP * NR)


cdef inline index_t columns_ld(const product_t *p) noexcept nogil:
    """From one column of A to the next in the buffer: no multiple of 256 bytes."""
    cdef index_t line = 64 // sizeof(real_t)
    return (ceil_div(p.band, line) | 1) * line


cdef inline index_t buffer_size(const product_t *p) noexcept nogil:
    if p.rows_a != NULL:
        return 0
    return KC * columns_ld(p) if p.columns_a else p.band * LDA


cdef index_t scratch_size(const product_t *p) noexcept nogil:
    """Elements of scratch memory that a thread needs."""
    return buffer_size(p) + panels_size(p) + MR * NR + 2 * VL


cdef void choose_blocks(product_t *p, bint long_blocks, index_t tasks, int n_threads,
                        index_t per_thread=4) noexcept nogil:
    """Blocks of C: as large as the caches like, but enough of them for all threads.

    long_blocks: a block may have more rows than a band; tasks: how many products like this one run
    at the same time; per_thread: at least so many blocks, where there is more than one thread.
    Convolutions, whose operands are not copied alike, leave the threads to share_blocks.
    """
    cdef index_t wanted = per_thread * n_threads if n_threads > 1 else 1
    p.band = ceil_div(p.m, ceil_div(p.m, MC))
    p.block_m = p.m if long_blocks else p.band
    p.block_n = min_index(p.n, PANELS // (KC * sizeof(real_t)))
    while tasks * blocks_of(p) < wanted:
        if p.block_n >= 8 * NR and p.block_n >= p.block_m:
            p.block_n = ceil_div(p.block_n, 2)
        elif p.block_m >= 4 * MR:
            p.block_m = ceil_div(p.block_m, 2)
        elif p.block_n >= 2 * NR:
            p.block_n = ceil_div(p.block_n, 2)
        else:
            break
        p.block_n = min_index(ceil_div(p.block_n, NR) * NR, p.n)
    p.block_n = min_index(ceil_div(p.block_n, NR) * NR, p.n)
    p.band = ceil_div(p.block_m, ceil_div(p.block_m, MC))


cdef void share_blocks(product_t *p, index_t tasks, int n_threads) noexcept nogil:
    """Smaller blocks where the threads need them; tasks: how many such products run at once.

    A's rows are copied once for every block along n, B's panels once for every block along m: of all
    splits the one whose longest thread takes the least, which a split into equal blocks may miss by
    an eighth of a block (the machine has other work too).
    """
    cdef index_t panels = ceil_div(p.n, NR), down = ceil_div(p.m, p.block_m)
    cdef index_t across = ceil_div(panels * NR, p.block_n), rows = down, cols = across, i, j
    cdef index_t read_a = IN_MEMORY if p.rows_a != NULL else COPIED
    cdef index_t read_b = IN_MEMORY if p.panels_b != NULL or p.place_b != NULL else COPIED
    cdef index_t most = max_index(4 * n_threads, tasks * down * across), all, block, cost, least = -1
    if n_threads > 1:
        i = down
        while tasks * i * across <= most and (i == down or p.m >= 2 * MR * i):
            j = across
            while tasks * i * j <= most and (j == across or panels >= 2 * j):
                all = p.m * panels * NR + p.m * j * read_a + panels * NR * i * read_b
                block = ceil_div(p.m, i) * ceil_div(panels, j) * NR - p.m * panels * NR // (i * j)
                cost = all // (i * j) * (8 * ceil_div(tasks * i * j, n_threads) + 1) + 8 * block
                if least < 0 or cost < least:
                    least, rows, cols = cost, i, j
                j += 1
            i += 1
    p.block_m = ceil_div(p.m, rows)
    p.block_n = min_index(ceil_div(panels, cols) * NR, p.n)
    p.band = ceil_div(p.block_m, ceil_div(p.block_m, MC))


cdef void block_bounds(const product_t *p, index_t block, index_t *i0, index_t *i1, index_t *j0,
                       index_t *j1) noexcept nogil:
    """The block's rows i0 <= i < i1 and columns j0 <= j < j1: evenly, in whole panels."""
    cdef index_t down = ceil_div(p.m, p.block_m), across = ceil_div(p.n, p.block_n)
    cdef index_t row = block // across, col = block % across, panels = ceil_div(p.n, NR)
    i0[0] = p.m * row // down
    i1[0] = p.m * (row + 1) // down
    j0[0] = panels * col // across * NR
    j1[0] = min_index(panels * (col + 1) // across * NR, p.n)


cdef struct share_t:  # what of a matrix's pieces the tiles ask for
    index_t pieces, need, slots, owed


cdef void look_ahead(ahead_t *ahead, share_t *share, const real_t *next, index_t rows, index_t cols,
                     index_t stride, index_t tiles, index_t strides, bint bounded) noexcept nogil:
    """Spread the lines of a matrix over so many tiles of so many strides each.

    Each stride asks for one piece at least, in all tiles more than there are. Bounded, only every
    second, third ... tile asks: what lies beyond drove from L2 what was wanted there. Not measured
    for convolutions.
    """
    ahead.run = ahead.left = ceil_div(cols, NR)
    ahead.next = next
    ahead.jump = stride - ahead.run * NR
    share.need = rows * ahead.run if next != NULL else 0
    share.pieces = ceil_div(share.need, tiles * strides)
    share.slots = share.pieces * tiles * strides
    if not bounded:
        share.need = share.slots
    share.owed = share.slots - 1


cdef inline index_t next_share(share_t *share) noexcept nogil:
    """How many pieces each stride of the next tile asks for."""
    share.owed += share.need
    if share.need == 0 or share.owed < share.slots:
        return 0
    share.owed -= share.slots
    return share.pieces


cdef void product_band(const product_t *p, const real_t *a, index_t lda, index_t step, index_t row,
                       index_t rows, index_t j0, index_t j1, index_t k, index_t kc, real_t *panels,
                       bint keep, bint filled, const real_t *next_a, index_t next_kc, bint first,
                       bint last, real_t *tile) noexcept nogil:
    """One part, k ... k + kc, of the sums of a band of C: rows row ... row + rows, columns j0 ... j1.

    keep: each panel has its place in `panels`; filled: it is there already. next_a: what fill_a copies
    next, of as many rows and next_kc columns.
    """
    cdef const real_t *panel[MOST_PANELS]
    cdef real_t *place[MOST_PANELS]
    cdef index_t lds[MOST_PANELS]
    cdef const real_t *next_b
    cdef real_t *out
    cdef index_t j = j0, wide, end, cols, at, ld, i, n, t, group, groups = ceil_div(rows, MR)
    cdef index_t run_end = 0
    cdef index_t strides = ceil_div(kc, STRIDE), group_columns = group_of(kc, groups)
    cdef bint plain = not (first and p.begins or last and p.ends)
    # Rows of A that follow one another as they lie go to L1 a tile ahead: copied rows are near enough.
    cdef bint streams = p.rows_a != NULL and step == 1 and lda == kc
    cdef bint brief = kc <= 4 * STRIDE, copied, follows
    # Too short to ask for C's tile in time.
    cdef bint briefest = kc <= 2 * STRIDE and step == 1 and p.place_b != NULL
    cdef ahead_t ahead
    cdef share_t share
    ahead.c_stride = p.c_stride
    ahead.c = ahead.stream = NULL
    ahead.c_rows = ahead.pace = 0
    if streams:
        next_a = NULL
    i, n = rows, next_kc
    if p.columns_a:
        i, n = n, i
    look_ahead(&ahead, &share, next_a, i, n, p.a_stride, groups * ceil_div(j1 - j0, NR), strides,
               p.bounded)
    while j < j1:
        wide = min_index(group_columns, j1 - j)
        end = j + wide
        at = j
        copied = False
        for t in range(ceil_div(wide, NR)):
            cols = min_index(NR, end - at)
            panel[t] = NULL
            lds[t] = NR
            follows = t > 0 and at + NR <= run_end  # no divisions then
            if p.panels_b != NULL:
                panel[t] = p.panels_b + at * p.k + k * NR
            elif p.place_b != NULL and cols == NR and not (p.copies_b and filled):
                panel[t] = panel[t - 1] + NR if follows else p.place_b(p.b, k, at)
                lds[t] = p.ld_b
            if panel[t] == NULL:
                panel[t] = panels + (at - j) * kc
                lds[t] = NR
                copied = True
                if not filled:
                    p.fill_b(p.b, k, kc, at, cols, panels + (at - j) * kc, NR)
            place[t] = NULL
            if p.locate_c != NULL:
                place[t] = place[t - 1] + NR if follows else <real_t *> p.locate_c(p.c, row, at)
            if not follows:
                run_end = (at // p.run + 1) * p.run
            at += NR
        if p.panels_b == NULL and not filled and p.locate_b != NULL:
            next_b = NULL
            if brief and not copied:
                pass  # each tile's `near` is enough
            elif end < j1:
                next_b = p.locate_b(p.b, k, end)
                i, n = kc, min_index(group_columns, j1 - end)
            elif not last:
                next_b = p.locate_b(p.b, k + kc, j0)
                i, n = min_index(KC, p.k - k - kc), min_index(group_columns, j1 - j0)
            if p.columns_b:
                i, n = n, i
            look_ahead(&ahead, &share, next_b, i, n, p.b_stride, groups * ceil_div(wide, NR),
                       strides, p.bounded)
        if p.panels_b != NULL and next_a == NULL and not streams:
            # Panels of many weights come from beyond L2: those of the next group, or of the next part.
            next_b = NULL
            if end < j1:
                next_b = p.panels_b + end * p.k + k * NR
                i, n = min_index(group_columns, j1 - end), kc
            elif not last:
                next_b = p.panels_b + j0 * p.k + (k + kc) * NR
                i, n = min_index(group_columns, j1 - j0), min_index(KC, p.k - k - kc)
            look_ahead(&ahead, &share, next_b, ceil_div(i, NR), n * NR, p.k * NR,
                       groups * ceil_div(wide, NR), strides, p.bounded)
        i = 0
        for group in range(groups):
            n = rows * (group + 1) // groups - i
            at = j
            for t in range(ceil_div(wide, NR)):
                cols = min_index(NR, end - at)
                out = tile
                ld = NR
                if place[t] != NULL:
                    ahead.c = place[t] + i * p.c_stride
                    ahead.c_rows = ceil_div(n, strides)
                    if kc <= 2 * STRIDE and p.place_b != NULL:
                        ahead.c_rows = 0  # too late
                    if plain:
                        out = place[t] + i * p.c_stride
                        ld = p.c_stride
                else:
                    ahead.c = NULL
                    ahead.c_rows = 0
                ahead.pieces = next_share(&share)
                # Of a short panel in place the next rows are of no use, those of its neighbour are.
                ahead.near = NR if lds[t] != NR and brief else STRIDE * lds[t]
                if streams:
                    ahead.pace = ceil_div(n, ceil_div(wide, NR))
                    ahead.stream = a + (i + n) * lda + t * ahead.pace * kc
                if p.copies_b and lds[t] != NR:
                    copying_tile(<int> n, kc, a + i * lda, lda, panel[t], lds[t],
                                 panels + (at - j) * kc, out, ld, out != tile and not first, &ahead)
                    panel[t] = panels + (at - j) * kc
                    lds[t] = NR
                elif briefest and lds[t] != NR:
                    brief_tile(<int> n, kc, a + i * lda, lda, panel[t], lds[t], out, ld,
                               out != tile and not first, &ahead)
                elif step == 1:
                    tile_of_rows(<int> n, cols, kc, a + i * lda, lda, panel[t], lds[t], out, ld,
                                 out != tile and not first, &ahead)
                else:
                    tile_of_columns(<int> n, cols, kc, a + i * lda, step, panel[t], lds[t], out, ld,
                                    out != tile and not first, &ahead)
                if out == tile:
                    p.store(p.c, row + i, n, at, cols, tile, first, last)
                at += NR
            i += n
        if keep:
            panels = panels + kc * group_columns
        j = end


cdef void product_block(const product_t *p, index_t block, index_t k_begin, index_t k_end,
                        real_t *scratch) noexcept nogil:
    """One block of C, the sum over k_begin <= k < k_end."""
    cdef real_t *tile = scratch
    cdef real_t *panels = tile + MR * NR
    cdef real_t *buffer
    cdef const real_t *a
    cdef const real_t *next_a
    cdef index_t i0, i1, j0, j1, k = k_begin, kc, lda, step = 1, band, bands, i, end
    cdef bint keep = keeps_panels(p)
    block_bounds(p, block, &i0, &i1, &j0, &j1)
    buffer = panels + panels_size(p) + VL
    bands = ceil_div(i1 - i0, p.band)
    while k < k_end:
        # Even parts: 576 are 3 x 192, not 256 + 256 + 64.
        kc = min_index(k_end - k, p.period - k % p.period)
        kc = ceil_div(kc, ceil_div(kc, KC))
        i = i0
        for band in range(bands):
            end = i0 + (i1 - i0) * (band + 1) // bands
            if p.prepare != NULL:
                p.prepare(p.state, i, end, j0, j1, k, kc, band > 0)
            if p.rows_a != NULL:
                a = (p.rows_a + i * p.ld_a + k // p.period * p.period_a
                     + k % p.period * p.step_a)
                lda = p.ld_a
                step = p.step_a
            else:
                a = buffer
                if p.columns_a:
                    lda, step = 1, columns_ld(p)
                    p.fill_a(p.a, k, kc, i, end - i, buffer, step)
                else:
                    lda = LDA
                    p.fill_a(p.a, i, end - i, k, kc, buffer, LDA)
            next_a = NULL
            if p.locate_a != NULL:
                if band + 1 < bands:
                    next_a = p.locate_a(p.a, end, k)
                elif k + kc < k_end:
                    next_a = p.locate_a(p.a, i0, k + kc)
                elif i1 < p.m:
                    next_a = p.locate_a(p.a, i1, k_begin)
            product_band(p, a, lda, step, i, end - i, j0, j1, k, kc, panels, keep, band > 0,
                         next_a, min_index(KC, p.k), k == k_begin, k + kc == k_end, tile)
            i = end
        k += kc
