"""How an array lies in memory: its order, what a view of it in another shape would be, indices.

Plain arithmetic on shapes and strides; nothing here looks at a GPU.
"""

import math
from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class Flags:
    """The flags of a DeviceArray, as NumPy names them."""

    __slots__ = ("aligned", "c_contiguous", "f_contiguous", "writeable")

    def __init__(self, shape: Shape, strides: Shape, itemsize: int, writeable: bool) -> None:
        self.aligned, self.writeable = True, writeable
        self.c_contiguous = in_order(zip(reversed(shape), reversed(strides), strict=True), itemsize)
        self.f_contiguous = in_order(zip(shape, strides, strict=True), itemsize)


def in_order(axes: Iterable[tuple[int, int]], itemsize: int) -> bool:
    """Whether axes (extent, stride), the innermost first, lie one after the other."""
    axes = list(axes)
    if any(n == 0 for n, _ in axes):
        return True
    for n, stride in axes:
        if n != 1:
            if stride != itemsize:
                return False
            itemsize *= n
    return True


def contiguous_strides(shape: Shape, itemsize: int) -> Shape:
    """C order."""
    strides = []
    for n in reversed(shape):
        strides.append(itemsize)
        itemsize *= max(n, 1)
    return tuple(reversed(strides))


def dense_order(a: Any) -> tuple[int, ...] | None:
    """The axes from the outermost in memory to the innermost if there are no gaps, else None."""
    order = tuple(sorted(range(a.ndim), key=lambda i: (-a.strides[i], -a.shape[i])))
    axes = [(a.shape[i], a.strides[i]) for i in reversed(order)]
    return order if in_order(axes, a.dtype.itemsize) else None


def pattern_of(a: Any) -> np.ndarray:
    """A host array with the shape, type and axis order of a dense array, without its memory."""
    return np.ndarray(a.shape, a.dtype, np.empty(max(a.nbytes, 1), np.uint8).data, 0, a.strides)


def resolved_shape(shape: tuple[Any, ...], size: int) -> Shape:
    new = [index(n) for n in shape]
    if new.count(-1) > 1:
        raise ValueError("reshape: at most one extent may be -1")
    if -1 in new:
        rest = math.prod(n for n in new if n != -1)
        if rest == 0 or size % rest:
            raise ValueError(f"cannot reshape {size} elements into {tuple(new)}")
        new[new.index(-1)] = size // rest
    if math.prod(new) != size:
        raise ValueError(f"cannot reshape {size} elements into {tuple(new)}")
    return tuple(new)


def strides_of_view(shape: Shape, strides: Shape, new: Shape, itemsize: int) -> Shape | None:
    """The strides of a view in another shape, or None where only a copy will do.

    NumPy finds them by trying, on an array that has these strides and no memory of its own.
    """
    if in_order(zip(reversed(shape), reversed(strides), strict=True), itemsize):
        return contiguous_strides(new, itemsize)
    dummy = np.lib.stride_tricks.as_strided(np.empty(1, f"V{itemsize}"), shape, strides)
    try:
        return dummy.reshape(new, copy=False).strides
    except (TypeError, ValueError):
        return None


def expanded_index(key: Any, ndim: int) -> list[Any]:
    """A basic index as a list without Ellipsis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    for k in keys:
        basic = k is None or k is Ellipsis or isinstance(k, slice) or hasattr(k, "__index__")
        if not basic or isinstance(k, (bool, np.bool_)) or getattr(k, "ndim", 0):
            raise NotImplementedError(
                f"indexing a GPU array by {type(k).__name__}: integers, slices, None and ... are "
                "what there is; bring the array to the CPU for more"
            )
    used = sum(k is not None and k is not Ellipsis for k in keys)
    if used > ndim:
        raise IndexError(f"too many indices: {used} for {ndim} axes")
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (ndim - used)
    return keys
