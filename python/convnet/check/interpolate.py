"""Resampling: cases and bounds."""

from typing import Any

import numpy as np

from convnet.backends import reference
from convnet.check.case import Array, Case, ErrorCase
from convnet.check.spec import OpSpec, sum_bound

_TAPS = ("rows", "columns", "row_weights", "column_weights")


def _magnitude(function: Any, a: dict[str, Any], source: str, shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(shape)
    function(np.abs(a[source]), out, *(a[name] for name in _TAPS))
    return out


def _bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    y = expected["y"]
    magnitude = _magnitude(reference.interpolate, args, "x", y.shape)
    return {"y": sum_bound(4, magnitude, eps, tiny)}


def _backward_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    dx, dy = expected["dx"], args["dy"]
    terms = 4.0
    for axis, places in ((2, args["rows"]), (3, args["columns"])):
        terms *= np.bincount(places.reshape(-1), minlength=dx.shape[axis]).max()
    magnitude = _magnitude(reference.interpolate_backward, args, "dy", dx.shape)
    return {"dx": sum_bound(min(terms, dy.size), magnitude, eps, tiny)}


SPECS = {
    "interpolate": OpSpec(("y",), _bound),
    "interpolate_backward": OpSpec(("dx",), _backward_bound),
}

_HOW: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = tuple(
    (shape, out, how)
    for mode, more in (("nearest", {}), ("linear", {}), ("linear", {"align_corners": True}))
    for shape, out, how in (
        ((2, 3, 5, 7), (10, 14), {"scale_factor": 2}),
        ((2, 3, 5, 7), (7, 10), {"scale_factor": (1.5, 1.5)}),
        ((2, 17, 9, 20), (3, 31), {"size": (3, 31)}),
        ((1, 1, 1, 1), (4, 1), {"size": (4, 1)}),
        ((3, 16, 30, 40), (60, 120), {"size": (60, 120)}),
        ((0, 3, 5, 7), (2, 2), {"size": 2}),
        ((2, 3, 40), (60,), {"scale_factor": 1.5}),
        ((2, 3, 41), (82,), {"scale_factor": 2}),
        ((2, 2, 5, 35), (15, 70), {"size": (15, 70)}),
        ((2, 17, 9), (4,), {"size": 4}),
    )
    for how in (
        {**how, **more, "mode": mode if mode == "nearest" or len(out) == 1 else "bilinear"},
    )
)

CASES = [
    *(Case("interpolate", f"{shape} {how}", {"x": Array(shape), **how}) for shape, _, how in _HOW),
    *(
        Case(
            "interpolate_backward",
            f"{shape} {how}",
            {"dy": Array((*shape[:2], *out)), "x_shape": shape, **how},
        )
        for shape, out, how in _HOW
    ),
]


def _error(id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    given = {"x": np.ones((1, 2, 3, 4), np.float32), **args}
    return ErrorCase("interpolate", id, lambda: given, exception, match)


ERROR_CASES = [
    _error("no size", ValueError, "give either size or scale_factor"),
    _error("both", ValueError, "give either", size=3, scale_factor=2),
    _error("size 0", ValueError, "size: expected at least 1", size=0),
    _error("three sizes", ValueError, "size: expected an integer or 2", size=(1, 2, 3)),
    _error("factor 0", ValueError, "scale_factor: .* above 0", scale_factor=0),
    _error("factor text", TypeError, "scale_factor: expected a number", scale_factor="2"),
    _error("too small", ValueError, "smaller than a pixel", scale_factor=0.1),
    _error("mode", ValueError, 'mode: expected "nearest", "bilinear"', size=3, mode="bicubic"),
    _error("linear in 2-D", ValueError, "for 2 spatial dim", size=3, mode="linear"),
    _error("corners", ValueError, "align_corners: ", size=3, align_corners=True),
    _error("volume", NotImplementedError, "x: inter", x=np.ones((1, 1, 2, 2, 2)), size=3),
    _error("no rows", ValueError, "x: ", x=np.ones((1, 1, 0, 2)), size=3),
    ErrorCase(
        "interpolate_backward",
        "shape",
        lambda: {"dy": np.ones((1, 2, 3, 3)), "x_shape": (1, 2, 2, 2), "size": 4},
        ValueError,
        "dy: expected shape",
    ),
]
