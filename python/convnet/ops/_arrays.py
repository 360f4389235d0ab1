"""Checks and memory formats that all ops share.

Logical layout is always (N, C, spatial...). In memory an array of rank 3 to 5 is either
C-contiguous ("NCHW") or channels-last: C-contiguous once its axis 1 is moved to the end. Anything
else is copied to NCHW first. What could be both is NCHW.
"""

from typing import Any

import numpy as np

from convnet.gpu import foreign
from convnet.gpu.array import DeviceArray
from convnet.kernels import arrays
from convnet.kernels.arrays import is_dense, is_plain
from convnet.memory import empty, empty_like

_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)


def as_array(value: Any, name: str) -> np.ndarray:
    """An aligned, native float32 or float64 ndarray: `value` itself wherever possible.

    CPU tensors of torch and other objects with DLPack come in without a copy; arrays on a GPU as
    DeviceArrays, without one too. TypeError for anything else, saying what to call.
    """
    if is_plain(value):
        return value
    if type(value) is not np.ndarray:
        value = _foreign(value, name)
    if value.dtype is not _F32 and value.dtype is not _F64 and value.dtype not in (_F32, _F64):
        raise TypeError(
            f"{name}: expected float32 or float64, got {value.dtype}; "
            f"convert it with {name}.astype(np.float32)"
        )
    if not value.flags.aligned:
        value = value.copy()
    return value


def _foreign(value: Any, name: str) -> np.ndarray:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, np.ndarray):  # matrix, masked array, memmap, recarray
        if type(value) is np.memmap:
            return value.view(np.ndarray)
        raise TypeError(
            f"{name}: expected a plain numpy.ndarray, got {kind}; "
            f"convert it with numpy.asarray (a masked array: fill it first)"
        )
    if type(value) is DeviceArray:
        return value
    if hasattr(value, "__cuda_array_interface__"):
        return foreign.wrap(value, name)
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (RuntimeError, BufferError, TypeError) as error:
            raise TypeError(f"{name}: {kind} is not usable through DLPack: {error}") from error
    raise TypeError(
        f"{name}: expected a numpy.ndarray of float32 or float64, got {kind}; "
        f"convert it with numpy.asarray({name}, dtype=numpy.float32)"
    )


def is_channels_last(a: np.ndarray) -> bool:
    """Whether `a` (rank 3 to 5) is dense with its channels innermost, and not NCHW."""
    if type(a) is np.ndarray:
        return arrays.is_channels_last(a)
    if a.flags.c_contiguous or not 3 <= a.ndim <= 5:
        return False
    return a.transpose(0, *range(2, a.ndim), 1).flags.c_contiguous


def dense(a: np.ndarray) -> np.ndarray:
    """`a` itself if NCHW or channels-last, else a contiguous copy."""
    if is_dense(a) or a.flags.c_contiguous or is_channels_last(a):
        return a
    return contiguous(a)


def contiguous(a: np.ndarray) -> np.ndarray:
    """`a` itself if C-contiguous, else a copy that is."""
    return a if a.flags.c_contiguous else a.copy()


def in_format(a: np.ndarray, channels_last: bool) -> np.ndarray:
    """`a` itself if it is in that memory format, else a copy that is."""
    if not channels_last:
        return contiguous(a)
    if a.flags.c_contiguous or not is_channels_last(a):
        out = empty(a.shape, a.dtype, True, a)
        np.copyto(out, a)
        return out
    return a


def same_format(a: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`a` in the memory order of `like` (dense, of the same shape); a copy if need be."""
    if a.strides == like.strides:
        return a
    out = empty_like(like, a.dtype)
    np.copyto(out, a)
    return out


def check_rank(a: np.ndarray, name: str, ndim: int, layout: str) -> None:
    if a.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimensions {layout}, got shape {a.shape}")


def check_shape(a: np.ndarray, name: str, shape: tuple[int, ...], layout: str = "") -> None:
    if a.shape != shape:
        layout = f" {layout}" if layout else ""
        raise ValueError(f"{name}: expected shape {shape}{layout}, got {a.shape}")


def check_same_dtype(first: str, a: np.ndarray, **others: np.ndarray | None) -> None:
    """TypeError naming both arguments when one differs from the first in its type or device."""
    for name, other in others.items():
        if other is None or (other.dtype is a.dtype and type(other) is type(a)):
            continue
        check_device(first, a, **{name: other})
        if other.dtype != a.dtype:
            raise TypeError(
                f"{name}: expected {a.dtype} like {first}, got {other.dtype}; "
                f"all arrays of a call have one type"
            )


def check_device(first: str, a: np.ndarray, **others: np.ndarray | None) -> None:
    """TypeError naming both arguments when one is not on the device of the first."""
    for name, other in others.items():
        if other is not None and type(other) is not type(a):
            raise TypeError(
                f"{name}: on the {_device(other)}, and {first} on the {_device(a)}; bring both to "
                f"one device (convnet.to_device, or .get())"
            )


def _device(a: np.ndarray) -> str:
    return "CPU" if type(a) is np.ndarray else "GPU"


def native(a: Any) -> Any:
    """What the caller gets: an ndarray itself, an array on a GPU as its library's."""
    return a if type(a) is np.ndarray else foreign.native(a)


def check_out(
    out: Any, shape: tuple[int, ...], dtype: np.dtype, *inputs: Any, in_place: bool = False
) -> np.ndarray:
    """Check an `out` argument: type, shape, dtype, writeable, dense, and no overlap with an input.

    inputs : as the caller gave them, not copies; what is no ndarray is passed over
    With in_place, `out` may be exactly an input (same memory, same strides).
    """
    if type(out) is not np.ndarray:
        if not hasattr(out, "__cuda_array_interface__"):
            raise TypeError(f"out: expected a numpy.ndarray, got {type(out).__name__}")
        out = as_array(out, "out")
    if out.dtype != dtype:
        raise TypeError(f"out: expected {dtype}, got {out.dtype}")
    check_shape(out, "out", shape)
    if not out.flags.writeable:
        raise ValueError("out: the array is read-only")
    if not out.flags.aligned or not (out.flags.c_contiguous or is_channels_last(out)):
        raise ValueError(
            f"out: expected an aligned array in NCHW or channels-last memory order, "
            f"got strides {out.strides} for shape {out.shape}"
        )
    former = None
    for a in inputs:
        if a is former or (type(a) is not np.ndarray and type(a) is not DeviceArray):
            continue
        former = a
        if type(a) is not type(out):
            raise TypeError(f"out: on the {_device(out)}, and the inputs on the {_device(a)}")
        if overlap(out, a):
            exact = a is out or (_address(out) == _address(a) and out.strides == a.strides)
            if not in_place or not exact:
                raise ValueError("out: overlaps an input; give it memory of its own")
    return out


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have an element's memory in common.

    Two that own their memory have not: asking so takes a third of the time that NumPy takes.
    """
    if a is b:
        return a.size > 0
    if type(a) is np.ndarray and a.flags.owndata and type(b) is np.ndarray and b.flags.owndata:
        return False
    return bool(np.may_share_memory(a, b) and a.size and b.size and np.shares_memory(a, b))


def _address(a: Any) -> int:
    return a.ctypes.data if type(a) is np.ndarray else a.ptr
