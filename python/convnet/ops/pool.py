"""Max pooling over windows of 1, 2 or 3 spatial dimensions, and its gradients.

Average pooling is in avg_pool.py; adaptive and global pooling, whose windows follow from the
output's size, in adaptive_pool.py.

N batch, C channels, D H W the input's extents, L the extent of a one-dimensional input, P Q (and O
in three dimensions) the output's. All ranks run on one path.

Windows: kernel_size, stride (None: kernel_size) and dilation are an int or one int a dimension.
padding is that too, or one (low, high) pair a dimension, or "valid" (none) or "same" (an output of
ceil(n/stride), the odd element at the end; not together with ceil_mode); it must be smaller than
the dilated kernel. With ceil_mode the output's extent is rounded up, and a last window that would
begin beyond the input and its low padding is dropped. What lies outside never wins a maximum and
adds 0 to an average.

Results keep their input's memory format, a gradient dx that of dy. Zero-size batches give empty
results. Every function raises TypeError for another type than float32 or float64 and for mixed
types, ValueError for a wrong number of dimensions, a wrong shape, an empty image, or windows that
do not fit.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convnet import backend
from convnet.gpu import foreign
from convnet.kernels.arrays import are_places, count_within
from convnet.memory import empty, empty_as
from convnet.ops._arrays import check_device, check_shape, dense, native, same_format
from convnet.ops._windows import Ints, Padding, input_array, input_shape, output_gradient, windows
from convnet.shapes import PoolDims

_INT32_PLACES = 2**31 - 1
_INT32 = np.dtype(np.int32)
_PLACES = (_INT32, np.dtype(np.int64))


def _check_span(dims: PoolDims) -> None:
    """ValueError for a window too large for the places inside it to be counted in 32 bits."""
    span = 0
    for n, m, d in zip(dims.in_size, dims.kernel_size, dims.dilation, strict=True):
        span = span * n + d * (m - 1)
    if span >= _INT32_PLACES:
        raise ValueError(
            f"kernel_size: a window of {dims.kernel_size} over planes of {dims.in_size} spans "
            f"{span} places; indices are limited to windows of fewer than 2**31"
        )


def _max_pool(
    rank: int,
    x: Any,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x = input_array(x, rank)
    dims, shape = windows(rank, x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    y = empty_as(shape, x)
    indices = None
    if return_indices:
        small = prod(dims.in_size) <= _INT32_PLACES
        if not small:
            _check_span(dims)
        indices = empty(shape, _PLACES[0 if small else 1], not x.flags.c_contiguous, x)
    if y.size:
        backend.active(x).max_pool(x, y, indices, dims)
    if type(y) is not np.ndarray:
        y, indices = native(y), native(indices)
    return (y, indices) if return_indices else y


def max_pool1d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """y[n,c,p] = max over r of x[n, c, p*stride + r*dilation - pad].

    x : (N, C, L)    ->    y : (N, C, P), with return_indices (y, indices); see max_pool2d.
    """
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """y[n,c,p,q] = max over r,s of x[n, c, p*stride + r*dilation - pad, ...].

    x : (N, C, H, W)    ->    y : (N, C, P, Q), with return_indices (y, indices).
    indices : like y; the winner's h*W + w, int32 while H*W allows it, else int64. It is the first
    maximum of a window in row-major order. NaN wins over every number, the last one if several.

    Windows, padding and errors: see the module. ValueError too for a dilated window that would
    hold padding only.
    """
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """y[n,c,o,p,q] = max over t,r,s of x[n, c, o*stride + t*dilation - pad, ...].

    x : (N, C, D, H, W)    ->    y : (N, C, O, P, Q), with return_indices (y, indices); see
    max_pool2d. indices count (d*H + h)*W + w.
    """
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _places(indices: Any, shape: tuple[int, ...], dims: PoolDims) -> np.ndarray:
    """The checked indices of a max pool, as int32; as int64 where a plane needs that."""
    if type(indices) is not np.ndarray:
        if hasattr(indices, "__cuda_array_interface__"):
            indices = foreign.wrap(indices, "indices")
        elif not hasattr(indices, "__dlpack__"):
            kind = f"{type(indices).__module__}.{type(indices).__qualname__}"
            raise TypeError(f"indices: expected a numpy.ndarray of integers, got {kind}")
        else:
            indices = np.from_dlpack(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices: expected integers, got {indices.dtype}")
    check_shape(indices, "indices", shape, "like dy")
    places = prod(dims.in_size)
    if places > _INT32_PLACES:
        _check_span(dims)
    if indices.dtype not in _PLACES or not indices.flags.aligned:
        wide = indices.dtype == np.uint64
        indices = np.minimum(indices, places).astype(np.int64) if wide else indices.astype(np.int64)
    indices = dense(indices)
    # The values of indices on a GPU are not looked at: that would wait for it.
    if indices.size and type(indices) is np.ndarray and count_within(indices, places, 0) < 0:
        raise _misplaced(indices, dims)
    if places <= _INT32_PLACES and indices.dtype != _INT32:
        indices = indices.astype(_INT32)
    return indices


def _misplaced(indices: np.ndarray, dims: PoolDims) -> ValueError:
    places = prod(dims.in_size)
    wrong = indices[(indices < 0) | (indices >= places)][0]
    return ValueError(
        f"indices: expected places 0 to {places - 1} of a plane {dims.in_size}, got {wrong}"
    )


def _max_pool_backward(
    rank: int,
    dy: Any,
    indices: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
) -> np.ndarray:
    x_shape = input_shape(x_shape, rank)
    dims, shape = windows(rank, x_shape, kernel_size, stride, padding, dilation, ceil_mode)
    dy = output_gradient(dy, rank, shape)
    if type(dy) is not np.ndarray or not are_places(indices, dy, dims.in_size):
        indices = _places(indices, shape, dims)
        check_device("dy", dy, indices=indices)
        indices = same_format(indices, dy)
    dx = empty_as(x_shape, dy)
    if dx.size and not backend.active(dy).max_pool_backward(dy, indices, dx, dims):
        raise _misplaced(indices, dims)
    return dx if type(dx) is np.ndarray else native(dx)


def max_pool1d_backward(
    dy: Any,
    indices: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """dx[n,c,l] = sum of dy[n,c,p] over the windows p whose indices[n,c,p] is l.

    dy, indices : (N, C, P)    ->    dx : x_shape = (N, C, L); see max_pool2d_backward.
    """
    return _max_pool_backward(
        1, dy, indices, x_shape, kernel_size, stride, padding, dilation, ceil_mode
    )


def max_pool2d_backward(
    dy: Any,
    indices: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] over the windows p,q whose indices[n,c,p,q] is h*W + w.

    dy, indices : (N, C, P, Q)    ->    dx : x_shape = (N, C, H, W)

    indices are those that max_pool2d gave for the same windows, of any integer type. TypeError for
    other types, ValueError for indices outside the plane; an index that lies in the plane but not
    in its own window passes no gradient on.
    """
    return _max_pool_backward(
        2, dy, indices, x_shape, kernel_size, stride, padding, dilation, ceil_mode
    )


def max_pool3d_backward(
    dy: Any,
    indices: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """dx[n,c,d,h,w] = sum of dy over the windows whose index is (d*H + h)*W + w.

    dy, indices : (N, C, O, P, Q)    ->    dx : x_shape = (N, C, D, H, W); see max_pool2d_backward.
    """
    return _max_pool_backward(
        3, dy, indices, x_shape, kernel_size, stride, padding, dilation, ceil_mode
    )
