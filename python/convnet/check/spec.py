"""What a backend function writes and how far it may be off: one record a function.

bound(args, expected, eps, tiny) gives, for each written parameter, the allowed |error| (an array
or a scalar; 0 asks for equality, up to rounding to the type; NaN says that a non-finite input may
have spread to there). args holds the call's arguments by parameter name, arrays upcast to float64,
with the values they had before the call; expected holds the reference's outputs in float64; eps
and tiny (the smallest normal number) belong to the type that was computed in. Integer and bool
outputs need no bound: they must be equal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Bound = Callable[[dict[str, Any], dict[str, np.ndarray], float, float], dict[str, Any]]


@dataclass(frozen=True)
class OpSpec:
    """outputs: the parameters that the function writes, in its signature's names.

    updates: those of them that it also reads (an optimizer's state). The cross-check fills all
    others with rubbish before the call, so that an element left unwritten shows.
    """

    outputs: tuple[str, ...]
    bound: Bound
    updates: tuple[str, ...] = ()


def ulps(n: float, *outputs: str) -> Bound:
    """n units in the last place of the expected value."""

    def bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
        return {o: n * eps * np.abs(expected[o]) + tiny for o in outputs if o in expected}

    return bound


def exact(*outputs: str) -> Bound:
    """The very same values."""
    return lambda args, expected, eps, tiny: {o: 0.0 for o in outputs if o in expected}


def sum_bound(k: float, magnitude: Any, eps: float, tiny: float, front: float = 8) -> Any:
    """What a sum of k products may be off by; magnitude: the sum of their absolute values."""
    return (front + 2 * np.sqrt(k)) * eps * magnitude + k * tiny


def flushed(tiny: float, *factors: np.ndarray | None) -> float:
    """What a product may lose where denormal numbers, factors and results, count as 0."""
    finite = [np.abs(f[np.isfinite(f)]) for f in factors if f is not None]
    return tiny * (1 + sum(float(f.max(initial=0)) for f in finite))
