"""NumPy's functions on DeviceArrays, reached through NumPy's own protocols (NEP 13, NEP 18).

Element by element with broadcasting, reductions, copies: what a training loop's arithmetic is made
of. A function that is not here raises NotImplementedError with its name; none falls back to the
host unseen. Types follow NumPy's rules, Python numbers being weak; an ndarray beside a DeviceArray
is a TypeError.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from convnet.gpu.array import DeviceArray

_UNARY = {
    "negative": "negative",
    "absolute": "absolute",
    "sign": "sign",
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "isnan": "isnan",
    "isfinite": "isfinite",
    "logical_not": "logical_not",
}
_BINARY = {
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    "true_divide": "divide",
    "power": "power",
    "maximum": "maximum",
    "minimum": "minimum",
    "equal": "equal",
    "not_equal": "not_equal",
    "less": "less",
    "less_equal": "less_equal",
    "greater": "greater",
    "greater_equal": "greater_equal",
    "logical_and": "logical_and",
    "logical_or": "logical_or",
}
_OF_BOOLS = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "invert": "logical_not"}
_WEAK = (bool, int, float)


def _kernels() -> Any:
    from convnet.kernels.cuda import strided

    return strided


def lacking(what: str) -> NotImplementedError:
    return NotImplementedError(
        f"{what} on a GPU: backend 'cuda' has no such function; bring the array to the CPU"
    )


def _operand(value: Any, name: str) -> Any:
    """A DeviceArray, or a plain number."""
    if isinstance(value, DeviceArray) or type(value) in _WEAK:
        return value
    if isinstance(value, np.generic):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    raise TypeError(
        f"{name}: a GPU array beside a {type(value).__name__} of the host; "
        f"bring both to one device (convnet.to_device, or .get())"
    )


def _on_device(value: Any, dtype: np.dtype, like: DeviceArray) -> DeviceArray:
    """A number as a 0-d array of that type."""
    if isinstance(value, DeviceArray):
        return value
    out = like.scratch((), dtype)
    _kernels().fill(out, value)
    return out


def _result(like: DeviceArray, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    if shape == like.shape:
        return like.empty_like(dtype)
    return like.empty(shape, dtype)


def ufunc(function: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """function(*inputs, out=...) on the GPU."""
    name = function.__name__
    out = kwargs.pop("out", (None,))[0]
    casting = kwargs.pop("casting", "same_kind")
    if method != "__call__" or kwargs:
        raise lacking(f"numpy.{name} with {', '.join([method, *kwargs])}")
    operands = [_operand(value, f"numpy.{name}") for value in inputs]
    arrays = [a for a in operands if isinstance(a, DeviceArray)]
    if not arrays:
        raise TypeError(f"numpy.{name}: out is a GPU array, its inputs are the host's")
    like = max(arrays, key=lambda a: a.ndim)
    kernel = _UNARY.get(name) or _BINARY.get(name)
    if kernel is None:
        kernel = _OF_BOOLS.get(name)
        if kernel is None or any(a.dtype.kind != "b" for a in arrays):
            raise lacking(f"numpy.{name}")
    types = tuple([type(a) if type(a) in _WEAK else a.dtype for a in operands])
    *work, result = function.resolve_dtypes((*types, None), casting=casting)
    if work[0].itemsize < 4 and work[0].kind == "f":
        raise lacking(f"numpy.{name} in {work[0]}")
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    if out is None:
        y = _result(like, shape, result)
    else:
        if not isinstance(out, DeviceArray):
            raise TypeError(f"numpy.{name}: out is a {type(out).__name__}, not a GPU array")
        if out.shape != shape:
            raise ValueError(f"out: expected shape {shape}, got {out.shape}")
        if not np.can_cast(result, out.dtype, casting):
            raise TypeError(f"out: cannot cast {result} to {out.dtype}")
        y = out
    given = [
        _on_device(a, w, like).broadcast_to(shape) for a, w in zip(operands, work, strict=True)
    ]
    if len(given) == 1:
        _kernels().unary(kernel, y, given[0], work[0])
    else:
        _kernels().binary(kernel, y, *given, work[0])
    return y


def copyto(to: DeviceArray, values: Any, casting: str = "same_kind", where: Any = True) -> None:
    """to[...] = values, broadcast and converted; values may be a host array or a number."""
    if where is not True:
        raise lacking("numpy.copyto with where")
    if not isinstance(to, DeviceArray):
        np.copyto(to, values.get(), casting)
        return
    if not to.writeable:
        raise ValueError("assignment destination is read-only")
    if isinstance(values, np.ndarray) and values.ndim == 0:
        values = values[()]
    if isinstance(values, np.ndarray):
        from convnet.gpu.array import to_device

        values = to_device(values, to.queue)
    if not isinstance(values, DeviceArray):
        _kernels().fill(to, values)
        return
    source = values.broadcast_to(to.shape)
    if to.size == 0:
        return
    if source.dtype == to.dtype and source.strides == to.strides and to.flags.c_contiguous:
        from convnet.gpu import driver

        driver.copy(to.ptr, source.ptr, to.nbytes, to.queue)
        return
    if _overlap(to, source):
        source = source.copy()
    _kernels().unary("identity", to, source, to.dtype)


def reduce(name: str, a: DeviceArray, axis: Any, keepdims: bool) -> DeviceArray:
    """a reduced over axis (None: all axes; an axis or several)."""
    axes = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for d in axes:
        if not -max(a.ndim, 1) <= d < max(a.ndim, 1):
            raise ValueError(f"axis {d} is out of bounds for an array of {a.ndim} axes")
    gone = tuple(sorted({d % a.ndim for d in axes})) if a.ndim else ()
    shape = tuple([1 if d in gone else n for d, n in enumerate(a.shape)])
    dtype = a.dtype
    if "arg" in name or (name == "sum" and dtype.kind != "f"):
        dtype = np.dtype(np.int64)
    y = a.empty(shape, dtype)
    if a.size == 0 and y.size:
        if name != "sum":
            raise ValueError(f"{name}: an empty axis has none")
        y.fill(0)
    elif a.ndim == 0 or not gone:
        y[...] = 0 if "arg" in name else a
    else:
        from convnet.kernels.cuda import reduce as kernels

        kernels.reduce(name, y, a, gone)
    return y if keepdims else y.squeeze(gone) if gone else y


# numpy.f(array, ...)


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function of NumPy's that was given a DeviceArray."""
    ours = _FUNCTIONS.get(function)
    if ours is None:
        raise lacking(f"numpy.{function.__name__}")
    return ours(*args, **kwargs)


