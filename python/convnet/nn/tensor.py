"""Tensor: a NumPy array that knows how it was computed.

    x = Tensor(array, requires_grad=True)
    loss = ((x * 2 - 1) ** 2).mean()
    loss.backward()          # x.grad holds the gradient, a Tensor

`.data` is the ndarray, `.grad` a Tensor or None. Operators, reductions and shapes are in
arithmetic.py, shaping.py and unrecorded.py, the way back is in tape.py. Names are torch's; where
NumPy differs (axis for dim) torch's holds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convnet.gpu.array import DeviceArray
from convnet.kernels.arrays import scalar_array
from convnet.nn import tape
from convnet.nn.arithmetic import Arithmetic
from convnet.nn.conversion import (
    FLOATS,
    as_ndarray,
    device,
    device_name,
    host,
    moved,
    target,
)
from convnet.nn.shaping import Shaping
from convnet.nn.unrecorded import Unrecorded


class Tensor(Arithmetic, Shaping, Unrecorded):
    """An array and the gradient of something with respect to it.

    data : ndarray (kept, not copied), number, sequence, or anything with DLPack
    requires_grad : whether backward() shall compute the gradient; float32 and float64 only

    A shape, dtype and element are the array's. Comparisons give Tensors of bools.
    """

    # _version: how often the elements were changed in place, in a list that views share.
    __slots__ = ("__weakref__", "_data", "_grad", "_node", "_version", "requires_grad")
    __array_priority__ = 1000
    __hash__ = object.__hash__

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        self._data = as_ndarray(data, dtype)
        if requires_grad and self._data.dtype not in FLOATS:
            raise TypeError(
                f"requires_grad: expected data of float32 or float64, got {self._data.dtype}"
            )
        self._grad: Tensor | None = None
        self.requires_grad = bool(requires_grad)
        self._node: tape.Node | None = None
        self._version = [0]

    @staticmethod
    def of(array: Any) -> "Tensor":
        """A Tensor of a result, nothing checked and nothing recorded."""
        t = Tensor.__new__(Tensor)
        if type(array) is np.ndarray or type(array) is DeviceArray:
            t._data = array
        else:
            t._data = np.asarray(array)
        t._grad = t._node = None
        t._version = [0]
        t.requires_grad = False
        return t

    @staticmethod
    def result(
        data: Any,
        parents: tuple["Tensor", ...],
        backward: Callable[[np.ndarray], Any],
        keeps: tuple["Tensor", ...] = (),
        keeps_result: bool = False,
    ) -> "Tensor":
        """A Tensor computed from parents.

        backward(dy) gives the gradients of the parents, in their order, from dy, the gradient of
        data; None where none is needed. It is recorded if any parent requires a gradient.

        keeps : Tensors whose elements backward will read, keeps_result : that it reads data. It is
        refused if these were changed in place in between.
        """
        t = Tensor.of(data)
        if not tape.enabled.get():
            return t
        edges = []
        for p in parents:
            if p.requires_grad:
                t.requires_grad = True
                edges.append(p._node or p)
            else:
                edges.append(None)
        if t.requires_grad:
            versions = [(k._version, k._version[0]) for k in keeps]
            if keeps_result:
                versions.append((t._version, 0))
            t._node = tape.Node(edges, backward, versions)
        return t

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to the grad of every leaf that it was computed from.

        gradient : of what shall be differentiated with respect to this tensor; may be left out for
        a tensor of one element (1). The graph is released unless retain_graph is set.
        RuntimeError if there is nothing to differentiate, or the graph was released before.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this tensor does not depend on any tensor with requires_grad"
            )
        if gradient is None:
            if self._data.size != 1:
                raise RuntimeError(
                    f"backward: give a gradient for a tensor of shape {self.shape}; "
                    f"only a tensor of one element has one by itself"
                )
            g = _one_like(self._data)
        else:
            g = moved(as_ndarray(gradient, self._data.dtype), self.device)
            if g.shape != self._data.shape:
                raise ValueError(f"gradient: expected shape {self.shape}, got {g.shape}")
        if self._node is None:
            tape.accumulate(self, g, {id(g)})
        else:
            tape.run_backward(self._node, g, retain_graph)

    def __getattr__(self, name: str) -> Any:
        """Asked only for what a Tensor lacks."""
        from convnet.absent import missing

        raise missing("Tensor", name)

    # What it is.

    @property
    def data(self) -> np.ndarray:
        """The array itself."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = as_ndarray(value, None)

    @property
    def grad(self) -> "Tensor | None":
        """The gradient that backward() has added up, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        self._grad = None if value is None else as_tensor(value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def device(self) -> device:
        return _CUDA if self.is_cuda else _CPU

    @property
    def is_cuda(self) -> bool:
        return type(self._data) is DeviceArray

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by hand, not computed from tensors that require a gradient."""
        return self._node is None

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self._data.shape if dim is None else self._data.shape[dim]

    def dim(self) -> int:
        return self._data.ndim

    def numel(self) -> int:
        return self._data.size

    def item(self) -> Any:
        """The one element as a Python number."""
        return self._data.item()

    def __format__(self, spec: str) -> str:
        return format(self.item() if spec and self._data.size == 1 else str(self), spec)

    nelement = numel

    def tolist(self) -> Any:
        return self._data.tolist()

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy; TypeError on a GPU."""
        if self.is_cuda:
            raise TypeError("numpy: the tensor is on a GPU; call .cpu() first")
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._data, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """array op tensor gives a Tensor; any other NumPy function works on the arrays."""
        if ufunc.__name__ in _OPERATORS and method == "__call__" and not kwargs:
            operator, reflected = _OPERATORS[ufunc.__name__]
            if isinstance(inputs[0], Tensor):
                return getattr(inputs[0], operator)(inputs[1])
            return getattr(inputs[1], reflected)(inputs[0])
        arrays = [t._data if isinstance(t, Tensor) else t for t in inputs]
        return getattr(ufunc, method)(*arrays, **kwargs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    def __len__(self) -> int:
        return len(self._data)

    def __bool__(self) -> bool:
        return bool(self._data)

    def __float__(self) -> float:
        return float(self._data)

    def __int__(self) -> int:
        return int(self._data)

    def __index__(self) -> int:
        return self._data.__index__()

    def __repr__(self) -> str:
        text = np.array2string(host(self._data), separator=", ", prefix="tensor(", precision=4)
        notes = "" if self._data.dtype in (FLOATS[0], np.int64, bool) else f", dtype={self.dtype}"
        notes += ", device='cuda'" if self.is_cuda else ""
        return f"tensor({text}{notes}{', requires_grad=True' if self.requires_grad else ''})"

    def __reduce__(self) -> Any:
        if self._node is not None:
            raise RuntimeError(
                "only tensors made by hand can be copied or pickled; detach() a result first"
            )
        return _rebuild, (type(self), self._data, self.requires_grad)

    # Copies, types, devices.

    def detach(self) -> "Tensor":
        """The same array without its history."""
        t = Tensor.of(self._data)
        t._version = self._version
        return t

    def clone(self) -> "Tensor":
        """A copy, through which gradients flow."""
        return self.result(self._data.copy("K"), (self,), lambda dy: (dy,))

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set requires_grad; returns itself."""
        if self._node is not None and not requires_grad:
            raise RuntimeError("requires_grad: only for tensors made by hand; detach() a result")
        if requires_grad and self._data.dtype not in FLOATS:
            raise TypeError(f"requires_grad: expected float32 or float64, got {self.dtype}")
        self.requires_grad = requires_grad
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """to(dtype), to(device), to(device, dtype) or to(other); itself where nothing changes.

        device : "cpu" or "cuda". GPUError where there is no GPU, NotImplementedError for others.
        """
        dtype, place = target(args, kwargs)
        t = self
        if place is not None and place != t.device:
            back = str(t.device)
            t = t.result(moved(t._data, place), (t,), lambda dy: (moved(dy, back),))
        if dtype is not None and dtype != t._data.dtype:
            old = t._data.dtype
            t = t.result(t._data.astype(dtype), (t,), lambda dy: (dy.astype(old),))
        return t

    type = to

    def float(self) -> "Tensor":
        return self.to(np.float32)

    def double(self) -> "Tensor":
        return self.to(np.float64)

    def long(self) -> "Tensor":
        return self.to(np.int64)

    def int(self) -> "Tensor":
        return self.to(np.int32)

    def bool(self) -> "Tensor":
        return self.to(np.bool_)

    def type_as(self, other: "Tensor") -> Any:
        return self.to(other.dtype)

    def cpu(self) -> Any:
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Any:
        return self.to("cuda" if device is None else device)

    def pin_memory(self) -> Any:
        """Itself: DataLoader(device="cuda") copies through pinned memory."""
        return self


