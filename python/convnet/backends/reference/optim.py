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
    v_max: np.ndarray | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """step counts from 1; v_max, the largest v so far (amsgrad), may be None.

    Kingma, Ba 2015; decoupled (AdamW): Loshchilov, Hutter 2019; amsgrad: Reddi, Kale, Kumar 2018.
    """
    decay = lr * weight_decay * param if decoupled else 0
    d = grad if decoupled else grad + weight_decay * param
    m[...] = beta1 * m + (1 - beta1) * d
    v[...] = beta2 * v + (1 - beta2) * d * d
    if v_max is not None:
        v_max[...] = np.maximum(v, v_max)
        v = v_max
    denominator = np.sqrt(v) / np.sqrt(1 - beta2**step) + eps
    param[...] = param - (decay + lr / (1 - beta1**step) * m / denominator)


def rmsprop(
    param: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    buf: np.ndarray | None,
    mean: np.ndarray | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """buf is the momentum, None where momentum is 0; mean, the gradient's, None unless centered.

    Hinton, lecture 6e of Neural Networks for Machine Learning, 2012; centered: Graves 2013.
    """
    d = grad + weight_decay * param
    v[...] = alpha * v + (1 - alpha) * d * d
    variance = v
    if mean is not None:
        mean[...] = alpha * mean + (1 - alpha) * d
        variance = np.maximum(v - mean * mean, 0)
    update = d / (np.sqrt(variance) + eps)
    if buf is not None:
        buf[...] = momentum * buf + update
        update = buf
    param[...] = param - lr * update


def adagrad(
    param: np.ndarray,
    grad: np.ndarray,
    total: np.ndarray,
    lr: float,
    eps: float,
    weight_decay: float,
) -> None:
    """total is the sum of all squared gradients. Duchi, Hazan, Singer 2011."""
    d = grad + weight_decay * param
    total[...] = total + d * d
    param[...] = param - lr * d / (np.sqrt(total) + eps)


def sum_squares(x: np.ndarray, total: np.ndarray) -> None:
    """total, 0-d float64: the sum of all squares, in float64."""
    total[...] = np.square(x, dtype=np.float64).sum()
