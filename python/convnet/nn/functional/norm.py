"""Batch normalisation."""

from typing import Any

import numpy as np

from convnet import ops
from convnet.nn.tensor import Tensor, as_tensor, tracked
from convnet.ops.norm import batch_norm_and_stats


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

    keeps = (x,) if weight is None else (x, weight)
    return Tensor.result(y, parents, backward, keeps)
