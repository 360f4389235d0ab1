# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What ops asks of its arguments at every call: in C, so that a small product costs what it computes."""

cimport numpy as cnp

cnp.import_array()


cdef inline bint plain(object value) noexcept:
    """An ndarray itself, no subclass; float32 or float64, native and aligned."""
    if not cnp.PyArray_CheckExact(value):
        return False
    cdef cnp.ndarray a = <cnp.ndarray> value
    cdef int kind = cnp.PyArray_TYPE(a)
    return (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) and cnp.PyArray_ISBEHAVED_RO(a)


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


def fits_kernel(tuple shape not None, tuple strides not None, item):
    """Whether one axis of the last two is contiguous, the other ascending."""
    cdef Py_ssize_t r = len(shape) - 2, q = len(shape) - 1
    return in_order(shape[r], shape[q], strides[r], strides[q], item)


def product_shape(a, b):
    """(M, N) of the product of two matrices that need nothing but multiplying; None for all others."""
    if not plain(a) or not plain(b):
        return None
    cdef cnp.ndarray left = <cnp.ndarray> a, right = <cnp.ndarray> b
    if (cnp.PyArray_NDIM(left) != 2 or cnp.PyArray_NDIM(right) != 2
            or cnp.PyArray_TYPE(left) != cnp.PyArray_TYPE(right)
            or cnp.PyArray_DIM(left, 1) != cnp.PyArray_DIM(right, 0)
            or cnp.PyArray_SIZE(left) == 0 or cnp.PyArray_SIZE(right) == 0
            or not is_in_order(left) or not is_in_order(right)):
        return None
    return cnp.PyArray_DIM(left, 0), cnp.PyArray_DIM(right, 1)
