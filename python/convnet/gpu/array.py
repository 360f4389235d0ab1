"""DeviceArray: an array on a GPU with the part of ndarray's surface that ops and layers use.

    shape, strides, dtype   as NumPy's
    ptr                     the address of its first element
    owner                   what keeps the memory: a Block of ours, or an array of another library
    library                 "torch" or "cupy" where results must be such arrays, else ""

Views share the owner. Everything is ordered in the array's stream: torch's and CuPy's current one,
for others the stream that they name, else the default stream. Only what must bring elements to
the host waits: get(), item(), tolist(), bool(), float(), int() and printing.

NumPy's functions take DeviceArrays (functions.py); what is not there raises NotImplementedError.
numpy.asarray() does not bring one to the host unseen: TypeError says to call get().
"""

import math
from collections.abc import Callable, Iterator
from operator import index
from typing import Any

import numpy as np

from convnet.gpu import driver
from convnet.gpu.layout import (
    Flags,
    Shape,
    contiguous_strides,
    dense_order,
    expanded_index,
    pattern_of,
    resolved_shape,
    strides_of_view,
)
from convnet.gpu.memory import Block

# The stream that each library's arrays are worked on; foreign.py adds to it.
CURRENT_STREAM: dict[str, Callable[[], int]] = {}


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """See the module."""

    __slots__ = (
        "__weakref__",
        "_flags",
        "_stream",
        "base",
        "dtype",
        "library",
        "owner",
        "ptr",
        "shape",
        "size",
        "strides",
        "writeable",
    )
    __array_priority__ = 100
    __hash__ = object.__hash__

    def __init__(
        self,
        owner: Any,
        ptr: int,
        shape: Shape,
        strides: Shape,
        dtype: np.dtype,
        library: str = "",
        stream: int = 0,
        writeable: bool = True,
        base: Any = None,
    ) -> None:
        self.owner, self.ptr = owner, ptr
        self.shape, self.strides, self.dtype = shape, strides, dtype
        self.size = math.prod(shape)
        self.library, self._stream, self.writeable = library, stream, writeable
        self.base = base  # the array that this is a view of
        self._flags: Flags | None = None

    # What it is.

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def flags(self) -> Flags:
        if self._flags is None:
            self._flags = Flags(self.shape, self.strides, self.dtype.itemsize, self.writeable)
        return self._flags

    @property
    def queue(self) -> int:
        """The stream that work on this array goes to, as an integer."""
        if self.library:
            return CURRENT_STREAM[self.library]()
        return self._stream

    @property
    def stream(self) -> Any:
        """The same as what a launch takes."""
        return driver.stream_object(self.queue)

    @property
    def device(self) -> int:
        """The number of the GPU."""
        return driver.device()

    @property
    def span(self) -> int:
        """How many elements of memory there are from the first to the last (strides >= 0)."""
        if self.size == 0:
            return 0
        item = self.dtype.itemsize
        return 1 + sum((n - 1) * s // item for n, s in zip(self.shape, self.strides, strict=True))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "strides": None if self.flags.c_contiguous else self.strides,
            "data": (self.ptr, not self.writeable),
            "typestr": self.dtype.str,
            "stream": self.queue or 1,  # 1 is the default stream's name there
            "version": 3,
        }

    def extent(self) -> tuple[int, int]:
        """The addresses of its first byte and after its last."""
        low = high = self.ptr
        for n, s in zip(self.shape, self.strides, strict=True):
            low += min(0, (n - 1) * s)
            high += max(0, (n - 1) * s)
        return low, (high + self.dtype.itemsize if self.size else low)

    def line(self) -> tuple["DeviceArray", int]:
        """All memory between the lowest and the highest element as 1-D, and where this begins."""
        low, high = self.extent()
        n = (high - low) // self.dtype.itemsize
        array = self._view((n,), (self.dtype.itemsize,), low)
        return array, (self.ptr - low) // self.dtype.itemsize

    # New arrays beside this one.

    def empty(self, shape: Shape, dtype: Any = None, channels_last: bool = False) -> "DeviceArray":
        """Memory of the same library: C-contiguous, or with axis 1 innermost."""
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        if channels_last and len(shape) >= 3:
            order = (shape[0], *shape[2:], shape[1])
            s = contiguous_strides(order, dtype.itemsize)
            return self._allocate(shape, (s[0], s[-1], *s[1:-1]), dtype)
        return self._allocate(shape, contiguous_strides(shape, dtype.itemsize), dtype)

    def empty_like(self, dtype: Any = None) -> "DeviceArray":
        """The same shape, axes in the same order in memory, dense."""
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        if self.flags.c_contiguous:
            return self._allocate(self.shape, contiguous_strides(self.shape, dtype.itemsize), dtype)
        # As NumPy's "K": the axes by their strides, the largest outermost.
        order = sorted(range(self.ndim), key=lambda i: -abs(self.strides[i]))
        inner = contiguous_strides(tuple(self.shape[i] for i in order), dtype.itemsize)
        strides = [0] * self.ndim
        for i, s in zip(order, inner, strict=True):
            strides[i] = s
        return self._allocate(self.shape, tuple(strides), dtype)

    def scratch(self, shape: Shape, dtype: np.dtype) -> "DeviceArray":
        """Memory for a kernel alone: never another library's."""
        return allocate(shape, contiguous_strides(shape, dtype.itemsize), dtype, self.queue)

    def _allocate(self, shape: Shape, strides: Shape, dtype: np.dtype) -> "DeviceArray":
        if self.library:
            from convnet.gpu import foreign

            return foreign.allocate(self.library, shape, strides, dtype)
        return allocate(shape, strides, dtype, self._stream)

    def _view(
        self, shape: Shape, strides: Shape, ptr: int | None = None, dtype: np.dtype | None = None
    ) -> "DeviceArray":
        return DeviceArray(
            self.owner,
            self.ptr if ptr is None else ptr,
            shape,
            strides,
            self.dtype if dtype is None else dtype,
            self.library,
            self._stream,
            self.writeable,
            self,
        )

    # Views.

    @property
    def T(self) -> "DeviceArray":  # noqa: N802 - NumPy's name
        return self.transpose()

    def transpose(self, *axes: Any) -> "DeviceArray":
        if len(axes) == 1 and not hasattr(axes[0], "__index__"):
            axes = tuple(axes[0]) if axes[0] is not None else ()
        order = [i % self.ndim for i in axes] if axes else list(reversed(range(self.ndim)))
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(f"axes: expected an order of {self.ndim} axes, got {axes}")
        return self._view(
            tuple([self.shape[i] for i in order]), tuple([self.strides[i] for i in order])
        )

    def swapaxes(self, axis1: int, axis2: int) -> "DeviceArray":
        order = list(range(self.ndim))
        order[axis1], order[axis2] = order[axis2], order[axis1]
        return self.transpose(order)

    def reshape(self, *shape: Any) -> "DeviceArray":
        """A view where the strides allow it, else of a contiguous copy."""
        if len(shape) == 1 and not hasattr(shape[0], "__index__"):
            shape = tuple(shape[0])
        new = resolved_shape(shape, self.size)
        if new == self.shape:
            return self._view(new, self.strides)
        strides = strides_of_view(self.shape, self.strides, new, self.dtype.itemsize)
        if strides is None:
            return self.copy().reshape(new)
        return self._view(new, strides)

    def ravel(self) -> "DeviceArray":
        return self.reshape(-1)

    def squeeze(self, axis: Any = None) -> "DeviceArray":
        axes = range(self.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        gone = {i % self.ndim for i in axes if self.shape[i] == 1}
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if i not in gone))

    def view(self, dtype: Any) -> "DeviceArray":
        """The same memory as elements of another type of the same size."""
        dtype = np.dtype(dtype)
        if dtype.itemsize != self.dtype.itemsize:
            raise NotImplementedError(f"view: {self.dtype} as {dtype} on a GPU")
        return self._view(self.shape, self.strides, dtype=dtype)

    def broadcast_to(self, shape: Shape) -> "DeviceArray":
        extra = len(shape) - self.ndim
        strides = [0] * extra
        for i, (n, s) in enumerate(zip(self.shape, self.strides, strict=True)):
            if n not in (1, shape[extra + i]):
                raise ValueError(f"cannot broadcast {self.shape} to {shape}")
            strides.append(s if n == shape[extra + i] else 0)
        return self._view(tuple(shape), tuple(strides))

    def __getitem__(self, key: Any) -> "DeviceArray":
        shape, strides, ptr = list[int](), list[int](), self.ptr
        axis = 0
        for k in expanded_index(key, self.ndim):
            if k is None:
                shape.append(1)
                strides.append(0)
                continue
            n, s = self.shape[axis], self.strides[axis]
            axis += 1
            if isinstance(k, slice):
                start, stop, step = k.indices(n)
                length = len(range(start, stop, step))
                ptr += start * s if length else 0
                shape.append(length)
                strides.append(s * step)
            else:
                i = index(k)
                if not -n <= i < n:
                    raise IndexError(f"index {i} is out of bounds for an axis of {n}")
                ptr += (i % n) * s
        shape += self.shape[axis:]
        strides += self.strides[axis:]
        return self._view(tuple(shape), tuple(strides), ptr)

    def __setitem__(self, key: Any, value: Any) -> None:
        from convnet.gpu import functions

        functions.copyto(self[key], value)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Iterator["DeviceArray"]:
        return (self[i] for i in range(len(self)))

    # Elements.

    def copy(self, order: str = "C") -> "DeviceArray":
        """A copy: C-contiguous, or with "K" in this array's order in memory."""
        out = self.empty_like() if order == "K" else self.empty(self.shape)
        out[...] = self
        return out

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "DeviceArray":
        dtype = np.dtype(dtype)
        if dtype == self.dtype and not copy:
            return self
        out = self.empty_like(dtype)
        out[...] = self
        return out

    def fill(self, value: Any) -> None:
        self[...] = value

    def get(self) -> np.ndarray:
        """The elements on the host: waits for the array's stream."""
        dense = dense_order(self)
        if dense is None:
            return self.copy().get()
        host = np.empty_like(pattern_of(self), subok=False)
        if self.size:
            driver.download(host.ctypes.data, self.ptr, self.nbytes, self.queue)
        return host

    def host(self) -> np.ndarray:
        """In the simulator: the memory itself as an ndarray."""
        if not driver.SIMULATED:
            raise RuntimeError("host() is the simulator's; use get()")
        import ctypes

        low, high = self.extent()
        if self.size == 0:
            return np.empty(self.shape, self.dtype)
        memory = np.frombuffer((ctypes.c_char * (high - low)).from_address(low), np.uint8)
        return np.ndarray(self.shape, self.dtype, memory.data, self.ptr - low, self.strides)

    def set(self, values: np.ndarray) -> None:
        """Take a host array's elements; it may be changed as soon as this returns."""
        copy_from_host(self, values)

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError(f"item: expected one element, got shape {self.shape}")
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.get().__index__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("the array is on the GPU; call get() to bring it to the host")

    def __repr__(self) -> str:
        return f"device {self.get()!r}"

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.size == 1 else str(self), spec)

    def __reduce__(self) -> Any:
        return to_device, (self.get(),)

    def __deepcopy__(self, memo: Any) -> "DeviceArray":
        return self.copy("K")

    # Reductions: axis None, an axis or several.

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduced("sum", axis, keepdims)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False):
        total = self._reduced("sum", axis, keepdims)
        count = self.size // max(1, total.size)
        return np.true_divide(total, count).astype(total.dtype, copy=False)

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None):
        return self._reduced("max", axis, keepdims)

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None):
        return self._reduced("min", axis, keepdims)

    def argmax(self, axis: Any = None, out: Any = None, *, keepdims: bool = False):
        return self._reduced("argmax", axis, keepdims)

    def argmin(self, axis: Any = None, out: Any = None, *, keepdims: bool = False):
        return self._reduced("argmin", axis, keepdims)

    def all(self, axis: Any = None, out: Any = None, keepdims: bool = False):
        return self.astype(bool, copy=False)._reduced("min", axis, keepdims)

    def any(self, axis: Any = None, out: Any = None, keepdims: bool = False):
        return self.astype(bool, copy=False)._reduced("max", axis, keepdims)

    def _reduced(self, name: str, axis: Any, keepdims: bool) -> "DeviceArray":
        from convnet.gpu import functions

        return functions.reduce(name, self, axis, keepdims)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from convnet.gpu import functions

        return functions.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from convnet.gpu import functions

        return functions.call(function, args, kwargs)


