"""Images in another size, by the nearest pixel or by linear mixing, and the gradient.

Formats, types and errors are those of pool.py.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet import backend
from convnet.kernels.arrays import is_image, look_up
from convnet.memory import empty_as
from convnet.ops._arrays import as_array, native
from convnet.ops._windows import input_array, input_shape, output_gradient
from convnet.shapes import sizes

_MODES = {"nearest": (1, 2), "linear": (1,), "bilinear": (2,)}
_TYPES = {4: np.float32, 8: np.float64}
_Taps = tuple[np.ndarray, np.ndarray | None]
# Finding a call's taps takes longer than mixing a thousand elements: they are kept.
_kept: dict[Any, tuple[tuple[int, ...], tuple[Any, ...]]] = {}


def _each(value: Any, rank: int) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * rank
    for v in values:
        if isinstance(v, bool) or not isinstance(v, (int, float)):
            raise TypeError(f"scale_factor: expected a number or {rank} of them, got {value!r}")
    if len(values) != rank or not all(0 < v < math.inf for v in values):
        raise ValueError(f"scale_factor: expected {rank} numbers above 0, got {value!r}")
    return values


def _resolve(
    in_size: tuple[int, ...], size: Any, scale_factor: Any, mode: Any, align_corners: Any
) -> tuple[tuple[int, ...], list[float]]:
    """(output size, inputs per output along each axis)."""
    rank = len(in_size)
    if mode not in _MODES or rank not in _MODES[mode]:
        wanted = ", ".join(f'"{m}"' for m, ranks in _MODES.items() if rank in ranks)
        raise ValueError(f"mode: expected {wanted} for {rank} spatial dimensions, got {mode!r}")
    if align_corners and mode == "nearest":
        raise ValueError('align_corners: expected False with mode="nearest"')
    if (size is None) == (scale_factor is None):
        raise ValueError("size: give either size or scale_factor")
    if size is not None:
        out = sizes(size, "size", rank)
        return out, [n / q for n, q in zip(in_size, out, strict=True)]
    factors = _each(scale_factor, rank)
    out = tuple(math.floor(n * f) for n, f in zip(in_size, factors, strict=True))
    if min(out) < 1:
        raise ValueError(f"scale_factor: {scale_factor} makes {in_size} smaller than a pixel")
    return sizes(out, "size", rank), [1 / f for f in factors]


def _taps(n: int, q: int, scale: float, mode: str, align_corners: bool, dtype: Any) -> _Taps:
    """Which two inputs of n each of the q outputs mixes, and the weights of the second."""
    at = np.arange(q, dtype=np.float64)
    if mode == "nearest":
        first = np.arange(q) * n // q if scale == n / q else (at * scale).astype(np.int64)
        first = np.minimum(first, n - 1)
        return np.stack([first, first]).astype(np.int64), None
    if align_corners:
        source = at * ((n - 1) / (q - 1) if q > 1 else 0.0)
    else:
        source = np.maximum((at + 0.5) * scale - 0.5, 0)
    first = np.minimum(source.astype(np.int64), n - 1)
    second = np.minimum(first + 1, n - 1)
    return np.stack([first, second]), np.minimum(source - first, 1).astype(dtype)


def _arguments(
    shape: tuple[int, ...], how: tuple[Any, ...], itemsize: int
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """(the output's shape, what the backend wants beside the arrays)."""
    if 0 in shape[1:]:
        input_shape(shape, len(shape) - 2, "x")  # says what is wrong
    dtype = _TYPES[itemsize]
    *_, mode, align_corners = how
    out, scales = _resolve(shape[2:], *how)
    taps = [
        _taps(n, q, s, mode, align_corners, dtype)
        for n, q, s in zip(shape[2:], out, scales, strict=True)
    ]
    if len(taps) == 1:
        taps.insert(0, (np.zeros((2, 1), np.int64), None))
    (rows, row_weights), (columns, column_weights) = taps
    found = rows, columns, row_weights, column_weights
    for a in found:
        if a is not None:
            a.flags.writeable = False  # they are kept
    return (*shape[:2], *out), found


def _beside(x: Any, taps: tuple[Any, ...]) -> tuple[Any, ...]:
    """The taps on the GPU of x."""
    from convnet.gpu import to_device

    return tuple([None if t is None else to_device(t, x.queue) for t in taps])


def _planar(a: np.ndarray) -> np.ndarray:
    return a[:, :, None] if a.ndim == 3 else a


def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> np.ndarray:
    """x in another size: y[n, c, p, q] = x at (p s, q s), s = H/P or 1/scale_factor an axis.

    "nearest": the pixel floor(p s). "linear" (one axis) and "bilinear" (two): a mix of the two
    nearest of each axis, at (p + 1/2) s - 1/2 (not below 0), or at p (H-1)/(P-1) with
    align_corners.

    x : (N, C, L) or (N, C, H, W)    ->    (N, C, P) or (N, C, P, Q)
    size : the output's extents    scale_factor : P = floor(H scale_factor)    one of both; a number
    or one an axis

    TypeError or ValueError for arguments that do not fit, NotImplementedError for volumes.
    """
    if not is_image(x, 4):
        x = _input(x)
    how = size, scale_factor, mode, align_corners
    shape, taps = look_up(_kept, _arguments, (x.shape, how, x.itemsize))
    y = empty_as(shape, x)
    if y.size:
        if type(x) is not np.ndarray:
            taps = _beside(x, taps)
        backend.active(x).interpolate(_planar(x), _planar(y), *taps)
    return y if type(y) is np.ndarray else native(y)


def _input(x: Any) -> np.ndarray:
    x = as_array(x, "x")
    if x.ndim == 5:
        raise NotImplementedError("x: interpolate of this version takes (N, C, L) and (N, C, H, W)")
    return input_array(x, 1 if x.ndim == 3 else 2)


def interpolate_backward(
    dy: Any,
    x_shape: Sequence[int],
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> np.ndarray:
    """dx: the sum of all dy that an element was mixed into, times its weights there.

    dy : like interpolate's y    ->    dx : x_shape. Other arguments as interpolate's.
    """
    dy = as_array(dy, "dy")
    ndim = dy.ndim
    x_shape = input_shape(x_shape, ndim - 2 if ndim in (3, 4) else 2)
    how = size, scale_factor, mode, align_corners
    shape, taps = look_up(_kept, _arguments, (x_shape, how, dy.itemsize))
    if dy.shape != shape or not is_image(dy, ndim):
        dy = output_gradient(dy, len(x_shape) - 2, shape)
    dx = empty_as(x_shape, dy)
    if dx.size:
        if type(dy) is not np.ndarray:
            taps = _beside(dy, taps)
        backend.active(dy).interpolate_backward(_planar(dy), _planar(dx), *taps)
    return dx if type(dx) is np.ndarray else native(dx)
