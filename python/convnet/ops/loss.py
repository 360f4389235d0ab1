"""Losses and their gradients, fused with the softmax or the sigmoid before them.

reduction, in all of them: "mean" and "sum" give a scalar of the inputs' type, summed in float64 in
an order that no thread changes; "none" gives every element's loss. A backward function takes the
same arguments and dy, the gradient of the loss: a number, or for "none" also an array like it.
"""

import math
from operator import index
from typing import Any

import numpy as np

from convnet import backend
from convnet.gpu import foreign
from convnet.gpu.array import DeviceArray
from convnet.kernels.arrays import (
    count_classes,
    count_within,
    matrix,
    reduced,
    result,
    rows,
    scalar_array,
)
from convnet.memory import empty, empty_as, empty_like
from convnet.ops._arrays import (
    as_array,
    check_same_dtype,
    check_shape,
    contiguous,
    dense,
    native,
    same_format,
)

_INT64, _F64 = np.dtype(np.int64), np.dtype(np.float64)
_REDUCTIONS = ("mean", "sum", "none")


def _check_reduction(reduction: Any) -> None:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(_REDUCTIONS)}, got {reduction!r}")


def _reduce(loss: np.ndarray, reduction: str, count: int) -> Any:
    """What the caller gets of the losses; the mean is over `count` of them."""
    if type(loss) is not np.ndarray:
        return native(_reduce_on_device(loss, reduction, count))
    if reduction == "none":
        return loss
    total = scalar_array(0.0, _F64)
    if loss.size:
        backend.active(loss).sum_all(loss, total)
    return reduced(total, loss.dtype, reduction == "mean", count)


def _reduce_on_device(loss: Any, reduction: str, count: Any) -> Any:
    """_reduce without waiting for the GPU: a 0-d array of it."""
    if reduction == "none":
        return loss
    total = loss.empty((), np.float64)
    if loss.size:
        backend.active(loss).sum_all(loss, total)
        if reduction == "mean":
            total = np.true_divide(total, count)
    else:
        total.fill(math.nan if reduction == "mean" else 0)
    return total.astype(loss.dtype, copy=False)


def _number(dy: Any) -> float:
    try:
        return float(dy)
    except (TypeError, ValueError):
        raise TypeError(f"dy: expected a number, got {type(dy).__name__}") from None


def _scale_on_device(dy: Any, reduction: str, count: Any, shape: tuple[int, ...], x: Any) -> Any:
    """_scale for x on a GPU; dy may be a 0-d array there, which nobody waits for."""
    if type(dy) is not float and hasattr(dy, "__cuda_array_interface__"):
        dy = foreign.wrap(dy, "dy")
        if dy.ndim:
            if reduction != "none":
                raise ValueError(
                    f'dy: expected a number with reduction="{reduction}", got shape {dy.shape}'
                )
            check_shape(dy, "dy", shape, "like the loss")
            check_same_dtype("x", x, dy=dy)
            return dy
    else:
        dy = _number(dy)
    if reduction == "mean" and x.size:
        dy = dy / count
    if isinstance(dy, float):
        scale = x.empty((), x.dtype)
        scale.fill(dy)
        return scale
    return dy.astype(x.dtype, copy=False)


def _scale(dy: Any, reduction: str, count: int, shape: tuple[int, ...], x: Any) -> Any:
    """dy over what the mean divides by: 0-d, or for "none" like the loss."""
    if type(x) is DeviceArray:
        return _scale_on_device(dy, reduction, count, shape, x)
    dtype = x.dtype
    if type(dy) is not float:
        if hasattr(dy, "__dlpack__") and np.ndim(dy) > 0:
            dy = as_array(dy, "dy")
            if reduction != "none":
                raise ValueError(
                    f'dy: expected a number with reduction="{reduction}", got shape {dy.shape}'
                )
            check_shape(dy, "dy", shape, "like the loss")
            if dy.dtype != dtype:
                raise TypeError(f"dy: expected {dtype} like the loss, got {dy.dtype}")
            return dy
        dy = _number(dy)
    if reduction == "mean" and count:
        dy /= count
    return scalar_array(dy, dtype)


