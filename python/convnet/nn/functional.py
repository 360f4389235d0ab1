"""Layers as functions, with torch.nn.functional's names and arguments: an op and its gradient each.

A function takes Tensors (arrays too), calls convnet.ops, and records how the gradient flows back:
only the gradients that somebody wants are computed.
"""

from typing import Any

import numpy as np

from convnet import ops
from convnet.nn.tensor import Tensor, as_tensor, tracked
from convnet.ops.norm import batch_norm_and_stats
from convnet.random import take_counters

Parents = tuple[Tensor, ...]


def _affine(x: Any, weight: Any, bias: Any) -> tuple[Parents, Any, tuple[bool, bool, bool]]:
    """(parents, the bias's array or None, which gradients are wanted)."""
    x, weight = as_tensor(x), as_tensor(weight)
    if bias is None:
        return (x, weight), None, (x.requires_grad, weight.requires_grad, False)
    bias = as_tensor(bias)
    needs = (x.requires_grad, weight.requires_grad, bias.requires_grad)
    return (x, weight, bias), bias.data, needs


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x w^T + b. input (..., I), weight (O, I), bias (O,) -> (..., O); see ops.linear."""
    parents, b, needs = _affine(input, weight, bias)
    x, w = parents[0].data, parents[1].data
    y = ops.linear(x, w, b)
    return Tensor.result(
        y, parents, lambda dy: ops.linear_backward(dy, x, w, needs)[: len(parents)]
    )


def _conv(rank: int, input: Any, weight: Any, bias: Any, **how: Any) -> Tensor:
    parents, b, needs = _affine(input, weight, bias)
    x, w = parents[0].data, parents[1].data
    forward, gradient = _CONVOLUTIONS[rank]
    y = forward(x, w, b, **how)

    def backward(dy: np.ndarray) -> Any:
        return gradient(dy, x, w, needs=needs, **how)[: len(parents)]

    return Tensor.result(y, parents, backward)


_CONVOLUTIONS = {
    1: (ops.conv1d, ops.conv1d_backward),
    2: (ops.conv2d, ops.conv2d_backward),
    3: (ops.conv3d, ops.conv3d_backward),
}


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation; input (N, C, H, W), weight (K, C/groups, R, S); see ops.conv2d.

    padding : as torch's, and "full", "same" with a stride, or (low, high) pairs.
    """
    return _conv(
        2, input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window; (y, indices) with return_indices; see ops.max_pool2d."""
    x = as_tensor(input)
    shape = x.shape
    windows = (kernel_size, stride, padding, dilation, ceil_mode)
    if not (return_indices or tracked(x)):
        return Tensor.of(ops.max_pool2d(x.data, *windows))
    y, indices = ops.max_pool2d(x.data, *windows, True)
    pooled = Tensor.result(
        y, (x,), lambda dy: (ops.max_pool2d_backward(dy, indices, shape, *windows),)
    )
    return (pooled, Tensor.of(indices.astype(np.int64))) if return_indices else pooled


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window; see ops.avg_pool2d."""
    x = as_tensor(input)
    shape = x.shape
    windows = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    y = ops.avg_pool2d(x.data, *windows)
    return Tensor.result(y, (x,), lambda dy: (ops.avg_pool2d_backward(dy, shape, *windows),))


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Means over cells that give an output of output_size; see ops.adaptive_avg_pool2d."""
    x = as_tensor(input)
    shape = x.shape
    if isinstance(output_size, (tuple, list)):  # None keeps the input's size
        output_size = tuple(
            n if q is None else q for q, n in zip(output_size, shape[2:], strict=False)
        )
    y = ops.adaptive_avg_pool2d(x.data, output_size)
    return Tensor.result(y, (x,), lambda dy: (ops.adaptive_avg_pool2d_backward(dy, shape),))


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0). inplace is accepted and has no effect on the result."""
    return as_tensor(input).relu()


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return as_tensor(input).sigmoid()


def tanh(input: Any) -> Tensor:
    """The hyperbolic tangent."""
    return as_tensor(input).tanh()


def softmax(input: Any, dim: int = -1) -> Tensor:
    """exp(x) over its sum along dim."""
    x = as_tensor(input)
    y = ops.softmax(x.data, dim)
    return Tensor.result(y, (x,), lambda dy: (ops.softmax_backward(dy, y, dim),))


def log_softmax(input: Any, dim: int = -1) -> Tensor:
    """The logarithm of softmax."""
    x = as_tensor(input)
    y = ops.log_softmax(x.data, dim)
    return Tensor.result(y, (x,), lambda dy: (ops.log_softmax_backward(dy, y, dim),))


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """x / (1 - p), or 0 with probability p; x itself unless training. See ops.dropout.

    The masks follow from convnet.manual_seed and the calls before.
    """
    x = as_tensor(input)
    if not training or p == 0:
        return x
    seed, offset = take_counters((x.data.size + 3) // 4)
    y, mask = ops.dropout(x.data, p, seed=seed, offset=offset)
    return Tensor.result(y, (x,), lambda dy: (ops.dropout_backward(dy, mask, p),))


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalised by channel; running statistics are updated in place in training.

    See ops.batch_norm.
    """
    x = as_tensor(input)
    weight, bias = (None if t is None else as_tensor(t) for t in (weight, bias))
    running = [t.data if isinstance(t, Tensor) else t for t in (running_mean, running_var)]
    w, b = (None if t is None else t.data for t in (weight, bias))
    y, mean, var = batch_norm_and_stats(x.data, *running, w, b, training, momentum, eps)
    parents = tuple(t for t in (x, weight, bias) if t is not None)
    if not tracked(*parents):
        return Tensor.of(y)
    needs = tuple(t is not None and t.requires_grad for t in (x, weight, bias))
    if not training:
        mean, var = mean.copy(), var.copy()  # the running statistics may change before backward

    def backward(dy: np.ndarray) -> Any:
        dx, dweight, dbias = ops.batch_norm_backward(dy, x.data, mean, var, w, training, eps, needs)
        gradients = (dx, *(() if weight is None else (dweight,)))
        return gradients if bias is None else (*gradients, dbias)

    return Tensor.result(y, parents, backward)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes start_dim to end_dim as one."""
    return as_tensor(input).flatten(start_dim, end_dim)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """log(sum(exp(logits))) - logits[target]; see ops.cross_entropy.

    input : logits (C,), (N, C) or (N, C, ...)    target : integers, () or (N,) or (N, ...)
    weight, label_smoothing and targets that are probabilities raise NotImplementedError.
    """
    logits, target = as_tensor(input), as_tensor(target).data
    if weight is not None:
        raise NotImplementedError(
            "weight: cross_entropy of this version has no class weights; use "
            'reduction="none" and multiply the losses'
        )
    if label_smoothing != 0.0:
        raise NotImplementedError(
            "label_smoothing: cross_entropy of this version has none; use log_softmax, and "
            "multiply it by the smoothed targets"
        )
    if target.dtype.kind == "f":
        raise NotImplementedError(
            "target: cross_entropy of this version takes classes (integers), not probabilities; "
            "use log_softmax, and multiply it by the probabilities"
        )
    x = logits.data
    loss = ops.cross_entropy(x, target, reduction, ignore_index)

    def backward(dy: np.ndarray) -> Any:
        dloss = dy if reduction == "none" else float(dy)
        return (ops.cross_entropy_backward(x, target, reduction, ignore_index, dloss),)

    return Tensor.result(loss, (logits,), backward)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)^2, and its mean or sum; see ops.mse_loss. ValueError for shapes that differ."""
    x, t = as_tensor(input), as_tensor(target)
    a, b = x.data, t.data
    loss = ops.mse_loss(a, b, reduction)

    def backward(dy: np.ndarray) -> Any:
        dx = ops.mse_loss_backward(a, b, reduction, dy if reduction == "none" else float(dy))
        return dx, (-dx if t.requires_grad else None)

    return Tensor.result(loss, (x, t), backward)
