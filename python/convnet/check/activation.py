"""Activations and softmax: cases and bounds.

Shapes go around the vector (up to 16 lanes), with enough work for two threads in one case each;
ranges reach from denormals to where the functions have long come to their limits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convnet.backends.reference import activation as reference
from convnet.check.case import Array, Case, ErrorCase
from convnet.check.spec import Bound, OpSpec, exact, ulps

EPS_REFERENCE = 2.0**-52  # the reference's own errors count where the backend is in float64 too


@dataclass(frozen=True)
class Special:
    """0, infinities, NaN, denormals, the ends of the type's range, and their negatives."""

    def draw(self, rng: np.random.Generator, dtype: Any, memory_format: str) -> np.ndarray:
        f = np.finfo(dtype)
        values = [0, np.inf, np.nan, f.smallest_subnormal, f.tiny / 3, f.tiny, f.eps, 1, f.max]
        values += [0.5, 3, 30, 90, 104, 700, 746]
        return np.array([v * s for v in values for s in (1, -1)], dtype)


def _bound(output: str, allowed: Callable[[dict[str, Any], float, float], Any]) -> Bound:
    """The bound of one output; where it is not a number, only equality passes."""

    def bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
        return {output: np.nan_to_num(allowed({**args, **expected}, eps, tiny), posinf=0)}

    return bound


def _ulps(n: float) -> Bound:
    """n units in the last place, and one of float64 for the reference's own exponential."""
    return _bound("y", lambda a, eps, tiny: (n * eps + EPS_REFERENCE) * np.abs(a["y"]) + tiny)


# gelu's exponential: a^2/2 is exact to the last bit in the kernels, not in the reference. The form
# with tanh rounds its exponent 2u, and so errs by a few |2u| eps.
def _gelu_relative(x: np.ndarray, approximate: str, eps: float) -> np.ndarray:
    if approximate == "tanh":
        x = np.minimum(np.abs(x), 25)
        return (5 + 4 * (1.6 * x + 0.072 * x**3)) * eps
    return 5 * eps + np.minimum(x * x + 2, 1600) * EPS_REFERENCE


