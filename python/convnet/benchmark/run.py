"""The run: for each number of threads a process a peer, for each task round and round them.

A visit asks one peer for one memory format's time; a round visits all of them once, in turn. So
what disturbs the machine for a while disturbs all alike, and ratios hold.
"""

import base64
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convnet.benchmark import limits, workloads
from convnet.benchmark.peers import OURS
from convnet.benchmark.process import Failure, Worker
from convnet.benchmark.tasks import Task

ROUNDS = 5  # visits of each variant, if calls are not very long
_FEWEST = 3
_LONGEST = 3.0  # seconds that a variant's calls may take before _FEWEST visits are enough
_MOST = 15  # visits, while the noise is above QUIET,
_PATIENCE = 3  # and while they have not taken this many times as long as was asked for
_GROUP = 5e-4  # seconds; shorter calls are timed several together
_GROUPS = 20  # samples a visit
QUIET = 0.02  # relative standard error of a median that ends a measurement
NOISY = 0.05  # from which on it is reported
# A copy this many times slower than at the best moment so far: another program uses the memory.
# Medians do not show that when it lasts.
DISTURBED = 1.4
_START = 60.0  # seconds that an import may take, whatever the limit of an answer
_GIVE_UP = 3  # failures in a row after which a peer is left out


@dataclass
class Plan:
    """peers: name -> module. seconds: of a variant's calls. limit: how long to wait for answers."""

    tasks: Sequence[Task]
    peers: dict[str, str]
    threads: Sequence[int] = (1,)
    layouts: Sequence[str] = ("nchw", "channels_last")
    precision: str = "high"
    device: str = "cpu"
    seconds: float = 0.2
    limit: float = 60.0


@dataclass
class Variant:
    """A peer and a memory format on one task, and what was measured of it."""

    worker: Worker
    layout: str
    estimate: float = 0.0
    algorithm: str = ""
    worst: float | None = None  # the largest error over what is allowed
    problem: str = ""
    unsupported: str = ""
    visits: list[list[float]] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)  # page faults a call, by visit

    def medians(self) -> list[float]:
        return [statistics.median(visit) for visit in self.visits]

    def seconds(self) -> float:
        return statistics.median(self.medians())

    def noise(self) -> float:
        """The relative standard error of the median, from the visits' median deviation."""
        medians = self.medians()
        middle = statistics.median(medians)
        deviation = statistics.median(abs(m - middle) for m in medians)
        return 1.86 * deviation / middle / len(medians) ** 0.5

    def as_dict(self) -> dict[str, Any]:
        found = {"peer": self.worker.peer, "layout": self.layout, "algorithm": self.algorithm}
        if self.problem:
            return {**found, "problem": self.problem}
        if self.unsupported:
            return {**found, "unsupported": self.unsupported}
        found |= {"seconds": self.seconds(), "noise": self.noise(), "error": self.worst}
        found["page_faults"] = statistics.median(self.faults)
        return {**found, "samples": [[float(f"{s:.5g}") for s in v] for v in self.visits]}


