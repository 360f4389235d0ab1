"""Hold one output against the reference's, and say what is wrong with it."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from convnet.gpu.array import DeviceArray


class CrossCheckError(AssertionError):
    """A backend and the reference differ by more than the bound.

    An AssertionError, as numpy.testing raises: test runners count it as a failure, and code that
    catches ArithmeticError to handle overflow does not swallow it.

    function, backend, level: what ran; output: the name of the written parameter; index: its
    worst element; got, expected: the two values there; error, bound: |got - expected| and what is
    allowed of it.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.function: str = facts.get("function", "")
        self.backend: str = facts.get("backend", "")
        self.level: str = facts.get("level", "")
        self.output: str = facts.get("output", "")
        self.index: tuple[int, ...] = facts.get("index", ())
        self.got: Any = facts.get("got")
        self.expected: Any = facts.get("expected")
        self.error: float = facts.get("error", float("nan"))
        self.bound: float = facts.get("bound", float("nan"))


@dataclass
class Call:
    """A call of a backend function: what the messages say about it."""

    backend: str
    module: ModuleType
    function: str
    arguments: dict[str, Any]

    @property
    def level(self) -> str:
        return self.module.info()["instruction_set"] if hasattr(self.module, "info") else ""

    def __str__(self) -> str:
        where = f"{self.backend} ({self.level})" if self.level else self.backend
        return f"{self.function} on {where}"

    def arguments_text(self) -> str:
        return "".join(f"\n    {p} = {_describe(a)}" for p, a in self.arguments.items())

    def raise_changed(self, parameter: str) -> None:
        raise CrossCheckError(
            f"{self}: changed its input {parameter}\n  called with{self.arguments_text()}",
            function=self.function,
            backend=self.backend,
            level=self.level,
            output=parameter,
        )

    def raise_differs(
        self,
        output: str,
        index: tuple[Any, ...],
        got: np.ndarray,
        expected: np.ndarray,
        error: float,
        bound: float,
        wrong: np.ndarray,
    ) -> None:
        place = tuple(int(i) for i in index)
        subscript = f"[{', '.join(map(str, place))}]" if place else ""
        raise CrossCheckError(
            f"{self}: {output}{subscript} is {got[index]!r}, the reference gives "
            f"{expected[index]!r}: error {error:.4g}, allowed {bound:.4g} "
            f"({np.count_nonzero(wrong)} of {wrong.size} elements are off)"
            f"\n  called with{self.arguments_text()}",
            function=self.function,
            backend=self.backend,
            level=self.level,
            output=output,
            index=place,
            got=got[index],
            expected=expected[index],
            error=float(error),
            bound=float(bound),
        )


def compare(
    call: Call, output: str, got: np.ndarray, expected: np.ndarray, bounds: dict[str, Any]
) -> float:
    """The worst error over bound of one output; raises CrossCheckError above 1.

    A correctly rounded value has no error. Where the reference is NaN or infinite, so must the
    backend be. A bound of NaN says that a non-finite input may have spread to there: a finite
    value may then have become anything, a non-finite one any non-finite one. Integers and bools
    must be equal.
    """
    if got.size == 0:
        return 0.0
    if output not in bounds and got.dtype.kind == "f":
        raise CrossCheckError(f"{call.function}: its OpSpec gives no bound for {output}")
    allowed = np.broadcast_to(np.asarray(bounds.get(output, 0.0), np.float64), got.shape)
    rounded = expected.astype(got.dtype)
    if got.dtype.kind == "f":
        error = np.asarray(np.abs(got.astype(np.float64) - expected))
        error[np.isnan(error)] = np.inf
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        same |= np.isnan(allowed) & (np.isfinite(rounded) | ~np.isfinite(got))
    else:
        error = np.full(got.shape, np.inf)
        same = got == rounded
    error[same] = 0.0
    ratio = np.where(same, 0.0, np.inf)
    np.divide(error, allowed, out=ratio, where=np.isfinite(error) & (allowed > 0))
    worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    if ratio[worst] > 1:
        call.raise_differs(output, worst, got, expected, error[worst], allowed[worst], ratio > 1)
    return float(ratio[worst])


def _describe(value: Any) -> str:
    if isinstance(value, (np.ndarray, DeviceArray)):
        layout = "" if value.flags.c_contiguous else f", strides {value.strides}"
        return f"{value.dtype} {value.shape}{layout}"
    return repr(value)
