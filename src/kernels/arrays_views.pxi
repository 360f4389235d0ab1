# Views and scalars: what NumPy makes in three times the time, because it asks what is known here.

cdef extern from *:
    """
    /* A view of an array's memory, C-contiguous; the array is its base. */
    static PyObject *convnet_view(PyArrayObject *a, int ndim, npy_intp *shape) {
        PyArray_Descr *dtype = PyArray_DESCR(a);
        PyObject *view;
        Py_INCREF(dtype); /* is taken over */
        view = PyArray_NewFromDescr(&PyArray_Type, dtype, ndim, shape, NULL, PyArray_DATA(a),
                                    PyArray_FLAGS(a) & NPY_ARRAY_WRITEABLE, NULL);
        if (view == NULL) return NULL;
        Py_INCREF(a);
        if (PyArray_SetBaseObject((PyArrayObject *)view, (PyObject *)a) < 0) {
            Py_DECREF(view);
            return NULL;
        }
        return view;
    }
    static PyObject *convnet_scalar(PyArray_Descr *dtype) {
        Py_INCREF(dtype); /* is taken over */
        return PyArray_NewFromDescr(&PyArray_Type, dtype, 0, NULL, NULL, NULL, 0, NULL);
    }
    /* NumPy's scalar of float32 or float64. */
    static PyObject *convnet_number(double value, PyArray_Descr *dtype) {
        float single = (float)value;
        void *data = dtype->type_num == NPY_FLOAT ? (void *)&single : (void *)&value;
        return PyArray_Scalar(data, dtype, NULL);
    }
    """
    object convnet_number(double value, cnp.PyArray_Descr *dtype)
    object convnet_view(cnp.ndarray a, int ndim, cnp.npy_intp *shape)
    object convnet_scalar(cnp.PyArray_Descr *dtype)


cdef object flipped(cnp.ndarray a, Py_ssize_t n, cnp.npy_intp *shape):
    """A contiguous signal of n elements the other way round, as (1, 1, n)."""
    cdef cnp.ndarray out = <cnp.ndarray> empty_like(a)
    cdef Py_ssize_t i
    if cnp.PyArray_ITEMSIZE(a) == 4:
        for i in range(n):
            (<uint32_t *> cnp.PyArray_DATA(out))[i] = (<uint32_t *> cnp.PyArray_DATA(a))[n - 1 - i]
    else:
        for i in range(n):
            (<uint64_t *> cnp.PyArray_DATA(out))[i] = (<uint64_t *> cnp.PyArray_DATA(a))[n - 1 - i]
    shape[2] = n
    return convnet_view(out, 3, shape)


def signals(x, w):
    """Two signals as an image (1, 1, L) and a flipped kernel (1, 1, S), the longer one first.

    None unless both are plain, of one axis and one type, contiguous and not empty.
    """
    cdef cnp.ndarray a, b
    cdef cnp.npy_intp[3] shape
    cdef object image
    if not plain(x) or not plain(w):
        return None
    a, b = <cnp.ndarray> x, <cnp.ndarray> w
    if (cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_NDIM(b) != 1
            or cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b)
            or not cnp.PyArray_IS_C_CONTIGUOUS(a) or not cnp.PyArray_IS_C_CONTIGUOUS(b)):
        return None
    if cnp.PyArray_DIM(b, 0) > cnp.PyArray_DIM(a, 0):
        a, b = b, a
    if cnp.PyArray_DIM(b, 0) == 0:
        return None
    shape[0] = shape[1] = 1
    shape[2] = cnp.PyArray_DIM(a, 0)
    image = convnet_view(a, 3, shape)
    return image, flipped(b, cnp.PyArray_DIM(b, 0), shape)


cdef inline int place_of(int i, int ndim, bint turned) noexcept:
    """How many axes lie outside axis i in memory; turned: channels-last, axis 1 is the innermost."""
    if not turned:
        return i
    return ndim - 1 if i == 1 else max(i - 1, 0)


