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
    root = np.sqrt(expected["v"]) / np.sqrt(1 - beta2**step) + args["eps"]
    update = args["lr"] / (1 - beta1**step) * m / root
    # A gradient that cancels against the decay has few digits, and so has its square.
    lost = np.sqrt(4 * eps * v + tiny) / np.maximum(np.sqrt(expected["v"]), np.sqrt(tiny))
    relative = np.minimum(8 * eps * np.maximum(v / np.maximum(expected["v"], tiny), 1), lost)
    return {
        "m": 4 * eps * m + 4 * tiny,
        "v": 6 * eps * v + 4 * tiny,
        "param": 4 * eps * param + (8 * eps + relative) * update + 4 * tiny,
    }


SPECS = {
    "sgd": OpSpec(("param", "buf"), _sgd_bound, updates=("param", "buf")),
    "adam": OpSpec(("param", "m", "v"), _adam_bound, updates=("param", "m", "v")),
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
]

ERROR_CASES: list[ErrorCase] = []
