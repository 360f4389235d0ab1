# Integers that name places: classes of a loss, indices of a max pool. A loss's are checked at every
# call, because its kernel would follow them anywhere; a pool's gradient compares them only, and checks
# them on the way.

ctypedef fused place_t:
    int32_t
    int64_t

ctypedef fused unsigned_t:
    uint32_t
    uint64_t


cdef Py_ssize_t within(const place_t *v, Py_ssize_t size, unsigned_t n, place_t ignored) noexcept:
    """How many elements are not `ignored`; -1 if one of them is not from 0 to n - 1."""
    cdef Py_ssize_t count = 0, i
    cdef bint counts, beyond = False
    for i in range(size):
        counts = v[i] != ignored
        count += counts
        beyond |= counts & (<unsigned_t> v[i] >= n)
    return -1 if beyond else count


def count_within(cnp.ndarray a not None, n, ignored):
    """How many elements are not `ignored`; -1 if one of them is not from 0 to n - 1.

    a : dense, of int32 or int64
    """
    cdef Py_ssize_t size = cnp.PyArray_SIZE(a)
    if cnp.PyArray_ITEMSIZE(a) == 4:
        return within[int32_t, uint32_t](<const int32_t *> cnp.PyArray_DATA(a), size,
                                         min(n, 1 << 31), ignored)
    return within[int64_t, uint64_t](<const int64_t *> cnp.PyArray_DATA(a), size, n, ignored)


def count_classes(x, target, ignore_index):
    """How many targets count in a class loss of x (N, C, ...) or (C,), if nothing is left to check.

    x plain, dense and not empty; target an int64 array of its shape without C, contiguous, of
    classes or ignore_index, an int of 64 bits. Else -1.
    """
    cdef cnp.ndarray a, t
    cdef int axis, i, overflow = 0
    cdef int64_t ignored
    if not plain(x) or not cnp.PyArray_CheckExact(target) or not PyLong_CheckExact(ignore_index):
        return -1
    a, t = <cnp.ndarray> x, <cnp.ndarray> target
    if cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(t) + 1 or cnp.PyArray_SIZE(a) == 0 or not dense(a):
        return -1
    if (cnp.PyArray_TYPE(t) != cnp.NPY_INT64 or not cnp.PyArray_ISBEHAVED_RO(t)
            or not cnp.PyArray_IS_C_CONTIGUOUS(t)):
        return -1
    axis = 1 if cnp.PyArray_NDIM(a) > 1 else 0
    for i in range(cnp.PyArray_NDIM(t)):
        if cnp.PyArray_DIM(t, i) != cnp.PyArray_DIM(a, i if i < axis else i + 1):
            return -1
    ignored = PyLong_AsLongLongAndOverflow(ignore_index, &overflow)
    if overflow:
        return -1
    return within[int64_t, uint64_t](<const int64_t *> cnp.PyArray_DATA(t), cnp.PyArray_SIZE(t),
                                     cnp.PyArray_DIM(a, axis), ignored)


def are_places(indices, cnp.ndarray dy not None, tuple in_size not None):
    """Whether these are int32, which counts planes of in_size, in dy's shape and memory order."""
    cdef cnp.ndarray a
    cdef int64_t places = 1, n
    if not cnp.PyArray_CheckExact(indices):
        return False
    a = <cnp.ndarray> indices
    if (cnp.PyArray_TYPE(a) != cnp.NPY_INT32 or not cnp.PyArray_ISBEHAVED_RO(a)
            or not same_shape(a, dy) or not same_order(a, dy) or not dense(a)):
        return False
    for extent in in_size:
        n = extent
        if n > 0x7fffffff // places:
            return False
        places *= n
    return True