def _empty_like(prototype: DeviceArray, dtype: Any = None, **kwargs: Any) -> DeviceArray:
    return prototype.empty_like(dtype)


def _zeros_like(a: DeviceArray, dtype: Any = None, **kwargs: Any) -> DeviceArray:
    return _full_like(a, 0, dtype)


def _ones_like(a: DeviceArray, dtype: Any = None, **kwargs: Any) -> DeviceArray:
    return _full_like(a, 1, dtype)


def _full_like(a: DeviceArray, fill_value: Any, dtype: Any = None, **kwargs: Any) -> DeviceArray:
    out = a.empty_like(dtype)
    out.fill(fill_value)
    return out


def _where(condition: Any, x: Any, y: Any) -> DeviceArray:
    operands = [_operand(value, "numpy.where") for value in (condition, x, y)]
    arrays = [a for a in operands if isinstance(a, DeviceArray)]
    like = max(arrays, key=lambda a: a.ndim)
    types = [a if type(a) in _WEAK else a.dtype for a in operands[1:]]
    dtype = np.result_type(*types)
    if all(type(a) in _WEAK for a in operands[1:]) and dtype.kind == "f":
        dtype = np.dtype(np.float64)
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    c = _on_device(operands[0], np.dtype(bool), like)
    parts = [_on_device(a, dtype, like) for a in operands[1:]]
    parts = [a.astype(dtype, copy=False).broadcast_to(shape) for a in parts]
    out = _result(like, shape, dtype)
    _kernels().where(out, c.astype(bool, copy=False).broadcast_to(shape), *parts)
    return out


def _clip(a: DeviceArray, a_min: Any = None, a_max: Any = None, out: Any = None) -> DeviceArray:
    y = a if a_min is None else np.maximum(a, a_min, out=out)
    if a_max is not None:
        y = np.minimum(y, a_max, out=out)
    return y.copy("K") if y is a and out is None else y