# Class losses ---------------------------------------------------------------------------------


def _classes(target: Any, shape: tuple[int, ...], n: int, ignore_index: Any) -> tuple[Any, int]:
    """(target as int64, how many of its elements count); the message names what is out of range.

    On a GPU the number is a 0-d array there, and classes out of range are not looked for: both
    would wait for it. The kernels give NaN for them.
    """
    if type(target) is not np.ndarray:
        if hasattr(target, "__cuda_array_interface__"):
            target = foreign.wrap(target, "target")
        elif isinstance(target, np.integer):
            target = np.asarray(target)
        elif isinstance(target, np.ndarray) or not hasattr(target, "__dlpack__"):
            kind = f"{type(target).__module__}.{type(target).__qualname__}"
            raise TypeError(
                f"target: expected a numpy.ndarray of integers (classes), got {kind}; "
                f"convert it with numpy.asarray(target, dtype=numpy.int64)"
            )
        else:
            target = np.from_dlpack(target)
    if target.dtype.kind not in "iu":
        raise TypeError(f"target: expected integers (classes), got {target.dtype}")
    check_shape(target, "target", shape, "like the logits without their class axis")
    if type(ignore_index) is not int:
        try:
            ignore_index = index(ignore_index)
        except TypeError:
            raise TypeError(
                f"ignore_index: expected an integer, got {type(ignore_index).__name__}"
            ) from None
    if not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index: expected a 64-bit integer, got {ignore_index}")
    if type(target) is DeviceArray:
        classes = contiguous(target.astype(np.int64, copy=False))
        return classes, np.not_equal(classes, ignore_index).sum()
    if target.size == 0:
        return target, 0
    classes = target
    if target.dtype is not _INT64 or not target.flags.c_contiguous or not target.flags.aligned:
        classes = np.ascontiguousarray(target, np.int64).reshape(shape)
        if not classes.flags.aligned:
            classes = classes.copy()
    counts = classes != ignore_index
    if count_within(classes, n, 0) < 0:
        wrong = counts & ((classes < 0) | (classes >= n))
        if target.dtype.kind == "u":  # 2^64 - 100 is not -100
            wrong |= target >= max(n, 2**63)
        if wrong.any():
            place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            at = f"[{', '.join(map(str, place))}]" if place else ""
            raise ValueError(
                f"target: expected classes 0 to {n - 1} (there are {n}) or ignore_index="
                f"{ignore_index}, got {target[place]} in target{at}"
            )
    return classes, int(np.count_nonzero(counts))


def _class_arguments(
    x: Any, name: str, target: Any, reduction: Any, ignore_index: Any
) -> tuple[np.ndarray, int, np.ndarray, int]:
    """x, its class axis, the target as int64, how many elements count."""
    count = count_classes(x, target, ignore_index)
    if count < 0 or reduction not in _REDUCTIONS:
        return _checked_class_arguments(x, name, target, reduction, ignore_index)
    return x, 1 if x.ndim > 1 else 0, target, count


def _checked_class_arguments(
    x: Any, name: str, target: Any, reduction: Any, ignore_index: Any
) -> tuple[np.ndarray, int, np.ndarray, int]:
    x = as_array(x, name)
    _check_reduction(reduction)
    if x.ndim == 0:
        raise ValueError(f"{name}: expected (C,), (N, C) or (N, C, ...), got shape ()")
    axis = 1 if x.ndim > 1 else 0
    n = x.shape[axis]
    if n == 0:
        raise ValueError(f"{name}: expected at least one class, got shape {x.shape}")
    target, count = _classes(target, x.shape[:axis] + x.shape[axis + 1 :], n, ignore_index)
    return dense(x), axis, target, count


