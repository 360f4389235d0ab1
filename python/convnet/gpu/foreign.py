"""Arrays of torch, CuPy and others on a GPU: in without a copy, and results as their library's.

What names no library here (Numba's device arrays, say) comes in through __cuda_array_interface__;
its results are DeviceArrays, which have that interface too.
"""

import sys
from typing import Any

import numpy as np

from convnet.gpu import driver
from convnet.gpu.array import CURRENT_STREAM, DeviceArray
from convnet.gpu.layout import contiguous_strides

Shape = tuple[int, ...]


def wrap(value: Any, name: str) -> DeviceArray:
    """A DeviceArray on the memory of anything with __cuda_array_interface__."""
    if isinstance(value, DeviceArray):
        return value
    driver.ensure()
    if getattr(value, "requires_grad", False):
        value = value.detach()  # torch gives the interface only then
    facts = value.__cuda_array_interface__
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if facts.get("mask") is not None:
        raise TypeError(f"{name}: {kind} has a mask; fill it first")
    dtype = np.dtype(facts["typestr"])
    if not dtype.isnative:
        raise TypeError(f"{name}: expected native byte order, got {dtype}")
    shape = tuple(facts["shape"])
    strides = facts.get("strides") or contiguous_strides(shape, dtype.itemsize)
    ptr, read_only = facts["data"]
    library = _library(value)
    stream = facts.get("stream") or 0
    return DeviceArray(
        value,
        ptr or 0,
        shape,
        tuple(strides),
        dtype,
        library,
        0 if stream == 1 or library else stream,  # 1: the default stream
        not read_only,
    )


def _library(value: Any) -> str:
    name = type(value).__module__.partition(".")[0]
    if name in ("torch", "cupy"):
        CURRENT_STREAM.setdefault(name, _STREAMS[name])
        return name
    return ""


def native(a: Any) -> Any:
    """What the caller gets of a result: the array of its library, or the DeviceArray itself."""
    if not isinstance(a, DeviceArray) or not a.library:
        return a
    return _NATIVE[a.library](a)


def allocate(library: str, shape: Shape, strides: Shape, dtype: np.dtype) -> DeviceArray:
    """A dense result in a library's own memory."""
    owner, ptr = _ALLOCATE[library](shape, strides, dtype)
    return DeviceArray(owner, ptr, shape, strides, dtype, library)


# torch


def _torch_dtype(dtype: np.dtype) -> Any:
    return getattr(sys.modules["torch"], dtype.name)  # float32, int64, bool: NumPy's names


def _torch_stream() -> int:
    return sys.modules["torch"].cuda.current_stream().cuda_stream


def _torch_allocate(shape: Shape, strides: Shape, dtype: np.dtype) -> tuple[Any, int]:
    torch = sys.modules["torch"]
    steps = tuple([s // dtype.itemsize for s in strides])
    tensor = torch.empty_strided(shape, steps, dtype=_torch_dtype(dtype), device="cuda")
    return tensor, tensor.data_ptr()


def _torch_native(a: DeviceArray) -> Any:
    tensor = a.owner
    steps = tuple([s // a.itemsize for s in a.strides])
    same_type = tensor.dtype == _torch_dtype(a.dtype)
    same_place = tensor.data_ptr() == a.ptr or a.size == 0
    if same_type and same_place and tuple(tensor.shape) == a.shape and tensor.stride() == steps:
        return tensor
    if not same_type:
        tensor = tensor.view(_torch_dtype(a.dtype))
    offset = tensor.storage_offset() + (a.ptr - tensor.data_ptr()) // a.itemsize
    return tensor.as_strided(a.shape, steps, offset)


# CuPy


def _cupy_stream() -> int:
    return sys.modules["cupy"].cuda.get_current_stream().ptr


def _cupy_allocate(shape: Shape, strides: Shape, dtype: np.dtype) -> tuple[Any, int]:
    cupy = sys.modules["cupy"]
    size = dtype.itemsize
    for n in shape:
        size *= n
    memory = cupy.cuda.alloc(size)
    return cupy.ndarray(shape, dtype, memptr=memory, strides=strides), memory.ptr


def _cupy_native(a: DeviceArray) -> Any:
    array = a.owner
    if array.data.ptr == a.ptr and array.shape == a.shape and array.strides == a.strides:
        return array
    cupy = sys.modules["cupy"]
    return cupy.ndarray(
        a.shape, a.dtype, memptr=array.data + (a.ptr - array.data.ptr), strides=a.strides
    )


_STREAMS = {"torch": _torch_stream, "cupy": _cupy_stream}
_ALLOCATE = {"torch": _torch_allocate, "cupy": _cupy_allocate}
_NATIVE = {"torch": _torch_native, "cupy": _cupy_native}
