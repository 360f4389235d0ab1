"""`convnet bench report FILES --out DIR`: one HTML page with tables and pictures, self-contained.

And `convnet bench table FILES`: the summary as a table in Markdown.
"""

import argparse
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convnet.benchmark import figures, files
from convnet.benchmark.peers import OURS
from convnet.benchmark.summary import layer, limited_by
from convnet.benchmark.table import algorithm, console, milliseconds, rate

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1150px; margin: 2em auto; padding: 0 1em;
       color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
th, td { padding: 2px 9px; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th { position: sticky; top: 0; background: #fff }
td.text:last-child { white-space: normal; min-width: 11em }
td:first-child, th:first-child, td.text, th.text { text-align: left }
.slow { color: #c0392b } .fast { color: #1e8449 }
svg { max-width: 100%; height: auto } summary { cursor: pointer; font-weight: 600 }
"""
_HEAD = ("suite", "pass", "threads", "layers", "peer", "same NCHW", "same NHWC", "best")
_TEXT = {"suite", "pass", "peer", "layer", "algorithm", "worst layer", "best layer", "limited by"}


def main(options: argparse.Namespace) -> int:
    out = Path(options.out)
    page = build([(file, files.read(file)) for file in options.files])
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(page, encoding="utf-8")
    console().print(f"wrote {out / 'index.html'}")
    return 0


def build(records: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The page for result files (name, contents)."""
    body = [
        "<h1>convnet bench</h1>",
        "<p>Ratios are a peer's time over convnet's on the same layer: above 1 convnet is faster. "
        "<i>Same</i>: both in that memory format (NCHW; NHWC is channels-last). <i>Best</i>: the "
        "better of either's formats. Means are geometric, each layer as often as its network has "
        "it.</p>",
    ]
    for name, record in records:
        body += _run(name, record)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>convnet bench</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _run(name: str, record: dict[str, Any]) -> list[str]:
    from convnet.benchmark import plots

    parts = [f"<h2>{html.escape(Path(name).name)}</h2>", _facts(record)]
    if record.get("interrupted"):
        parts.append("<p>The run was stopped early; what follows was measured until then.</p>")
    parts += ["<h3>Summary</h3>", _table(_HEAD_SUMMARY, summary_rows(record)), "<h3>Pictures</h3>"]
    for panel in plots.rooflines(record) + plots.bars(record) + plots.shares(record):
        text = io.StringIO()
        plots.figure([panel]).savefig(text, format="svg")
        svg = text.getvalue()
        parts.append(svg[svg.index("<svg") :])
    parts.append("<h3>Layers</h3>")
    for group in figures.groups(record["results"]):
        title = f"{group.suite} {group.direction}, threads: {group.threads}"
        parts.append(
            f"<details><summary>{html.escape(title)}</summary>{_layers(group, record)}</details>"
        )
    return parts


_HEAD_SUMMARY = (*_HEAD, "worst layer", "best layer", "limited by")


def summary_rows(record: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Rows under _HEAD_SUMMARY; ratios are numbers or None."""
    rows = []
    for group in figures.groups(record["results"]):
        peers = [p for p in figures.peers_of(group.results) if group.ordered(p)]
        if len(peers) > 1:
            peers.append(figures.FASTEST)
        for peer in peers:
            ordered = group.ordered(peer)
            means = (group.mean(peer, kind) for kind in ("nchw", "channels_last", "best"))
            rows.append(
                (
                    group.suite,
                    group.direction,
                    group.threads,
                    len(ordered),
                    peer,
                    *means,
                    layer(ordered[0]),
                    layer(ordered[-1]),
                    limited_by(group, record["limits"]),
                )
            )
    return rows


def _layers(group: figures.Group, record: dict[str, Any]) -> str:
    peers = figures.peers_of(group.results)
    head = ["layer", "NCHW ms", "NHWC ms", "rate", "limit", "algorithm"]
    for peer in peers:
        head += [f"{peer} NCHW ms", "NHWC ms", "best"]
    rows = []
    for r in group.results:
        ours = figures.times(r, OURS)
        limit = figures.limit(r, record["limits"])
        row: list[Any] = [
            r["name"] + (" (noisy)" if r["noisy"] else ""),
            milliseconds(ours.get("nchw")),
            milliseconds(ours.get("channels_last")),
            rate(r, limit),
            "-" if limit is None else f"{100 * limit.share:.0f}% {limit.name}",
            algorithm(r),
        ]
        for peer in peers:
            theirs = figures.times(r, peer)
            row += [milliseconds(theirs.get(k)) for k in ("nchw", "channels_last")]
            row.append(figures.ratios(r, peer).get("best"))
        rows.append(tuple(row))
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    kinds = [" class='text'" if name in _TEXT else "" for name in head]
    lines = ["<table><thead><tr>"]
    lines += [f"<th{k}>{html.escape(n)}</th>" for n, k in zip(head, kinds, strict=True)]
    lines.append("</tr></thead><tbody>")
    for row in rows:
        lines.append("<tr>")
        for cell, kind in zip(row, kinds, strict=True):
            lines.append(_cell(cell, kind))
        lines.append("</tr>")
    return "".join([*lines, "</tbody></table>"])


def _cell(value: Any, kind: str) -> str:
    if isinstance(value, float):
        style = " class='slow'" if value < 0.95 else " class='fast'" if value > 1.05 else ""
        return f"<td{style}>{value:.2f}</td>"
    return f"<td{kind}>{'-' if value is None else html.escape(str(value))}</td>"


def _facts(record: dict[str, Any]) -> str:
    machine = record["machine"]
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    lines = [
        files.describe(record),
        f"{machine['system']}; {machine['memory_gb']} GB of memory; {caches}",
        f"compiler {machine['convnet']['compiler']}; precision {record['precision']}",
    ]
    for threads, found in record["limits"].items():
        for dtype, limits in found.items():
            rates = ", ".join(
                f"{c['bytes_per_s'] / 1e9:.0f} GB/s at {c['bytes'] >> 20} MB"
                for c in limits["copies"]
            )
            lines.append(
                f"threads: {threads}, {dtype}: {limits['flops'] / 1e9:.0f} GFLOP/s of "
                f"multiply-adds; copies {rates}"
            )
    lines += [f"{peer} was left out: {why}" for peer, why in record["missing"].items()]
    return "<p>" + "<br>".join(html.escape(line) for line in lines) + "</p>"


def markdown(options: argparse.Namespace) -> int:
    """The summary of result files, as README shows it."""
    head = _HEAD_SUMMARY[: len(_HEAD) + 1]  # up to the worst layer
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for file in options.files:
        for row in summary_rows(files.read(file)):
            cells = [
                "-" if c is None else f"{c:.2f}" if isinstance(c, float) else str(c)
                for c in row[: len(head)]
            ]
            if options.of is None or row[_HEAD.index("peer")] in options.of:
                print("| " + " | ".join(cells) + " |")
    return 0
