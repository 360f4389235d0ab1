"""Sweep every float32 through the activation functions; print the largest error of each in ulp.

    python bench/ulp_sweep.py                     all functions, all 2^32 values, minutes each
    python bench/ulp_sweep.py --step 101 tanh     every 101st value of one function

The exact values are numpy's and scipy's in float64. Below the smallest normal number the unit is
the smallest normal number's, as in the bounds. CONVNET_ISA chooses the instruction set. Exit
status 1 when a function is over its bound.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable

import convnet
import numpy as np
from convnet import ops

CHUNK = 1 << 15  # float64 arrays of it stay in L2


def _normal(x: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(x)


def _logistic(x: np.ndarray) -> np.ndarray:
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


def _log(x: np.ndarray) -> np.ndarray:
    """log, as binary cross-entropy takes it of a probability."""
    return -ops.bce(x, np.ones_like(x), "none")


def _exp(x: np.ndarray) -> np.ndarray:
    """exp(x - max) as softmax takes it beside an element of 0, which then outweighs it."""
    pairs = np.stack([x, np.zeros_like(x)], 1)
    return ops.softmax(pairs)[:, 0]


def _softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)), as binary cross-entropy of a logit takes it beside a target of 0."""
    return ops.bce_with_logits(x, np.zeros_like(x), "none")


# name: (function, exact, the range it is swept over, bound in ulp)
FUNCTIONS: dict[str, tuple[Callable, Callable, tuple[float, float], float]] = {
    "exp": (_exp, np.exp, (-math.inf, -18), 2),
    "log": (_log, lambda x: np.maximum(np.log(x), -100), (0, 1), 2),
    "sigmoid": (ops.sigmoid, _logistic, (-math.inf, math.inf), 2),
    "tanh": (ops.tanh, np.tanh, (-math.inf, math.inf), 2),
    "silu": (
        ops.silu,
        lambda x: np.where(x == -np.inf, 0, x * _logistic(x)),
        (-math.inf, math.inf),
        3,
    ),
    "gelu": (
        ops.gelu,
        lambda x: np.where(x == -np.inf, 0, x * _normal(x)),
        (-math.inf, math.inf),
        5,
    ),
    "gelu tanh": (
        lambda x: ops.gelu(x, "tanh"),
        lambda x: x * _logistic(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
        (-3, 1e9),
        34,
    ),
    "softplus": (_softplus, lambda x: np.log1p(np.exp(x)), (-math.inf, 0), 6),
}


def errors(y: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """|y - exact| in units of the last place of float32; 0 where y is the rounded value."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
        unit = np.spacing(np.maximum(np.abs(rounded), np.finfo(np.float32).tiny))
        return np.where(same, 0, np.nan_to_num(np.abs(y - exact) / unit, nan=np.inf))


def sweep(name: str, step: int) -> tuple[float, float, int]:
    """(largest error in ulp, where, how many values)."""
    function, exact, (low, high), _ = FUNCTIONS[name]
    worst, where, count = 0.0, math.nan, 0
    start = time.perf_counter()
    for begin in range(0, 1 << 32, CHUNK * step):
        end = min(begin + CHUNK * step, 1 << 32)
        x = np.arange(begin, end, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
        x = x[(x >= low) & (x <= high) | np.isnan(x)]
        if x.size:
            with np.errstate(all="ignore"):
                e = errors(function(x), exact(x.astype(np.float64)))
            i = int(np.argmax(e))
            count += x.size
            if e[i] > worst:
                worst, where = float(e[i]), float(x[i])
        if sys.stderr.isatty():
            seconds = time.perf_counter() - start
            print(f"\r{name}: {end / 2**32:.0%}, {seconds:.0f} s ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return worst, where, count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=", ".join(FUNCTIONS))
    parser.add_argument("--step", type=int, default=1, help="take every STEP-th value (default 1)")
    args = parser.parse_args()
    unknown = set(args.functions) - set(FUNCTIONS)
    if unknown or args.step < 1:
        parser.error(f"unknown function {unknown}" if unknown else "--step: at least 1")
    print(f"convnet {convnet.__version__}, {convnet.info()['instruction_set']}, float32")
    over = False
    for name in args.functions or FUNCTIONS:
        worst, where, count = sweep(name, args.step)
        bound = FUNCTIONS[name][3]
        over |= worst > bound
        print(
            f"{name:8} {worst:6.3f} ulp of {bound} at {where!r:24} ({count:,} values)", flush=True
        )
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
