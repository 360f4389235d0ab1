"""Average pooling to a given output size, and over whole images; both with their gradients.

Cell p of Q along an axis of extent n holds the inputs from floor(p n/Q) up to, not including,
ceil((p+1) n/Q): cells cover the input and overlap where Q does not divide n. A global pool is the
single cell Q = 1. Formats, types and errors are those of pool.py.
"""

from collections.abc import Sequence
from operator import index
from typing import Any, TypeAlias

import numpy as np

from convnet import backend
from convnet.kernels.arrays import is_image, look_up
from convnet.memory import empty_as
from convnet.ops._arrays import as_array, check_rank, native
from convnet.ops._windows import input_array, input_shape, output_gradient
from convnet.shapes import LAYOUTS

OutputSize: TypeAlias = int | Sequence[int | None] | None


# Checking an output's size takes longer than pooling a thousand elements: it is kept.
_kept: dict[Any, tuple[int, ...]] = {}


def _output_size(output_size: OutputSize, in_size: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(in_size)
    sizes = output_size
    if type(sizes) is int and sizes > 0:
        return (sizes,) * rank
    if sizes is None or hasattr(sizes, "__index__"):
        sizes = (sizes,) * rank
    try:
        out = tuple(n if q is None else index(q) for q, n in zip(sizes, in_size, strict=True))
    except (TypeError, ValueError):
        raise TypeError(
            f"output_size: expected an integer or {rank} of them (or None: the input's), "
            f"got {output_size!r}"
        ) from None
    if min(out) < 1:
        raise ValueError(f"output_size: expected at least 1 in each dimension, got {output_size!r}")
    return out


def _output_shape(x_shape: tuple[int, ...], output_size: OutputSize) -> tuple[int, ...]:
    if 0 in x_shape[1:]:
        input_shape(x_shape, len(x_shape) - 2, "x")  # says what is wrong
    return (*x_shape[:2], *_output_size(output_size, x_shape[2:]))


def _pool(rank: int, x: Any, output_size: OutputSize) -> np.ndarray:
    x = input_array(x, rank)
    y = empty_as(look_up(_kept, _output_shape, (x.shape, output_size)), x)
    if y.size:
        backend.active(x).adaptive_avg_pool(x, y)
    return y if type(y) is np.ndarray else native(y)


def _pool_backward(
    rank: int, dy: Any, x_shape: Sequence[int], out_size: tuple[int, ...] | None
) -> np.ndarray:
    shape = input_shape(x_shape, rank)
    if out_size is None:
        if not is_image(dy, rank + 2):
            dy = as_array(dy, "dy")
            check_rank(dy, "dy", rank + 2, LAYOUTS[rank])
        out_size = dy.shape[2:]
        if 0 in out_size:
            raise ValueError(f"dy: expected at least 1 in each dimension, got shape {dy.shape}")
    dy = output_gradient(dy, rank, shape[:2] + out_size)
    dx = empty_as(shape, dy)
    if dx.size:
        backend.active(dy).adaptive_avg_pool_backward(dy, dx)
    return dx if type(dx) is np.ndarray else native(dx)


def adaptive_avg_pool1d(x: Any, output_size: OutputSize) -> np.ndarray:
    """y[n,c,p] = mean of x[n,c,l] over the l of cell p.

    x : (N, C, L)    ->    y : (N, C, P); see adaptive_avg_pool2d.
    """
    return _pool(1, x, output_size)


def adaptive_avg_pool2d(x: Any, output_size: OutputSize) -> np.ndarray:
    """y[n,c,p,q] = mean of x[n,c,h,w] over the h of cell p and the w of cell q.

    x : (N, C, H, W)    ->    y : (N, C, P, Q)
    output_size : P = Q, or (P, Q); None keeps the input's extent.
    """
    return _pool(2, x, output_size)


def adaptive_avg_pool3d(x: Any, output_size: OutputSize) -> np.ndarray:
    """y[n,c,o,p,q] = mean of x[n,c,d,h,w] over cells o, p and q.

    x : (N, C, D, H, W)    ->    y : (N, C, O, P, Q); see adaptive_avg_pool2d.
    """
    return _pool(3, x, output_size)


def adaptive_avg_pool1d_backward(dy: Any, x_shape: Sequence[int]) -> np.ndarray:
    """dx[n,c,l] = sum of dy[n,c,p] / (size of cell p) over the cells that hold l.

    dy : (N, C, P)    ->    dx : x_shape = (N, C, L)
    """
    return _pool_backward(1, dy, x_shape, None)


def adaptive_avg_pool2d_backward(dy: Any, x_shape: Sequence[int]) -> np.ndarray:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] / (size of cell p,q) over the cells that hold h,w.

    dy : (N, C, P, Q)    ->    dx : x_shape = (N, C, H, W)
    """
    return _pool_backward(2, dy, x_shape, None)


def adaptive_avg_pool3d_backward(dy: Any, x_shape: Sequence[int]) -> np.ndarray:
    """dx[n,c,d,h,w] = sum of dy[n,c,o,p,q] / (size of cell o,p,q) over the cells that hold d,h,w.

    dy : (N, C, O, P, Q)    ->    dx : x_shape = (N, C, D, H, W)
    """
    return _pool_backward(3, dy, x_shape, None)


def global_avg_pool1d(x: Any) -> np.ndarray:
    """y[n,c,0] = mean of x[n,c,:].

    x : (N, C, L)    ->    y : (N, C, 1)
    """
    return _pool(1, x, 1)


def global_avg_pool2d(x: Any) -> np.ndarray:
    """y[n,c,0,0] = mean of x[n,c,:,:].

    x : (N, C, H, W)    ->    y : (N, C, 1, 1)
    """
    return _pool(2, x, 1)


def global_avg_pool3d(x: Any) -> np.ndarray:
    """y[n,c,0,0,0] = mean of x[n,c,:,:,:].

    x : (N, C, D, H, W)    ->    y : (N, C, 1, 1, 1)
    """
    return _pool(3, x, 1)


def global_avg_pool1d_backward(dy: Any, x_shape: Sequence[int]) -> np.ndarray:
    """dx[n,c,l] = dy[n,c,0] / L.

    dy : (N, C, 1)    ->    dx : x_shape = (N, C, L)
    """
    return _pool_backward(1, dy, x_shape, (1,))


def global_avg_pool2d_backward(dy: Any, x_shape: Sequence[int]) -> np.ndarray:
    """dx[n,c,h,w] = dy[n,c,0,0] / (H W).

    dy : (N, C, 1, 1)    ->    dx : x_shape = (N, C, H, W), in NCHW memory order
    """
    return _pool_backward(2, dy, x_shape, (1, 1))


def global_avg_pool3d_backward(dy: Any, x_shape: Sequence[int]) -> np.ndarray:
    """dx[n,c,d,h,w] = dy[n,c,0,0,0] / (D H W).

    dy : (N, C, 1, 1, 1)    ->    dx : x_shape = (N, C, D, H, W), in NCHW memory order
    """
    return _pool_backward(3, dy, x_shape, (1, 1, 1))
