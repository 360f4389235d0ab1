"""A case: an op, how to make its arguments, and nothing else. Cases are data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FORMATS = ("nchw", "channels_last")


@dataclass(frozen=True)
class Array:
    """An argument to be drawn: standard normal, or uniform on [low, high) where these are given.

    follows: how its memory format is chosen: "x" follows the case's, "" is always C-contiguous.
    """

    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    follows: str = "x"

    def draw(self, rng: np.random.Generator, dtype: Any, memory_format: str) -> np.ndarray:
        if self.low is None:
            a = rng.standard_normal(self.shape)
        else:
            a = rng.uniform(self.low, self.high, self.shape)
        a = a.astype(dtype)
        if self.follows and memory_format == "channels_last" and a.ndim >= 3:
            a = np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
        return a


@dataclass(frozen=True)
class Integers:
    """An integer argument drawn from [low, high)."""

    shape: tuple[int, ...]
    low: int
    high: int
    dtype: str = "int64"

    def draw(self, rng: np.random.Generator, dtype: Any, memory_format: str) -> np.ndarray:
        return rng.integers(self.low, self.high, self.shape, dtype=self.dtype)


@dataclass(frozen=True)
class Case:
    """One call of convnet.ops: `args` are drawn or passed on as they are.

    prepare, where given, turns the drawn arguments into the call's (a pool's indices, say).
    """

    op: str
    id: str
    args: dict[str, Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    formats: tuple[str, ...] = FORMATS
    quick: bool = field(default=True, kw_only=True)  # part of `convnet check --quick`

    def materialise(self, dtype: Any, memory_format: str = "nchw", seed: int = 0) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        args = {
            name: value.draw(rng, dtype, memory_format) if hasattr(value, "draw") else value
            for name, value in self.args.items()
        }
        return self.prepare(args) if self.prepare else args

    def __str__(self) -> str:
        return f"{self.op}-{self.id}"


@dataclass(frozen=True)
class ErrorCase:
    """A call that must be refused before any kernel runs."""

    op: str
    id: str
    args: Callable[[], dict[str, Any]]
    exception: type[Exception]
    match: str  # a piece of the message, as a regular expression

    def __str__(self) -> str:
        return f"{self.op}-{self.id}"
