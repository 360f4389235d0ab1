# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What ops asks of its arguments at every call: in C, so that a small call costs what it computes.

A function here finds that nothing is left to do to some arguments, or says that something may be
(None, False, a negative number). Then the Python function beside its caller looks closer: it
converts, copies, or raises the error that names the argument. Nothing is refused here.
"""

cimport numpy as cnp
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from convnet.kernels import memory

cnp.import_array()

cdef object empty_like = memory.empty_like

# One array --------------------------------------------------------------------------------------

cdef inline bint plain(object value) noexcept:
    """An ndarray itself, no subclass; float32 or float64, native and aligned."""
    if not cnp.PyArray_CheckExact(value):
        return False
    cdef cnp.ndarray a = <cnp.ndarray> value
    cdef int kind = cnp.PyArray_TYPE(a)
    return (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) and cnp.PyArray_ISBEHAVED_RO(a)


cdef inline bint channels_last(cnp.ndarray a) noexcept:
    """Dense with axis 1 innermost; as for NumPy, an axis of one element may have any stride."""
    cdef int ndim = cnp.PyArray_NDIM(a), i
    cdef cnp.npy_intp step = cnp.PyArray_ITEMSIZE(a)
    if cnp.PyArray_IS_C_CONTIGUOUS(a) or ndim < 3 or ndim > 5:
        return False
    if cnp.PyArray_DIM(a, 1) != 1 and cnp.PyArray_STRIDE(a, 1) != step:
        return False
    step *= cnp.PyArray_DIM(a, 1)
    for i in range(ndim - 1, -1, -1):
        if i == 1:
            continue
        if cnp.PyArray_DIM(a, i) != 1 and cnp.PyArray_STRIDE(a, i) != step:
            return False
        step *= cnp.PyArray_DIM(a, i)
    return True


cdef inline bint dense(cnp.ndarray a) noexcept:
    return cnp.PyArray_IS_C_CONTIGUOUS(a) or channels_last(a)


cdef inline bint in_order(cnp.npy_intp rows, cnp.npy_intp cols, cnp.npy_intp row, cnp.npy_intp col,
                          cnp.npy_intp item) noexcept:
    if cols == 1:
        return row == item or rows == 1
    if rows == 1:
        return col == item
    return (col == item and row > 0) or (row == item and col > 0)


cdef inline bint is_in_order(cnp.ndarray a) noexcept:
    return in_order(cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1), cnp.PyArray_STRIDE(a, 0),
                    cnp.PyArray_STRIDE(a, 1), cnp.PyArray_ITEMSIZE(a))


def is_plain(value):
    """Whether as_array has nothing to do: an exact, native, aligned array of float32 or float64."""
    return plain(value)


def is_channels_last(cnp.ndarray a not None):
    """Whether a (rank 3 to 5) is dense with its channels innermost, and not C-contiguous."""
    return channels_last(a)


def is_dense(value):
    """Whether this is an ndarray in either memory format."""
    return cnp.PyArray_CheckExact(value) and dense(<cnp.ndarray> value)


def is_image(value, int ndim):
    """Whether this is a plain array of so many axes in either memory format."""
    return (plain(value) and cnp.PyArray_NDIM(<cnp.ndarray> value) == ndim
            and dense(<cnp.ndarray> value))


def is_shape(value, Py_ssize_t n):
    """Whether this is a tuple of n plain integers, the first at least 0, the others at least 1."""
    cdef Py_ssize_t i
    cdef int overflow = 0
    if type(value) is not tuple or len(<tuple> value) != n:
        return False
    for i in range(n):
        if not PyLong_CheckExact((<tuple> value)[i]):
            return False
        if PyLong_AsLongLongAndOverflow((<tuple> value)[i], &overflow) < (1 if i else 0):
            return False
    return overflow == 0


def fits_kernel(tuple shape not None, tuple strides not None, item):
    """Whether one axis of the last two is contiguous, the other ascending."""
    cdef Py_ssize_t r = len(shape) - 2, q = len(shape) - 1
    return in_order(shape[r], shape[q], strides[r], strides[q], item)


# Several arrays ---------------------------------------------------------------------------------

cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int ndim = cnp.PyArray_NDIM(a), i
    if cnp.PyArray_NDIM(b) != ndim:
        return False
    for i in range(ndim):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i):
            return False
    return True


cdef inline bint same_order(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Arrays of one shape whose elements follow one another alike, whatever their size."""
    cdef int i
    cdef cnp.npy_intp p = cnp.PyArray_ITEMSIZE(a), q = cnp.PyArray_ITEMSIZE(b)
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDE(a, i) * q != cnp.PyArray_STRIDE(b, i) * p:
            return False
    return True


