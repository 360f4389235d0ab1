"""Element-wise functions, softmax and their gradients."""

from operator import index
from typing import Any

import numpy as np

from convnet import backend
from convnet.memory import empty_like
from convnet.ops._arrays import (
    as_array,
    check_out,
    check_same_dtype,
    check_shape,
    dense,
    native,
    rows,
    same_format,
)


def _unary(name: str, x: Any, out: Any, *parameters: Any) -> np.ndarray:
    given, x = x, as_array(x, "x")
    if out is not None:
        out = check_out(out, x.shape, x.dtype, given, x, in_place=True)
        x = same_format(x, out)
    else:
        x = dense(x)
        out = empty_like(x)
    if x.size:
        getattr(backend.active(x), name)(x, out, *parameters)
    return out if type(out) is np.ndarray else native(out)


def _binary(name: str, dy: Any, a: Any, a_name: str, out: Any, *parameters: Any) -> np.ndarray:
    """Gradient functions: dy and a saved array of the same shape."""
    given = dy, a
    dy, a = as_array(dy, "dy"), as_array(a, a_name)
    if dy.dtype is not a.dtype or type(dy) is not type(a):
        check_same_dtype("dy", dy, **{a_name: a})
    if a.shape != dy.shape:
        check_shape(a, a_name, dy.shape, "like dy")
    if out is not None:
        out = check_out(out, dy.shape, dy.dtype, *given, dy, a, in_place=True)
    else:
        a = dense(a)
        out = empty_like(a)
    dy, a = same_format(dy, out), same_format(a, out)
    if dy.size:
        getattr(backend.active(dy), name)(dy, a, out, *parameters)
    return out if type(out) is np.ndarray else native(out)


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
    x = as_array(x, "x")
    axis = _axis(axis, x, "x")
    x = dense(x)
    y = empty_like(x)
    if x.size:
        getattr(backend.active(x), name)(rows(x, axis), rows(y, axis))
    return native(y)


def _softmax_backward(name: str, dy: Any, y: Any, axis: Any) -> np.ndarray:
    dy, y = as_array(dy, "dy"), as_array(y, "y")
    check_same_dtype("dy", dy, y=y)
    check_shape(y, "y", dy.shape, "like dy")
    axis = _axis(axis, dy, "dy")
    y = dense(y)
    dy, dx = same_format(dy, y), empty_like(y)
    if dy.size:
        getattr(backend.active(dy), name)(rows(dy, axis), rows(y, axis), rows(dx, axis))
    return native(dx)


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