def _overlap(a: Any, b: Any) -> bool:
    """Whether the spans of two GPU arrays share memory; never with a host array's."""
    if not (isinstance(a, DeviceArray) and isinstance(b, DeviceArray)) or not a.size or not b.size:
        return False
    (low, high), (low_b, high_b) = a.extent(), b.extent()
    return low < high_b and low_b < high


def _concatenate(arrays: Any, axis: int = 0, **kwargs: Any) -> DeviceArray:
    first = arrays[0]
    axis %= first.ndim
    length = sum(a.shape[axis] for a in arrays)
    shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
    out = first.empty(shape, np.result_type(*[a.dtype for a in arrays]))
    at = 0
    for a in arrays:
        out[(slice(None),) * axis + (slice(at, at + a.shape[axis]),)] = a
        at += a.shape[axis]
    return out


def _expand_dims(a: DeviceArray, axis: Any) -> DeviceArray:
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = a.ndim + len(axes)
    new = {d % ndim for d in axes}
    rest = iter(a.shape)
    return a.reshape(tuple([1 if d in new else next(rest) for d in range(ndim)]))


def _stack(arrays: Any, axis: int = 0, **kwargs: Any) -> DeviceArray:
    return _concatenate([_expand_dims(a, axis) for a in arrays], axis)


def _broadcast_to(array: DeviceArray, shape: Any, subok: bool = False) -> DeviceArray:
    return array.broadcast_to(tuple(shape) if not hasattr(shape, "__index__") else (shape,))


def _split(a: DeviceArray, indices: Any, axis: int = 0) -> list[DeviceArray]:
    axis %= a.ndim
    ends = [0, *[int(i) for i in indices], a.shape[axis]]
    return [a[(slice(None),) * axis + (slice(start, stop),)] for start, stop in pairwise(ends)]


def _moveaxis(a: DeviceArray, source: int, destination: int) -> DeviceArray:
    order = [d for d in range(a.ndim) if d != source % a.ndim]
    order.insert(destination % a.ndim, source % a.ndim)
    return a.transpose(order)


_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.empty_like: _empty_like,
    np.zeros_like: _zeros_like,
    np.ones_like: _ones_like,
    np.full_like: _full_like,
    np.copyto: lambda dst, src, casting="same_kind", where=True: copyto(dst, src, casting, where),
    np.copy: lambda a, order="K", subok=False: a.copy(order),
    np.where: _where,
    np.clip: _clip,
    np.may_share_memory: lambda a, b, max_work=None: _overlap(a, b),
    np.shares_memory: lambda a, b, max_work=None: _overlap(a, b),
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.expand_dims: _expand_dims,
    np.squeeze: lambda a, axis=None: a.squeeze(axis),
    np.reshape: lambda a, shape, **kwargs: a.reshape(shape),
    np.ravel: lambda a, order="C": a.ravel(),
    np.transpose: lambda a, axes=None: a.transpose(axes),
    np.swapaxes: lambda a, axis1, axis2: a.swapaxes(axis1, axis2),
    np.moveaxis: _moveaxis,
    np.split: _split,
    np.broadcast_to: _broadcast_to,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[axis],
    np.shape: lambda a: a.shape,
    np.sum: lambda a, axis=None, keepdims=False, **kwargs: a.sum(axis, keepdims=bool(keepdims)),
    np.mean: lambda a, axis=None, keepdims=False, **kwargs: a.mean(axis, keepdims=bool(keepdims)),
    np.max: lambda a, axis=None, keepdims=False, **kwargs: a.max(axis, keepdims=bool(keepdims)),
    np.min: lambda a, axis=None, keepdims=False, **kwargs: a.min(axis, keepdims=bool(keepdims)),
    np.argmax: lambda a, axis=None, **kwargs: a.argmax(axis),
    np.argmin: lambda a, axis=None, **kwargs: a.argmin(axis),
    np.all: lambda a, axis=None, **kwargs: a.all(axis),
    np.any: lambda a, axis=None, **kwargs: a.any(axis),
    np.array_equal: lambda a, b, **kwargs: a.shape == b.shape and bool((a == b).all()),
}