def rows(a, int axis):
    """A dense array as (outer, n, inner), C-contiguous, in memory order; n is `axis`, from 0."""
    cdef cnp.npy_intp[3] shape
    cdef cnp.npy_intp size
    cdef bint here = cnp.PyArray_CheckExact(a), turned
    cdef int ndim, i
    if here:
        ndim = cnp.PyArray_NDIM(<cnp.ndarray> a)
        turned = not cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> a)
    else:
        ndim = a.ndim
        turned = not a.flags.c_contiguous
    shape[0] = shape[1] = shape[2] = 1
    for i in range(ndim):
        size = cnp.PyArray_DIM(<cnp.ndarray> a, i) if here else a.shape[i]
        if i == axis:
            shape[1] = size
        elif place_of(i, ndim, turned) < place_of(axis, ndim, turned):
            shape[0] *= size
        else:
            shape[2] *= size
    if here:
        return convnet_view(<cnp.ndarray> a, 3, shape)
    if turned:
        a = a.transpose(0, *range(2, ndim), 1)
    return a.reshape(shape[0], shape[1], shape[2])


def matrix(a, like):
    """A contiguous array as (outer, inner) of `like` (outer, n, inner)."""
    cdef cnp.npy_intp[2] shape
    if not cnp.PyArray_CheckExact(a):
        return a.reshape(like.shape[0], like.shape[2])
    shape[0] = cnp.PyArray_DIM(<cnp.ndarray> like, 0)
    shape[1] = cnp.PyArray_DIM(<cnp.ndarray> like, 2)
    return convnet_view(<cnp.ndarray> a, 2, shape)


def scalar_array(double value, cnp.dtype dtype not None):
    """A 0-d array of float32 or float64; what is too large for it is inf."""
    cdef cnp.ndarray a = convnet_scalar(<cnp.PyArray_Descr *> dtype)
    if cnp.PyArray_ITEMSIZE(a) == 4:
        (<float *> cnp.PyArray_DATA(a))[0] = <float> value
    else:
        (<double *> cnp.PyArray_DATA(a))[0] = value
    return a


def reduced(cnp.ndarray total not None, cnp.dtype dtype not None, bint mean, Py_ssize_t count):
    """The number in total (0-d, float64), divided by count for a mean, as NumPy's scalar of dtype.

    NaN for the mean of none; what is too large is inf.
    """
    cdef double value = (<double *> cnp.PyArray_DATA(total))[0]
    if mean:
        value = value / count if count else NAN
    return convnet_number(value, <cnp.PyArray_Descr *> dtype)


ctypedef fused real_t:
    float
    double


cdef void blend_run(char *value, Py_ssize_t step, const real_t *latest, Py_ssize_t n,
                    real_t keep, real_t rate) noexcept:
    """value need not be aligned."""
    cdef Py_ssize_t i
    cdef real_t kept, added
    for i in range(n):
        memcpy(&kept, value, sizeof(real_t))
        kept = keep * kept
        added = rate * latest[i]
        kept = kept + added
        memcpy(value, &kept, sizeof(real_t))
        value += step


cdef void blend(object running, object latest, double keep, double rate):
    """running = keep running + rate latest, in place; both (C,), of one type, latest contiguous."""
    cdef cnp.ndarray value, new = <cnp.ndarray> latest
    cdef Py_ssize_t step, n = cnp.PyArray_DIM(new, 0)
    if running is None:
        return
    value = <cnp.ndarray> running
    step = cnp.PyArray_STRIDE(value, 0)
    if cnp.PyArray_ITEMSIZE(value) == 4:
        blend_run(<char *> cnp.PyArray_DATA(value), step,
                  <const float *> cnp.PyArray_DATA(new), n, <float> keep, <float> rate)
    else:
        blend_run(<char *> cnp.PyArray_DATA(value), step,
                  <const double *> cnp.PyArray_DATA(new), n, keep, rate)


def update_running(running_mean, running_var, cnp.ndarray mean not None, cnp.ndarray var not None,
                   double momentum, Py_ssize_t count):
    """The running statistics (or None) after a batch with `count` values a channel."""
    blend(running_mean, mean, 1 - momentum, momentum)
    blend(running_var, var, 1 - momentum, momentum * count / (count - 1))
