"""What the pooling functions check alike, and their windows, which are remembered."""

from collections.abc import Sequence
from operator import index
from typing import Any, TypeAlias

import numpy as np

from convnet.kernels.arrays import is_image, is_shape, look_up
from convnet.ops._arrays import as_array, check_rank, check_shape, dense
from convnet.shapes import LAYOUTS, PoolDims, pool_dims

Ints: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[tuple[int, int]]
Windows: TypeAlias = tuple[PoolDims, tuple[int, ...]]

# Checking a call's windows takes longer than pooling a thousand elements: they are kept.
_kept: dict[Any, Windows] = {}


def input_array(x: Any, rank: int) -> np.ndarray:
    if is_image(x, rank + 2):
        return x
    x = as_array(x, "x")
    check_rank(x, "x", rank + 2, LAYOUTS[rank])
    return dense(x)


def output_gradient(dy: Any, rank: int, shape: tuple[int, ...]) -> np.ndarray:
    if is_image(dy, rank + 2) and dy.shape == shape:
        return dy
    dy = as_array(dy, "dy")
    check_rank(dy, "dy", rank + 2, LAYOUTS[rank])
    check_shape(dy, "dy", shape, "like the pool's output")
    return dense(dy)


def input_shape(x_shape: Any, rank: int, name: str = "x_shape") -> tuple[int, ...]:
    """The shape as a tuple of plain integers: the batch of at least 0, all others of at least 1."""
    if is_shape(x_shape, rank + 2):
        return x_shape
    try:
        shape = tuple(map(index, x_shape))
    except TypeError:
        raise TypeError(f"{name}: expected {rank + 2} integers, got {x_shape!r}") from None
    if len(shape) != rank + 2 or shape[0] < 0 or min(shape[1:]) < 1:
        raise ValueError(
            f"{name}: expected {LAYOUTS[rank]} of at least 1 each (N: 0), got {x_shape!r}"
        )
    return shape


def _windows(
    rank: int,
    x_shape: tuple[int, ...],
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Windows:
    dims = pool_dims(
        x_shape,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        count_include_pad,
        divisor_override,
        rank=rank,
    )
    _check_windows(dims)
    return dims, (dims.batch, dims.channels, *dims.out_size)


def windows(
    rank: int,
    x_shape: tuple[int, ...],
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Windows:
    """The checked windows of a pool of x_shape, and the shape of its output."""
    arguments = (
        rank,
        x_shape,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )
    return look_up(_kept, _windows, arguments)


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
