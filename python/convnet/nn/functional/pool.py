"""Pooling and resampling."""

from typing import Any

import numpy as np

from convnet import ops
from convnet.nn.tensor import Tensor, as_tensor, tracked


def _batched(rank: int, input: Any) -> tuple[Tensor, bool]:
    """(input with a batch axis, whether it came without one)."""
    x = as_tensor(input)
    return (x.unsqueeze(0), True) if x.ndim == rank + 1 else (x, False)


def _max_pool(rank: int, input: Any, windows: tuple[Any, ...], return_indices: bool) -> Any:
    x, single = _batched(rank, input)
    shape = x.shape
    forward, gradient = _MAX[rank]
    if not (return_indices or tracked(x)):
        y = Tensor.of(forward(x._data, *windows))
        return y.squeeze(0) if single else y
    values, indices = forward(x._data, *windows, True)
    y = Tensor.result(values, (x,), lambda dy: (gradient(dy, indices, shape, *windows),))
    if not return_indices:
        return y.squeeze(0) if single else y
    places = Tensor.of(indices.astype(np.int64))
    return (y.squeeze(0), places.squeeze(0)) if single else (y, places)


_MAX = {
    1: (ops.max_pool1d, ops.max_pool1d_backward),
    2: (ops.max_pool2d, ops.max_pool2d_backward),
    3: (ops.max_pool3d, ops.max_pool3d_backward),
}


def _avg_pool(rank: int, input: Any, windows: tuple[Any, ...]) -> Tensor:
    x, single = _batched(rank, input)
    shape = x.shape
    forward, gradient = _AVG[rank]
    y = Tensor.result(forward(x._data, *windows), (x,), lambda dy: (gradient(dy, shape, *windows),))
    return y.squeeze(0) if single else y


_AVG = {
    1: (ops.avg_pool1d, ops.avg_pool1d_backward),
    2: (ops.avg_pool2d, ops.avg_pool2d_backward),
    3: (ops.avg_pool3d, ops.avg_pool3d_backward),
}


def _adaptive(rank: int, input: Any, output_size: Any) -> Tensor:
    x, single = _batched(rank, input)
    shape = x.shape
    forward, gradient = _ADAPTIVE[rank]
    y = Tensor.result(forward(x._data, output_size), (x,), lambda dy: (gradient(dy, shape),))
    return y.squeeze(0) if single else y


_ADAPTIVE = {
    1: (ops.adaptive_avg_pool1d, ops.adaptive_avg_pool1d_backward),
    2: (ops.adaptive_avg_pool2d, ops.adaptive_avg_pool2d_backward),
    3: (ops.adaptive_avg_pool3d, ops.adaptive_avg_pool3d_backward),
}


def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of (N, C, L); see ops.max_pool1d.

    (y, indices) with return_indices.
    """
    windows = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool(1, input, windows, return_indices)


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of (N, C, H, W); see ops.max_pool2d.

    (y, indices) with return_indices.
    """
    windows = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool(2, input, windows, return_indices)


def max_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of (N, C, D, H, W); see ops.max_pool3d.

    (y, indices) with return_indices.
    """
    windows = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool(3, input, windows, return_indices)


def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of (N, C, L); see ops.avg_pool1d."""
    windows = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool(1, input, windows)


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (N, C, H, W); see ops.avg_pool2d."""
    windows = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(2, input, windows)


def avg_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (N, C, D, H, W); see ops.avg_pool3d."""
    windows = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(3, input, windows)


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """Means over output_size cells of (N, C, L); None keeps an extent."""
    return _adaptive(1, input, output_size)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Means over output_size cells of (N, C, H, W); None keeps an extent."""
    return _adaptive(2, input, output_size)


def adaptive_avg_pool3d(input: Any, output_size: Any) -> Tensor:
    """Means over output_size cells of (N, C, D, H, W); None keeps an extent."""
    return _adaptive(3, input, output_size)


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """(N, C, L) or (N, C, H, W) in another size: "nearest", "linear", "bilinear".

    recompute_scale_factor : take the ratio of the sizes in place of scale_factor. antialias raises
    NotImplementedError. See ops.interpolate.
    """
    if antialias:
        raise NotImplementedError("antialias: this version has none; pool before making smaller")
    x = as_tensor(input)
    shape = x.shape
    how: tuple[Any, ...] = (size, scale_factor, mode, bool(align_corners))
    y = ops.interpolate(x._data, *how)
    if recompute_scale_factor and scale_factor is not None:
        how = (y.shape[2:], None, mode, bool(align_corners))
        y = ops.interpolate(x._data, *how)
    return Tensor.result(y, (x,), lambda dy: (ops.interpolate_backward(dy, shape, *how),))
