"""Element-wise functions, softmax and their gradients."""

from operator import index
from typing import Any

import numpy as np

from convnet import backend
from convnet.kernels.arrays import result, rows
from convnet.memory import empty_like
from convnet.ops._arrays import (
    as_array,
    check_out,
    check_same_dtype,
    check_shape,
    dense,
    native,
    same_format,
)


def _unary(name: str, x: Any, out: Any, *parameters: Any) -> np.ndarray:
    y = result(out, x)
    if y is None:
        x, y = _checked_unary(x, out)
        if not x.size:
            return native(y)
    getattr(backend.active(x), name)(x, y, *parameters)
    return y if type(y) is np.ndarray else native(y)


def _checked_unary(x: Any, out: Any) -> tuple[np.ndarray, np.ndarray]:
    """x and the memory of its function, in one memory order."""
    given, x = x, as_array(x, "x")
    if out is None:
        x = dense(x)
        return x, empty_like(x)
    out = check_out(out, x.shape, x.dtype, given, x, in_place=True)
    return same_format(x, out), out


def _binary(name: str, dy: Any, a: Any, a_name: str, out: Any, *parameters: Any) -> np.ndarray:
    """Gradient functions: dy and a saved array of the same shape."""
    dx = result(out, dy, a)
    if dx is None:
        dy, a, dx = _checked_binary(dy, a, a_name, out)
        if not dy.size:
            return native(dx)
    getattr(backend.active(dy), name)(dy, a, dx, *parameters)
    return dx if type(dx) is np.ndarray else native(dx)


