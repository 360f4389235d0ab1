"""Losses, element by element, and their gradients: the definition.

Class losses take logits or log-probabilities (outer, n, inner), target (outer, inner) of classes in
[0, n) or ignore_index, and give loss (outer, inner), 0 where ignored. scale is what the reduction
gives each loss, times the gradient of its result: like loss, or 0-d.
"""

import numpy as np

from convnet.backends.reference.activation import logistic, quiet


def _one_hot(target: np.ndarray, n: int, ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    """(outer, n, inner): where the target is; (outer, 1, inner): whether it counts."""
    counts = (target != ignore_index)[:, None, :]
    return (np.arange(n)[None, :, None] == target[:, None, :]) & counts, counts


@quiet
def cross_entropy(
    logits: np.ndarray, target: np.ndarray, loss: np.ndarray, ignore_index: int
) -> None:
    top = logits.max(axis=1, keepdims=True)
    log_probability = logits - top
    log_probability -= np.log(np.exp(log_probability).sum(axis=1, keepdims=True))
    nll_loss(log_probability, target, loss, ignore_index)


@quiet
def cross_entropy_backward(
    logits: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    dlogits: np.ndarray,
    ignore_index: int,
) -> None:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    hit, counts = _one_hot(target, logits.shape[1], ignore_index)
    scale = np.broadcast_to(scale, target.shape)[:, None, :]
    dlogits[...] = np.where(counts, (e / e.sum(axis=1, keepdims=True) - hit) * scale, 0)


def nll_loss(
    log_probability: np.ndarray, target: np.ndarray, loss: np.ndarray, ignore_index: int
) -> None:
    hit, _ = _one_hot(target, log_probability.shape[1], ignore_index)
    loss[...] = np.where(hit, -log_probability, 0).sum(axis=1)


def nll_loss_backward(
    log_probability: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    dx: np.ndarray,
    ignore_index: int,
) -> None:
    hit, _ = _one_hot(target, log_probability.shape[1], ignore_index)
    dx[...] = np.where(hit, -np.broadcast_to(scale, target.shape)[:, None, :], 0)


@quiet
def bce_with_logits(x: np.ndarray, target: np.ndarray, loss: np.ndarray) -> None:
    other = np.where(x < 0, target, 1 - target)  # the weight of the side that x speaks against
    loss[...] = np.where(other == 0, 0, np.abs(x) * other) + np.log1p(np.exp(-np.abs(x)))


@quiet
def bce_with_logits_backward(
    x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray
) -> None:
    dx[...] = (logistic(x) - target) * scale


@quiet
def bce(x: np.ndarray, target: np.ndarray, loss: np.ndarray) -> None:
    log_x, log_rest = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
    loss[...] = -(target * log_x + (1 - target) * log_rest)


@quiet
def bce_backward(x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = (x - target) / np.maximum((1 - x) * x, 1e-12) * scale


@quiet
def mse_loss(x: np.ndarray, target: np.ndarray, loss: np.ndarray) -> None:
    loss[...] = np.square(x - target)


@quiet
def mse_loss_backward(x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = 2 * (x - target) * scale


@quiet
def smooth_l1_loss(x: np.ndarray, target: np.ndarray, loss: np.ndarray, beta: float) -> None:
    """beta 0 is |x - target|."""
    d = np.abs(x - target)
    loss[...] = np.where(d < beta, d * d / 2 / max(beta, 1e-300), d - beta / 2)


@quiet
def smooth_l1_loss_backward(
    x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray, beta: float
) -> None:
    """scale is like x."""
    d = x - target
    dx[...] = np.where(np.abs(d) < beta, d / max(beta, 1e-300), np.sign(d)) * scale


@quiet
def sum_all(x: np.ndarray, total: np.ndarray) -> None:
    """total, 0-d float64: the sum of all elements, in float64."""
    total[...] = x.sum(dtype=np.float64)
