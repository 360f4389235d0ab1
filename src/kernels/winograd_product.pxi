# Winograd's products: gemm.pxi's micro-kernel with a start, and with an addend.
#
# chain_kernel goes on with sums that it finds: a sum over channels that is cut into blocks so that its
# operands stay in the cache remains one chain of multiply-adds, and its bits do not tell where it was cut.
# part_kernel adds a sum of its own: a long sum over tiles rounds less in parts.
#
# `before` is where the sums go on from, or zeros (row stride 0): a test instead would make GCC keep the
# sums of all branches in memory, 150 cycles a tile.
#
# `ahead` says what to prefetch meanwhile, as in the engine.

cdef inline void chain_kernel(const int mr, const int nv, index_t kc, const real_t *a, index_t lda,
                              const real_t *b, const real_t *before, index_t ld_before,
                              real_t *out, ahead_t *ahead) noexcept nogil:
    """out (mr x nv vectors, NR apart) = before + a (mr x kc, rows lda apart) b (kc rows, NR apart)"""
    cdef vec_t sums[MR][NV]
    cdef vec_t line[NV]
    cdef int i, j
    cdef index_t k = 0, end
    for i in range(mr):
        for j in range(nv):
            sums[i][j] = vload(before + i * ld_before + j * VL)
    while k < kc:
        for end in range(ahead.pieces):
            prefetch_run(ahead.next, NR)
            ahead.next += NR
            ahead.left -= 1
            if ahead.left == 0:
                ahead.left = ahead.run
                ahead.next += ahead.jump
        end = min_index(k + STRIDE, kc)
        while k < end:
            for j in range(nv):
                line[j] = vload(b + j * VL)
            for i in range(mr):
                for j in range(nv):
                    sums[i][j] = sums[i][j] + vsplat(a[i * lda]) * line[j]
            a = a + 1
            b = b + NR
            k += 1
    for i in range(mr):
        for j in range(nv):
            vstore(out + i * NR + j * VL, sums[i][j])


cdef inline void chain_kernel_rows(const int nv, int mr, index_t kc, const real_t *a, index_t lda,
                                   const real_t *b, const real_t *before, index_t ld_before,
                                   real_t *out, ahead_t *ahead) noexcept nogil:
    # The compiler drops the heights above its MR.
    if MR >= 14 and mr == 14:
        chain_kernel(14, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif MR >= 13 and mr == 13:
        chain_kernel(13, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif MR >= 12 and mr == 12:
        chain_kernel(12, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif MR >= 11 and mr == 11:
        chain_kernel(11, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif MR >= 10 and mr == 10:
        chain_kernel(10, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif MR >= 9 and mr == 9:
        chain_kernel(9, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif MR >= 8 and mr == 8:
        chain_kernel(8, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif MR >= 7 and mr == 7:
        chain_kernel(7, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif mr == 6:
        chain_kernel(6, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif mr == 5:
        chain_kernel(5, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif mr == 4:
        chain_kernel(4, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif mr == 3:
        chain_kernel(3, nv, kc, a, lda, b, before, ld_before, out, ahead)
    elif mr == 2:
        chain_kernel(2, nv, kc, a, lda, b, before, ld_before, out, ahead)
    else:
        chain_kernel(1, nv, kc, a, lda, b, before, ld_before, out, ahead)


cdef void chain_product(int mr, index_t cols, index_t kc, const real_t *a, index_t lda,
                        const real_t *b, const real_t *before, index_t ld_before,
                        real_t *out, ahead_t *ahead) noexcept nogil:
    if cols <= VL:
        chain_kernel_rows(1, mr, kc, a, lda, b, before, ld_before, out, ahead)
    else:
        chain_kernel_rows(2, mr, kc, a, lda, b, before, ld_before, out, ahead)


cdef inline void part_kernel(const int mr, const int nv, index_t kc, const real_t *a, index_t lda,
                             const real_t *b, index_t ldb, const real_t *before,
                             index_t ld_before, real_t *out, index_t ld) noexcept nogil:
    """out (mr x nv vectors, rows ld apart) = before + a' (a: kc x mr) b (kc rows)"""
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
                sums[i][j] = sums[i][j] + vsplat(a[i]) * line[j]
        a = a + lda
        b = b + ldb
    for i in range(mr):
        for j in range(nv):
            vstore(out + i * ld + j * VL, vload(before + i * ld_before + j * VL) + sums[i][j])


cdef inline void part_kernel_rows(const int nv, int mr, index_t kc, const real_t *a, index_t lda,
                                  const real_t *b, index_t ldb, const real_t *before,
                                  index_t ld_before, real_t *out, index_t ld) noexcept nogil:
    if MR >= 14 and mr == 14:
        part_kernel(14, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif MR >= 13 and mr == 13:
        part_kernel(13, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif MR >= 12 and mr == 12:
        part_kernel(12, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif MR >= 11 and mr == 11:
        part_kernel(11, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif MR >= 10 and mr == 10:
        part_kernel(10, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif MR >= 9 and mr == 9:
        part_kernel(9, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif MR >= 8 and mr == 8:
        part_kernel(8, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif MR >= 7 and mr == 7:
        part_kernel(7, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif mr == 6:
        part_kernel(6, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif mr == 5:
        part_kernel(5, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif mr == 4:
        part_kernel(4, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif mr == 3:
        part_kernel(3, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    elif mr == 2:
        part_kernel(2, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)
    else:
        part_kernel(1, nv, kc, a, lda, b, ldb, before, ld_before, out, ld)


cdef void part_product(int mr, index_t cols, index_t kc, const real_t *a, index_t lda,
                       const real_t *b, index_t ldb, const real_t *before, index_t ld_before,
                       real_t *out, index_t ld) noexcept nogil:
    if cols <= VL:
        part_kernel_rows(1, mr, kc, a, lda, b, ldb, before, ld_before, out, ld)
    else:
        part_kernel_rows(2, mr, kc, a, lda, b, ldb, before, ld_before, out, ld)