def _class_loss(
    function: str, x: Any, name: str, target: Any, reduction: Any, ignore_index: Any
) -> Any:
    x, axis, target, count = _class_arguments(x, name, target, reduction, ignore_index)
    if not x.size:
        return _reduce(empty(target.shape, x.dtype, False, x), reduction, count)
    r = rows(x, axis)
    places = matrix(target, r)
    loss = empty_as(places.shape, r)
    getattr(backend.active(x), function)(r, places, loss, index(ignore_index))
    return _reduce(loss.reshape(target.shape) if reduction == "none" else loss, reduction, count)


def _class_loss_backward(
    function: str, x: Any, name: str, target: Any, reduction: Any, ignore_index: Any, dy: Any
) -> np.ndarray:
    x, axis, target, count = _class_arguments(x, name, target, reduction, ignore_index)
    scale = _scale(dy, reduction, count, target.shape, x)
    dx = empty_like(x)
    if x.size:
        r = rows(x, axis)
        if scale.ndim:
            scale = matrix(contiguous(scale), r)
        getattr(backend.active(x), function)(
            r, matrix(target, r), scale, rows(dx, axis), index(ignore_index)
        )
    return dx if type(dx) is np.ndarray else native(dx)


def cross_entropy(
    logits: Any, target: Any, reduction: str = "mean", ignore_index: int = -100
) -> Any:
    """loss = log(sum over c of exp(logits[c])) - logits[target], the softmax and its log fused.

    logits : (C,), (N, C) or (N, C, d1, ...)    target : integers of any width, (), (N,) or
    (N, d1, ...), classes 0 to C-1 or ignore_index    ->    a scalar, or for "none" like target.
    Elements whose target is ignore_index give 0, have no gradient, and do not count in the mean,
    which is NaN if none counts. ValueError for a class out of range.
    """
    return _class_loss("cross_entropy", logits, "logits", target, reduction, ignore_index)


def cross_entropy_backward(
    logits: Any,
    target: Any,
    reduction: str = "mean",
    ignore_index: int = -100,
    dy: Any = 1.0,
) -> np.ndarray:
    """dlogits = dloss * (softmax(logits) - one_hot(target)), 0 where ignored.

    dloss is dy, over the number of elements that count for "mean". See cross_entropy.
    """
    return _class_loss_backward(
        "cross_entropy_backward", logits, "logits", target, reduction, ignore_index, dy
    )


def nll_loss(x: Any, target: Any, reduction: str = "mean", ignore_index: int = -100) -> Any:
    """loss = -x[target] for log-probabilities x. Shapes and errors as in cross_entropy."""
    return _class_loss("nll_loss", x, "x", target, reduction, ignore_index)


def nll_loss_backward(
    x: Any,
    target: Any,
    reduction: str = "mean",
    ignore_index: int = -100,
    dy: Any = 1.0,
) -> np.ndarray:
    """dx = -dloss at the target, else 0. See cross_entropy_backward."""
    return _class_loss_backward("nll_loss_backward", x, "x", target, reduction, ignore_index, dy)


# Element-wise losses --------------------------------------------------------------------------


