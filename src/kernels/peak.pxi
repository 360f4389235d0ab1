# What the processor can do: multiply-adds in registers alone, for `convnet bench` to compare with.
#
# CHAINS independent sums hide the latency of a multiply-add (4 cycles, two a cycle: 8 would do on
# current x86 cores) and leave registers for the two constants on every level. Each thread runs its
# own; the sums converge to a finite value and are written out, so that nothing is dropped.

cdef enum:
    CHAINS = 12
    OUT_LANES = 16    # a thread's place in what is written


cdef void fma_chains(index_t rounds, real_t *out) noexcept nogil:
    """CHAINS vectors a = a * b + c, `rounds` times each; out: VL elements, their sum."""
    cdef vec_t[CHAINS] a
    cdef real_t factor = 0.999, term = 0.001
    cdef vec_t b = vsplat(factor), c = vsplat(term), total = vzero()
    cdef index_t n
    cdef int i
    for i in range(CHAINS):
        a[i] = c
    for n in range(rounds):
        for i in range(CHAINS):
            a[i] = a[i] * b + c
    for i in range(CHAINS):
        total = total + a[i]
    vstore(out, total)


def fma_peak(cnp.ndarray out, index_t rounds, int n_threads):
    """Run multiply-adds on every thread; returns how many operations, two a multiply-add.

    out : (n_threads, 16), rubbish in, rubbish out
    """
    cdef real_t *p = pointer(out)
    cdef int t
    with nogil:
        for t in prange(n_threads, num_threads=n_threads, schedule="static", chunksize=1):
            fma_chains(rounds, p + t * OUT_LANES)
    return 2 * VL * CHAINS * rounds * n_threads
