"""The summary: means over each suite, its worst and best layer, and what limits it."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from convnet.benchmark import figures
from convnet.benchmark.table import ratio


def layer(pair: tuple[float, figures.Result]) -> str:
    return f"{pair[0]:.2f} {pair[1]['name']}"


def limited_by(group: figures.Group, limits: dict[str, Any]) -> str:
    """How many layers are limited by what, and the middle share of that limit."""
    found = [figures.limit(result, limits) for result in group.results]
    shares: dict[str, list[float]] = {}
    for each in found:
        if each is not None:
            shares.setdefault(each.name, []).append(each.share)
    counts = Counter({name: len(values) for name, values in shares.items()})
    return ", ".join(
        f"{n} {name} ({100 * median(shares[name]):.0f}%)" for name, n in counts.most_common()
    )


def noise(results: Sequence[figures.Result]) -> str:
    """How far these figures can be trusted, in a sentence."""
    spreads = [s for r in results if (s := figures.spread(r)) is not None]
    text = ""
    if spreads:
        text = (
            f"processes of one peer differ by {100 * median(spreads):.0f} % at the median of "
            f"layers, by {100 * max(spreads):.0f} % at the worst. "
        )
    noisy = sum(r["noisy"] for r in results)
    if noisy:
        text += (
            f"{noisy} of {len(results)} layers are too noisy: another program ran, or the clock "
            "changed; their ratios may be off by more than 10 %."
        )
    return text.strip()


def show(out: Console, results: Sequence[figures.Result], limits: dict[str, Any]) -> None:
    """Ratios are the peer's time over ours: above 1 convnet is faster."""
    if not results:
        out.print("nothing was measured")
        return
    table = Table(box=box.SIMPLE_HEAD, title="peer's time / convnet's time, geometric means")
    for name, justify in (
        ("suite", "left"),
        ("pass", "left"),
        ("threads", "right"),
        ("layers", "right"),
        ("peer", "left"),
        ("same NCHW", "right"),
        ("same NHWC", "right"),
        ("best", "right"),
        ("worst layer", "left"),
        ("best layer", "left"),
        ("limited by (share reached)", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)
    for group in figures.groups(results):
        peers = [p for p in figures.peers_of(group.results) if group.ordered(p)]
        if len(peers) > 1:
            peers.append(figures.FASTEST)
        for peer in peers or [""]:
            ordered = group.ordered(peer) if peer else []
            table.add_row(
                group.suite,
                group.direction,
                str(group.threads),
                str(len(ordered) if peer else len(group.results)),
                peer or "-",
                *(ratio(group.mean(peer, kind)) for kind in ("nchw", "channels_last", "best")),
                layer(ordered[0]) if ordered else "-",
                layer(ordered[-1]) if ordered else "-",
                limited_by(group, limits),
            )
    out.print(table)
    told = noise(results)
    if told:
        out.print(told)
    wrong = [
        f"{v['peer']} {r['suite']} {r['name']} {r['direction']}"
        for r in results
        for v in r["peers"]
        if v.get("problem", "").startswith("wrong result")
    ]
    if wrong:
        out.print(f"wrong results, not timed: {'; '.join(wrong)}")
