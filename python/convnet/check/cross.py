"""cross_check(): run every op on its backend and on the reference, and compare.

While it is on, `backend.active()` hands out a proxy of the backend's module. A call through it
copies what the call reads, runs the backend, runs the reference in float64 on upcast copies with
outputs of its own (so that memory formats and in-place calls make no difference to it), and holds
every output against the bound of the function's OpSpec. It also sees to it that inputs stay as
they were.
"""

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from convnet import backend
from convnet.check import specs
from convnet.check.compare import Call, CrossCheckError, compare
from convnet.check.spec import OpSpec
from convnet.gpu.array import DeviceArray


@dataclass
class Stats:
    """Calls of one backend function and the worst error over its bound."""

    calls: int = 0
    worst: float = 0.0


@dataclass
class Report:
    """What a cross-check has seen so far."""

    functions: dict[str, Stats] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """How many calls of backend functions were compared."""
        return sum(s.calls for s in self.functions.values())

    @property
    def worst(self) -> float:
        """The largest error over its bound; 1 is the most that passes."""
        return max((s.worst for s in self.functions.values()), default=0.0)

    def __str__(self) -> str:
        lines = [f"{self.calls} calls checked, worst error over bound {self.worst:.3g}"]
        for name, s in sorted(self.functions.items()):
            lines.append(f"  {name:28} {s.calls:6} calls   worst {s.worst:.3g}")
        return "\n".join(lines)


class Checker:
    """Wraps backend modules and keeps the report. One per cross_check()."""

    def __init__(self) -> None:
        self.report = Report()
        self._lock = threading.Lock()

    def wrap(self, name: str, module: ModuleType) -> "_Proxy":
        return _Proxy(self, name, module)

    def record(self, function: str, ratio: float) -> None:
        with self._lock:
            stats = self.report.functions.setdefault(function, Stats())
            stats.calls += 1
            stats.worst = max(stats.worst, ratio)


class _Proxy:
    """A backend module whose functions are compared with the reference's."""

    def __init__(self, checker: Checker, name: str, module: ModuleType) -> None:
        self._checker, self._name, self._module = checker, name, module

    def __getattr__(self, function: str) -> Any:
        run = getattr(self._module, function)
        if function not in _reference().__all__:
            return run
        spec = specs().get(function)
        if spec is None:
            raise CrossCheckError(
                f"{function}: convnet.check holds no OpSpec for this backend function",
                function=function,
                backend=self._name,
            )

        def checked(*args: Any, **kwargs: Any) -> Any:
            answer, ratio = _run_both(self._name, self._module, function, run, spec, args, kwargs)
            self._checker.record(function, ratio)
            return answer

        return checked


def _reference() -> ModuleType:
    from convnet.backends import reference

    return reference


@cache
def _signature(function: str) -> inspect.Signature:
    return inspect.signature(getattr(_reference(), function))


def _host(a: Any) -> np.ndarray:
    """An array's elements: the ndarray itself, or a copy of what is on a GPU."""
    return a.get() if type(a) is DeviceArray else a


def _upcast(a: Any) -> Any:
    """A C-contiguous copy in float64; integer and bool arrays keep their type."""
    if not isinstance(a, (np.ndarray, DeviceArray)):
        return a
    a = _host(a)
    return np.array(a, np.float64 if a.dtype.kind == "f" else a.dtype, order="C")


# What outputs hold before the call, by kind: of the reference, of the backend. They differ, so that
# an element which neither writes is a difference too.
_RUBBISH = {"f": (np.nan, 1234.5), "i": (-7, -8), "u": (7, 8), "b": (True, False)}


def _spoil(a: Any) -> None:
    """Fill an output with rubbish."""
    value = _RUBBISH[a.dtype.kind][1]
    if type(a) is DeviceArray:
        host = a.get()
        host.fill(value)
        a.set(host)
    else:
        a.fill(value)


def _shares(parameter: str, arrays: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> bool:
    """Whether a parameter's array shares memory with another parameter's among `others`."""
    a = arrays[parameter]
    return any(
        p != parameter and np.may_share_memory(a, other) and np.shares_memory(a, other)
        for p, other in others.items()
    )


def _run_both(
    name: str,
    module: ModuleType,
    function: str,
    run: Callable[..., Any],
    spec: OpSpec,
    args: tuple,
    kwargs: dict[str, Any],
) -> tuple[Any, float]:
    """Run a backend's function as called, then the reference: what it returned, and the worst
    error over bound. False says that it refused its arguments, and left rubbish.
    """
    call = _signature(function).bind(*args, **kwargs)
    call.apply_defaults()
    given = call.arguments
    arrays = {p: a for p, a in given.items() if isinstance(a, (np.ndarray, DeviceArray))}
    written = {o: arrays[o] for o in spec.outputs if o in arrays}
    with np.errstate(all="ignore"):
        before = {p: _upcast(a) for p, a in given.items()}
        kept = {
            p: np.array(_host(a))
            for p, a in arrays.items()
            if p not in written and not _shares(p, arrays, written)
        }
        expected = {p: before[p].copy() for p in written}
        for p, a in written.items():
            if p not in spec.updates:
                expected[p].fill(_RUBBISH[a.dtype.kind][0])
                if not _shares(p, arrays, arrays):
                    _spoil(a)
    answer = run(*args, **kwargs)
    with np.errstate(all="ignore"):
        record = Call(name, module, function, given)
        for p, copy in kept.items():
            if not np.array_equal(_host(arrays[p]), copy, equal_nan=copy.dtype.kind == "f"):
                record.raise_changed(p)
        if getattr(_reference(), function)(**{**before, **expected}) is False and answer is False:
            return answer, 0.0
        dtype = next(
            (a.dtype for a in arrays.values() if a.dtype.kind == "f"), np.dtype(np.float64)
        )
        limits = np.finfo(dtype)
        bounds = spec.bound(before, expected, float(limits.eps), float(limits.tiny))
        return answer, max(
            (compare(record, o, _host(w), expected[o], bounds) for o, w in written.items()),
            default=0.0,
        )


class _Switch:
    """What cross_check returns: nothing more to do, or a with block that yields the report."""

    def __init__(self, checker: Checker | None) -> None:
        self.report = checker.report if checker else Report()
        self._override = backend._wrapper.set(checker.wrap if checker else None)

    def __enter__(self) -> Report:
        self._override.__enter__()
        return self.report

    def __exit__(self, *exception: object) -> None:
        self._override.__exit__(*exception)


def cross_check(on: bool = True) -> _Switch:
    """Hold every op's result against the reference in float64; slow, for finding a wrong kernel.

        with convnet.cross_check() as report:
            y = model(x)
        print(report)           # calls checked, worst error over bound, by backend function

    As a with block it holds for the context, as a plain call for the process (`.report` is what
    has been seen since); cross_check(False) turns it off. CONVNET_CROSS_CHECK=1 turns it on from
    the start. Raises CrossCheckError, in the op, when an output differs by more than its bound.
    """
    return _Switch(Checker() if on else None)


# The checker that CONVNET_CROSS_CHECK=1 turns on.
environment = Checker()
