"""The live table: a line a layer as soon as it is measured, a bar below it on a terminal."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from convnet.benchmark import figures
from convnet.benchmark.peers import OURS

_SHORT = {
    "implicit_gemm": "gemm",
    "winograd_4x4_3x3": "wino 4x4",
    "winograd_5x5_3x3": "wino 5x5",
    "winograd_6x6_3x3": "wino 6x6",
    "winograd_5x5_3x3_stride2": "wino 5x5",
    "winograd_2x2_5x5": "wino 2x2",
    "winograd_4x4_5x5": "wino 4x4",
}
_WIDTH = 200  # columns where there is no terminal to ask


def console() -> Console:
    made = Console(highlight=False)
    return made if made.is_terminal else Console(width=_WIDTH, highlight=False)


def milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    ms = 1e3 * seconds
    return f"{ms:.4f}" if ms < 0.1 else f"{ms:.3f}" if ms < 10 else f"{ms:.2f}"


def ratio(value: float | None) -> Text:
    if value is None:
        return Text("-")
    return Text(f"{value:.2f}", style="red" if value < 0.95 else "green" if value > 1.05 else "")


def rate(result: dict[str, Any], limit: figures.Limit | None) -> str:
    """Of our better time: GFLOP/s where compute limits, GB/s where memory does."""
    seconds = figures.best(result)
    if seconds is None:
        return "-"
    if limit is not None and limit.name == "memory":
        return f"{result['bytes'] / seconds / 1e9:.1f} GB/s"
    return f"{result['flops'] / seconds / 1e9:.0f} GFLOP/s"


def algorithm(result: dict[str, Any]) -> str:
    """That of our better time."""
    found = [v for v in result["peers"] if v["peer"] == OURS and "seconds" in v]
    if not found:
        return "-"
    fastest = min(found, key=lambda v: v["seconds"])
    parts = [part.strip() for part in fastest["algorithm"].split(",")]
    return "+".join(_SHORT.get(part, part) for part in parts)


class Table:
    """Columns of fixed width, so that a line can be printed before the next one is known."""

    def __init__(self, out: Console, peers: Sequence[str], both: Sequence[str]) -> None:
        """both: those of the peers that have both memory formats."""
        self._out = out
        columns: list[tuple[str, int]] = [("layer", -22), ("NCHW ms", 9), ("NHWC ms", 9)]
        columns += [("rate", 12), ("limit", 13), ("algorithm", -19)]
        for peer in peers:
            name = f"{peer} ms"
            if peer in both:
                columns += [(name, 9), ("NHWC ms", 9), ("same", 6), ("NHWC", 6), ("best", 6)]
            else:
                columns += [(name, max(9, len(name))), ("best", 6)]
        columns.append(("spread", 6))
        self._columns, self._peers, self._both = columns, peers, both
        self._section: tuple[Any, ...] = ()

    def _line(self, cells: Sequence[str | Text], style: str = "") -> Text:
        line = Text(style=style)
        for cell, (_, width) in zip(cells, self._columns, strict=True):
            text = cell if isinstance(cell, Text) else Text(cell)
            text.truncate(abs(width), overflow="ellipsis")
            space = " " * (abs(width) - text.cell_len)
            line += text + space if width < 0 else Text(space) + text
            line += " "
        return line

    def add(self, result: dict[str, Any], limits: dict[str, Any]) -> None:
        section = (result["suite"], result["direction"], result["threads"], result["dtype"])
        if section != self._section:
            self._section = section
            suite, direction, threads, dtype = section
            plural = "s" if threads > 1 else ""
            self._out.print(
                f"\n[bold]{suite} {direction}[/], {threads} thread{plural}, {dtype}",
                highlight=False,
            )
            self._out.print(self._line([name for name, _ in self._columns], "dim"), soft_wrap=True)
        ours = figures.times(result, OURS)
        limit = figures.limit(result, limits)
        share = "-" if limit is None else f"{100 * limit.share:.0f}% {limit.name}"
        cells: list[str | Text] = [
            result["name"],
            milliseconds(ours.get("nchw")),
            milliseconds(ours.get("channels_last")),
            rate(result, limit),
            share,
            algorithm(result),
        ]
        for peer in self._peers:
            theirs, r = figures.times(result, peer), figures.ratios(result, peer)
            if peer in self._both:
                cells += [milliseconds(theirs.get(k)) for k in ("nchw", "channels_last")]
                cells += [ratio(r.get(k)) for k in ("nchw", "channels_last", "best")]
            else:
                cells += [milliseconds(theirs.get("nchw")), ratio(r.get("best"))]
        spread = figures.spread(result)
        cells.append("-" if spread is None else f"{100 * spread:.0f} %")
        line = self._line(cells)
        if result["noisy"]:
            line.append("too noisy", "yellow")
        self._out.print(line, soft_wrap=True)
        for v in result["peers"]:
            if "problem" in v:
                self._out.print(
                    Text(f"    {v['peer']} {v['layout']}: {v['problem']}", "yellow"),
                    soft_wrap=True,
                )


class Bar:
    """A progress bar at the bottom; drawn anew between measurements only, never during one."""

    def __init__(self, out: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=out,
            auto_refresh=False,
            transient=True,
            disable=not out.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=total)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, text: str) -> None:
        self._progress.update(self._task, advance=1, description=text)
        self._progress.refresh()
