# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Memory for results: freed blocks are kept for the next result of about that size.

A fresh block of memory costs a page fault for every page that is written first, which takes longer
than a kernel that fills it once (0.07 ms a MB with huge pages, 0.4 without), and the C library maps
every block above 32 MB anew. So a large result's block, when its array is gone, waits in a list:

    block   | header 64 bytes | the array's data ...       aligned to 2 MB from 4 MB on
    cache   oldest -> | 12 MB | 3 MB | 103 MB | 12 MB | <- latest

A request takes the smallest block that fits, the latest of them, if it is at most a quarter too
large. When the list holds more than the limit, the oldest blocks go back to the system.

Smaller results come from the C library, aligned to a cache line: it aligns to 16 bytes, and then
every vector of 64 is read from two lines. Below MIDDLE bytes that takes longer than it saves.

NumPy knows the blocks through a handler (NEP 49) that is in force only while a result is made; the
array keeps it, and frees through it, whichever thread drops it. Arrays are made and dropped with
the interpreter's lock held, which guards the list; a forked child gets its own copy of it.
"""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cnp.import_array()

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__unix__) || defined(__APPLE__)
    #include <sys/mman.h>
    #include <stdint.h>
    /* size bytes from the system, aligned to `unit` (a power of 2, at least a page). */
    static char *convnet_map(size_t size, size_t unit) {
        size_t room = size + unit;
        char *start = (char *)mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        if (start == (char *)MAP_FAILED) return NULL;
        char *memory = (char *)(((uintptr_t)start + unit - 1) / unit * unit);
        if (memory > start) munmap(start, (size_t)(memory - start));
        if (memory + size < start + room)
            munmap(memory + size, (size_t)(start + room - (memory + size)));
    #ifdef MADV_HUGEPAGE
        madvise(memory, size, MADV_HUGEPAGE);
    #endif
        return memory;
    }
    static void convnet_unmap(char *memory, size_t size) { munmap(memory, size); }
    #else
    static char *convnet_map(size_t size, size_t unit) { (void)unit; return (char *)malloc(size); }
    static void convnet_unmap(char *memory, size_t size) { (void)size; free(memory); }
    #endif
    """
    char *convnet_map(size_t size, size_t unit)
    void convnet_unmap(char *memory, size_t size)

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *ctx, size_t size) noexcept
        void *(*calloc)(void *ctx, size_t count, size_t size) noexcept
        void *(*realloc)(void *ctx, void *memory, size_t size) noexcept
        void (*free)(void *ctx, void *memory, size_t size) noexcept
    ctypedef struct PyDataMem_Handler:
        char name[127]
        unsigned char version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object handler)
    object PyArray_NewLikeArray(cnp.ndarray like, cnp.NPY_ORDER order, cnp.PyArray_Descr *dtype,
                                int subok)

cdef extern from *:
    """
    static PyObject *convnet_array(PyArray_Descr *dtype, int ndim, npy_intp *shape,
                                   npy_intp *strides) {
        Py_INCREF(dtype); /* is taken over */
        return PyArray_NewFromDescr(&PyArray_Type, dtype, ndim, shape, strides, NULL, 0, NULL);
    }
    """
    object convnet_array(cnp.PyArray_Descr *dtype, int ndim, cnp.npy_intp *shape,
                         cnp.npy_intp *strides)

cdef enum:
    LEAST = 1 << 20         # bytes of the smallest array whose memory is kept
    MIDDLE = 16 << 10       # and of the smallest one that is aligned to a cache line
    HUGE = 2 << 20
    PAGES = 64 << 10
    HEADER = 64
    MOST_BLOCKS = 256

cdef struct block_t:
    char *start
    size_t size

cdef block_t[MOST_BLOCKS] kept      # the oldest first
cdef int n_kept = 0
cdef size_t kept_bytes = 0
cdef size_t limit = 0


cdef block_t take_out(int i) noexcept:
    global n_kept, kept_bytes
    cdef block_t block = kept[i]
    cdef int j
    n_kept -= 1
    kept_bytes -= block.size
    for j in range(i, n_kept):
        kept[j] = kept[j + 1]
    return block