def _gelu(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    return _gelu_relative(a["x"], a["approximate"], eps) * np.abs(a["y"]) + tiny


def _gelu_backward(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    """The two terms of the derivative may cancel: relative to their magnitudes."""
    x, dy = np.clip(a["x"], -40, 40), np.abs(a["dy"])
    if a["approximate"] == "tanh":
        s = reference.logistic(1.5957691216 * x + 0.07135481627 * x**3)
        slope = s + np.abs(x) * (1.6 + 0.2141 * x**2) * s * (1 - s)
    else:
        slope = reference.normal_distribution(x) + 0.4 * np.abs(x) * np.exp(-x * x / 2)
    relative = 4 * eps + _gelu_relative(x, a["approximate"], eps)
    return relative * dy * slope + tiny * (1 + dy)


def _silu_backward(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    x, dy = np.clip(a["x"], -1000, 1000), np.abs(a["dy"])
    s = reference.logistic(x)
    return 6 * eps * dy * (s + np.abs(x) * s * reference.logistic(-x)) + tiny * (1 + dy)


def softmax_error(x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(softmax, its relative error, the relative error of the sum of exponentials).

    x - max rounds by half an ulp, which the exponential makes a relative error of |x - max| eps/2;
    the sum inherits the mean of that and adds its own.
    """
    d = np.maximum(x - x.max(axis=1, keepdims=True), -1e4)
    e = np.exp(d)
    p = e / e.sum(axis=1, keepdims=True)
    of_sum = (8 + 2 * np.sqrt(x.shape[1]) - (p * d).sum(axis=1, keepdims=True)) * eps
    return p, of_sum - d * eps, of_sum


def _softmax(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    p, relative, _ = softmax_error(a["x"], eps)
    return p * relative + tiny


def _log_softmax(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    return softmax_error(a["x"], eps)[2] + 4 * eps * np.abs(a["y"]) + tiny


def _softmax_backward(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    dy, y, n = a["dy"], a["y"], a["y"].shape[1]
    total = np.abs(dy * y).sum(axis=1, keepdims=True)
    error = (8 + 2 * np.sqrt(n)) * eps * total + n * tiny
    return np.abs(y) * (error + 2 * eps * (np.abs(dy) + total)) + tiny


def _log_softmax_backward(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    dy, y, n = a["dy"], a["y"], a["y"].shape[1]
    total = np.abs(dy).sum(axis=1, keepdims=True)
    error = (12 + 2 * np.sqrt(n)) * eps * total + n * tiny
    return np.exp(y) * error + 2 * eps * np.abs(dy) + tiny


SPECS = {
    "relu": OpSpec(("y",), exact("y")),
    "relu_backward": OpSpec(("dx",), exact("dx")),
    # The slope is rounded to the type, then the product.
    "leaky_relu": OpSpec(("y",), ulps(2, "y")),
    "leaky_relu_backward": OpSpec(("dx",), ulps(2, "dx")),
    "sigmoid": OpSpec(("y",), _ulps(2)),
    "tanh": OpSpec(("y",), _ulps(2)),
    # Three roundings each.
    "sigmoid_backward": OpSpec(("dx",), ulps(3, "dx")),
    "tanh_backward": OpSpec(("dx",), ulps(3, "dx")),
    "silu": OpSpec(("y",), _ulps(3)),
    "silu_backward": OpSpec(("dx",), _bound("dx", _silu_backward)),
    "gelu": OpSpec(("y",), _bound("y", _gelu)),
    "gelu_backward": OpSpec(("dx",), _bound("dx", _gelu_backward)),
    "softmax": OpSpec(("y",), _bound("y", _softmax)),
    "log_softmax": OpSpec(("y",), _bound("y", _log_softmax)),
    "softmax_backward": OpSpec(("dx",), _bound("dx", _softmax_backward)),
    "log_softmax_backward": OpSpec(("dx",), _bound("dx", _log_softmax_backward)),
}

_SHAPES = ((7,), (), (2, 3, 5, 7), (3, 33), (40, 1000), (0, 3, 4, 4))
_INPUTS = {
    **{f"{s}": Array(s) for s in _SHAPES},
    "special": Special(),
    "-1..1": Array((1000,), -1, 1),
    "-110..110": Array((1000,), -110, 110),
    "-800..800": Array((1000,), -800, 800),
}
# Outputs that a gradient gets: of the function's range.
_OUTPUTS = {"relu": (-1, 1), "sigmoid": (0, 1), "tanh": (-1, 1)}
_FORMS = {
    "leaky_relu": ({}, {"negative_slope": 0.3}, {"negative_slope": -2}),
    "gelu": ({}, {"approximate": "tanh"}),
}


def _element_wise(op: str) -> list[Case]:
    cases = []
    for form in _FORMS.get(op, ({},)):
        words = "".join(f" {v}" for v in form.values())
        for id, x in _INPUTS.items():
            cases.append(Case(op, id + words, {"x": x, **form}))
            if op not in _OUTPUTS:
                dy = Special() if id == "special" else Array(x.shape)
                cases.append(Case(f"{op}_backward", id + words, {"dy": dy, "x": x, **form}))
    if op in _OUTPUTS:
        low, high = _OUTPUTS[op]
        for s in _SHAPES:
            args = {"dy": Array(s), "y": Array(s, low, high)}
            cases.append(Case(f"{op}_backward", f"{s}", args))
    return cases


# (shape, axis): rows short of a vector, around it, long; columns likewise; one class.
_SOFTMAX = (
    ((5,), 0),
    ((4, 10), -1),
    ((4, 10), 0),
    ((3, 1), 1),
    ((2, 3, 17), 1),
    ((2, 31, 16), 1),
    ((2, 33, 5, 7), 1),
    ((2, 3, 4, 33), 3),
    ((2, 3, 4, 5), -2),
    ((40, 1000), 1),
    ((2, 40, 21, 23), 1),
    ((0, 3), 1),
)


def _softmax_cases(op: str) -> list[Case]:
    cases = []
    for shape, axis in _SOFTMAX:
        id = f"{shape} axis {axis}"
        cases.append(Case(op, id, {"x": Array(shape), "axis": axis}))
        cases.append(Case(op, f"{id} wide", {"x": Array(shape, -90, 90), "axis": axis}))
        low, high = (0, 1) if op == "softmax" else (-9, 0)
        args = {"dy": Array(shape), "y": Array(shape, low, high), "axis": axis}
        cases.append(Case(f"{op}_backward", id, args))
    cases.append(Case(op, "special, a row", {"x": Special(), "axis": 0}))
    cases.append(Case(op, "special, rows of one", {"x": Special()}, lambda a: _column(a, (-1, 1))))
    cases.append(Case(op, "special, rows of two", {"x": Special()}, lambda a: _column(a, (-1, 2))))
    return cases


def _column(args: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    return {"x": args["x"].reshape(shape)}


CASES = [
    *(
        case
        for op in ("relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu")
        for case in _element_wise(op)
    ),
    *_softmax_cases("softmax"),
    *_softmax_cases("log_softmax"),
]


def _error(op: str, id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    return ErrorCase(op, id, lambda: args, exception, match)


_X, _DOUBLE = np.ones((2, 3), np.float32), np.ones((2, 3))
_READ_ONLY = np.ones((2, 3), np.float32)
_READ_ONLY.flags.writeable = False
_MEMORY = np.ones(8, np.float32)

ERROR_CASES = [
    _error("relu", "list", TypeError, "x: expected a numpy.ndarray", x=[1.0]),
    _error("relu", "int", TypeError, "float32 or float64, got int64", x=np.arange(3)),
    _error("tanh", "masked", TypeError, "x: expected a plain", x=np.ma.array([1.0])),
    _error("tanh", "out type", TypeError, "out: expected float32", x=_X, out=np.ones((2, 3))),
    _error("silu", "out shape", ValueError, "out: expected shape", x=_X, out=_X.T.copy()),
    _error("gelu", "out read-only", ValueError, "out: .* read-only", x=_X, out=_READ_ONLY),
    _error("relu", "out overlaps", ValueError, "out: overlaps", x=_MEMORY[:6], out=_MEMORY[1:7]),
    _error("gelu", "form", ValueError, 'approximate: expected "none"', x=_X, approximate="erf"),
    _error("leaky_relu", "slope", TypeError, "negative_slope: ", x=_X, negative_slope="0.1x"),
    _error("leaky_relu", "no slope", TypeError, "negative_slope: ", x=_X, negative_slope=None),
    _error("relu_backward", "mixed", TypeError, "y: expected float32 like dy", dy=_X, y=_DOUBLE),
    _error("silu_backward", "shape", ValueError, "x: expected shape", dy=_X, x=_X[:1]),
    _error("softmax", "axis", ValueError, "axis: expected an axis of x", x=_X, axis=2),
    _error("softmax", "axis type", TypeError, "axis: expected an integer", x=_X, axis=1.0),
    _error("log_softmax", "0-d", ValueError, "axis: ", x=np.ones(())),
    _error("softmax_backward", "mixed", TypeError, "y: expected float32", dy=_X, y=_DOUBLE),
    _error("log_softmax_backward", "shape", ValueError, "y: expected shape", dy=_X, y=_X[:1]),
]
