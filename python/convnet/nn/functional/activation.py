"""Activations and dropout."""

from typing import Any

import numpy as np

from convnet import ops
from convnet.nn.tensor import Tensor, as_tensor
from convnet.random import take_counters


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0). inplace is accepted and has no effect on the result."""
    return as_tensor(input).relu()


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x, times negative_slope where x < 0."""
    t = as_tensor(input)
    x = t._data
    return Tensor.result(
        ops.leaky_relu(x, negative_slope),
        (t,),
        lambda dy: (ops.leaky_relu_backward(dy, x, negative_slope),),
        (t,),
    )


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x Phi(x), Phi the normal distribution; "tanh" for its usual approximation."""
    t = as_tensor(input)
    x = t._data
    return Tensor.result(
        ops.gelu(x, approximate), (t,), lambda dy: (ops.gelu_backward(dy, x, approximate),), (t,)
    )


def silu(input: Any, inplace: bool = False) -> Tensor:
    """x / (1 + exp(-x))."""
    t = as_tensor(input)
    x = t._data
    return Tensor.result(ops.silu(x), (t,), lambda dy: (ops.silu_backward(dy, x),), (t,))


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return as_tensor(input).sigmoid()


def tanh(input: Any) -> Tensor:
    """The hyperbolic tangent."""
    return as_tensor(input).tanh()


def _softmax_axis(dim: Any, ndim: int) -> int:
    """torch's choice where no dim is given."""
    if dim is None:
        return 0 if ndim in (0, 1, 3) else 1
    return dim


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along dim (left out: axis 1, or 0 of 1 and 3 axes, as torch)."""
    x = _typed(input, dtype)
    dim = _softmax_axis(dim, x.ndim)
    return x.softmax(dim)


def log_softmax(
    input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The logarithm of softmax."""
    x = _typed(input, dtype)
    dim = _softmax_axis(dim, x.ndim)
    return x.log_softmax(dim)


def _typed(input: Any, dtype: Any) -> Tensor:
    x = as_tensor(input)
    return x if dtype is None else x.to(dtype)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """x / (1 - p), or 0 with probability p; x itself unless training. See ops.dropout.

    The masks follow from convnet.manual_seed and the calls before.
    """
    x = as_tensor(input)
    if not training or p == 0:
        return x
    seed, offset = take_counters((x._data.size + 3) // 4)
    y, mask = ops.dropout(x._data, p, seed=seed, offset=offset)
    return Tensor.result(y, (x,), lambda dy: (ops.dropout_backward(dy, mask, p),))


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, H, W) or (C, H, W)."""
    x = as_tensor(input)
    if x.ndim not in (3, 4):
        raise ValueError(f"input: expected (N, C, H, W) or (C, H, W), got shape {x.shape}")
    if not training or p == 0:
        return x
    ones = Tensor.of(np.ones(x.shape[:-2], x.dtype)).to(x.device)
    return x * dropout(ones, p).reshape((*x.shape[:-2], 1, 1))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes start_dim to end_dim as one."""
    return as_tensor(input).flatten(start_dim, end_dim)
