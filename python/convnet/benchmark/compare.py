"""`convnet bench compare A.json B.json`: what got faster or slower, beyond noise.

Two runs see different machines, even on one machine: clocks and neighbours change. Where both
files have a peer that convnet did not touch, the change of convnet's time is taken over the change
of that peer's on the same layer and memory format; without one, as it is. Noise is what the ratio
to that peer differs by from process to process, both having been timed at the same moments; no
layer counts as quieter than the middle one of all.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import hypot, log
from statistics import median, stdev
from typing import Any

from rich import box
from rich.table import Table

from convnet.benchmark import figures, files
from convnet.benchmark.peers import OURS
from convnet.benchmark.table import console, milliseconds

_SIGMAS = 3  # standard errors, beyond which a difference is not noise


@dataclass(frozen=True)
class Change:
    """before, after: convnet's seconds. factor: how much slower it got. noise: what it may be off.

    against: the peer that stands for the machine's own change, or ""
    """

    label: str
    before: float
    after: float
    factor: float
    noise: float
    against: str

    def verdict(self, tolerance: float) -> str:
        limit = 1 + max(tolerance, self.noise)
        if self.factor > limit:
            return "slower"
        return "faster" if self.factor < 1 / limit else ""


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """One for each layer, direction, number of threads and memory format that both files have."""
    before, after = _index(old), _index(new)
    reference = _reference(old, new)
    found = []
    for key, (a, label) in before.items():
        if key[0] != OURS or key not in after:
            continue
        b = after[key][0]
        factor, noises, against = b["seconds"] / a["seconds"], (a["noise"], b["noise"]), ""
        peer_key = (reference, *key[1:])
        if reference and peer_key in before and peer_key in after:
            c, d = before[peer_key][0], after[peer_key][0]
            factor /= d["seconds"] / c["seconds"]
            noises, against = (_noise(a, c), _noise(b, d)), reference
        found.append(
            Change(label, a["seconds"], b["seconds"], factor, _SIGMAS * hypot(*noises), against)
        )
    least = median(change.noise for change in found) if found else 0.0
    return [replace(change, noise=max(change.noise, least)) for change in found]


def _noise(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The relative standard error of the ratio of two times."""
    pairs = list(zip(ours.get("processes", ()), theirs.get("processes", ()), strict=False))
    if len(pairs) < 2:
        return hypot(ours["noise"], theirs["noise"])
    return stdev(log(a / b) for a, b in pairs) / len(pairs) ** 0.5


def _entries(record: dict[str, Any]) -> Iterator[tuple[tuple, dict[str, Any], str]]:
    for r in record["results"]:
        shape = tuple(sorted((k, str(v)) for k, v in r["params"].items()))
        for v in r["peers"]:
            if "seconds" in v:
                key = (v["peer"], r["suite"], r["name"], r["direction"], r["threads"], r["dtype"])
                label = f"{r['suite']} {r['name']} {r['direction']} {v['layout']} x{r['threads']}"
                yield (*key, shape, v["layout"]), v, label


def _index(record: dict[str, Any]) -> dict[tuple, tuple[dict[str, Any], str]]:
    return {key: (v, label) for key, v, label in _entries(record)}


def _reference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The first peer that both files have in one version."""
    for peer, version in old["versions"].items():
        if peer != OURS and new["versions"].get(peer) == version:
            return peer
    return ""


def main(options: argparse.Namespace) -> int:
    """Print the table; 1 when something got slower and --fail-on-regression is given."""
    old, new = files.read(options.old), files.read(options.new)
    out = console()
    found = changes(old, new)
    if not found:
        raise ValueError(f"{options.old} and {options.new} have no layer in common")
    tolerance = options.tolerance / 100
    verdicts = {change: change.verdict(tolerance) for change in found}
    _show(out, [c for c in found if verdicts[c] or options.all], verdicts)
    counts = {word: sum(v == word for v in verdicts.values()) for word in ("faster", "slower")}
    middle = figures.geometric_mean((change.factor, 1.0) for change in found)
    out.print(
        f"{len(found)} compared: {counts['faster']} faster, {counts['slower']} slower by more than "
        f"{options.tolerance:g} % and the noise; geometric mean of new over old {middle:.3f}"
    )
    against = next((c.against for c in found if c.against), "")
    if against:
        out.print(f"changes are relative to {against}'s, which stands for the machine's own")
    return int(bool(options.fail_on_regression and counts["slower"]))


def _show(out: Any, found: list[Change], verdicts: dict[Change, str]) -> None:
    if not found:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name, justify in (
        ("layer", "left"),
        ("old ms", "right"),
        ("new ms", "right"),
        ("new / old", "right"),
        ("noise", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)
    for change in sorted(found, key=lambda c: -c.factor):
        style = {"slower": "red", "faster": "green"}.get(verdicts[change], "")
        table.add_row(
            change.label,
            milliseconds(change.before),
            milliseconds(change.after),
            f"{change.factor:.2f}",
            f"{100 * change.noise:.0f} %",
            verdicts[change],
            style=style,
        )
    out.print(table)
