"""Gradient clipping: torch.nn.utils' names."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from convnet import backend
from convnet.nn.tensor import Tensor
from convnet.ops._arrays import dense


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None


def _gradients(parameters: Any) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [t.grad for t in tensors if t.grad is not None]


def _norm(grads: list[np.ndarray], norm_type: float) -> float:
    """The norm of all elements together, in float64."""
    if norm_type == math.inf:
        return max(float(np.abs(g).max(initial=0)) for g in grads)
    total, part = 0.0, np.zeros(())
    for g in grads:
        if norm_type == 2:
            if g.size:
                part = part if type(g) is np.ndarray else g.scratch((), part.dtype)
                backend.active(g).sum_squares(dense(g), part)
                total += float(part)
        else:
            total += float(np.power(np.abs(g), norm_type, dtype=np.float64).sum())
    return total ** (1 / norm_type)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """(sum of |x|^p over all elements of all tensors)^(1/p), in the type of the first one.

    norm_type : p, above 0; math.inf gives the largest |x|
    error_if_nonfinite : RuntimeError for a norm that is NaN or infinite
    foreach : accepted for torch's sake, no effect
    """
    norm_type = _number(norm_type, "norm_type")
    if not norm_type > 0:
        raise ValueError(f"norm_type: expected a number above 0, got {norm_type}")
    arrays = [t.data for t in ([tensors] if isinstance(tensors, Tensor) else tensors)]
    if not arrays:
        return Tensor.of(np.zeros((), np.float32))
    norm = Tensor.of(np.array(_norm(arrays, norm_type), arrays[0].dtype))
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise RuntimeError(f"the norm of all tensors together is {norm.item()}")
    return norm


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients, in place, so that their norm together is at most max_norm.

    Each is multiplied by min(1, max_norm / (norm + 1e-6)). Returns the norm before.

    parameters : a Tensor or an iterable of them; those without a gradient are passed over
    error_if_nonfinite : RuntimeError for a norm that is NaN or infinite, before anything changes
    foreach : accepted for torch's sake, no effect
    """
    max_norm = _number(max_norm, "max_norm")
    grads = _gradients(parameters)
    norm = get_total_norm(grads, norm_type, error_if_nonfinite)
    scale = max_norm / (norm.item() + 1e-6)
    if not scale >= 1:
        for g in grads:
            g.data *= g.dtype.type(scale)
    return norm


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clip every element of all gradients, in place, to [-clip_value, clip_value]."""
    clip_value = _number(clip_value, "clip_value")
    for g in _gradients(parameters):
        np.clip(g.data, -clip_value, clip_value, out=g.data)


def __getattr__(name: str) -> Any:
    from convnet.absent import missing

    raise missing("convnet.nn.utils", name)
