"""Optimizer steps: cases and bounds. They are no ops: the backends' functions are called."""

from typing import Any

import numpy as np

from convnet.check.case import Array, Case, ErrorCase
from convnet.check.spec import OpSpec


def _sgd_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    param, buf = np.abs(args["param"]), args["buf"]
    d = np.abs(args["grad"]) + args["weight_decay"] * param
    bounds = {}
    if buf is not None:
        if not args["first"]:
            old, d_kept = args["momentum"] * np.abs(buf), (1 - args["dampening"]) * d
            bounds["buf"] = 4 * eps * (old + d_kept) + 4 * tiny
            d = d + old + d_kept
        else:
            bounds["buf"] = 4 * eps * d + 4 * tiny
        d = 2 * d
    bounds["param"] = 4 * eps * (param + 2 * args["lr"] * d) + 4 * tiny
    return bounds


def _adam_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    param = np.abs(args["param"])
    decay = 0.0 if args["decoupled"] else args["weight_decay"]
    d = np.abs(args["grad"]) + decay * param
    beta1, beta2, step = args["beta1"], args["beta2"], args["step"]
    # 1 - beta is rounded to the element type.
    m = beta1 * np.abs(args["m"]) + (1 - beta1) * d
    v = beta2 * args["v"] + (1 - beta2) * d * d
    seen = expected["v"] if args["v_max"] is None else expected["v_max"]
    root = np.sqrt(seen) / np.sqrt(1 - beta2**step) + args["eps"]
    update = args["lr"] / (1 - beta1**step) * m / root
    # A gradient that cancels against the decay has few digits, and so has its square.
    lost = np.sqrt(4 * eps * v + tiny) / np.maximum(np.sqrt(seen), np.sqrt(tiny))
    relative = np.minimum(8 * eps * np.maximum(v / np.maximum(seen, tiny), 1), lost)
    return {
        "v_max": 6 * eps * v + 4 * tiny,
        "m": 4 * eps * m + 4 * tiny,
        "v": 6 * eps * v + 4 * tiny,
        "param": 4 * eps * param + (8 * eps + relative) * update + 4 * tiny,
    }


def _root_error(error: Any, value: np.ndarray) -> Any:
    """How far sqrt(value) may be off when value is by `error`."""
    return error / np.sqrt(np.maximum(np.maximum(value, error), np.finfo(np.float64).tiny))


def _rmsprop_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    param, alpha = np.abs(args["param"]), args["alpha"]
    d = np.abs(args["grad"]) + args["weight_decay"] * param
    v = alpha * args["v"] + (1 - alpha) * d * d
    bounds = {"v": 6 * eps * v + 4 * tiny}
    variance, variance_error = expected["v"], bounds["v"]
    if args["mean"] is not None:
        mean = alpha * np.abs(args["mean"]) + (1 - alpha) * d
        bounds["mean"] = 4 * eps * mean + 4 * tiny
        variance = np.maximum(variance - expected["mean"] ** 2, 0)
        variance_error = variance_error + 10 * eps * mean * mean + 4 * tiny
    error = _root_error(variance_error, variance) + 2 * eps * np.sqrt(variance)
    root = np.sqrt(variance) + args["eps"]
    update = d / root
    update_error = 4 * eps * update + update * error / np.maximum(root - error, args["eps"])
    if args["buf"] is not None:
        old = args["momentum"] * np.abs(args["buf"])
        update_error = update_error + 4 * eps * (old + update) + 4 * tiny
        update = update + old
        bounds["buf"] = update_error
    change = args["lr"] * (update_error + 2 * eps * update)
    bounds["param"] = 4 * eps * param + change + 4 * tiny
    return bounds


def _adagrad_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    param = np.abs(args["param"])
    d = np.abs(args["grad"]) + args["weight_decay"] * param
    total_error = 6 * eps * (args["total"] + d * d) + 4 * tiny
    root = np.sqrt(expected["total"]) + args["eps"]
    error = _root_error(total_error, expected["total"]) + 2 * eps * root
    update = args["lr"] * d / root
    relative = 6 * eps + error / np.maximum(root - error, args["eps"])
    return {"total": total_error, "param": 4 * eps * param + relative * update + 4 * tiny}