class Run:
    """Iterate over it for the results, one a task and number of threads."""

    def __init__(self, plan: Plan, say: Callable[[str], None] = print) -> None:
        self.plan, self._say = plan, say
        self.versions: dict[str, str] = {}
        self.layouts: dict[str, tuple[str, ...]] = {}
        self.missing: dict[str, str] = {}
        self.limits: dict[int, dict[str, Any]] = {}
        self._failures: dict[str, int] = {}
        self._quiet: dict[int, float] = {}  # a probe's least time so far, by threads

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for threads in self.plan.threads:
            with contextlib.ExitStack() as stack:
                workers = self._start(threads, stack)
                self._measure_limits(workers[0], threads)
                for task in self.plan.tasks:
                    yield self._task(task, threads, workers)
                self._measure_limits(workers[0], threads)

    def _start(self, threads: int, stack: contextlib.ExitStack) -> list[Worker]:
        workers = []
        for peer, module in self.plan.peers.items():
            worker = Worker(peer, module, threads, self.plan.precision, self.plan.device)
            stack.callback(worker.close)
            if peer in self.missing:
                continue
            try:
                worker.start(max(self.plan.limit, _START))
            except (ImportError, Failure) as error:
                if peer == OURS:
                    kind = OSError if isinstance(error, Failure) else NotImplementedError
                    raise kind(f"{OURS}: {error}") from None
                self.missing[peer] = str(error)
                self._say(f"{peer} is left out: {error}")
                continue
            self.versions[peer], self.layouts[peer] = worker.version, worker.layouts
            workers.append(worker)
        return workers

    def _measure_limits(self, ours: Worker, threads: int) -> None:
        """Before the first task and after the last one; the better counts."""
        known = self.limits.setdefault(threads, {})
        with contextlib.suppress(Failure):
            for dtype in dict.fromkeys(task.dtype for task in self.plan.tasks):
                found = ours.ask("limits", max(self.plan.limit, _START), dtype=dtype)
                known[dtype] = limits.better(found, known.get(dtype, found))

    def _task(self, task: Task, threads: int, workers: list[Worker]) -> dict[str, Any]:
        work = workloads.of(task)
        inputs = work.inputs(task)
        expected = work.expectations(task, inputs)
        del inputs
        variants = self._prepare(task, workers, expected)
        began, before = time.perf_counter(), self._probe(workers[0])
        self._rounds([v for v in variants if not v.problem and not v.unsupported])
        took, after = time.perf_counter() - began, self._probe(workers[0])
        quiet = self._quiet[threads] = min(before, after, self._quiet.get(threads, before))
        disturbed = max(before, after) / quiet if quiet else 1.0
        for worker in workers:
            if worker.alive:
                with contextlib.suppress(Failure):
                    worker.ask("release", self.plan.limit)
        flops, moved = work.cost(task)
        return {
            **task.as_dict(),
            "threads": threads,
            "flops": flops,
            "bytes": moved,
            "noisy": disturbed > DISTURBED or any(v.visits and v.noise() > NOISY for v in variants),
            "disturbed": disturbed,
            "took": took,
            "peers": [v.as_dict() for v in variants],
        }

    def _probe(self, ours: Worker) -> float:
        """Seconds of a copy in convnet's process; 0 where it is gone."""
        with contextlib.suppress(Failure):
            return ours.ask("probe", self.plan.limit)["seconds"]
        return 0.0

    def _prepare(self, task: Task, workers: list[Worker], expected: list[Any]) -> list[Variant]:
        parts = [(e.output, e.box) for e in expected]
        wanted = self.plan.layouts if task.images else ("nchw",)
        variants = []
        for worker in workers:
            layouts = [layout for layout in wanted if layout in worker.layouts]
            made = [Variant(worker, layout) for layout in layouts]
            if not made:
                continue
            variants += made
            try:
                if not worker.alive:
                    if self._failures[worker.peer] >= _GIVE_UP:
                        raise Failure(f"failed {_GIVE_UP} times in a row; left out")
                    worker.start(max(self.plan.limit, _START))
                answers = worker.ask(
                    "prepare", self.plan.limit, task=task.as_dict(), layouts=layouts, parts=parts
                )
            except Failure as failure:
                self._failed(worker, failure, made)
                continue
            self._failures[worker.peer] = 0
            for variant in made:
                _judge(variant, answers[variant.layout], expected)
        return variants

    def _failed(self, worker: Worker, failure: Failure, variants: Sequence[Variant]) -> None:
        self._failures[worker.peer] = self._failures.get(worker.peer, 0) + 1
        for variant in variants:
            if variant.worker is worker:
                variant.problem = str(failure)

    def _rounds(self, variants: list[Variant]) -> None:
        """Visit all of them in turn, until each has enough visits and none is noisy."""
        began = time.perf_counter()
        for number in range(_MOST):
            active = [v for v in variants if not v.problem and self._wants_more(v, number)]
            late = time.perf_counter() - began > _PATIENCE * self.plan.seconds * len(variants)
            if number >= ROUNDS and (late or all(v.noise() < QUIET for v in active)):
                return
            for variant in active:
                if variant.problem:
                    continue
                try:
                    self._visit(variant)
                except Failure as failure:
                    self._failed(variant.worker, failure, variants)

    def _wants_more(self, variant: Variant, number: int) -> bool:
        if number < _FEWEST:
            return True
        return variant.estimate * number < _LONGEST

    def _visit(self, variant: Variant) -> None:
        visit, call = self.plan.seconds / ROUNDS, max(variant.estimate, 1e-7)
        calls = max(1, round(_GROUP / call))
        groups = min(_GROUPS, max(1, round(visit / (call * calls))))
        expected = call * calls * groups
        answer = variant.worker.ask(
            "time",
            self.plan.limit + 10 * expected,
            layout=variant.layout,
            calls=calls,
            groups=groups,
        )
        variant.visits.append(answer["seconds"])
        variant.faults.append(answer["faults"])
        variant.estimate = min(variant.estimate, *answer["seconds"])


def _judge(variant: Variant, answer: dict[str, Any], expected: list[Any]) -> None:
    """Take over an answer to `prepare`; hold the result's parts against the reference's."""
    variant.problem, variant.unsupported = answer.get("error", ""), answer.get("unsupported", "")
    if variant.problem or variant.unsupported:
        return
    variant.estimate, variant.algorithm = answer["seconds"], answer["algorithm"]
    variant.worst = 0.0
    for part, e in zip(answer["parts"], expected, strict=True):
        got = np.frombuffer(base64.b64decode(part), np.float64)
        exact = np.ravel(e.values)
        if got.shape != exact.shape:
            variant.problem = f"wrong result: output {e.output} has another shape"
            return
        allowed = np.broadcast_to(e.allowed, e.values.shape).ravel()
        error = np.abs(got - exact)
        ratio = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
        ratio[np.isnan(got) != np.isnan(exact)] = np.inf
        worst = float(np.nan_to_num(ratio, nan=0.0, posinf=np.inf).max(initial=0.0))
        variant.worst = max(variant.worst, worst)
        if variant.worst > 1:
            variant.problem = (
                f"wrong result: output {e.output} is {variant.worst:.3g} times further off than "
                f"the reference's bound"
            )
            return