cdef inline bint alike(cnp.ndarray a, object other) noexcept:
    """Plain, of the type, the shape and the memory order of a."""
    if not plain(other):
        return False
    cdef cnp.ndarray b = <cnp.ndarray> other
    return cnp.PyArray_TYPE(a) == cnp.PyArray_TYPE(b) and same_shape(a, b) and same_order(a, b)


cdef inline bint apart_or_same(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Dense arrays of one size: in memory of their own, or in the very same."""
    cdef uintptr_t p = <uintptr_t> cnp.PyArray_DATA(a), q = <uintptr_t> cnp.PyArray_DATA(b)
    return p == q or (p - q if p > q else q - p) >= <uintptr_t> cnp.PyArray_NBYTES(a)


def are_alike(a, b):
    """Whether both are plain, of one type, one shape and one memory format."""
    return plain(a) and dense(<cnp.ndarray> a) and alike(<cnp.ndarray> a, b)


def result(out, a, b=None):
    """Memory for an element-wise function of a (and b): `out`, perhaps an input, or a fresh array.

    None unless all are plain, dense, alike and not empty, and out can be written.
    """
    if not plain(a) or not dense(<cnp.ndarray> a) or cnp.PyArray_SIZE(<cnp.ndarray> a) == 0:
        return None
    if b is not None and not alike(<cnp.ndarray> a, b):
        return None
    if out is None:
        return empty_like(a)
    if not alike(<cnp.ndarray> a, out) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out):
        return None
    if not apart_or_same(<cnp.ndarray> out, <cnp.ndarray> a):
        return None
    if b is not None and not apart_or_same(<cnp.ndarray> out, <cnp.ndarray> b):
        return None
    return out


cdef inline bint has_channels(cnp.ndarray image, object value) noexcept:
    """Plain, contiguous, a value for each channel of image; or None."""
    if value is None:
        return True
    if not plain(value):
        return False
    cdef cnp.ndarray a = <cnp.ndarray> value
    return (cnp.PyArray_NDIM(a) == 1 and cnp.PyArray_DIM(a, 0) == cnp.PyArray_DIM(image, 1)
            and cnp.PyArray_TYPE(a) == cnp.PyArray_TYPE(image) and cnp.PyArray_IS_C_CONTIGUOUS(a))


def have_channels(x, a=None, b=None, c=None, d=None):
    """Whether x is (N, C, ...), not empty and in either memory format, and the others (C,) or None.

    All plain, of one type, and contiguous.
    """
    if not plain(x):
        return False
    cdef cnp.ndarray image = <cnp.ndarray> x
    if not 2 <= cnp.PyArray_NDIM(image) <= 5 or cnp.PyArray_SIZE(image) == 0 or not dense(image):
        return False
    return (has_channels(image, a) and has_channels(image, b) and has_channels(image, c)
            and has_channels(image, d))


def is_mask_of(mask, dy):
    """Whether mask is of bools in dy's shape and memory order, dy plain, dense and not empty."""
    if not plain(dy) or not cnp.PyArray_CheckExact(mask):
        return False
    cdef cnp.ndarray a = <cnp.ndarray> dy, m = <cnp.ndarray> mask
    return (cnp.PyArray_TYPE(m) == cnp.NPY_BOOL and same_shape(a, m) and same_order(a, m)
            and dense(a) and cnp.PyArray_SIZE(a) > 0)


cdef inline bint writeable(object a) noexcept:
    return cnp.PyArray_CheckExact(a) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> a)


