"""The run: every peer in a few processes, tasks in blocks, round and round.

    team 1: convnet torch numpy    team 2: convnet torch numpy    ...       a process each
    block of tasks:  team 1 over all of them, then team 2, ...

A visit asks one process for one memory format's time; a round visits those of a team once, in turn.
So what disturbs the machine for a moment disturbs all peers alike; what disturbs it for seconds
meets one team of several. And where a process's arrays happen to lie in memory, which makes it
faster or slower than the next one as long as it lives, is tried several times.
"""

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from convnet.benchmark import limits, workloads
from convnet.benchmark.peers import OURS
from convnet.benchmark.process import Failure, Worker
from convnet.benchmark.tasks import Task
from convnet.benchmark.variant import NOISY, Variant

ROUNDS = 12  # visits of each variant, by all processes together,
_FEWEST = 3  # and in each process,
_LONGEST = 0.6  # seconds that a variant's calls may take, before one visit a process is enough
_GROUP = 5e-4  # seconds; shorter calls are timed several together
_GROUPS = 20  # samples a visit
_BLOCK = 12  # tasks from one team's turn to the next: seconds to half a minute
# A copy this many times slower than at the best moment so far: another program uses the memory.
# Medians do not show that when it lasts.
DISTURBED = 1.4
_START = 60.0  # seconds that an import may take, whatever the limit of an answer
_GIVE_UP = 3  # failures in a row after which a peer is left out

Team = list[Worker]
Visited = list[tuple[Worker, Variant]]


@dataclass
class Plan:
    """peers: name -> module. seconds: of a variant's calls. limit: how long to wait for answers.

    processes: of each peer, for each number of threads
    """

    tasks: Sequence[Task]
    peers: dict[str, str]
    threads: Sequence[int] = (1,)
    layouts: Sequence[str] = ("nchw", "channels_last")
    precision: str = "high"
    device: str = "cpu"
    seconds: float = 0.2
    limit: float = 60.0
    processes: int = 3


@dataclass
class Measurement:
    """A task and what is known of it so far; `copies`: of each turn, a copy before and after it."""

    task: Task
    threads: int
    expected: list[Any] = field(default_factory=list)
    variants: dict[tuple[str, str], Variant] = field(default_factory=dict)
    copies: list[float] = field(default_factory=list)
    took: float = 0.0

    def result(self, quiet: float) -> dict[str, Any]:
        """An entry of the result file. quiet: the least time of a copy."""
        flops, moved = workloads.of(self.task).cost(self.task)
        disturbed = statistics.median(self.copies) / quiet if quiet else 1.0
        noise = max((v.noise() for v in self.variants.values() if v.timed), default=0.0)
        return {
            **self.task.as_dict(),
            "threads": self.threads,
            "flops": flops,
            "bytes": moved,
            "noisy": disturbed > DISTURBED or noise > NOISY,
            "disturbed": disturbed,
            "took": self.took,
            "peers": [v.as_dict() for v in self.variants.values() if v.timed or v.lost],
        }


