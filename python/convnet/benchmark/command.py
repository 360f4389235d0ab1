"""`convnet bench`: plan, run, table, files."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from convnet.benchmark import files, machine, summary
from convnet.benchmark.peers import OURS, modules_of
from convnet.benchmark.run import Plan, Run
from convnet.benchmark.suites import Request, tasks_of
from convnet.benchmark.table import Bar, Table, console


def main(options: argparse.Namespace) -> int:
    """Run, show, write; 130 when Ctrl-C ended it early, 1 when a result of convnet was wrong."""
    request = Request(options.dtype, options.directions, options.batch)
    tasks = tasks_of(options.suites, options.shapes or (), request)
    if not tasks:
        raise ValueError("suite: nothing to measure: these suites have no such pass")
    plan = Plan(
        tasks,
        modules_of(options.peers),
        options.threads,
        options.layouts,
        options.precision,
        options.device,
        options.time,
        options.limit,
        options.processes,
    )
    for file in (options.json, options.plot):
        _check_writable(file)
    out = console()
    run, results = Run(plan, out.print), []
    interrupted = True
    try:
        interrupted = not measure(run, out, results)
        results += run.unfinished()
    finally:  # whatever happened, what was measured is kept
        record = {
            "command": sys.argv[1:],
            "machine": machine.facts(),
            "versions": run.versions,
            "missing": run.missing,
            "precision": plan.precision,
            "seconds": plan.seconds,
            "processes": plan.processes,
            "limits": {str(n): found for n, found in run.limits.items()},
            "interrupted": interrupted,
            "results": results,
        }
        _keep(record, options, out)
    if interrupted:
        out.print("stopped by Ctrl-C; what was measured is kept")
        return 130
    return int(any(_is_wrong(v) for r in results for v in r["peers"] if v["peer"] == OURS))


def _keep(record: dict[str, Any], options: argparse.Namespace, out: Any) -> None:
    """Show the summary, write the files."""
    summary.show(out, record["results"], record["limits"])
    if options.json:
        files.write(record, options.json)
        out.print(f"wrote {options.json}")
    if options.plot and record["results"]:
        from convnet.benchmark import plots

        plots.draw(record, options.plot)
        out.print(f"wrote {options.plot}")


def _check_writable(file: str | None) -> None:
    """Better an error now than after the measurements."""
    if file is None:
        return
    folder = Path(file).parent
    folder.mkdir(parents=True, exist_ok=True)
    if Path(file).is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"{file}: cannot be written")


def plot(options: argparse.Namespace) -> int:
    """`convnet bench plot FILE.json FILE.png [--of SUITES]`"""
    from convnet.benchmark import plots

    record = files.read(options.file)
    if options.of:  # "pool" means "pool cached" too
        record["results"] = [
            r
            for r in record["results"]
            if any(f"{r['suite']} ".startswith(f"{s} ") for s in options.of)
        ]
    plots.draw(record, options.picture)
    return 0


def _is_wrong(variant: dict[str, Any]) -> bool:
    return variant.get("problem", "").startswith("wrong result")


def measure(run: Run, out: Any, results: list[dict[str, Any]]) -> bool:
    """Append each result as it comes, and show it; False when Ctrl-C ended the run."""
    plan = run.plan
    table: Table | None = None
    with Bar(out, len(plan.tasks) * len(plan.threads) * plan.processes) as bar:

        def step(name: str) -> None:
            nonlocal table
            if table is None:
                head(run, out)
                peers = [p for p in run.versions if p != OURS]
                table = Table(out, peers, [p for p in peers if "channels_last" in run.layouts[p]])
            bar.advance(name)

        run.step = step
        try:
            for result in run:
                results.append(result)
                table.add(result, {str(n): found for n, found in run.limits.items()})
        except KeyboardInterrupt:
            return False
    return True


def head(run: Run, out: Any) -> None:
    """Versions, and what the machine can do."""
    out.print(", ".join(f"{peer} {version}" for peer, version in run.versions.items()))
    for threads, found in run.limits.items():
        for dtype, limits in found.items():
            copies = limits["copies"]
            rates = ", ".join(
                f"{c['bytes_per_s'] / 1e9:.0f} GB/s at {c['bytes'] >> 20} MB" for c in copies
            )
            out.print(
                f"{threads} thread{'s' if threads > 1 else ''}, {dtype}: "
                f"{limits['flops'] / 1e9:.0f} GFLOP/s of multiply-adds; copies {rates}"
            )
