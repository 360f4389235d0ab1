"""Losses: cases and bounds."""

from typing import Any

import numpy as np

from convnet.backends import reference
from convnet.backends.reference.activation import logistic
from convnet.check.activation import _SOFTMAX, EPS_REFERENCE, Special, _bound, _error, softmax_error
from convnet.check.case import Array, Case, Integers
from convnet.check.spec import OpSpec, exact, ulps


def _cross_entropy(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    """The logarithm of the sum errs by the sum's relative error; the rest is rounding."""
    return softmax_error(a["logits"], eps)[2][:, 0] + 4 * eps * a["loss"] + tiny


def _cross_entropy_backward(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    p, relative, _ = softmax_error(a["logits"], eps)
    hit = np.arange(p.shape[1])[None, :, None] == a["target"][:, None, :]
    scale = np.abs(np.broadcast_to(a["scale"], a["target"].shape))[:, None, :]
    return scale * (p * relative + 2 * eps * hit) + tiny * (1 + scale)


def _bce_with_logits(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    x, t = a["x"], a["target"]
    other = np.abs(np.where(x < 0, t, 1 - t))
    return 6 * eps * (np.abs(x) * other + np.log1p(np.exp(-np.abs(x)))) + tiny


def _bce_with_logits_backward(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    scale = np.abs(a["scale"])
    return 4 * eps * scale * (logistic(a["x"]) + np.abs(a["target"])) + tiny * (1 + scale)


def _bce(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    """Relative to the two terms' magnitudes: the loss of |target| and |1 - target|."""
    one, other = np.empty_like(a["x"]), np.empty_like(a["x"])
    reference.bce(a["x"], np.ones_like(a["x"]), one)
    reference.bce(a["x"], np.zeros_like(a["x"]), other)
    t = a["target"]
    return 6 * eps * (np.abs(t) * one + np.abs(1 - t) * other) + tiny


def _sum_all(a: dict[str, Any], eps: float, tiny: float) -> np.ndarray:
    """Rounding of a float64 sum, whatever the type of its terms."""
    return a["x"].size * EPS_REFERENCE * np.abs(a["x"]).sum()


def _smooth_l1_bound(args: Any, expected: Any, eps: float, tiny: float) -> dict:
    """Rounding of d = x - target, of beta and of the two forms, one of which may be taken for d."""
    d, beta = np.abs(args["x"] - args["target"]), args["beta"]
    size = np.maximum(np.abs(args["x"]), np.abs(args["target"]))
    with np.errstate(invalid="ignore", over="ignore"):
        return {"loss": 4 * eps * (expected["loss"] + np.minimum(d, size) + beta) + tiny}


def _smooth_l1_backward_bound(args: Any, expected: Any, eps: float, tiny: float) -> dict:
    return {"dx": 4 * eps * (np.abs(expected["dx"]) + np.abs(args["scale"])) + tiny}


SPECS = {
    "cross_entropy": OpSpec(("loss",), _bound("loss", _cross_entropy)),
    "cross_entropy_backward": OpSpec(("dlogits",), _bound("dlogits", _cross_entropy_backward)),
    "nll_loss": OpSpec(("loss",), exact("loss")),
    "nll_loss_backward": OpSpec(("dx",), exact("dx")),
    "bce_with_logits": OpSpec(("loss",), _bound("loss", _bce_with_logits)),
    "bce_with_logits_backward": OpSpec(("dx",), _bound("dx", _bce_with_logits_backward)),
    "bce": OpSpec(("loss",), _bound("loss", _bce)),
    # Six roundings; then three each.
    "bce_backward": OpSpec(("dx",), ulps(6, "dx")),
    "mse_loss": OpSpec(("loss",), ulps(3, "loss")),
    "mse_loss_backward": OpSpec(("dx",), ulps(3, "dx")),
    "smooth_l1_loss": OpSpec(("loss",), _smooth_l1_bound),
    "smooth_l1_loss_backward": OpSpec(("dx",), _smooth_l1_backward_bound),
    "sum_all": OpSpec(("total",), _bound("total", _sum_all)),
}


def _ignoring(args: dict[str, Any]) -> dict[str, Any]:
    """Every third target is ignored."""
    target = args["target"]
    target[...] = np.where(np.arange(target.size).reshape(target.shape) % 3 == 1, -100, target)
    return args


_CLASS_SHAPES = [s for s, axis in _SOFTMAX if axis == min(1, len(s) - 1)]


def _class_cases(op: str, x: str) -> list[Case]:
    cases = []
    for shape in _CLASS_SHAPES:
        of_target = shape[:-1] if len(shape) == 1 else (shape[0], *shape[2:])
        target = Integers(of_target, 0, shape[min(1, len(shape) - 1)])
        for reduction in ("mean", "sum", "none"):
            args = {x: Array(shape), "target": target, "reduction": reduction}
            cases.append(Case(op, f"{shape} {reduction}", args, _ignoring))
            back = {**args, "dy": Array(of_target, follows="") if reduction == "none" else 0.7}
            cases.append(Case(f"{op}_backward", f"{shape} {reduction}", back, _ignoring))
    args = {x: Array((40, 10), -90, 90), "target": Integers((40,), 0, 10, "int16")}
    cases.append(Case(op, "far apart", args, quick=False))
    cases.append(Case(f"{op}_backward", "far apart", args))
    args = {x: Array((3, 4)), "target": Integers((3,), -100, -99, "int8")}
    cases.append(Case(op, "all ignored", args))
    cases.append(Case(f"{op}_backward", "all ignored", args))
    args = {x: Array((6, 4)), "target": Integers((6,), 0, 4, "uint8"), "ignore_index": 2}
    cases.append(Case(op, "a class ignored", args))
    cases.append(Case(f"{op}_backward", "a class ignored", args))
    args = {x: Special(), "target": Integers((16,), 0, 2), "reduction": "none"}
    cases.append(Case(op, "special", args, lambda a: {**a, x: a[x].reshape(16, 2)}))
    return cases


_SHAPES = ((), (5,), (3, 33), (2, 3, 5, 7), (40, 1000), (0, 3))


def _pair_cases(op: str, low: float | None, high: float | None) -> list[Case]:
    cases = []
    for shape in _SHAPES:
        for reduction in ("mean", "sum", "none"):
            args = {
                "x": Array(shape, low, high),
                "target": Array(shape, 0, 1),
                "reduction": reduction,
            }
            cases.append(Case(op, f"{shape} {reduction}", args))
            back = {**args, "dy": Array(shape) if reduction == "none" else 0.7}
            cases.append(Case(f"{op}_backward", f"{shape} {reduction}", back))
    wide = (1e-30, 1) if low == 0 else (-110, 110)
    args = {"x": Array((1000,), *wide), "target": Array((1000,), 0, 1), "reduction": "none"}
    cases.append(Case(op, "wide", args))
    cases.append(Case(f"{op}_backward", "wide", args))
    args = {**args, "x": Array((1000,), *(wide if low is None else (0, 1)))}
    cases.append(Case(op, "hard targets", args, lambda a: {**a, "target": a["target"].round()}))
    for target in (0.0, 1.0):
        prepare = lambda a, t=target: {**a, "target": np.full_like(a["x"], t)}  # noqa: E731
        args = {"x": Special(), "reduction": "none"}
        cases.append(Case(op, f"special, target {target}", args, prepare))
        cases.append(Case(f"{op}_backward", f"special, target {target}", args, prepare))
    return cases


CASES = [
    *_class_cases("cross_entropy", "logits"),
    *_class_cases("nll_loss", "x"),
    *_pair_cases("bce_with_logits", None, None),
    *_pair_cases("bce", 0, 1),
    *_pair_cases("mse_loss", None, None),
    *_pair_cases("l1_loss", None, None),
    *_pair_cases("smooth_l1_loss", None, None),
    *(
        Case(
            f"smooth_l1_loss{end}",
            f"beta {beta}",
            {"x": Array((9, 7)), "target": Array((9, 7)), **b},
        )
        for beta in (0.0, 0.3, 2)
        for end, b in (("", {"beta": beta}), ("_backward", {"beta": beta, "dy": -0.5}))
    ),
]

_X = np.zeros((4, 3), np.float32)
_T = np.array([0, 1, 2, 0])
_BEYOND = np.array([0, 3, 2, 0], np.uint8)
_NEGATIVE = np.array([0, 1, -1, 0], np.int16)
_HUGE = np.array([0, 1, 2**64 - 100, 0], np.uint64)  # -100 seen as signed
_P = {"logits": _X, "target": _T}
_Q = {"x": _X, "target": _X}

ERROR_CASES = [
    _error(
        "cross_entropy",
        "class",
        ValueError,
        r"0 to 2 .*got 3 in target\[1\]",
        logits=_X,
        target=_BEYOND,
    ),
    _error(
        "cross_entropy",
        "negative",
        ValueError,
        r"got -1 in target\[2\]",
        logits=_X,
        target=_NEGATIVE,
    ),
    _error(
        "cross_entropy", "huge", ValueError, "got 18446744073709551516", logits=_X, target=_HUGE
    ),
    _error("cross_entropy_backward", "class", ValueError, "got 3", logits=_X, target=_BEYOND),
    _error("nll_loss", "class", ValueError, "got -1", x=_X, target=_NEGATIVE),
    _error("nll_loss_backward", "class", ValueError, "got 3", x=_X, target=_BEYOND),
    _error(
        "cross_entropy",
        "float target",
        TypeError,
        "target: expected integers",
        logits=_X,
        target=_X[:, 0],
    ),
    _error(
        "cross_entropy",
        "list",
        TypeError,
        "target: expected a numpy",
        logits=_X,
        target=[0, 1, 2, 0],
    ),
    _error(
        "cross_entropy",
        "target shape",
        ValueError,
        r"target: expected shape \(4,\)",
        logits=_X,
        target=_T[:3],
    ),
    _error(
        "cross_entropy",
        "0-d",
        ValueError,
        "logits: expected",
        logits=_X[0, 0:1].reshape(()),
        target=_T,
    ),
    _error(
        "cross_entropy",
        "no class",
        ValueError,
        "logits: .*at least one class",
        logits=_X[:, :0],
        target=_T,
    ),
    _error(
        "cross_entropy",
        "int logits",
        TypeError,
        "logits: expected float32",
        logits=_T[:, None],
        target=_T,
    ),
    _error(
        "cross_entropy",
        "reduction",
        ValueError,
        "reduction: expected one of mean",
        reduction="avg",
        **_P,
    ),
    _error("cross_entropy", "ignore", TypeError, "ignore_index: ", ignore_index=None, **_P),
    _error("cross_entropy", "wide ignore", ValueError, "ignore_index: ", ignore_index=2**63, **_P),
    _error(
        "cross_entropy_backward", "dy array", ValueError, "dy: expected a number", dy=_X[:, 0], **_P
    ),
    _error(
        "cross_entropy_backward",
        "dy shape",
        ValueError,
        "dy: expected shape",
        reduction="none",
        dy=_X,
        **_P,
    ),
    _error("cross_entropy_backward", "dy text", TypeError, "dy: expected a number", dy="one", **_P),
    _error("mse_loss", "shape", ValueError, "target: expected shape", x=_X, target=_X[0]),
    _error(
        "mse_loss", "mixed", TypeError, "target: expected float32", x=_X, target=_X.astype(float)
    ),
    _error(
        "bce", "int", TypeError, "target: expected float32 or", x=_X, target=np.zeros((4, 3), int)
    ),
    _error("bce_with_logits", "reduction", ValueError, "reduction: ", reduction=None, **_Q),
    _error(
        "bce_backward",
        "dy type",
        TypeError,
        "dy: expected float32",
        reduction="none",
        dy=np.zeros((4, 3)),
        **_Q,
    ),
]