def _checked_binary(
    dy: Any, a: Any, a_name: str, out: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dy, a and the memory of the gradient, in one memory order: out's, or a's."""
    given = dy, a
    dy, a = as_array(dy, "dy"), as_array(a, a_name)
    check_same_dtype("dy", dy, **{a_name: a})
    check_shape(a, a_name, dy.shape, "like dy")
    if out is not None:
        out = check_out(out, dy.shape, dy.dtype, *given, dy, a, in_place=True)
    else:
        a = dense(a)
        out = empty_like(a)
    return same_format(dy, out), same_format(a, out), out


def _slope(negative_slope: Any) -> float:
    if type(negative_slope) is float:
        return negative_slope
    try:
        return float(negative_slope)
    except (TypeError, ValueError):
        raise TypeError(
            f"negative_slope: expected a number, got {type(negative_slope).__name__}"
        ) from None


def _form(approximate: Any) -> str:
    if approximate not in ("none", "tanh"):
        raise ValueError(f'approximate: expected "none" or "tanh", got {approximate!r}')
    return approximate


def relu(x: Any, out: np.ndarray | None = None) -> np.ndarray:
    """max(x, 0), element by element; NaN stays NaN.

    x : any shape    ->    y : like x. `out` may be x itself.
    """
    return _unary("relu", x, out)


def relu_backward(dy: Any, y: Any, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy where y > 0 (or y is NaN), else 0.

    dy, y : any one shape, y = relu(x)    ->    dx : like y. `out` may be dy or y itself.
    """
    return _binary("relu_backward", dy, y, "y", out)


def leaky_relu(x: Any, negative_slope: float = 0.01, out: np.ndarray | None = None) -> np.ndarray:
    """x, times negative_slope where x < 0; NaN stays NaN.

    x : any shape    ->    y : like x. `out` may be x itself.
    """
    return _unary("leaky_relu", x, out, _slope(negative_slope))


def leaky_relu_backward(
    dy: Any, x: Any, negative_slope: float = 0.01, out: np.ndarray | None = None
) -> np.ndarray:
    """dx = dy where x > 0 (or x is NaN), else negative_slope * dy.

    dy, x : any one shape    ->    dx : like x. `out` may be dy or x itself.
    """
    return _binary("leaky_relu_backward", dy, x, "x", out, _slope(negative_slope))


def sigmoid(x: Any, out: np.ndarray | None = None) -> np.ndarray:
    """1 / (1 + exp(-x)), element by element, within 2 ulp; 0 and 1 at -inf and inf.

    x : any shape    ->    y : like x. `out` may be x itself.
    """
    return _unary("sigmoid", x, out)


def sigmoid_backward(dy: Any, y: Any, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy * y * (1 - y).

    dy, y : any one shape, y = sigmoid(x)    ->    dx : like y. `out` may be dy or y itself.
    """
    return _binary("sigmoid_backward", dy, y, "y", out)


def tanh(x: Any, out: np.ndarray | None = None) -> np.ndarray:
    """tanh(x), element by element, within 2 ulp.

    x : any shape    ->    y : like x. `out` may be x itself.
    """
    return _unary("tanh", x, out)


def tanh_backward(dy: Any, y: Any, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy * (1 - y^2).

    dy, y : any one shape, y = tanh(x)    ->    dx : like y. `out` may be dy or y itself.
    """
    return _binary("tanh_backward", dy, y, "y", out)


def gelu(x: Any, approximate: str = "none", out: np.ndarray | None = None) -> np.ndarray:
    """x * (1 + erf(x / sqrt(2))) / 2: x times the normal distribution's value at x.

    approximate="tanh": x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2.
    Without approximation within 5 ulp, the negative side too; at -inf the limit, 0.

    x : any shape    ->    y : like x. `out` may be x itself.
    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """
    return _unary("gelu", x, out, _form(approximate))


def gelu_backward(
    dy: Any, x: Any, approximate: str = "none", out: np.ndarray | None = None
) -> np.ndarray:
    """dx = dy times gelu's derivative at x.

    dy, x : any one shape    ->    dx : like x. `out` may be dy or x itself.
    """
    return _binary("gelu_backward", dy, x, "x", out, _form(approximate))


def silu(x: Any, out: np.ndarray | None = None) -> np.ndarray:
    """x / (1 + exp(-x)), element by element, within 3 ulp; at -inf the limit, 0.

    x : any shape    ->    y : like x. `out` may be x itself.
    """
    return _unary("silu", x, out)


def silu_backward(dy: Any, x: Any, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy * (s + x s (1 - s)), s = sigmoid(x).

    dy, x : any one shape    ->    dx : like x. `out` may be dy or x itself.
    """
    return _binary("silu_backward", dy, x, "x", out)


def _axis(axis: Any, a: np.ndarray, name: str) -> int:
    """The axis as a number of at least 0."""
    try:
        i = index(axis)
    except TypeError:
        raise TypeError(f"axis: expected an integer, got {type(axis).__name__}") from None
    if not -a.ndim <= i < a.ndim:
        raise ValueError(f"axis: expected an axis of {name}, whose shape is {a.shape}, got {i}")
    return i % a.ndim


def _softmax(name: str, x: Any, axis: Any) -> np.ndarray:
    y = result(None, x)
    if y is None:
        x = as_array(x, "x")
    axis = _axis(axis, x, "x")
    if y is None:
        x = dense(x)
        y = empty_like(x)
    if x.size:
        getattr(backend.active(x), name)(rows(x, axis), rows(y, axis))
    return y if type(y) is np.ndarray else native(y)


def _softmax_backward(name: str, dy: Any, y: Any, axis: Any) -> np.ndarray:
    dx = result(None, dy, y)
    if dx is None:
        dy, y, dx = _checked_binary(dy, y, "y", None)
    axis = _axis(axis, dy, "dy")
    if dy.size:
        getattr(backend.active(dy), name)(rows(dy, axis), rows(y, axis), rows(dx, axis))
    return dx if type(dx) is np.ndarray else native(dx)


def softmax(x: Any, axis: int = -1) -> np.ndarray:
    """y = exp(x) / sum of exp(x) over `axis`, computed as exp(x - max).

    x : any shape of at least one dimension    ->    y : like x.
    A slice with NaN or inf in it, or of -inf alone, gives NaN. ValueError for an axis x lacks.
    """
    return _softmax("softmax", x, axis)


def softmax_backward(dy: Any, y: Any, axis: int = -1) -> np.ndarray:
    """dx = y * (dy - sum of dy * y over `axis`).

    dy, y : any one shape, y = softmax(x, axis)    ->    dx : like y.
    """
    return _softmax_backward("softmax_backward", dy, y, axis)


def log_softmax(x: Any, axis: int = -1) -> np.ndarray:
    """y = x - log(sum of exp(x) over `axis`), computed with x - max.

    x : any shape of at least one dimension    ->    y : like x.
    A slice with NaN or inf in it, or of -inf alone, gives NaN. ValueError for an axis x lacks.
    """
    return _softmax("log_softmax", x, axis)


def log_softmax_backward(dy: Any, y: Any, axis: int = -1) -> np.ndarray:
    """dx = dy - exp(y) * sum of dy over `axis`.

    dy, y : any one shape, y = log_softmax(x, axis)    ->    dx : like y.
    """
    return _softmax_backward("log_softmax_backward", dy, y, axis)