cdef void trim(size_t bytes) noexcept:
    """Give the oldest blocks back until at most so many bytes are kept."""
    cdef block_t block
    while n_kept > 0 and kept_bytes > bytes:
        block = take_out(0)
        convnet_unmap(block.start, block.size)


cdef void *allocate(void *ctx, size_t size) noexcept:
    cdef size_t unit = HUGE if size >= 2 * HUGE else PAGES
    cdef size_t whole = (size + HEADER + unit - 1) // unit * unit
    cdef block_t block
    cdef int i, best = -1
    for i in range(n_kept):
        if whole <= kept[i].size <= whole + whole // 4 and (
                best < 0 or kept[i].size <= kept[best].size):
            best = i
    if best >= 0:
        block = take_out(best)
        return block.start + HEADER
    block.start = convnet_map(whole, unit)
    if block.start == NULL:
        trim(0)
        block.start = convnet_map(whole, unit)
        if block.start == NULL:
            return NULL
    block.size = whole
    memcpy(block.start, &block, sizeof(block))
    return block.start + HEADER


cdef inline block_t block_of(void *memory) noexcept:
    return (<block_t *> (<char *> memory - HEADER))[0]


cdef void release(void *ctx, void *memory, size_t size) noexcept:
    global n_kept, kept_bytes
    cdef block_t block
    if memory == NULL:
        return
    block = block_of(memory)
    if block.size > limit:
        convnet_unmap(block.start, block.size)
        return
    if n_kept == MOST_BLOCKS:
        trim(kept_bytes - 1)
    kept[n_kept] = block
    n_kept += 1
    kept_bytes += block.size
    trim(limit)


ctypedef void *(*allocate_t)(void *ctx, size_t size) noexcept


cdef inline void *zeros_by(allocate_t allocates, void *ctx, size_t count, size_t size) noexcept:
    cdef void *memory
    if size != 0 and count > <size_t> -1 // size:
        return NULL
    memory = allocates(ctx, count * size)
    if memory != NULL:
        memset(memory, 0, count * size)
    return memory


cdef void *allocate_zeros(void *ctx, size_t count, size_t size) noexcept:
    return zeros_by(allocate, ctx, count, size)


cdef void *reallocate(void *ctx, void *memory, size_t size) noexcept:
    cdef void *other = allocate(ctx, size)
    cdef size_t old
    if other != NULL and memory != NULL:
        old = block_of(memory).size - HEADER
        memcpy(other, memory, old if old < size else size)
        release(ctx, memory, 0)
    return other


cdef void *allocate_aligned(void *ctx, size_t size) noexcept:
    """Its header, too, stands before the memory."""
    cdef block_t block
    cdef char *memory
    block.start = <char *> malloc(size + 2 * HEADER)
    if block.start == NULL:
        return NULL
    block.size = size
    memory = block.start + 2 * HEADER - <uintptr_t> block.start % HEADER
    memcpy(memory - HEADER, &block, sizeof(block))
    return memory


cdef void release_aligned(void *ctx, void *memory, size_t size) noexcept:
    if memory != NULL:
        free(block_of(memory).start)


cdef void *allocate_aligned_zeros(void *ctx, size_t count, size_t size) noexcept:
    return zeros_by(allocate_aligned, ctx, count, size)


cdef void *reallocate_aligned(void *ctx, void *memory, size_t size) noexcept:
    cdef void *other = allocate_aligned(ctx, size)
    cdef size_t old
    if other != NULL and memory != NULL:
        old = block_of(memory).size
        memcpy(other, memory, old if old < size else size)
        release_aligned(ctx, memory, 0)
    return other


cdef PyDataMem_Handler kept_handler, aligned_handler
memset(&kept_handler, 0, sizeof(kept_handler))
memcpy(kept_handler.name, b"convnet", 7)
kept_handler.version = 1
kept_handler.allocator.malloc = allocate
kept_handler.allocator.calloc = allocate_zeros
kept_handler.allocator.realloc = reallocate
kept_handler.allocator.free = release
aligned_handler = kept_handler
aligned_handler.allocator.malloc = allocate_aligned
aligned_handler.allocator.calloc = allocate_aligned_zeros
aligned_handler.allocator.realloc = reallocate_aligned
aligned_handler.allocator.free = release_aligned
cdef object kept_capsule = PyCapsule_New(&kept_handler, "mem_handler", NULL)
cdef object aligned_capsule = PyCapsule_New(&aligned_handler, "mem_handler", NULL)


