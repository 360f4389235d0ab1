"""Run the cases of all families on this machine: what `convnet check` does.

Every case runs on every backend, instruction-set level, element type and memory format: on one
thread under cross_check(); then on two threads, with its inputs in other layouts, and an image
alone, where the bits must stay the same. The error cases must be refused.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from convnet import backend, ops, threads
from convnet.check import bits, families
from convnet.check.case import Case, ErrorCase
from convnet.check.cross import cross_check

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Run:
    """One case in one setting."""

    family: str
    case: Case | ErrorCase
    backend: str
    level: str = ""
    dtype: str = ""
    memory_format: str = ""

    def __str__(self) -> str:
        parts = (str(self.case), self.backend, self.level, self.dtype, self.memory_format)
        return " ".join(p for p in parts if p)


@dataclass
class Row:
    """What is known about one op: a line of the table."""

    family: str
    op: str
    cases: int = 0
    worst: float = 0.0
    where: str = ""
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def plan(
    family: str | None = None,
    backends: tuple[str, ...] | None = None,
    level: str | None = None,
    dtype: str | None = None,
    quick: bool = False,
) -> list[Run]:
    """The runs to make, level by level. ValueError for a level or backend that is not here."""
    runs = []
    for name in backends or ():
        if name not in backend.present():
            raise ValueError(
                f"--backend: expected one of {', '.join(backend.present())}, got {name!r}"
            )
    for name in backends or backend.present():
        for each in _levels(name, level):
            for family_name, module in families().items():
                if family not in (None, family_name):
                    continue
                for case in module.CASES:
                    if quick and not case.quick:
                        continue
                    for d in (dtype,) if dtype else DTYPES:
                        runs += [Run(family_name, case, name, each, d, f) for f in case.formats]
    for family_name, module in families().items():
        if family in (None, family_name):
            runs += [Run(family_name, case, "any") for case in module.ERROR_CASES]
    return runs


def _levels(name: str, level: str | None) -> list[str]:
    if name != "cpu":
        return [""]
    from convnet.backends import cpu

    usable = cpu.usable_levels()
    if level is None:
        return usable
    if level not in usable:
        raise ValueError(
            f"--level: expected one of {', '.join(usable)} on this machine, got {level!r}"
        )
    return [level]


def run_all(runs: list[Run], seen: Callable[[Run, str | None], None]) -> Iterator[Row]:
    """Make the runs; yield each op's row as soon as it is first met, and go on filling it.

    seen(run, failure) is called after each run; failure is None or the message.
    """
    rows: dict[tuple[str, str], Row] = {}
    for run in runs:
        op = "bad input" if isinstance(run.case, ErrorCase) else run.case.op
        key = (run.family, op)
        if key not in rows:
            rows[key] = Row(run.family, op)
            yield rows[key]
        row = rows[key]
        start = time.perf_counter()
        worst, failure = run_one(run)
        row.seconds += time.perf_counter() - start
        if worst is None:
            continue
        row.cases += 1
        if worst > row.worst:
            row.worst, row.where = worst, str(run).removeprefix(f"{run.case.op}-")
        if failure:
            row.failures.append(failure)
        seen(run, failure)


def run_one(run: Run) -> tuple[float | None, str | None]:
    """(worst error over bound, message of a difference or None) of one run.

    The first is None where there is nothing to run: no array of the case has this memory format.
    """
    if isinstance(run.case, ErrorCase):
        return 0.0, _refused(run.case)
    if run.memory_format == "channels_last" and not _has_channels_last(run):
        return None, None
    with _on(run):
        try:
            with cross_check() as report, threads.set_num_threads(1):
                one = bits.of(partial(call, run.case), _arguments(run))
            with threads.set_num_threads(2):
                two = bits.of(partial(call, run.case), _arguments(run))
                wrong = [] if one == two else ["the bits differ between 1 and 2 threads"]
                if hasattr(ops, run.case.op):
                    make = partial(_arguments, run)
                    wrong += bits.differences(run.case.op, partial(call, run.case), make)
        except Exception as error:
            return float("inf"), f"{run}\n{type(error).__name__}: {error}"
    return report.worst, "\n".join([str(run), *wrong]) if wrong else None


@contextmanager
def _on(run: Run) -> Iterator[None]:
    """The backend and the level of a run, for the block."""
    with backend.use_backend(run.backend):
        if not run.level:
            yield
            return
        from convnet.backends import cpu

        former = cpu.use_level(run.level)
        try:
            yield
        finally:
            cpu.use_level(former)


def call(case: Case | ErrorCase, args: dict[str, Any]) -> Any:
    """Call the case's op; a function without one (an optimizer's step) on the backend itself.

    Arguments and results are the host's; on a GPU's backend they are brought there and back.
    """
    function = getattr(ops, case.op, None) or getattr(backend.active(), case.op)
    if backend.get_backend() == "cuda":
        return _on_gpu(function, args)
    return function(**args)


def _on_gpu(function: Callable[..., Any], args: dict[str, Any]) -> Any:
    """Call with arrays of the same strides on the GPU; what was written is brought back."""
    from convnet.gpu.array import DeviceArray, mirror

    there: dict[int, DeviceArray] = {}
    moved = {}
    for p, a in args.items():
        if isinstance(a, np.ndarray):
            moved[p] = there.setdefault(id(a), mirror(a))
        else:
            moved[p] = a
    result = function(**moved)
    for p, a in args.items():
        if isinstance(a, np.ndarray) and a.flags.writeable:
            a[...] = moved[p].get()
    if isinstance(result, tuple):
        return tuple([r.get() if type(r) is DeviceArray else r for r in result])
    return result.get() if type(result) is DeviceArray else result


def _arguments(run: Run) -> dict[str, Any]:
    return run.case.materialise(np.dtype(run.dtype), run.memory_format)


def _has_channels_last(run: Run) -> bool:
    arrays = [a for a in _arguments(run).values() if isinstance(a, np.ndarray)]
    return any(not a.flags.c_contiguous for a in arrays)


def _refused(case: ErrorCase) -> str | None:
    try:
        call(case, case.args())
    except case.exception as error:
        if re.search(case.match, str(error)):
            return None
        return f"{case}: the message {str(error)!r} does not match {case.match!r}"
    except Exception as error:
        return f"{case}: expected {case.exception.__name__}, got {type(error).__name__}: {error}"
    return f"{case}: expected {case.exception.__name__}, and nothing was raised"