class Run:
    """Iterate over it for the results, one a task and number of threads.

    step: called with a task's name after each team's turn at it
    """

    def __init__(self, plan: Plan, say: Callable[[str], None] = print) -> None:
        self.plan, self._say = plan, say
        self.step: Callable[[str], None] = lambda name: None
        self.versions: dict[str, str] = {}
        self.layouts: dict[str, tuple[str, ...]] = {}
        self.missing: dict[str, str] = {}
        self.limits: dict[int, dict[str, Any]] = {}
        self._failures: dict[str, int] = {}
        self._quiet: dict[int, float] = {}  # a copy's least time so far, by threads
        self._open: list[Measurement] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for threads in self.plan.threads:
            with contextlib.ExitStack() as stack:
                teams = [self._start(threads, stack) for _ in range(self.plan.processes)]
                self._measure_limits(teams[0][0], threads)
                for first in range(0, len(self.plan.tasks), _BLOCK):
                    block = self.plan.tasks[first : first + _BLOCK]
                    yield from self._block([Measurement(task, threads) for task in block], teams)
                self._measure_limits(teams[0][0], threads)

    def unfinished(self) -> list[dict[str, Any]]:
        """Results of the tasks that some processes have measured, others not yet."""
        return [m.result(self._quiet[m.threads]) for m in self._open if m.copies]

    def _start(self, threads: int, stack: contextlib.ExitStack) -> Team:
        """A team's processes, started side by side: most of that time is their imports."""
        team = [
            Worker(peer, module, threads, self.plan.precision, self.plan.device)
            for peer, module in self.plan.peers.items()
            if peer not in self.missing
        ]
        for worker in team:
            stack.callback(worker.close)
            worker.spawn()
        limit = max(self.plan.limit, _START)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            started = [pool.submit(worker.start, limit) for worker in team]
        return [w for w, start in zip(team, started, strict=True) if self._joined(w, start)]

    def _joined(self, worker: Worker, start: Future[None]) -> bool:
        """Whether it is there; without convnet itself there is no run."""
        try:
            start.result()
        except (ImportError, Failure) as error:
            if worker.peer == OURS:
                kind = OSError if isinstance(error, Failure) else NotImplementedError
                raise kind(f"{OURS}: {error}") from None
            self.missing[worker.peer] = str(error)
            self._say(f"{worker.peer} is left out: {error}")
            return False
        self.versions[worker.peer], self.layouts[worker.peer] = worker.version, worker.layouts
        return True

    def _measure_limits(self, ours: Worker, threads: int) -> None:
        """Before the first task and after the last one; the better counts."""
        known = self.limits.setdefault(threads, {})
        with contextlib.suppress(Failure):
            for dtype in dict.fromkeys(task.dtype for task in self.plan.tasks):
                found = ours.ask("limits", max(self.plan.limit, _START), dtype=dtype)
                known[dtype] = limits.better(found, known.get(dtype, found))

    def _block(self, block: list[Measurement], teams: list[Team]) -> Iterator[dict[str, Any]]:
        self._open = block
        for team in teams[:-1]:
            for m in block:
                self._turn(m, team)
        while block:
            self._turn(block[0], teams[-1])
            yield block.pop(0).result(self._quiet[teams[-1][0].threads])

    def _turn(self, m: Measurement, team: Team) -> None:
        """A team's processes at one task."""
        if not m.expected:
            work = workloads.of(m.task)
            m.expected = work.expectations(m.task, work.inputs(m.task))
        began, visited = time.perf_counter(), self._prepare(m, team)
        before = self._copy(team[0])
        self._rounds(visited)
        after = self._copy(team[0])
        m.copies.append(max(before, after))
        self._quiet[m.threads] = min(before, after, self._quiet.get(m.threads, before))
        for worker in team:
            if worker.alive:
                with contextlib.suppress(Failure):
                    worker.ask("release", self.plan.limit)
        m.took += time.perf_counter() - began
        self.step(f"{m.task.suite} {m.task.name}")

    def _copy(self, ours: Worker) -> float:
        """Seconds of a copy in convnet's process; 0 where it is gone."""
        with contextlib.suppress(Failure):
            return ours.ask("probe", self.plan.limit)["seconds"]
        return 0.0

    def _prepare(self, m: Measurement, team: Team) -> Visited:
        """What this team can time of a task; each process's result is checked."""
        parts = [(e.output, e.box) for e in m.expected]
        wanted = self.plan.layouts if m.task.images else ("nchw",)
        found: Visited = []
        for worker in team:
            variants = [
                m.variants.setdefault((worker.peer, layout), Variant(worker.peer, layout))
                for layout in wanted
                if layout in worker.layouts
            ]
            made = [(worker, v) for v in variants if not v.lost]
            if not made:
                continue
            try:
                if not worker.alive:
                    if self._failures[worker.peer] >= _GIVE_UP:
                        raise Failure(f"failed {_GIVE_UP} times in a row; left out")
                    worker.start(max(self.plan.limit, _START))
                answers = worker.ask(
                    "prepare",
                    self.plan.limit,
                    task=m.task.as_dict(),
                    layouts=[v.layout for _, v in made],
                    parts=parts,
                )
            except Failure as failure:
                self._failed(worker, failure, made)
                continue
            self._failures[worker.peer] = 0
            for _, variant in made:
                variant.judge(answers[variant.layout], m.expected)
                variant.turns.append([])
            found += [(worker, v) for _, v in made if not v.lost]
        return found

    def _failed(self, worker: Worker, failure: Failure, visited: Visited) -> None:
        self._failures[worker.peer] = self._failures.get(worker.peer, 0) + 1
        for _, variant in visited:
            if variant.peer == worker.peer:
                variant.problem = str(failure)

    def _rounds(self, visited: Visited) -> None:
        """Visit all of them in turn, and again."""
        rounds = max(_FEWEST, math.ceil(ROUNDS / self.plan.processes))
        seconds, longest = (s / self.plan.processes for s in (self.plan.seconds, _LONGEST))
        for number in range(rounds):
            for worker, variant in visited:
                if variant.lost or variant.estimate * number > longest:
                    continue
                try:
                    self._visit(worker, variant, seconds / rounds)
                except Failure as failure:
                    self._failed(worker, failure, visited)

    def _visit(self, worker: Worker, variant: Variant, seconds: float) -> None:
        call = max(variant.estimate, 1e-7)
        calls = max(1, round(_GROUP / call))
        groups = min(_GROUPS, max(1, round(seconds / (call * calls))))
        answer = worker.ask(
            "time",
            self.plan.limit + 10 * call * calls * groups,
            layout=variant.layout,
            calls=calls,
            groups=groups,
        )
        variant.turns[-1].append(answer["seconds"])
        variant.faults.append(answer["faults"])
        variant.estimate = min(variant.estimate, *answer["seconds"])