def allocate(shape: Shape, strides: Shape, dtype: np.dtype, stream: int = 0) -> DeviceArray:
    """A dense array of our own memory, of whatever was there."""
    driver.ensure()
    block = Block(math.prod(shape) * dtype.itemsize, stream)
    return DeviceArray(block, block.address, shape, strides, dtype, "", stream)


def to_device(values: Any, stream: int = 0) -> DeviceArray:
    """A host array's elements on the GPU, in the same memory order where that is dense."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"values: expected numbers, got {values.dtype}")
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    source = values if dense_order(values) is not None else np.ascontiguousarray(values)
    out = allocate(values.shape, source.strides, values.dtype, stream)
    copy_from_host(out, source)
    return out


def mirror(values: np.ndarray) -> DeviceArray:
    """to_device with the very strides of the host array: views stay views, gaps are copied too."""
    low, high = np.lib.array_utils.byte_bounds(values)
    whole = Block(high - low, 0)
    ptr = whole.address + (values.ctypes.data - low)
    if values.size:
        driver.upload(whole.address, low, high - low, 0)
    return DeviceArray(whole, ptr, values.shape, values.strides, values.dtype)


def copy_from_host(out: DeviceArray, values: np.ndarray) -> None:
    """Upload into an array of the same shape, type and dense strides."""
    if out.shape != values.shape or out.dtype != values.dtype:
        raise ValueError(
            f"expected {out.dtype} of {out.shape}, got {values.dtype} of {values.shape}"
        )
    if out.strides != values.strides or dense_order(out) is None:
        out[...] = to_device(values, out.queue)
        return
    if out.size:
        driver.upload(out.ptr, values.ctypes.data, out.nbytes, out.queue)
