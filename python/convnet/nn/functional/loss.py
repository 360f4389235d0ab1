"""Losses, fused with the softmax or sigmoid before them."""

from typing import Any

import numpy as np

from convnet import ops
from convnet.gpu.array import DeviceArray
from convnet.nn.tensor import Tensor, as_tensor


def _dloss(dy: np.ndarray, reduction: str) -> Any:
    """What the ops take: on a GPU the gradient stays there, so that nobody waits for it."""
    return dy if reduction == "none" or type(dy) is DeviceArray else float(dy)


def check_reduction(reduction: Any) -> None:
    """ValueError for another reduction than "mean", "sum" and "none"."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction: expected "mean", "sum" or "none", got {reduction!r}')


def refuse_old(size_average: Any, reduce: Any) -> None:
    """NotImplementedError for what torch has deprecated."""
    if size_average is not None or reduce is not None:
        raise NotImplementedError("size_average and reduce: use reduction instead")


def no_weight(weight: Any, what: str) -> None:
    """NotImplementedError where weights are given."""
    if weight is not None:
        raise NotImplementedError(
            f"weight: {what} of this version has no weights; use "
            'reduction="none" and multiply the losses'
        )


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """log(sum(exp(logits))) - logits[target]; see ops.cross_entropy.

    input : logits (C,), (N, C) or (N, C, ...)    target : integers, () or (N,) or (N, ...)
    weight, label_smoothing and targets that are probabilities raise NotImplementedError.
    """
    logits, target = as_tensor(input), as_tensor(target)._data
    refuse_old(size_average, reduce)
    no_weight(weight, "cross_entropy")
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
    x = logits._data
    loss = ops.cross_entropy(x, target, reduction, ignore_index)

    def backward(dy: np.ndarray) -> Any:
        dloss = _dloss(dy, reduction)
        return (ops.cross_entropy_backward(x, target, reduction, ignore_index, dloss),)

    return Tensor.result(loss, (logits,), backward, (logits,))


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-x[target] for log-probabilities x; shapes as in cross_entropy; see ops.nll_loss."""
    refuse_old(size_average, reduce)
    no_weight(weight, "nll_loss")
    t, target = as_tensor(input), as_tensor(target)._data
    x = t._data
    loss = ops.nll_loss(x, target, reduction, ignore_index)

    def backward(dy: np.ndarray) -> Any:
        return (ops.nll_loss_backward(x, target, reduction, ignore_index, _dloss(dy, reduction)),)

    return Tensor.result(loss, (t,), backward)


def _pair(
    function: Any, gradient: Any, input: Any, target: Any, *how: Any, symmetric: bool = False
) -> Tensor:
    """A loss of two arrays; the target's gradient is minus the input's, or refused."""
    x, t = as_tensor(input), as_tensor(target)
    if t.requires_grad and not symmetric:
        raise NotImplementedError(
            "target: this loss has no gradient of its target here; detach() it, or write the loss "
            "with log and exp"
        )
    a, b = x._data, t._data
    reduction = how[0]

    def backward(dy: np.ndarray) -> Any:
        dx = gradient(a, b, *how, dy=_dloss(dy, reduction))
        return dx, (-dx if t.requires_grad else None)

    return Tensor.result(function(a, b, *how), (x, t), backward, (x, t))


def mse_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """(x - target)^2, and its mean or sum; see ops.mse_loss. ValueError for shapes that differ."""
    no_weight(weight, "mse_loss")
    refuse_old(size_average, reduce)
    return _pair(ops.mse_loss, ops.mse_loss_backward, input, target, reduction, symmetric=True)


def l1_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """|x - target|, and its mean or sum; see ops.l1_loss. ValueError for shapes that differ."""
    no_weight(weight, "l1_loss")
    refuse_old(size_average, reduce)
    return _pair(ops.l1_loss, ops.l1_loss_backward, input, target, reduction, symmetric=True)


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d^2 / (2 beta) where d = |x - target| < beta, else d - beta/2; see ops.smooth_l1_loss."""
    refuse_old(size_average, reduce)
    forward, gradient = ops.smooth_l1_loss, ops.smooth_l1_loss_backward
    return _pair(forward, gradient, input, target, reduction, beta, symmetric=True)


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t log(x) + (1 - t) log(1 - x)) for probabilities x, t the target; see ops.bce."""
    refuse_old(size_average, reduce)
    no_weight(weight, "binary_cross_entropy")
    return _pair(ops.bce, ops.bce_backward, input, target, reduction)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(x), fused; see ops.bce_with_logits."""
    refuse_old(size_average, reduce)
    no_weight(weight, "binary_cross_entropy_with_logits")
    no_weight(pos_weight, "binary_cross_entropy_with_logits")
    return _pair(ops.bce_with_logits, ops.bce_with_logits_backward, input, target, reduction)


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """Integers (...) as rows (..., num_classes) of one 1 each; -1: as many as the largest needs."""
    classes = as_tensor(tensor)._data
    if classes.dtype.kind not in "iu":
        raise TypeError(f"tensor: expected integers (classes), got {classes.dtype}")
    n = int(classes.max(initial=-1)) + 1 if num_classes == -1 else num_classes
    if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < n:
        raise ValueError(f"tensor: expected classes 0 to {n - 1}")
    return Tensor.of((classes[..., None] == np.arange(n)).astype(np.int64))
