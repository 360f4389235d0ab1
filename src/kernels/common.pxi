# What every family uses: array pointers, the split of work over threads, workspace.

ctypedef Py_ssize_t index_t

cdef inline real_t *pointer(cnp.ndarray array):
    """The first element; NULL for None."""
    if array is None:
        return NULL
    return <real_t *> cnp.PyArray_DATA(array)


cdef inline index_t ceil_div(index_t a, index_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline index_t min_index(index_t a, index_t b) noexcept nogil:
    return a if a < b else b


cdef inline index_t max_index(index_t a, index_t b) noexcept nogil:
    return a if a > b else b


# Work below this many elements (or multiply-adds / 8) a thread is not worth a second thread:
# waking one costs 2 to 5 us.
cdef enum:
    GRAIN = 16384


cdef inline int threads_for(index_t work, int n_threads) noexcept nogil:
    """How many threads to use for `work` elements of about a nanosecond each."""
    return <int> max_index(1, min_index(n_threads, work // GRAIN))


# Workspace. Blocks come from a list that only grows, one block for every caller that was ever
# inside at the same time (up to WORKSPACES of them; a further one gets a block of its own, freed on
# release). The interpreter's lock, held at the entry and the exit of a kernel, guards the list.
#
# Large blocks ask for huge pages: Winograd's operands lie in thousands of small ones, more than a TLB
# has entries (C256 14x14, weight gradient: 11.2 ms with pages of 4 KB, 7.6 with 2 MB).
cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __linux__
    #include <sys/mman.h>
    #endif
    static char *convnet_allocate(size_t size) {
        const size_t line = 64, huge = (size_t)2 << 20;
        size_t unit = size >= 2 * huge ? huge : line;
        size = (size + unit - 1) / unit * unit;
        char *memory = (char *)aligned_alloc(unit, size);
    #ifdef MADV_HUGEPAGE
        if (memory && unit == huge) madvise(memory, size, MADV_HUGEPAGE);
    #endif
        return memory;
    }
    """
    char *convnet_allocate(size_t size)

cdef enum:
    WORKSPACES = 16
    ALIGNMENT = 64

cdef struct block_t:
    char *memory
    size_t size
    bint used

cdef struct workspace_t:
    char *data
    int block     # its place in the list, or -1

cdef block_t blocks[WORKSPACES]


cdef workspace_t acquire(size_t size) except *:
    """`size` bytes of scratch memory, aligned to a cache line; hand it back with release."""
    cdef workspace_t w
    cdef int i
    w.block = -1
    for i in range(WORKSPACES):
        if not blocks[i].used and (w.block < 0 or blocks[i].size > blocks[w.block].size):
            w.block = i
    if w.block >= 0 and blocks[w.block].size >= size:
        w.data = blocks[w.block].memory
    else:
        w.data = convnet_allocate(size)
        if w.data == NULL:
            raise MemoryError(f"convnet: no memory for {size} bytes of workspace")
        if w.block >= 0:
            free(blocks[w.block].memory)
            blocks[w.block].memory = w.data
            blocks[w.block].size = size
    if w.block >= 0:
        blocks[w.block].used = True
    return w


cdef void release(workspace_t w) noexcept:
    if w.block >= 0:
        blocks[w.block].used = False
    else:
        free(w.data)
