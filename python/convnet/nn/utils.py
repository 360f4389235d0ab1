"""Gradient clipping: torch.nn.utils' names."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from convnet import backend
from convnet.nn.tensor import Tensor
from convnet.ops._arrays import dense


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


def get_total_norm(tensors: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """(sum of |x|^p over all elements of all tensors)^(1/p), in the type of the first one.

    norm_type : p, above 0; math.inf gives the largest |x|
    """
    norm_type = float(norm_type)
    if not norm_type > 0:
        raise ValueError(f"norm_type: expected a number above 0, got {norm_type}")
    arrays = [t.data for t in tensors]
    if not arrays:
        return Tensor.of(np.zeros((), np.float32))
    return Tensor.of(np.array(_norm(arrays, norm_type), arrays[0].dtype))


def clip_grad_norm_(
    parameters: Any,
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
    grads = _gradients(parameters)
    norm = get_total_norm(grads, norm_type)
    value = norm.item()
    if error_if_nonfinite and not math.isfinite(value):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {value}")
    scale = max_norm / (value + 1e-6)
    if not scale >= 1:
        for g in grads:
            g.data *= g.dtype.type(scale)
    return norm


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clip every element of all gradients, in place, to [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    for g in _gradients(parameters):
        np.clip(g.data, -clip_value, clip_value, out=g.data)
