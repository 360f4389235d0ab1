"""`convnet check`: the command, its progress line and its table, in plain text."""

import argparse
import sys
import time

from convnet.check.runner import Row, Run, plan, run_all


def main(options: argparse.Namespace) -> int:
    """Run the cases and print the table; 0 if all agree, 1 if one does not, 130 on Ctrl-C."""
    runs = plan(
        family=options.family,
        backends=(options.backend,) if options.backend else None,
        level=options.level,
        dtype=options.dtype,
        quick=options.quick,
    )
    settings = dict.fromkeys(f"{r.backend} {r.level}".strip() for r in runs if r.backend != "any")
    print(f"convnet check: up to {len(runs)} runs on {', '.join(settings)}, against the reference")
    progress = _Progress(len(runs), options.verbose)
    rows: list[Row] = []
    start = time.perf_counter()
    try:
        rows.extend(run_all(runs, progress.seen))
        stopped = False
    except KeyboardInterrupt:
        stopped = True
    progress.clear()
    print(table(rows))
    failures = [f for row in rows for f in row.failures]
    for failure in failures:
        print(f"\nDIFFERS: {failure}")
    count = sum(row.cases for row in rows)
    worst = max((row.worst for row in rows), default=0.0)
    seconds = time.perf_counter() - start
    print(
        f"\n{count} runs, {len(failures)} differences, worst error over bound {worst:.3f}, "
        f"{seconds:.1f} s"
    )
    if stopped:
        print("stopped before the end")
        return 130
    return 1 if failures else 0


def table(rows: list[Row]) -> str:
    """A line an op: family, op, cases, worst error over bound and where it was, time."""
    lines = [("family", "op", "cases", "worst", "", "seconds", "worst case")]
    for row in rows:
        mark = "DIFFERS" if row.failures else ""
        worst = f"{row.worst:.3f}"
        lines.append(
            (row.family, row.op, str(row.cases), worst, mark, f"{row.seconds:.2f}", row.where)
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    align = (str.ljust, str.ljust, str.rjust, str.rjust, str.ljust, str.rjust, str.ljust)
    return "\n".join(
        "  ".join(a(cell, w) for a, cell, w in zip(align, line, widths, strict=True)).rstrip()
        for line in lines
    )


class _Progress:
    """A counter on stderr where that is a terminal; with verbose a line a run on stdout."""

    def __init__(self, total: int, verbose: bool) -> None:
        self._total, self._verbose = total, verbose
        self._done, self._failed, self._shown = 0, 0, 0.0
        self._terminal = sys.stderr.isatty() and not verbose

    def seen(self, run: Run, failure: str | None) -> None:
        self._done += 1
        self._failed += failure is not None
        if self._verbose:
            print(f"{'DIFFERS' if failure else 'ok':8}{run}", flush=True)
        elif self._terminal and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            line = f"{self._done}/{self._total}  {self._failed} differences  {run}"
            print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
