"""Element-wise functions, softmax and their gradients."""

from typing import Any

import numpy as np

from convnet import backend
from convnet.ops._arrays import (
    as_array,
    check_out,
    check_same_dtype,
    check_shape,
    dense,
    same_format,
)


def _unary(name: str, x: Any, out: Any, *parameters: Any) -> np.ndarray:
    x = as_array(x, "x")
    if out is not None:
        check_out(out, x.shape, x.dtype, x, in_place=True)
        x = same_format(x, out)
    else:
        x = dense(x)
        out = np.empty_like(x)
    if x.size:
        getattr(backend.active(), name)(x, out, *parameters)
    return out


def _binary(name: str, dy: Any, a: Any, a_name: str, out: Any, *parameters: Any) -> np.ndarray:
    """Gradient functions: dy and a saved array of the same shape."""
    dy, a = as_array(dy, "dy"), as_array(a, a_name)
    check_same_dtype("dy", dy, **{a_name: a})
    check_shape(a, a_name, dy.shape, "like dy")
    if out is not None:
        check_out(out, dy.shape, dy.dtype, dy, a, in_place=True)
    else:
        a = dense(a)
        out = np.empty_like(a)
    dy, a = same_format(dy, out), same_format(a, out)
    if dy.size:
        getattr(backend.active(), name)(dy, a, out, *parameters)
    return out


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
