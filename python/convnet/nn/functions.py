"""Tensor's methods as functions, as torch has them: sum(x, 1) is x.sum(1)."""

from typing import Any

import numpy as np

from convnet.nn.arithmetic import sum_to
from convnet.nn.tensor import Tensor, as_tensor


def sum(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum over dim, or of all elements."""
    return as_tensor(input).sum(dim, keepdim)


def mean(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The mean over dim, or of all elements."""
    return as_tensor(input).mean(dim, keepdim)


def var(input: Any, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The variance over dim, or of all elements."""
    return as_tensor(input).var(dim, correction, keepdim)


def std(input: Any, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The square root of var."""
    return as_tensor(input).std(dim, correction, keepdim)


def max(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The maximum; with dim (values, indices); of two tensors the larger of each pair."""
    if isinstance(dim, (Tensor, np.ndarray)):
        return where(as_tensor(input) >= dim, input, dim)
    return as_tensor(input).max(dim, keepdim)


def min(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The minimum; with dim (values, indices); of two tensors the smaller of each pair."""
    if isinstance(dim, (Tensor, np.ndarray)):
        return where(as_tensor(input) <= dim, input, dim)
    return as_tensor(input).min(dim, keepdim)


def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The (first) place of the maximum."""
    return as_tensor(input).argmax(dim, keepdim)


def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The (first) place of the minimum."""
    return as_tensor(input).argmin(dim, keepdim)


def exp(input: Any) -> Tensor:
    """e^x."""
    return as_tensor(input).exp()


def log(input: Any) -> Tensor:
    """The natural logarithm."""
    return as_tensor(input).log()


def sqrt(input: Any) -> Tensor:
    """The square root."""
    return as_tensor(input).sqrt()


def abs(input: Any) -> Tensor:
    """|x|."""
    return as_tensor(input).abs()


def pow(input: Any, exponent: Any) -> Tensor:
    """x^exponent."""
    return as_tensor(input) ** exponent


def square(input: Any) -> Tensor:
    """x^2."""
    x = as_tensor(input)
    return x * x


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """Values brought to [min, max]."""
    return as_tensor(input).clamp(min, max)


def relu(input: Any) -> Tensor:
    """max(x, 0)."""
    return as_tensor(input).relu()


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return as_tensor(input).sigmoid()


def tanh(input: Any) -> Tensor:
    """The hyperbolic tangent."""
    return as_tensor(input).tanh()


def softmax(input: Any, dim: int) -> Tensor:
    """exp(x) over its sum along dim."""
    return as_tensor(input).softmax(dim)


def log_softmax(input: Any, dim: int) -> Tensor:
    """The logarithm of softmax."""
    return as_tensor(input).log_softmax(dim)


def matmul(input: Any, other: Any) -> Tensor:
    """input @ other, with numpy.matmul's shapes."""
    return as_tensor(input) @ as_tensor(other)


mm = matmul


def reshape(input: Any, shape: Any) -> Tensor:
    """The elements in another shape."""
    return as_tensor(input).reshape(shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes start_dim to end_dim as one."""
    return as_tensor(input).flatten(start_dim, end_dim)


def squeeze(input: Any, dim: Any = None) -> Tensor:
    """Without the axes of length 1."""
    return as_tensor(input).squeeze(dim)


def unsqueeze(input: Any, dim: int) -> Tensor:
    """With one more axis of length 1."""
    return as_tensor(input).unsqueeze(dim)


def transpose(input: Any, dim0: int, dim1: int) -> Tensor:
    """Two axes swapped."""
    return as_tensor(input).transpose(dim0, dim1)


def permute(input: Any, dims: Any) -> Tensor:
    """The axes in another order."""
    return as_tensor(input).permute(dims)


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """input where condition, else other; shapes are broadcast, gradients flow to both."""
    c = as_tensor(condition)._data
    a, b = as_tensor(input), as_tensor(other)
    if a.ndim == 0 and a.dtype != b.dtype:
        a = a.to(b.dtype)
    if b.ndim == 0 and a.dtype != b.dtype:
        b = b.to(a.dtype)
    x, y = a._data, b._data

    def backward(dy: np.ndarray) -> Any:
        zero = dy.dtype.type(0)
        return (
            sum_to(np.where(c, dy, zero), x) if a.requires_grad else None,
            sum_to(np.where(c, zero, dy), y) if b.requires_grad else None,
        )

    return Tensor.result(np.where(c, x, y), (a, b), backward)


def eq(input: Any, other: Any) -> Tensor:
    """input == other, element by element."""
    return as_tensor(input) == other


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether |input - other| <= atol + rtol |other| everywhere."""
    return bool(np.allclose(as_tensor(input)._data, as_tensor(other)._data, rtol, atol))


def isnan(input: Any) -> Tensor:
    """Where x is NaN."""
    return Tensor.of(np.isnan(as_tensor(input)._data))


def isfinite(input: Any) -> Tensor:
    """Where x is neither NaN nor infinite."""
    return Tensor.of(np.isfinite(as_tensor(input)._data))


def numel(input: Any) -> int:
    """How many elements there are."""
    return as_tensor(input).numel()
