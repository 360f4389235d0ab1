"""The windows of pools: which inputs an output reads, which outputs hold an input, and how many.

All ranks are three axes with sizes of 1 in front: n inputs, q outputs, windows of k taps, steps s,
low padding p, dilation d. Output o and tap t of an axis read input o s - p + t d.
"""

from typing import Any

import numpy as np
from convnet.kernels.cuda.scalar import inline

Window = tuple[int, ...]  # k, s, d of three axes

GEOMETRY = ", ".join(["UniTuple(int64, 3)"] * 7) + ", int64, int64"  # as kernels take it


@inline
def holders(k, s, d):
    """How many windows of an axis may hold one input."""
    return ((k - 1) * d + s) // s


@inline
def windows_of(i, k, q, s, p, d):
    """(the first, the last) of the windows of an axis that reach over input i."""
    beyond = i + p - (k - 1) * d
    first = np.int64(np.uint32(beyond + s - 1) // np.uint32(s)) if beyond > 0 else np.int64(0)
    last = np.int64(np.uint32(i + p) // np.uint32(s))
    return first, last if last < q else q - 1


@inline
def extent(o, k, s, p, end, n, counts_padding):
    """How many elements of an axis the average of output o is over."""
    begin = o * s - p
    stop = begin + k
    high = end if counts_padding else n
    low = -p if counts_padding else 0
    return (stop if stop < high else high) - (begin if begin > low else low)


@inline
def divisor_of(a, b, c, k, s, p, end, n, counts_padding, divisor):
    """k and s of an average pool are arguments here, wherever they are constants."""
    if divisor > 0:
        return divisor
    volume = extent(a, k[0], s[0], p[0], end[0], n[0], counts_padding)
    volume *= extent(b, k[1], s[1], p[1], end[1], n[1], counts_padding)
    return volume * extent(c, k[2], s[2], p[2], end[2], n[2], counts_padding)


def named_pool(function: Any, average: bool, window: Window | None, end: str) -> Any:
    words = "avg_pool" if average else "max_pool"
    if window:
        words += "_" + "x".join(map(str, window[:3]))
    function.__name__ = words + end
    return function
