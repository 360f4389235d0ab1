"""Convolution in the sense of signal processing: the kernel is flipped."""

from typing import Any

import numpy as np

from convnet import backend
from convnet.kernels.arrays import look_up, signals
from convnet.memory import empty
from convnet.ops._arrays import as_array, check_same_dtype, contiguous, native
from convnet.shapes import ConvDims, conv_dims

_MODES = ("full", "same", "valid")
_kept: dict[Any, ConvDims] = {}  # as conv2d's


def convolve(x: Any, w: Any, mode: str = "full") -> np.ndarray:
    """Convolution of two signals or two images, as numpy.convolve and scipy.signal.convolve2d.

    y[i] = sum over j of x[i - j] * w[j], in two dimensions for both axes

    x : (L,)    w : (S,)    or    x : (H, W)    w : (R, S)    ->    y, for each axis

    "full"   L + S - 1: wherever they overlap
    "same"   the centre of "full", from (S - 1) // 2 on: max(L, S) of it in one dimension (the
             shorter one is the kernel, as in numpy), x's shape in two (as in scipy)
    "valid"  |L - S| + 1: wherever the smaller one lies within the other; in two dimensions one must
             hold the other along both axes

    For even kernels "same" lies one element off conv2d's, whose odd zero goes to the end.
    ValueError for empty arrays and for a mode that is none of these.
    """
    found = signals(x, w) if mode in _MODES else None
    image, flipped = found or _images(x, w, mode)
    extents = flipped.shape[2:]
    # The flip mirrors "same": its centre begins where the kernel's latter half starts.
    padding = tuple([(m // 2, (m - 1) // 2) for m in extents]) if mode == "same" else mode
    how = image.shape, flipped.shape, 1, padding, 1, 1, len(extents)
    dims: ConvDims = look_up(_kept, conv_dims, how)
    y = empty((1, 1, *dims.out_size), image.dtype, False, image)
    backend.active(image).conv(image, flipped, None, y, dims, None)
    return native(y[0, 0])


def _images(x: Any, w: Any, mode: Any) -> tuple[np.ndarray, np.ndarray]:
    """x and w, checked, as an image and a flipped kernel (1, 1, ...)."""
    x, w = as_array(x, "x"), as_array(w, "w")
    check_same_dtype("x", x, w=w)
    if x.ndim not in (1, 2):
        raise ValueError(f"x: expected 1 or 2 dimensions, got shape {x.shape}")
    if w.ndim != x.ndim:
        raise ValueError(f"w: expected {x.ndim} dimension(s) like x, got shape {w.shape}")
    for name, a in (("x", x), ("w", w)):
        if a.size == 0:
            raise ValueError(f"{name}: expected at least 1 element an axis, got shape {a.shape}")
    if mode not in _MODES:
        raise ValueError(f"mode: expected one of {', '.join(_MODES)}, got {mode!r}")
    rank = x.ndim
    if rank == 1 and w.size > x.size:
        x, w = w, x
    if mode == "valid" and rank == 2:
        x, w = _inside(x, w)
    flipped = contiguous(w[(slice(None, None, -1),) * rank])[None, None]
    return contiguous(x)[None, None], flipped


def _inside(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The larger one first."""
    if all(n >= m for n, m in zip(x.shape, w.shape, strict=True)):
        return x, w
    if all(n <= m for n, m in zip(x.shape, w.shape, strict=True)):
        return w, x
    raise ValueError(
        f'w: expected to lie within x, or x within w, for mode="valid", '
        f"got shapes {x.shape} and {w.shape}"
    )
