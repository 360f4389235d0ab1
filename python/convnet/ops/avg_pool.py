"""Average pooling over windows of 1, 2 or 3 spatial dimensions, and its gradients.

Windows, formats, types and errors are those of pool.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet import backend
from convnet.memory import empty_as
from convnet.ops._arrays import native
from convnet.ops._windows import Ints, Padding, input_array, input_shape, output_gradient, windows


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
    count = count_include_pad, divisor_override
    dims, shape = windows(rank, x.shape, kernel_size, stride, padding, 1, ceil_mode, *count)
    y = empty_as(shape, x)
    if y.size:
        backend.active(x).avg_pool(x, y, dims)
    return y if type(y) is np.ndarray else native(y)


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
    divisor : how many elements the window has in the image and, with count_include_pad, in its
    padding. divisor_override, a whole number of at least 1, takes its place for every window,
    those at the edges too, whatever count_include_pad says: 1 gives the windows' sums.
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
    count = count_include_pad, divisor_override
    dims, shape = windows(rank, x_shape, kernel_size, stride, padding, 1, ceil_mode, *count)
    dy = output_gradient(dy, rank, shape)
    dx = empty_as(x_shape, dy)
    if dx.size:
        backend.active(dy).avg_pool_backward(dy, dx, dims)
    return dx if type(dx) is np.ndarray else native(dx)


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
