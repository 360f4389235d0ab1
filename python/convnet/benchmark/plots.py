"""Pictures of a run: a roofline with every layer on it, and bars of ratios, layer by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from convnet.benchmark import figures
from convnet.benchmark.peers import OURS

COLOURS = {
    "convnet": "#d1495b",
    "torch": "#30638e",
    "numpy": "#8d99ae",
    "scipy": "#b8a200",
    "onnxruntime": "#3a7d44",
}
_MARKERS = "osD^vP*X"
_PER_ROW = 44  # bars' groups that stand side by side legibly
_WIDTH = 15.0  # inches
_FEW = 16  # layers that fit half of that
_MOST = 12.0  # a bar beyond this is cut, with its value on it


@dataclass(frozen=True)
class Panel:
    """One pair of axes. height: in inches; layers: how many stand side by side."""

    height: float
    layers: int
    draw: Callable[[Any], None]


def figure(panels: Sequence[Panel]) -> Figure:
    """The panels below each other, or, when they are many and small, in two columns.

    A figure that never asks for a window.
    """
    columns = 2 if len(panels) > 2 and max(p.layers for p in panels) <= _FEW else 1
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(p.height for p in row) for row in rows]
    made = Figure(figsize=(_WIDTH * (1 + 0.2 * (columns - 1)), sum(heights)), layout="constrained")
    FigureCanvasAgg(made)
    grid = made.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes, row in zip(grid, rows, strict=True):
        for ax, panel in zip(axes, row, strict=False):
            panel.draw(ax)
        for ax in axes[len(row) :]:
            ax.set_axis_off()
    return made


def draw(record: dict[str, Any], path: str | Path) -> None:
    """All that a result file holds in one picture; its format follows the name."""
    panels = rooflines(record) + bars(record) + shares(record)
    if not panels:
        raise ValueError("plot: there is nothing to draw: no peer, and no layer with arithmetic")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure(panels).savefig(path)


def rooflines(record: dict[str, Any]) -> list[Panel]:
    """One for each number of threads and type that has layers with arithmetic."""
    found = []
    keys = dict.fromkeys((r["threads"], r["dtype"]) for r in record["results"] if r["flops"] > 0)
    for threads, dtype in keys:
        limits = record["limits"].get(str(threads), {}).get(dtype)
        if limits:
            results = [
                r
                for r in record["results"]
                if r["threads"] == threads and r["dtype"] == dtype and r["flops"] > 0
            ]

            def part(ax: Any, results: Any = results, limits: Any = limits) -> None:
                _roofline(ax, results, limits)

            found.append(Panel(6.5, 1, part))
    return found


def _roofline(ax: Any, results: list[figures.Result], limits: dict[str, Any]) -> None:
    """Rate over arithmetic intensity, both logarithmic: peaks as lines, our better times as dots.

    Beyond the line of multiply-adds lies what Winograd saves.
    """
    points = [
        (r["flops"] / r["bytes"], r["flops"] / best / 1e9, r)
        for r in results
        if (best := figures.best(r)) is not None
    ]
    if not points:
        ax.set_axis_off()
        return
    low = min(x for x, _, _ in points) / 2
    high = max(x for x, _, _ in points) * 2
    x = np.geomspace(low, high, 200)
    peak = limits["flops"] / 1e9
    for copies, style in ((limits["copies"][0], ":"), (limits["copies"][-1], "--")):
        rate = copies["bytes_per_s"] / 1e9
        ax.plot(
            x,
            np.minimum(x * rate, peak),
            style,
            color="black",
            linewidth=1.2,
            label=f"{rate:.0f} GB/s: copies of {copies['bytes'] >> 20} MB",
        )
    ax.axhline(peak, color="black", linewidth=1.5, label=f"{peak:.0f} GFLOP/s: multiply-adds")
    suites = list(dict.fromkeys(r["suite"] for _, _, r in points))
    for direction, face in (("forward", 1.0), ("backward", 0.0), ("step", 0.4)):
        for number, suite in enumerate(suites):
            mine = [
                (i, g) for i, g, r in points if (r["suite"], r["direction"]) == (suite, direction)
            ]
            if mine:
                colour = f"C{number}"
                ax.scatter(
                    *zip(*mine, strict=True),
                    s=28,
                    marker=_MARKERS[number % len(_MARKERS)],
                    facecolors=(colour, face),
                    edgecolors=colour,
                    label=f"{suite} {direction}",
                )
    r = results[0]
    plural = "s" if r["threads"] > 1 else ""
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(FuncFormatter(_minor))
    ax.set_xlabel("arithmetic intensity: operations of the direct algorithm per byte (log)")
    ax.set_ylabel("GFLOP/s (log)")
    ax.set_title(f"convnet on the roofline, {r['threads']} thread{plural}, {r['dtype']}")
    ax.grid(alpha=0.25, which="both")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _minor(value: float, _: int) -> str:
    """2 and 5 times a power of ten."""
    return f"{value:g}" if f"{value:.0e}"[0] in "25" else ""


def bars(record: dict[str, Any]) -> list[Panel]:
    """One for each suite, direction and number of threads, or several where it is long."""
    found = []
    for group in figures.groups(record["results"]):
        peers = [p for p in figures.peers_of(group.results) if group.ordered(p)]
        results = [r for r in group.results if figures.best(r) is not None]
        if not peers or not results:
            continue
        rows = -(-len(results) // _PER_ROW)
        for chunk in np.array_split(np.arange(len(results)), rows):
            part = [results[i] for i in chunk]

            def draw_part(
                ax: Any, part: Any = part, group: Any = group, peers: Any = peers
            ) -> None:
                _bars(ax, part, group, peers)

            found.append(Panel(4.2, len(part), draw_part))
    return found


def _bars(
    ax: Any, results: list[figures.Result], group: figures.Group, peers: Sequence[str]
) -> None:
    """The better of a peer's times over the better of ours."""
    width = min(0.8 / len(peers), 0.05 * len(results))
    ratios = {peer: [figures.ratios(r, peer).get("best") for r in results] for peer in peers}
    known = [v for values in ratios.values() for v in values if v is not None]
    top = min(1.15 * max(known), _MOST)
    places = np.arange(len(results))
    for number, peer in enumerate(peers):
        offset = (number - (len(peers) - 1) / 2) * width
        heights = [v or 0.0 for v in ratios[peer]]
        mean = group.mean(peer, "best")
        ax.bar(
            places + offset,
            np.minimum(heights, top),
            width,
            color=COLOURS.get(peer, f"C{number}"),
            label=f"{peer}: geometric mean {mean:.2f}",
        )
        for place, height in zip(places, heights, strict=True):
            if height > top:
                ax.text(
                    place + offset,
                    top * 0.99,
                    f"{height:.0f}",
                    ha="center",
                    va="top",
                    rotation=90,
                    fontsize=7,
                    color="white",
                )
    ax.axhline(1, color=COLOURS[OURS], linewidth=1.5, label="convnet")
    ax.set_ylim(0, top)
    ax.set_ylabel("time / convnet's time")
    _label(ax, results, f"{_title(group)}: above the line convnet is faster")