cdef inline object handler_for(cnp.npy_intp bytes):
    """The allocator of an array of so many bytes; None for NumPy's own."""
    if bytes >= LEAST and limit > 0:
        return kept_capsule
    return aligned_capsule if MIDDLE <= bytes < LEAST else None


cdef object fresh(tuple shape, cnp.PyArray_Descr *dtype, cnp.npy_intp itemsize,
                  bint channels_last):
    cdef cnp.npy_intp[8] sizes
    cdef cnp.npy_intp[8] strides
    cdef cnp.npy_intp *pstrides = NULL
    cdef cnp.npy_intp bytes = itemsize
    cdef int ndim = len(shape), i
    if ndim > 8:
        raise ValueError(f"shape: expected at most 8 axes, got {shape}")
    for i in range(ndim):
        sizes[i] = shape[i]
    if channels_last:
        pstrides = strides
        strides[1] = itemsize
        bytes *= sizes[1]
        for i in range(ndim - 1, -1, -1):
            if i != 1:
                strides[i] = bytes
                bytes *= sizes[i]
    else:
        for i in range(ndim):
            bytes *= sizes[i]
    handler = handler_for(bytes)
    if handler is None:
        return convnet_array(dtype, ndim, sizes, pstrides)
    former = PyDataMem_SetHandler(handler)
    try:
        return convnet_array(dtype, ndim, sizes, pstrides)
    finally:
        PyDataMem_SetHandler(former)


def empty(tuple shape not None, cnp.dtype dtype not None, bint channels_last=False, like=None):
    """A fresh array: C-contiguous, or with its axis 1 innermost; on the device of `like`."""
    if like is not None and not cnp.PyArray_Check(like):
        return like.empty(shape, dtype, channels_last)
    return fresh(shape, <cnp.PyArray_Descr *> dtype, dtype.itemsize, channels_last)


def empty_as(tuple shape not None, like not None):
    """A fresh array of the type and, from 3 axes on, the memory format of a dense `like`, beside it."""
    if not cnp.PyArray_Check(like):
        return like.empty(shape, like.dtype, len(shape) > 2 and not like.flags.c_contiguous)
    cdef cnp.ndarray a = <cnp.ndarray> like
    cdef bint channels_last = len(shape) > 2 and not cnp.PyArray_IS_C_CONTIGUOUS(a)
    return fresh(shape, cnp.PyArray_DESCR(a), cnp.PyArray_ITEMSIZE(a), channels_last)


def empty_like(like not None, cnp.dtype dtype=None):
    """A fresh array of the shape and memory order of `like`, on its device, of its type or another."""
    if not cnp.PyArray_Check(like):
        return like.empty_like(dtype)
    cdef cnp.ndarray a = <cnp.ndarray> like
    cdef cnp.PyArray_Descr *descr = <cnp.PyArray_Descr *> dtype
    cdef cnp.npy_intp bytes = cnp.PyArray_SIZE(a)
    bytes *= cnp.PyArray_ITEMSIZE(a) if dtype is None else dtype.itemsize
    if dtype is None:
        descr = NULL
    else:
        Py_INCREF(dtype)
    handler = handler_for(bytes)
    if handler is None:
        return PyArray_NewLikeArray(a, cnp.NPY_KEEPORDER, descr, 0)
    former = PyDataMem_SetHandler(handler)
    try:
        return PyArray_NewLikeArray(a, cnp.NPY_KEEPORDER, descr, 0)
    finally:
        PyDataMem_SetHandler(former)


def set_limit(size_t bytes):
    """Keep at most so many bytes; 0: none, and let NumPy allocate."""
    global limit
    limit = bytes
    trim(limit)


def get_limit():
    return limit


def cached():
    """Bytes that wait for another result."""
    return kept_bytes


def clear():
    """Give every kept block back to the system."""
    trim(0)
