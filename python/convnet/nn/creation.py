"""Tensors made from scratch: torch's names, drawn from the generator of convnet.manual_seed."""

from typing import Any

import numpy as np

from convnet.nn.conversion import as_dtype, as_ndarray, device_name, moved
from convnet.nn.tensor import Tensor, as_tensor
from convnet.random import default_generator, generator_from


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from f(2, 3) or f((2, 3))."""
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size


def _made(array: np.ndarray, device: Any, requires_grad: bool) -> Tensor:
    return Tensor(moved(array, device_name(device)), requires_grad)


def _dtype(dtype: Any, default: Any = np.float32) -> np.dtype:
    return np.dtype(default) if dtype is None else as_dtype(dtype)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of 0; float32 unless dtype says otherwise."""
    return _made(np.zeros(_shape(size), _dtype(dtype)), device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of 1."""
    return _made(np.ones(_shape(size), _dtype(dtype)), device, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of whatever was in memory."""
    return _made(np.empty(_shape(size), _dtype(dtype)), device, requires_grad)


def full(
    size: Any,
    fill_value: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of one value; whole numbers give int64, others float32."""
    kind = np.asarray(fill_value).dtype.kind
    default = {"b": np.bool_, "i": np.int64}.get(kind, np.float32)
    return _made(np.full(size, fill_value, _dtype(dtype, default)), device, requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """1 on the diagonal, else 0."""
    return _made(np.eye(n, m, dtype=_dtype(dtype)), device, False)


def arange(
    start: Any, end: Any = None, step: Any = 1, dtype: Any = None, device: Any = None
) -> Tensor:
    """start, start + step, ... below end; arange(end) starts at 0. int64 from integers."""
    start, end = (0, start) if end is None else (start, end)
    whole = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    array = np.arange(start, end, step)
    return _made(array.astype(_dtype(dtype, np.int64 if whole else np.float32)), device, False)


def linspace(start: float, end: float, steps: int, dtype: Any = None, device: Any = None) -> Tensor:
    """`steps` values from start to end, both included."""
    return _made(np.linspace(start, end, steps).astype(_dtype(dtype)), device, False)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A Tensor that shares the array's memory."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"ndarray: expected a numpy.ndarray, got {type(ndarray).__name__}")
    return Tensor(ndarray)


def _rng(generator: Any) -> np.random.Generator:
    return default_generator() if generator is None else generator_from(generator)


def randn(
    *size: Any,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal, mean 0, standard deviation 1. The numbers are convnet's own, not torch's."""
    array = _rng(generator).standard_normal(_shape(size), _dtype(dtype))
    return _made(np.asarray(array), device, requires_grad)


def rand(
    *size: Any,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform on [0, 1)."""
    array = _rng(generator).random(_shape(size), _dtype(dtype))
    return _made(np.asarray(array), device, requires_grad)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Integers of [low, high); randint(high, size) starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    array = _rng(generator).integers(low, high, tuple(size))
    return _made(np.asarray(array).astype(_dtype(dtype, np.int64)), device, False)


def randperm(n: int, generator: Any = None, device: Any = None) -> Tensor:
    """0 to n - 1 in random order."""
    return _made(_rng(generator).permutation(n), device, False)


def zeros_like(input: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """0 in input's shape and type."""
    t = as_tensor(input)
    how = {"dtype": dtype or t.dtype, "device": t.device}
    return zeros(t.shape, requires_grad=requires_grad, **how)


def ones_like(input: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """1 in input's shape and type."""
    t = as_tensor(input)
    how = {"dtype": dtype or t.dtype, "device": t.device}
    return ones(t.shape, requires_grad=requires_grad, **how)


def full_like(input: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value in input's shape and type."""
    t = as_tensor(input)
    return full(t.shape, fill_value, dtype or t.dtype, t.device)


def randn_like(input: Any, dtype: Any = None) -> Tensor:
    """randn in input's shape and type."""
    t = as_tensor(input)
    return randn(t.shape, dtype=dtype or t.dtype, device=t.device)


def rand_like(input: Any, dtype: Any = None) -> Tensor:
    """rand in input's shape and type."""
    t = as_tensor(input)
    return rand(t.shape, dtype=dtype or t.dtype, device=t.device)


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def asarray(obj: Any, dtype: Any = None) -> Tensor:
    """obj as a Tensor; its memory is shared where it can be."""
    return obj if isinstance(obj, Tensor) and dtype is None else Tensor(as_ndarray(obj, dtype))
