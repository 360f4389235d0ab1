"""One step of an optimizer on one parameter, in place: the definition. All arrays are alike."""

import numpy as np


def sgd(
    param: np.ndarray,
    grad: np.ndarray,
    buf: np.ndarray | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
) -> None:
    """buf is the momentum, None where momentum is 0; `first`: it holds nothing yet."""
    d = grad + weight_decay * param
    if buf is not None:
        buf[...] = d if first else momentum * buf + (1 - dampening) * d
        d = d + momentum * buf if nesterov else buf
    param[...] = param - lr * d


def adam(
    param: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """step counts from 1. Kingma, Ba 2015; decoupled (AdamW): Loshchilov, Hutter 2019."""
    p = param * (1 - lr * weight_decay) if decoupled else param
    d = grad if decoupled else grad + weight_decay * param
    m[...] = beta1 * m + (1 - beta1) * d
    v[...] = beta2 * v + (1 - beta2) * d * d
    denominator = np.sqrt(v) / np.sqrt(1 - beta2**step) + eps
    param[...] = p - lr / (1 - beta1**step) * m / denominator