def shares(record: dict[str, Any]) -> list[Panel]:
    """Shares of the copy bandwidth, where no arithmetic limits."""
    found = []
    for group in figures.groups(record["results"]):
        results = [r for r in group.results if r["flops"] == 0 and figures.best(r) is not None]
        if not results or not figures.limit(results[0], record["limits"]):
            continue

        def draw_part(ax: Any, results: Any = results, group: Any = group) -> None:
            _shares(ax, results, group, record["limits"])

        found.append(Panel(4.2, len(results), draw_part))
    return found


def _shares(
    ax: Any, results: list[figures.Result], group: figures.Group, limits: dict[str, Any]
) -> None:
    """convnet's own, in both memory formats."""
    places, width = np.arange(len(results)), min(0.4, 0.04 * len(results))
    for number, (layout, name) in enumerate((("nchw", "NCHW"), ("channels_last", "NHWC"))):
        heights = []
        for r in results:
            seconds = figures.times(r, OURS).get(layout)
            limit = figures.limit(r, limits, seconds) if seconds else None
            heights.append(100 * limit.share if limit else 0.0)
        colour = (COLOURS[OURS], "#edae49")[number]
        ax.bar(places + (number - 0.5) * width, heights, width, color=colour, label=name)
    ax.axhline(100, color="black", linewidth=1, label="np.copyto")
    ax.set_ylim(top=max(110.0, ax.get_ylim()[1]))
    ax.set_ylabel("% of copy bandwidth")
    _label(ax, results, f"{_title(group)}: convnet's share of the copy bandwidth")


def _title(group: figures.Group) -> str:
    return f"{group.suite} {group.direction}, {group.threads} thread{'s' * (group.threads > 1)}"


def _label(ax: Any, results: list[figures.Result], title: str) -> None:
    """Layers' names, title, legend beside the axes; the axis from zero."""
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.6, len(results) - 0.4)
    names = [r["name"] for r in results]
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    ax.tick_params(axis="x", length=0, pad=1)
    for text in ax.get_xticklabels():
        text.set_rotation_mode("anchor")
    ax.set_title(title)
    ax.grid(axis="y", alpha=0.3)
    ax.set_axisbelow(True)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
