"""A peer and a memory format on one task: what was measured of it, in each of the peer's processes.

The figure is the lower quartile of the visits, of all processes together. What disturbs a visit
only ever adds to its time, and so does an unlucky place of a process's arrays in memory: medians of
two runs on a busy machine gave ratios that were up to 1.7 times apart, quartiles up to 1.4 times.
The least time hangs on one moment.
"""

import base64
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NOISY = 0.1  # noise from which on it is reported


def lower_quartile(values: Sequence[float]) -> float:
    return float(np.quantile(values, 0.25))


@dataclass
class Variant:
    """turns: for each process its visits, for each of those its samples, seconds a call."""

    peer: str
    layout: str
    estimate: float = 0.0  # seconds of a call, the least so far
    algorithm: str = ""
    worst: float | None = None  # the largest error over what is allowed
    problem: str = ""
    unsupported: str = ""
    turns: list[list[list[float]]] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)  # page faults a call, by visit

    @property
    def timed(self) -> bool:
        """Whether there are times, and nothing speaks against them."""
        return any(self.turns) and not self.lost

    @property
    def lost(self) -> bool:
        """Whether there is nothing (more) to measure."""
        return bool(self.problem or self.unsupported)

    def medians(self) -> list[list[float]]:
        """Of each visit, by process."""
        return [[statistics.median(visit) for visit in turn] for turn in self.turns if turn]

    def noise(self) -> float:
        """How far the two fastest processes are apart, each by its own figure.

        Of one process alone: its visits with even and with odd numbers.
        """
        turns = self.medians()
        if len(turns) == 1:
            turns = [turns[0][::2], turns[0][1::2] or turns[0]]
        first, second = sorted(map(lower_quartile, turns))[:2]
        return second / first - 1

    def judge(self, answer: dict[str, Any], expected: Sequence[Any]) -> None:
        """Take over an answer to `prepare`; hold the result's parts against the reference's."""
        self.problem = answer.get("error", "")
        self.unsupported = answer.get("unsupported", "")
        if self.lost:
            return
        self.estimate = min(answer["seconds"], self.estimate or answer["seconds"])
        self.algorithm, self.worst = answer["algorithm"], self.worst or 0.0
        for part, e in zip(answer["parts"], expected, strict=True):
            got = np.frombuffer(base64.b64decode(part), np.float64)
            if got.shape != (e.values.size,):
                self.problem = f"wrong result: output {e.output} has another shape"
                return
            self.worst = max(self.worst, _error(got, e))
            if self.worst > 1:
                self.problem = (
                    f"wrong result: output {e.output} is {self.worst:.3g} times further off than "
                    f"the reference's bound"
                )
                return

    def as_dict(self) -> dict[str, Any]:
        """What stands in the result file."""
        found = {"peer": self.peer, "layout": self.layout, "algorithm": self.algorithm}
        if self.problem:
            return {**found, "problem": self.problem}
        if self.unsupported:
            return {**found, "unsupported": self.unsupported}
        turns = self.medians()
        seconds = lower_quartile([median for turn in turns for median in turn])
        each = [lower_quartile(turn) for turn in turns]
        found |= {"seconds": seconds, "noise": self.noise(), "error": self.worst}
        found |= {"spread": (max(each) - min(each)) / seconds, "processes": each}
        found["page_faults"] = statistics.median(self.faults)
        found["samples"] = [
            [[float(f"{s:.5g}") for s in visit] for visit in turn] for turn in self.turns if turn
        ]
        return found


def _error(got: np.ndarray, e: Any) -> float:
    """The largest error of a part over what is allowed; infinite where one is NaN alone."""
    exact = np.ravel(e.values)
    allowed = np.broadcast_to(e.allowed, e.values.shape).ravel()
    error = np.abs(got - exact)
    ratio = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
    ratio[np.isnan(got) != np.isnan(exact)] = np.inf
    return float(np.nan_to_num(ratio, nan=0.0, posinf=np.inf).max(initial=0.0))
