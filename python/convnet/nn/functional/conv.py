"""Linear layers, convolution and transposed convolution."""

from typing import Any

import numpy as np

from convnet import ops
from convnet.nn.tensor import Tensor, as_tensor

Parents = tuple[Tensor, ...]


def _affine(x: Any, weight: Any, bias: Any) -> tuple[Parents, Any]:
    """(parents, the bias's array or None)."""
    if bias is None:
        return (as_tensor(x), as_tensor(weight)), None
    parents = as_tensor(x), as_tensor(weight), as_tensor(bias)
    return parents, parents[2]._data


def _needs(parents: Parents) -> tuple[bool, bool, bool]:
    """Which gradients are wanted."""
    return (
        parents[0].requires_grad,
        parents[1].requires_grad,
        len(parents) == 3 and parents[2].requires_grad,
    )


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x w^T + b. input (..., I), weight (O, I), bias (O,) -> (..., O); see ops.linear."""
    parents, b = _affine(input, weight, bias)
    x, w = parents[0]._data, parents[1]._data

    def backward(dy: np.ndarray) -> Any:
        return ops.linear_backward(dy, x, w, _needs(parents))[: len(parents)]

    return Tensor.result(ops.linear(x, w, b), parents, backward, parents[:2])


def _batched(rank: int, input: Any) -> tuple[Any, bool]:
    """(input with a batch axis, whether it came without one)."""
    x = as_tensor(input)
    return (x.unsqueeze(0), True) if x.ndim == rank + 1 else (x, False)


def _conv(
    rank: int,
    forward: Any,
    gradient: Any,
    input: Any,
    weight: Any,
    bias: Any,
    **how: Any,
) -> Tensor:
    input, single = _batched(rank, input)
    parents, b = _affine(input, weight, bias)
    x, w = parents[0]._data, parents[1]._data
    y = forward(x, w, b, **how)

    def backward(dy: np.ndarray) -> Any:
        return gradient(dy, x, w, needs=_needs(parents), **how)[: len(parents)]

    y = Tensor.result(y, parents, backward, parents[:2])
    return y.squeeze(0) if single else y


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation; input (N, C, L) or (C, L), weight (K, C/groups, S); see ops.conv1d."""
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv(1, ops.conv1d, ops.conv1d_backward, input, weight, bias, **how)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation; input (N, C, H, W) or (C, H, W), weight (K, C/groups, R, S).

    padding : as torch's, and "full", "same" with a stride, or (low, high) pairs. See ops.conv2d.
    """
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv(2, ops.conv2d, ops.conv2d_backward, input, weight, bias, **how)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation; input (N, C, D, H, W) or (C, D, H, W), weight (K, C/groups, T, R, S).

    See ops.conv3d.
    """
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv(3, ops.conv3d, ops.conv3d_backward, input, weight, bias, **how)


def _transposed(rank: int, input: Any, weight: Any, bias: Any, *how: Any) -> Tensor:
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    forward, gradient = _TRANSPOSED[rank]
    options = dict(zip(names, how, strict=True))
    return _conv(rank, forward, gradient, input, weight, bias, **options)


_TRANSPOSED = {
    1: (ops.conv_transpose1d, ops.conv_transpose1d_backward),
    2: (ops.conv_transpose2d, ops.conv_transpose2d_backward),
    3: (ops.conv_transpose3d, ops.conv_transpose3d_backward),
}


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution; input (N, C, L), weight (C, K/groups, S).

    See ops.conv_transpose1d.
    """
    return _transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution; input (N, C, H, W), weight (C, K/groups, R, S).

    See ops.conv_transpose2d.
    """
    return _transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution; input (N, C, D, H, W), weight (C, K/groups, T, R, S).

    See ops.conv_transpose3d.
    """
    return _transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
