"""Batch normalisation and dropout: cases and bounds.

Shapes go around what the kernels are made of: planes short of two vectors, exactly so, one more,
and longer than a chunk; wide rows that come out even and that leave elements over; work for two
threads.
"""

from typing import Any

import numpy as np

from convnet.check.case import Array, Case, ErrorCase
from convnet.check.spec import OpSpec, ulps


def _axes(x: np.ndarray) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _column(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    return a.reshape(1, -1, *(1,) * (x.ndim - 2))


def _spread(bound: Any, *arrays: np.ndarray) -> Any:
    """NaN for channels with a non-finite value: it may spread in them."""
    finite = True
    for a in arrays:
        finite = finite & np.isfinite(a).all(_axes(a))
    if bound.ndim > 1:
        finite = _column(finite, bound)
    return np.where(finite, bound, np.nan)


def _stats_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    x = args["x"]
    count = x.size // x.shape[1]
    slack = (8 + 2 * np.sqrt(count)) * eps
    mean = slack * np.abs(x).mean(_axes(x)) + tiny
    return {
        "mean": _spread(mean, x),
        "var": _spread(slack * expected["var"] + mean**2 + tiny, x),
    }


def _scale(args: Any) -> np.ndarray:
    weight = 1.0 if args["weight"] is None else np.abs(args["weight"])
    return weight / np.sqrt(args["var"] + args["eps"])


def _forward_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    x = args["x"]
    bias = 0.0 if args["bias"] is None else _column(np.abs(args["bias"]), x)
    product = np.abs(x - _column(args["mean"], x)) * _column(_scale(args), x)
    return {"y": 4 * eps * (product + bias) + 4 * tiny}


def _training_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    """The statistics' errors, and what they do to y."""
    x, stats = args["x"], _stats_bound(args, expected, eps, tiny)
    weight = 1.0 if args["weight"] is None else np.abs(args["weight"])
    var = expected["var"] + args["eps"]
    of_rstd = 1 / np.sqrt(np.maximum(var - stats["var"], args["eps"])) - 1 / np.sqrt(var)
    given = {**args, "mean": expected["mean"], "var": expected["var"]}
    y = _forward_bound(given, expected, eps, tiny)["y"]
    y = y + np.abs(x - _column(expected["mean"], x)) * _column(weight * of_rstd, x)
    y = y + _column(stats["mean"] * weight * (1 / np.sqrt(var) + of_rstd), x)
    return {**stats, "y": _spread(y, x)}


def _backward_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    x, dy = args["x"], np.abs(args["dy"])
    count = x.size // x.shape[1]
    slack = (8 + 2 * np.sqrt(count)) * eps
    rstd = 1 / np.sqrt(args["var"] + args["eps"])
    normalised = np.abs(x - _column(args["mean"], x)) * _column(rstd, x)
    dbias, dweight = dy.sum(_axes(x)), (dy * normalised).sum(_axes(x))
    dx = 8 * eps * dy
    if args["training"]:
        dx = dx + (8 * eps + slack) * (_column(dbias, x) + normalised * _column(dweight, x)) / count
    dx = dx * _column(_scale(args), x) + 8 * tiny
    return {
        "dx": _spread(dx, x, dy) if args["training"] else dx,
        "dweight": _spread(slack * dweight + count * tiny, x, dy),
        "dbias": _spread(slack * dbias + count * tiny, x, dy),
    }


SPECS = {
    "batch_norm_stats": OpSpec(("mean", "var"), _stats_bound),
    "batch_norm": OpSpec(("y",), _forward_bound),
    "batch_norm_training": OpSpec(("mean", "var", "y"), _training_bound),
    "batch_norm_backward": OpSpec(("dx", "dweight", "dbias"), _backward_bound),
    "dropout": OpSpec(("y", "mask"), ulps(2, "y")),
    "dropout_backward": OpSpec(("dx",), ulps(2, "dx")),
}

_SHAPES = (
    (2, 1),
    (3, 5),
    (37, 3),
    (200, 100),
    (1, 2, 2),
    (3, 4, 31),
    (5, 2, 33),
    (2, 3, 1, 1),
    (4, 17, 7, 7),
    (9, 3, 5, 7),
    (100, 2, 8, 8),
    (2, 65, 9, 11),
    (3, 2, 70, 71),
    (2, 1, 40, 40),
    (2, 3, 4, 5, 3),
)
_SMALL = ((37, 3), (4, 17, 7, 7), (9, 3, 5, 7))


def _far(args: dict[str, Any]) -> dict[str, Any]:
    """A mean far from 0, as a sum of squares would not survive."""
    return {**args, "x": args["x"] + np.asarray(3000, args["x"].dtype)}


def _not_finite(args: dict[str, Any]) -> dict[str, Any]:
    x = args["x"].copy("K")
    x[1, 1], x[2, 0] = np.nan, np.inf
    return {**args, "x": x}


def _own_stats(args: dict[str, Any]) -> dict[str, Any]:
    x = args["x"]
    return {**args, "mean": x.mean(_axes(x)), "var": x.var(_axes(x))}


def _forward(shape: tuple[int, ...], training: bool, affine: bool = True, **more: Any) -> Case:
    c = (shape[1],)
    names = "".join((" training" * training, " plain" * (not affine)))
    args = {
        "x": Array(shape),
        "running_mean": Array(c),
        "running_var": Array(c, 0.5, 2.0),
        "weight": Array(c) if affine else None,
        "bias": Array(c) if affine else None,
        "training": training,
    }
    return Case("batch_norm", f"{shape}{names}", args, **more)


def _backward(shape: tuple[int, ...], training: bool, **more: Any) -> Case:
    c = (shape[1],)
    args = {
        "dy": Array(shape),
        "x": Array(shape),
        "mean": Array(c),
        "var": Array(c, 0.5, 2.0),
        "weight": Array(c),
        "training": training,
        **more,
    }
    needs = f" {more['needs']}" if "needs" in more else ""
    id = f"{shape}{' training' * training}{needs}"
    return Case("batch_norm_backward", id, args, _own_stats if training else None)


CASES = [
    *(Case("batch_norm_stats", f"{s}", {"x": Array(s)}) for s in _SHAPES),
    *(Case("batch_norm_stats", f"{s} far", {"x": Array(s)}, _far) for s in _SHAPES),
    Case("batch_norm_stats", "nan and inf", {"x": Array((4, 17, 7, 7))}, _not_finite),
    *(_forward(s, training) for s in _SHAPES for training in (False, True)),
    *(_forward(s, training, False) for s in _SMALL for training in (False, True)),
    *(_forward(s, False) for s in ((0, 3), (0, 3, 4, 4), (1, 3, 4, 4), (1, 5))),
    *(_backward(s, training) for s in _SHAPES for training in (False, True)),
    *(
        _backward(s, training, needs=needs)
        for s in _SMALL
        for training in (False, True)
        for needs in ((True, False, False), (False, True, True), (False, False, True))
    ),
    _backward((0, 3, 4, 4), False),
    *(
        Case("dropout", f"{s} p={p:g} offset={offset}", {
            "x": Array(s), "p": p, "seed": 2**63 + 12345, "offset": offset
        })
        for s, p, offset in (
            ((1,), 0.5, 0),
            ((5,), 0.0, 7),
            ((63,), 0.3, 2**32 - 5),
            ((65,), 1.0, 0),
            ((1000,), 2.0**-40, 2**64 - 3),
            ((1000,), 1 - 2.0**-40, 3),
            ((9, 10007), 0.5, 11),
            ((3, 5, 7, 3), 0.25, 2**32 - 1),
            ((2, 70, 65, 64), 0.5, 0),
            ((2, 3, 5), 0.5, 5),
            ((0, 3, 2, 2), 0.5, 0),
        )
    ),
    *(
        Case("dropout_backward", f"{s} p={p:g}", {"dy": Array(s), "mask": Array(s), "p": p},
             lambda args: {**args, "mask": args["mask"] > 0})
        for s, p in (((5,), 0.0), ((9, 10007), 0.5), ((3, 5, 7, 3), 0.25), ((7,), 1.0))
    ),
]  # fmt: skip


def _x(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def _error(op: str, id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    return ErrorCase(op, id, lambda: args, exception, match)


_NORM = {"x": _x(4, 3, 2, 2), "running_mean": _x(3), "running_var": _x(3)}
_BACK = {"dy": _x(4, 3, 2, 2), "x": _x(4, 3, 2, 2), "mean": _x(3), "var": _x(3)}
_READ_ONLY = _x(3)
_READ_ONLY.flags.writeable = False
_DROP = {"x": _x(5), "p": 0.5, "seed": 0}

ERROR_CASES = [
    _error("batch_norm", "list", TypeError, "x: ", **{**_NORM, "x": [1.0]}),
    _error("batch_norm", "rank", ValueError, r"x: expected \(N, C\)", **{**_NORM, "x": _x(3)}),
    _error("batch_norm", "no channels", ValueError, "at least one ch", **{**_NORM, "x": _x(3, 0)}),
    _error(
        "batch_norm",
        "dtype of weight",
        TypeError,
        "weight: expected float32 like x, got float64",
        **_NORM,
        weight=_x(3, dtype=np.float64),
    ),
    _error("batch_norm", "weight", ValueError, r"weight: .*\(3,\)", **_NORM, weight=_x(4)),
    _error("batch_norm", "mean", ValueError, r"running_mean: ", **{**_NORM, "running_mean": _x(2)}),
    _error("batch_norm", "no mean", ValueError, "got None", **{**_NORM, "running_mean": None}),
    _error("batch_norm", "eps", ValueError, "eps: expected at least 0", **_NORM, eps=-1.0),
    _error("batch_norm", "eps text", TypeError, "eps: expected a number", **_NORM, eps="1"),
    _error(
        "batch_norm",
        "one value",
        ValueError,
        "more than one value per channel when training",
        **{**_NORM, "x": _x(1, 3, 1, 1)},
        training=True,
    ),
    _error(
        "batch_norm",
        "read-only",
        ValueError,
        "running_var: the array is read-only",
        **{**_NORM, "running_var": _READ_ONLY},
        training=True,
    ),
    _error(
        "batch_norm",
        "momentum",
        TypeError,
        "momentum: expected a number",
        **_NORM,
        training=True,
        momentum=None,
    ),
    _error("batch_norm_stats", "empty", ValueError, "at least one value", x=_x(0, 3)),
    _error("batch_norm_backward", "dy", ValueError, "dy: ", **{**_BACK, "dy": _x(4, 3, 2)}),
    _error("batch_norm_backward", "var", TypeError, "got None", **{**_BACK, "var": None}),
    _error("batch_norm_backward", "needs", ValueError, "needs: ", **_BACK, needs=(True,)),
    _error("dropout", "p > 1", ValueError, "p: expected a probability", **{**_DROP, "p": 1.1}),
    _error("dropout", "p < 0", ValueError, "p: expected a probability", **{**_DROP, "p": -0.1}),
    _error("dropout", "p nan", ValueError, "p: expected a probability", **{**_DROP, "p": np.nan}),
    _error("dropout", "p text", TypeError, "p: expected a number", **{**_DROP, "p": "0.5"}),
    _error("dropout", "seed", TypeError, "seed: expected an integer", **{**_DROP, "seed": 1.0}),
    _error("dropout", "seed < 0", ValueError, "seed: expected an int", **{**_DROP, "seed": -1}),
    _error("dropout", "offset", ValueError, "offset: expected an int", **_DROP, offset=2**64),
    _error("dropout", "int", TypeError, "float32 or float64", **{**_DROP, "x": np.arange(3)}),
    _error("dropout_backward", "mask", TypeError, "mask: .* of bool", dy=_x(3), mask=_x(3), p=0.5),
    _error(
        "dropout_backward",
        "mask's shape",
        ValueError,
        "mask: expected shape",
        dy=_x(3),
        mask=np.ones(4, bool),
        p=0.5,
    ),
]
