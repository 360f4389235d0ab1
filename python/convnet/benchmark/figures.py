"""What follows from a result: ratios, rates, limits, and means over a suite.

A result is one entry of a result file's "results": a task, threads, and its "peers".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log
from typing import Any

from convnet.benchmark import limits as machine
from convnet.benchmark.peers import OURS

Result = dict[str, Any]


FASTEST = "fastest"  # stands for whichever peer beside convnet is the fastest on a layer


def times(result: Result, peer: str) -> dict[str, float]:
    """Memory format -> seconds of a peer, where there was a right result."""
    if peer == FASTEST:
        found: dict[str, float] = {}
        for name in peers_of([result]):
            for layout, seconds in times(result, name).items():
                found[layout] = min(seconds, found.get(layout, seconds))
        return found
    return {
        v["layout"]: v["seconds"] for v in result["peers"] if v["peer"] == peer and "seconds" in v
    }


def variant(result: Result, peer: str, layout: str) -> dict[str, Any] | None:
    for v in result["peers"]:
        if v["peer"] == peer and v["layout"] == layout:
            return v
    return None


def peers_of(results: Iterable[Result]) -> list[str]:
    """The peers beside convnet, in order."""
    return list(dict.fromkeys(v["peer"] for r in results for v in r["peers"] if v["peer"] != OURS))


def ratios(result: Result, peer: str) -> dict[str, float]:
    """The peer's time over ours: by memory format; "best": of the better ones."""
    ours, theirs = times(result, OURS), times(result, peer)
    found = {layout: theirs[layout] / ours[layout] for layout in theirs if layout in ours}
    if ours and theirs:
        found["best"] = min(theirs.values()) / min(ours.values())
    return found


def best(result: Result, peer: str = OURS) -> float | None:
    found = times(result, peer)
    return min(found.values()) if found else None


@dataclass(frozen=True)
class Limit:
    """name: "compute" or "memory". share: of that limit that was reached."""

    name: str
    share: float


def limit(result: Result, limits: dict[str, Any], seconds: float | None = None) -> Limit | None:
    """What limits the direct algorithm here, and how much of it our better time uses.

    Winograd does fewer multiply-adds: its share of the peak may exceed 1.
    """
    found = limits.get(str(result["threads"]), {}).get(result["dtype"])
    seconds = best(result) if seconds is None else seconds
    if found is None or seconds is None:
        return None
    computing = result["flops"] / found["flops"]
    moving = result["bytes"] / machine.copy_rate(found, result["bytes"])
    name = "compute" if computing >= moving else "memory"
    return Limit(name, max(computing, moving) / seconds)


def spread(result: Result) -> float | None:
    """What a peer's processes differ by, at most: (slowest - fastest) / median."""
    return max((v["spread"] for v in result["peers"] if "spread" in v), default=None)


def geometric_mean(values: Iterable[tuple[float, float]]) -> float | None:
    """Of (value, weight)."""
    pairs = list(values)
    total = sum(weight for _, weight in pairs)
    return exp(sum(w * log(v) for v, w in pairs) / total) if total else None


@dataclass(frozen=True)
class Group:
    """Results of one suite, direction and number of threads."""

    suite: str
    direction: str
    threads: int
    results: list[Result]

    def mean(self, peer: str, kind: str) -> float | None:
        """The mean of ratios(...)[kind], each layer as often as its network has it."""
        return geometric_mean(
            (r[kind], result["count"])
            for result in self.results
            if kind in (r := ratios(result, peer))
        )

    def ordered(self, peer: str) -> list[tuple[float, Result]]:
        """(the smallest of a layer's ratios, the layer), from the worst to the best."""
        found = [
            (min(r.values()), result) for result in self.results if (r := ratios(result, peer))
        ]
        return sorted(found, key=lambda pair: pair[0])


def groups(results: Iterable[Result]) -> list[Group]:
    found: dict[tuple[str, str, int], list[Result]] = {}
    for r in results:
        found.setdefault((r["suite"], r["direction"], r["threads"]), []).append(r)
    return [Group(*key, results) for key, results in found.items()]
