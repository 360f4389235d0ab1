"""Pooling over windows of 1, 2 or 3 spatial dimensions, and its gradients.

Adaptive and global pooling, whose windows follow from the output's size, are in adaptive_pool.py.

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
from operator import index
from typing import Any, TypeAlias

import numpy as np

from convnet import backend
from convnet.memory import empty
from convnet.ops._arrays import (
    as_array,
    check_rank,
    check_shape,
    dense,
    is_channels_last,
    same_format,
)
from convnet.shapes import LAYOUTS, PoolDims, pool_dims

Ints: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[tuple[int, int]]


_INT32_PLACES = 2**31 - 1


def input_array(x: Any, rank: int) -> np.ndarray:
    x = as_array(x, "x")
    check_rank(x, "x", rank + 2, LAYOUTS[rank])
    return dense(x)


def output_gradient(dy: Any, rank: int, shape: tuple[int, ...]) -> np.ndarray:
    dy = as_array(dy, "dy")
    check_rank(dy, "dy", rank + 2, LAYOUTS[rank])
    check_shape(dy, "dy", shape, "like the pool's output")
    return dense(dy)


def input_shape(x_shape: Any, rank: int, name: str = "x_shape") -> tuple[int, ...]:
    """The shape as a tuple of plain integers: the batch of at least 0, all others of at least 1."""
    try:
        shape = tuple(map(index, x_shape))
    except TypeError:
        raise TypeError(f"{name}: expected {rank + 2} integers, got {x_shape!r}") from None
    if len(shape) != rank + 2 or shape[0] < 0 or min(shape[1:]) < 1:
        raise ValueError(
            f"{name}: expected {LAYOUTS[rank]} of at least 1 each (N: 0), got {x_shape!r}"
        )
    return shape


def _out_shape(dims: PoolDims) -> tuple[int, ...]:
    return (dims.batch, dims.channels, *dims.out_size)


def _check_windows(dims: PoolDims) -> None:
    """ValueError for a window whose dilated taps all fall into the padding: it has no maximum."""
    for i, d in enumerate(dims.dilation):
        if d == 1:
            continue
        n, m, low = dims.in_size[i], dims.kernel_size[i], dims.pad_low[i]
        for start in range(-low, min(0, dims.out_size[i] * dims.stride[i] - low), dims.stride[i]):
            first = start + -(start // d) * d
            if first >= n or first > start + (m - 1) * d:
                raise ValueError(
                    f"padding: with kernel_size {dims.kernel_size} and dilation {dims.dilation} "
                    f"the window at {start} of axis {i + 2} (extent {n}) holds padding only"
                )


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
    dims = pool_dims(x.shape, kernel_size, stride, padding, dilation, ceil_mode, rank=rank)
    _check_windows(dims)
    channels_last, shape = is_channels_last(x), _out_shape(dims)
    y = empty(shape, x.dtype, channels_last)
    indices = None
    if return_indices:
        small = prod(dims.in_size) <= _INT32_PLACES
        if not small:
            _check_span(dims)
        indices = empty(shape, np.dtype(np.int32 if small else np.int64), channels_last)
    if y.size:
        backend.active().max_pool(x, y, indices, dims)
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
    """The checked indices of a max pool, as int32 or int64."""
    if type(indices) is not np.ndarray:
        if not hasattr(indices, "__dlpack__"):
            kind = f"{type(indices).__module__}.{type(indices).__qualname__}"
            raise TypeError(f"indices: expected a numpy.ndarray of integers, got {kind}")
        indices = np.from_dlpack(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices: expected integers, got {indices.dtype}")
    check_shape(indices, "indices", shape, "like dy")
    places = prod(dims.in_size)
    if places > _INT32_PLACES:
        _check_span(dims)
    if indices.dtype not in (np.int32, np.int64) or not indices.flags.aligned:
        wide = indices.dtype == np.uint64
        indices = np.minimum(indices, places).astype(np.int64) if wide else indices.astype(np.int64)
    indices = dense(indices)
    if indices.size:
        # Read as unsigned, a negative index is a huge one: a single pass tells both ends.
        high = int(indices.view(f"u{indices.dtype.itemsize}").max())
        if high >= places:
            wrong = indices[(indices < 0) | (indices >= places)][0]
            raise ValueError(
                f"indices: expected places 0 to {places - 1} of a plane {dims.in_size}, got {wrong}"
            )
    return indices


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
    dims = pool_dims(x_shape, kernel_size, stride, padding, dilation, ceil_mode, rank=rank)
    _check_windows(dims)
    shape = _out_shape(dims)
    dy = output_gradient(dy, rank, shape)
    indices = same_format(_places(indices, shape, dims), dy)
    dx = empty(x_shape, dy.dtype, is_channels_last(dy))
    if dx.size:
        backend.active().max_pool_backward(dy, indices, dx, dims)
    return dx


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


def _avg_pool(
    rank: int,
    x: Any,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    x = input_array(x, rank)
    dims = pool_dims(
        x.shape,
        kernel_size,
        stride,
        padding,
        1,
        ceil_mode,
        count_include_pad,
        divisor_override,
        rank=rank,
    )
    y = empty(_out_shape(dims), x.dtype, is_channels_last(x))
    if y.size:
        backend.active().avg_pool(x, y, dims)
    return y


def avg_pool1d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """y[n,c,p] = (sum over r of x[n, c, p*stride + r - pad]) / divisor.

    x : (N, C, L)    ->    y : (N, C, P); see avg_pool2d.
    """
    return _avg_pool(
        1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool2d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """y[n,c,p,q] = (sum over r,s of x[n, c, p*stride + r - pad, ...]) / divisor.

    x : (N, C, H, W)    ->    y : (N, C, P, Q)
    divisor : divisor_override where given (a whole number, not 0); else how many elements the
    window has in the image and, with count_include_pad, in its padding.
    """
    return _avg_pool(
        2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """y[n,c,o,p,q] = (sum over t,r,s of x[n, c, o*stride + t - pad, ...]) / divisor.

    x : (N, C, D, H, W)    ->    y : (N, C, O, P, Q); see avg_pool2d.
    """
    return _avg_pool(
        3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def _avg_pool_backward(
    rank: int,
    dy: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    x_shape = input_shape(x_shape, rank)
    dims = pool_dims(
        x_shape,
        kernel_size,
        stride,
        padding,
        1,
        ceil_mode,
        count_include_pad,
        divisor_override,
        rank=rank,
    )
    dy = output_gradient(dy, rank, _out_shape(dims))
    dx = empty(x_shape, dy.dtype, is_channels_last(dy))
    if dx.size:
        backend.active().avg_pool_backward(dy, dx, dims)
    return dx


def avg_pool1d_backward(
    dy: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """dx[n,c,l] = sum of dy[n,c,p] / divisor[p] over the windows p that hold l.

    dy : (N, C, P)    ->    dx : x_shape = (N, C, L); see avg_pool2d.
    """
    return _avg_pool_backward(
        1, dy, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool2d_backward(
    dy: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] / divisor[p,q] over the windows p,q that hold h,w.

    dy : (N, C, P, Q)    ->    dx : x_shape = (N, C, H, W); see avg_pool2d.
    """
    return _avg_pool_backward(
        2, dy, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d_backward(
    dy: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """dx[n,c,d,h,w] = sum of dy[n,c,o,p,q] / divisor[o,p,q] over the windows that hold d,h,w.

    dy : (N, C, O, P, Q)    ->    dx : x_shape = (N, C, D, H, W); see avg_pool2d.
    """
    return _avg_pool_backward(
        3, dy, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