def is_writeable(a):
    """Whether this is an ndarray that may be written."""
    return writeable(a)


def are_trainable(x, running_mean, running_var, weight, bias):
    """Whether have_channels(x, ...), the running statistics can be written, and none shares memory.

    Different arrays that own their memory share none.
    """
    cdef tuple arrays = (running_mean, running_var, x, weight, bias)
    cdef Py_ssize_t i, j
    if not have_channels(x, running_mean, running_var, weight, bias):
        return False
    for i in range(5):
        if arrays[i] is None:
            continue
        if not cnp.PyArray_CHKFLAGS(<cnp.ndarray> arrays[i], cnp.NPY_ARRAY_OWNDATA):
            return False
        if i < 2 and not writeable(arrays[i]):
            return False
        for j in range(i):
            if arrays[i] is arrays[j]:
                return False
    return True


cdef inline bint are_factors(object a, object b, int axis) noexcept:
    """Plain matrices of one type, not empty, in order; axis 1 of a as long as that axis of b."""
    if not plain(a) or not plain(b):
        return False
    cdef cnp.ndarray left = <cnp.ndarray> a, right = <cnp.ndarray> b
    return (cnp.PyArray_NDIM(left) == 2 and cnp.PyArray_NDIM(right) == 2
            and cnp.PyArray_TYPE(left) == cnp.PyArray_TYPE(right)
            and cnp.PyArray_DIM(left, 1) == cnp.PyArray_DIM(right, axis)
            and cnp.PyArray_SIZE(left) != 0 and cnp.PyArray_SIZE(right) != 0
            and is_in_order(left) and is_in_order(right))


def product_shape(a, b):
    """(M, N) of the product of matrices that need nothing but multiplying; None for all others."""
    if not are_factors(a, b, 0):
        return None
    return cnp.PyArray_DIM(<cnp.ndarray> a, 0), cnp.PyArray_DIM(<cnp.ndarray> b, 1)


def linear_shape(x, w, b):
    """(M, O) of a linear layer on x (M, I), w (O, I), b (O,) or None, if nothing is left to do."""
    if not are_factors(x, w, 1):
        return None
    cdef cnp.ndarray left = <cnp.ndarray> x, right = <cnp.ndarray> w, bias
    if b is not None:
        if not plain(b):
            return None
        bias = <cnp.ndarray> b
        if (cnp.PyArray_NDIM(bias) != 1 or cnp.PyArray_TYPE(bias) != cnp.PyArray_TYPE(left)
                or cnp.PyArray_DIM(bias, 0) != cnp.PyArray_DIM(right, 0)
                or not cnp.PyArray_IS_C_CONTIGUOUS(bias)):
            return None
    return cnp.PyArray_DIM(left, 0), cnp.PyArray_DIM(right, 0)


def is_gradient(dy, cnp.ndarray x not None, cnp.ndarray w not None):
    """Whether dy is the contiguous gradient of a result with linear_shape(x, w)."""
    if not plain(dy):
        return False
    cdef cnp.ndarray a = <cnp.ndarray> dy
    return (cnp.PyArray_NDIM(a) == 2 and cnp.PyArray_TYPE(a) == cnp.PyArray_TYPE(x)
            and cnp.PyArray_DIM(a, 0) == cnp.PyArray_DIM(x, 0)
            and cnp.PyArray_DIM(a, 1) == cnp.PyArray_DIM(w, 0) and cnp.PyArray_IS_C_CONTIGUOUS(a))


include "arrays_kept.pxi"
include "arrays_images.pxi"
include "arrays_places.pxi"
include "arrays_views.pxi"
