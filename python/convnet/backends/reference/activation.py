"""Element-wise functions and their gradients, softmax: the definition.

At infinity the functions take their limits (silu and gelu at -inf: 0, where the product is
0 * inf). softmax and log_softmax work over axis 1 of (outer, n, inner).
"""

import math

import numpy as np

quiet = np.errstate(all="ignore")
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow, with its denormals."""
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


def normal_distribution(x: np.ndarray) -> np.ndarray:
    """(1 + erf(x / sqrt(2))) / 2 without cancellation."""
    return (0.5 * _erfc(-x / math.sqrt(2))).astype(x.dtype)


def limit_at_minus_infinity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y, but 0 where x = -inf."""
    return np.where(np.isneginf(x), -0.0, y)


def relu(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = np.where(x < 0, 0, x)


def relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = np.where(y <= 0, 0, dy)


@quiet
def leaky_relu(x: np.ndarray, y: np.ndarray, negative_slope: float) -> None:
    y[...] = np.where(x < 0, x * negative_slope, x)


@quiet
def leaky_relu_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, negative_slope: float
) -> None:
    dx[...] = np.where(x <= 0, dy * negative_slope, dy)


@quiet
def sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = logistic(x)


@quiet
def sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = dy * ((1 - y) * y)


def tanh(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = np.tanh(x)


@quiet
def tanh_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = dy * ((1 - y) * (1 + y))


@quiet
def silu(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = limit_at_minus_infinity(x, x * logistic(x))


@quiet
def silu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    slope = logistic(x) + x * logistic(x) * logistic(-x)
    dx[...] = dy * np.where(np.isinf(x), x > 0, slope)


_TANH_RATE = math.sqrt(8 / math.pi)  # the form with tanh is x sigmoid(RATE (x + CUBE x^3))
_TANH_CUBE = 0.044715


@quiet
def gelu(x: np.ndarray, y: np.ndarray, approximate: str) -> None:
    if approximate == "tanh":
        s = logistic(_TANH_RATE * (x + _TANH_CUBE * x**3))
    else:
        s = normal_distribution(x)
    y[...] = limit_at_minus_infinity(x, x * s)


@quiet
def gelu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, approximate: str) -> None:
    if approximate == "tanh":
        u = _TANH_RATE * (x + _TANH_CUBE * x**3)
        rate = _TANH_RATE * (1 + 3 * _TANH_CUBE * x**2)
        slope = logistic(u) + x * rate * (logistic(u) * logistic(-u))
    else:
        slope = normal_distribution(x) + x * (np.exp(-x * x / 2) / math.sqrt(2 * math.pi))
    far = np.abs(x) > 1000  # where inf * 0 may stand
    dx[...] = dy * np.where(far, x > 0, slope)


@quiet
def softmax(x: np.ndarray, y: np.ndarray) -> None:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    y[...] = e / e.sum(axis=1, keepdims=True)


@quiet
def softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = y * (dy - (dy * y).sum(axis=1, keepdims=True))


@quiet
def log_softmax(x: np.ndarray, y: np.ndarray) -> None:
    d = x - x.max(axis=1, keepdims=True)
    y[...] = d - np.log(np.exp(d).sum(axis=1, keepdims=True))


@quiet
def log_softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = dy - np.exp(y) * dy.sum(axis=1, keepdims=True)