_CPU, _CUDA = device("cpu"), str.__new__(device, "cuda")

# NumPy's binary operators: the methods of the left and of the right operand.
_OPERATORS = {
    "add": ("__add__", "__radd__"),
    "subtract": ("__sub__", "__rsub__"),
    "multiply": ("__mul__", "__rmul__"),
    "divide": ("__truediv__", "__rtruediv__"),
    "power": ("__pow__", "__rpow__"),
    "matmul": ("__matmul__", "__rmatmul__"),
    "equal": ("__eq__", "__eq__"),
    "not_equal": ("__ne__", "__ne__"),
    "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"),
    "greater": ("__gt__", "__lt__"),
    "greater_equal": ("__ge__", "__le__"),
}


def _rebuild(cls: type[Tensor], data: np.ndarray, requires_grad: bool) -> Tensor:
    return cls(data, requires_grad=requires_grad)


def tensor(
    data: Any, dtype: Any = None, requires_grad: bool = False, *, device: Any = None
) -> Tensor:
    """A Tensor of a copy of data; floats in lists become float32, integers int64.

    device : "cpu" or "cuda"; left out, where data is
    """
    a = as_ndarray(data, dtype).copy("K")
    return Tensor(a if device is None else moved(a, device_name(device)), requires_grad)


def _one_like(a: Any) -> Any:
    """The gradient of a loss by itself: np.ones_like, which takes four times as long."""
    if type(a) is np.ndarray and a.ndim == 0 and a.dtype in FLOATS:
        return scalar_array(1.0, a.dtype)
    return np.ones_like(a)


def as_tensor(value: Any) -> Tensor:
    """value itself if it is a Tensor, else one of its array."""
    return value if isinstance(value, Tensor) else Tensor(value)


def tracked(*tensors: Tensor | None) -> bool:
    """Whether a result of these would be recorded."""
    return tape.enabled.get() and any(t is not None and t.requires_grad for t in tensors)


def cat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors one after the other along an axis."""
    parts = tuple(as_tensor(t) for t in tensors)
    y = np.concatenate([p._data for p in parts], dim)
    ends = np.cumsum([p._data.shape[dim] for p in parts])[:-1]
    return Tensor.result(y, parts, lambda dy: np.split(dy, ends, dim))


concatenate = concat = cat


def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis."""
    parts = tuple(as_tensor(t) for t in tensors)
    y = np.stack([p._data for p in parts], dim)
    return Tensor.result(y, parts, lambda dy: list(np.moveaxis(dy, dim, 0)))