def _sum_squares_bound(args: Any, expected: Any, eps: float, tiny: float) -> dict:
    """Rounding of a float64 sum, whatever the type of its terms."""
    x = args["x"]
    return {"total": (x.size + 2) * np.finfo(np.float64).eps * np.square(x).sum()}


SPECS = {
    "sgd": OpSpec(("param", "buf"), _sgd_bound, updates=("param", "buf")),
    "adam": OpSpec(("param", "m", "v", "v_max"), _adam_bound, updates=("param", "m", "v", "v_max")),
    "rmsprop": OpSpec(
        ("param", "v", "buf", "mean"), _rmsprop_bound, updates=("param", "v", "buf", "mean")
    ),
    "adagrad": OpSpec(("param", "total"), _adagrad_bound, updates=("param", "total")),
    "sum_squares": OpSpec(("total",), _sum_squares_bound),
}

_SHAPES = ((1,), (17,), (100, 784), (8, 3, 5, 5), (64, 32, 5, 5))


def _sgd(shape: tuple[int, ...], momentum: float, **more: Any) -> Case:
    args = {
        "param": Array(shape),
        "grad": Array(shape),
        "buf": Array(shape) if momentum else None,
        "lr": 0.1,
        "momentum": momentum,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "first": False,
        **more,
    }
    return Case("sgd", f"{shape} momentum={momentum} {more}", args)


def _adam(shape: tuple[int, ...], step: int, **more: Any) -> Case:
    args = {
        "param": Array(shape),
        "grad": Array(shape),
        "m": Array(shape),
        "v": Array(shape, 0.0, 2.0),
        "v_max": None,
        "step": step,
        "lr": 0.001,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled": False,
        **more,
    }
    return Case("adam", f"{shape} step={step} {more}", args)


def _rmsprop(shape: tuple[int, ...], momentum: float = 0.0, **more: Any) -> Case:
    args = {
        "param": Array(shape),
        "grad": Array(shape),
        "v": Array(shape, 1.0, 2.0),
        "buf": Array(shape) if momentum else None,
        "mean": None,
        "lr": 0.01,
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": momentum,
        **more,
    }
    shown = {k: v for k, v in more.items() if k != "mean"}
    centered = " centered" if more.get("mean") else ""
    return Case("rmsprop", f"{shape} momentum={momentum}{centered} {shown}", args)


def _adagrad(shape: tuple[int, ...], **more: Any) -> Case:
    args = {
        "param": Array(shape),
        "grad": Array(shape),
        "total": Array(shape, 0.0, 2.0),
        "lr": 0.01,
        "eps": 1e-10,
        "weight_decay": 0.0,
        **more,
    }
    return Case("adagrad", f"{shape} {more}", args)


def _sum_squares(n: int) -> Case:
    return Case("sum_squares", str(n), {"x": Array((n,)), "total": np.empty(())})


CASES = [
    *(_sgd(s, 0.0) for s in _SHAPES),
    *(_sgd(s, 0.9) for s in _SHAPES),
    _sgd((40, 30), 0.0, weight_decay=0.01),
    *(
        _sgd((40, 30), 0.9, first=first, nesterov=nesterov, weight_decay=0.01)
        for first in (False, True)
        for nesterov in (False, True)
    ),
    _sgd((40, 30), 0.5, dampening=0.3),
    *(_adam(s, 3) for s in _SHAPES),
    _adam((40, 30), 1),
    _adam((40, 30), 100_000, lr=0.1),
    _adam((40, 30), 2, weight_decay=0.1),
    _adam((40, 30), 2, weight_decay=0.1, decoupled=True),
    _adam((40, 30), 7, beta1=0.0, beta2=0.5, eps=0.1),
    *(_adam(s, 3, v_max=Array(s, 0.0, 2.0)) for s in _SHAPES),
    *(_rmsprop(s) for s in _SHAPES),
    _rmsprop((40, 30), weight_decay=0.01, alpha=0.5, eps=0.1),
    *(
        _rmsprop((40, 30), momentum, mean=mean, weight_decay=0.01)
        for momentum in (0.0, 0.9)
        for mean in (None, Array((40, 30), -0.9, 0.9))
    ),
    *(_adagrad(s) for s in _SHAPES),
    _adagrad((40, 30), weight_decay=0.1, lr=0.5, eps=0.1),
    *(_sum_squares(n) for n in (1, 7, 8192, 8193, 100_003)),
]

ERROR_CASES: list[ErrorCase] = []
