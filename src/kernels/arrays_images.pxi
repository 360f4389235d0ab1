# Images and weights, results and gradients of convolutions; signals as images.

def look_up_images(dict kept not None, function, x, w, tuple how not None):
    """look_up of function(x.shape, w.shape, *how), if nothing is left to do to x and w; else None.

    x, w : plain, of one type, each in either memory format
    """
    if not plain(x) or not plain(w):
        return None
    cdef cnp.ndarray a = <cnp.ndarray> x, b = <cnp.ndarray> w
    if cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b) or not dense(a) or not dense(b):
        return None
    return look_up(kept, function, (x.shape, w.shape) + how)


def is_vector(value, cnp.ndarray like not None, Py_ssize_t n):
    """Whether this is None, or plain, (n,), contiguous and of the type of `like`."""
    if value is None:
        return True
    if not plain(value):
        return False
    cdef cnp.ndarray a = <cnp.ndarray> value
    return (cnp.PyArray_NDIM(a) == 1 and cnp.PyArray_DIM(a, 0) == n
            and cnp.PyArray_TYPE(a) == cnp.PyArray_TYPE(like) and cnp.PyArray_IS_C_CONTIGUOUS(a))


def is_image_beside(value, cnp.ndarray like not None, tuple shape not None):
    """Whether this is plain, of that shape, and of the type and the memory format of a dense `like`."""
    cdef Py_ssize_t i
    if not plain(value):
        return False
    cdef cnp.ndarray a = <cnp.ndarray> value
    if (cnp.PyArray_NDIM(a) != len(shape) or cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(like)
            or cnp.PyArray_IS_C_CONTIGUOUS(a) != cnp.PyArray_IS_C_CONTIGUOUS(like)):
        return False
    for i in range(len(shape)):
        if cnp.PyArray_DIM(a, <int> i) != <Py_ssize_t> shape[i]:
            return False
    return dense(a)


def look_up_kernel(dict kept not None, choose, dims, cnp.ndarray a not None,
                   cnp.ndarray b not None, gradient, precision):
    """choose(dims, a's format, b's, gradient, bytes of an element), kept for these very dims.

    A format is True for channels-last. `precision` only tells apart. The oldest go.
    """
    cdef bint first = not cnp.PyArray_IS_C_CONTIGUOUS(a), second = not cnp.PyArray_IS_C_CONTIGUOUS(b)
    cdef int item = <int> cnp.PyArray_ITEMSIZE(a)
    key = (<uintptr_t> <void *> dims, 4 * item + 2 * first + second, gradient, precision)
    found = kept.get(key)
    if found is None or (<tuple> found)[0] is not dims:
        found = dims, choose(dims, first, second, gradient, item)
        keep(kept, key, found)
    return (<tuple> found)[1]