def _checked_pair(x: Any, target: Any, reduction: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, target and memory for a result like x, in one memory order."""
    x, target = as_array(x, "x"), as_array(target, "target")
    _check_reduction(reduction)
    check_same_dtype("x", x, target=target)
    check_shape(target, "target", x.shape, "like x")
    x = dense(x)
    return x, same_format(target, x), empty_like(x)


def _pair_loss(function: str, x: Any, target: Any, reduction: Any, *parameters: float) -> Any:
    loss = result(None, x, target)
    if loss is None or reduction not in _REDUCTIONS:
        x, target, loss = _checked_pair(x, target, reduction)
    size = x.size
    if size:
        getattr(backend.active(x), function)(x, target, loss, *parameters)
    return _reduce(loss, reduction, size)


def _pair_loss_backward(function: str, x: Any, target: Any, reduction: Any, dy: Any) -> np.ndarray:
    dx = result(None, x, target)
    if dx is None or reduction not in _REDUCTIONS:
        x, target, dx = _checked_pair(x, target, reduction)
    size = x.size
    scale = _scale(dy, reduction, size, x.shape, x)
    if size:
        if scale.ndim:
            scale = same_format(scale, x)
        getattr(backend.active(x), function)(x, target, scale, dx)
    return dx if type(dx) is np.ndarray else native(dx)


def bce_with_logits(x: Any, target: Any, reduction: str = "mean") -> Any:
    """loss = -(t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x))), t the target, fused.

    Computed as |x| (1 - t where x >= 0, t below) + log(1 + exp(-|x|)): no overflow, no
    cancellation for 0 <= t <= 1.
    x, target : one shape, one type    ->    a scalar, or for "none" like x.
    """
    return _pair_loss("bce_with_logits", x, target, reduction)


def bce_with_logits_backward(
    x: Any, target: Any, reduction: str = "mean", dy: Any = 1.0
) -> np.ndarray:
    """dx = dloss * (sigmoid(x) - target); dloss is dy, over the number of elements for "mean"."""
    return _pair_loss_backward("bce_with_logits_backward", x, target, reduction, dy)


def bce(x: Any, target: Any, reduction: str = "mean") -> Any:
    """loss = -(t max(log(x), -100) + (1 - t) max(log(1 - x), -100)) for probabilities x.

    x, target : one shape, one type    ->    a scalar, or for "none" like x. NaN where x is not in
    [0, 1]. From logits, bce_with_logits is the better choice.
    """
    return _pair_loss("bce", x, target, reduction)


def bce_backward(x: Any, target: Any, reduction: str = "mean", dy: Any = 1.0) -> np.ndarray:
    """dx = dloss * (x - target) / max(x (1 - x), 1e-12); dloss as in bce_with_logits_backward."""
    return _pair_loss_backward("bce_backward", x, target, reduction, dy)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """loss = (x - target)^2.

    x, target : one shape, one type    ->    a scalar, or for "none" like x.
    """
    return _pair_loss("mse_loss", x, target, reduction)


def mse_loss_backward(x: Any, target: Any, reduction: str = "mean", dy: Any = 1.0) -> np.ndarray:
    """dx = dloss * 2 (x - target); dloss as in bce_with_logits_backward."""
    return _pair_loss_backward("mse_loss_backward", x, target, reduction, dy)


def _beta(beta: Any) -> float:
    if isinstance(beta, bool) or not isinstance(beta, (int, float, np.number)):
        raise TypeError(f"beta: expected a number, got {beta!r}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta: expected a number of at least 0, got {beta!r}")
    return float(beta)


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """loss = d^2 / (2 beta) where d = |x - target| < beta, else d - beta/2; beta 0 is l1_loss.

    x, target : one shape, one type    ->    a scalar, or for "none" like x. Girshick 2015 (Fast
    R-CNN); times beta it is Huber's loss.
    """
    return _pair_loss("smooth_l1_loss", x, target, reduction, _beta(beta))


def smooth_l1_loss_backward(
    x: Any, target: Any, reduction: str = "mean", beta: float = 1.0, dy: Any = 1.0
) -> np.ndarray:
    """dx = dloss * (x - target) / beta, between -dloss and dloss; see bce_with_logits_backward."""
    beta = _beta(beta)
    dx = result(None, x, target)
    if dx is None or reduction not in _REDUCTIONS:
        x, target, dx = _checked_pair(x, target, reduction)
    size = x.size
    scale = _scale(dy, reduction, size, x.shape, x)
    if size:
        if scale.ndim == x.ndim:
            scale = same_format(scale, x)
        else:
            full = empty_like(x)
            full.fill(scale)
            scale = full
        backend.active(x).smooth_l1_loss_backward(x, target, scale, dx, beta)
    return dx if type(dx) is np.ndarray else native(dx)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """loss = |x - target|.

    x, target : one shape, one type    ->    a scalar, or for "none" like x.
    """
    return smooth_l1_loss(x, target, reduction, 0.0)


def l1_loss_backward(x: Any, target: Any, reduction: str = "mean", dy: Any = 1.0) -> np.ndarray:
    """dx = dloss * sign(x - target), 0 where they are equal; dloss: bce_with_logits_backward."""
    return smooth_l1_loss_backward(x, target, reduction, 0.0, dy)
