"""What is made of result files: ratios, means, limits, comparison, plots, the page, the table."""

import json
import re
from itertools import pairwise

import pytest
from convnet import cli
from convnet.benchmark import compare, figures, files, limits, plots, report, variant

LIMITS = {
    "flops": 100e9,
    "copies": [
        {"bytes": 2**20, "bytes_per_s": 40e9},
        {"bytes": 2**30, "bytes_per_s": 10e9},
    ],
}


def result(name, ours, peers, suite="vgg16", direction="forward", count=1, flops=1e9, **more):
    """Times in ms: for convnet (nchw, channels_last), and for each peer."""
    entries = [
        {"peer": peer, "layout": layout, "algorithm": "", "seconds": ms / 1e3, "noise": 0.01}
        for peer, times in {"convnet": ours, **peers}.items()
        for layout, ms in zip(("nchw", "channels_last"), times, strict=False)
        if ms
    ]
    common = {"op": "conv", "dtype": "float32", "params": {"N": 8}, "images": True, "threads": 1}
    common |= {"bytes": 2.0**20, "noisy": False, "took": 0.1}
    task = {"suite": suite, "name": name, "direction": direction, "count": count, "flops": flops}
    return {**task, **common, "peers": entries, **more}


def record(*results, **changed):
    machine = {
        "date": "2026-01-02T03:04:05+0000",
        "processor": "a <processor>",
        "cpus": 2,
        "memory_gb": 8.0,
        "caches": {"L1": "48K"},
        "system": "Linux",
        "convnet": {"instruction_set": "x86_64_v3", "compiler": "gcc"},
    }
    made = {
        "machine": machine,
        "versions": {"convnet": "1", "torch": "2", "numpy": "2"},
        "missing": {"scipy": "No module named 'scipy'"},
        "precision": "high",
        "limits": {"1": {"float32": LIMITS}},
        "interrupted": False,
        "results": list(results),
    }
    return {**made, **changed}


TWO = (
    result("a", (2, 4), {"torch": (4, 4), "numpy": (20,)}, count=3),
    result("b", (2, 1), {"torch": (1, 2), "numpy": (3,)}, flops=0.0),
)


def test_ratios():
    a, b = TWO
    assert figures.ratios(a, "torch") == {"nchw": 2, "channels_last": 1, "best": 2}
    assert figures.ratios(b, "torch") == {"nchw": 0.5, "channels_last": 2, "best": 1}
    assert figures.ratios(a, "numpy") == {"nchw": 10, "best": 10}
    assert figures.ratios(b, figures.FASTEST) == {"nchw": 0.5, "channels_last": 2, "best": 1}
    assert figures.ratios(a, "scipy") == {}


def test_means_count_each_layer_as_often_as_its_network_has_it():
    (group,) = figures.groups(TWO)
    assert group.mean("torch", "nchw") == pytest.approx((2**3 * 0.5) ** (1 / 4))
    assert group.mean("torch", "best") == pytest.approx(8 ** (1 / 4))
    assert group.mean("numpy", "channels_last") is None
    assert [(r, x["name"]) for r, x in group.ordered("torch")] == [(0.5, "b"), (1, "a")]


def test_limit_is_what_takes_longer():
    a, b = TWO
    measured = record()["limits"]
    assert figures.limit(a, measured) == figures.Limit("compute", pytest.approx(10 / 2))
    assert figures.limit(b, measured) == figures.Limit("memory", pytest.approx(2**20 / 40e9 / 1e-3))
    assert figures.limit(a, {}) is None
    far = result("c", (1,), {}, flops=0.0, bytes=2.0**25)
    assert figures.limit(far, measured).share == pytest.approx(2**25 / 25e9 / 1e-3), (
        "half-way: 2^25"
    )


def test_the_better_of_two_measurements_of_the_machine_counts():
    slow = {"bytes": 2**20, "bytes_per_s": 1e9}
    other = {"flops": 200e9, "copies": [slow, LIMITS["copies"][1]]}
    assert limits.better(LIMITS, other) == {"flops": 200e9, "copies": LIMITS["copies"]}


def change_of(old, new, **changed):
    (change,) = compare.changes(record(old), record(new, **changed))
    return change


def test_change_is_relative_to_a_peers():
    old = result("a", (2,), {"torch": (4,)})
    both = change_of(old, result("a", (4,), {"torch": (8,)}))
    assert (both.factor, both.against) == (1, "torch")
    assert change_of(old, result("a", (3,), {"torch": (4,)})).factor == 1.5
    alone = change_of(old, result("a", (4,), {}))
    assert (alone.factor, alone.against) == (2, "")
    other = {"convnet": "1", "torch": "3"}
    assert change_of(old, result("a", (4,), {"torch": (8,)}), versions=other).factor == 2


def test_verdicts():
    made = {"label": "", "before": 1.0, "after": 1.0, "against": ""}
    slower = compare.Change(factor=1.3, noise=0.1, **made)
    assert slower.verdict(0.05) == "slower"
    assert slower.verdict(0.4) == ""
    assert compare.Change(factor=1.3, noise=0.31, **made).verdict(0.05) == ""
    assert compare.Change(factor=0.7, noise=0.1, **made).verdict(0.05) == "faster"


def written(path, *results, **changed):
    files.write(record(*results, **changed), path)
    return str(path)


def test_compare_command(tmp_path, capsys):
    old = written(tmp_path / "a.json", *TWO)
    slower = result("a", (4, 4), {"torch": (4, 4), "numpy": (20,)}, count=3)
    new = written(tmp_path / "b.json", slower, TWO[1])
    assert cli.main(["bench", "compare", old, old, "--fail-on-regression"]) == 0
    assert "4 compared: 0 faster, 0 slower" in capsys.readouterr().out
    assert cli.main(["bench", "compare", old, new]) == 0
    out = capsys.readouterr().out
    assert re.search(r"vgg16 a forward nchw x1 +2\.000 +4\.000 +2\.00 .*slower", out)
    assert "4 compared: 0 faster, 1 slower" in out
    assert cli.main(["bench", "compare", old, new, "--fail-on-regression"]) == 1
    assert cli.main(["bench", "compare", new, old, "--fail-on-regression"]) == 0
    other = written(tmp_path / "c.json", result("z", (1,), {}))
    assert cli.main(["bench", "compare", old, other]) == 2
    assert "have no layer in common" in capsys.readouterr().err


def test_shapes_must_agree_to_be_compared():
    old, new = TWO[0], {**TWO[0], "params": {"N": 9}}
    assert compare.changes(record(old), record(new)) == []


@pytest.mark.parametrize("format", ["png", "svg"])
def test_plot(tmp_path, format):
    source = written(tmp_path / "a.json", *TWO, result("c", (1,), {}, direction="step"))
    picture = tmp_path / f"a.{format}"
    assert cli.main(["bench", "plot", source, str(picture)]) == 0
    start = {"png": b"\x89PNG", "svg": b"<?xml"}[format]
    assert picture.read_bytes().startswith(start)


def axes_of(panels):
    figure = plots.figure(panels)
    figure.canvas.draw()
    return figure.axes


def test_bars_start_at_zero_and_every_layer_has_one():
    many = [result(f"layer{i}", (1,), {"torch": (1 + i % 5,)}) for i in range(70)]
    parts = plots.bars(record(*many))
    axes = axes_of(parts)
    assert len(axes) == 2
    assert all(ax.get_ylim()[0] == 0 for ax in axes)
    names = [label.get_text() for ax in axes for label in ax.get_xticklabels()]
    assert names == [r["name"] for r in many]
    for ax in axes:
        boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
        centres = [(box.x1, box.y1) for box in boxes]
        gaps = [b[0] - a[0] for a, b in pairwise(centres)]
        assert min(gaps) > 8, "labels overlap"


def test_many_small_panels_stand_in_two_columns():
    results = [result(name, (1,), {"torch": (2,)}, suite=name) for name in "abc"]
    axes = axes_of(plots.bars(record(*results)))
    places = [ax.get_position() for ax in axes[:3]]
    assert places[0].x0 < places[1].x0
    assert places[2].y1 < places[0].y0
    assert not axes[3].axison


def test_bar_beyond_the_axis_carries_its_value():
    (ax,) = axes_of(plots.bars(record(result("a", (1,), {"torch": (150,)}))))
    assert ax.get_ylim() == (0, plots._MOST)
    assert [text.get_text() for text in ax.texts] == ["150"]


def test_roofline_holds_every_layer_with_arithmetic():
    (ax,) = axes_of(plots.rooflines(record(*TWO)))
    points = [tuple(p) for c in ax.collections for p in c.get_offsets()]
    assert points == [(pytest.approx(1e9 / 2**20), pytest.approx(1e9 / 2e-3 / 1e9))]
    assert plots.rooflines(record(*TWO, limits={})) == []


def test_shares_of_bandwidth_are_of_layers_without_arithmetic():
    (ax,) = axes_of(plots.shares(record(*TWO)))
    share = 100 * 2**20 / 40e9
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == [pytest.approx(share / 2e-3), pytest.approx(share / 1e-3)]
    assert ax.get_ylim()[0] == 0


def test_plot_of_one_suite(tmp_path, capsys):
    source = written(tmp_path / "a.json", TWO[0], result("b", (1,), {}, suite="pool cached"))
    picture = tmp_path / "a.png"
    assert cli.main(["bench", "plot", source, str(picture), "--of", "pool"]) == 0
    assert picture.exists()
    assert cli.main(["bench", "plot", source, str(picture), "--of", "poo"]) == 2


def test_nothing_to_draw_is_said(tmp_path, capsys):
    source = written(tmp_path / "a.json", result("a", (1,), {}, flops=0.0), limits={})
    assert cli.main(["bench", "plot", source, str(tmp_path / "a.png")]) == 2
    assert "nothing to draw" in capsys.readouterr().err


def test_report_is_one_page_without_outside_links(tmp_path):
    source = written(tmp_path / "a.json", *TWO, interrupted=True)
    assert cli.main(["bench", "report", source, "--out", str(tmp_path / "out")]) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["index.html"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "a &lt;processor&gt;" in page
    assert "stopped early" in page
    assert page.count("<svg") == 3
    assert "scipy was left out" in page
    assert not re.search(r"""(src|href)=["'](?!#)""", page)


def test_markdown_table(tmp_path, capsys):
    source = written(tmp_path / "a.json", *TWO)
    assert cli.main(["bench", "table", source, "--of", "torch,fastest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| vgg16 | forward | 1 | 2 | torch | 1.41 | 1.19 | 1.68 | 0.50 b |",
        "| vgg16 | forward | 1 | 2 | fastest | 1.41 | 1.19 | 1.68 | 0.50 b |",
    ]


def test_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**record(), "format": 99}))
    with pytest.raises(ValueError, match="expected format 1, got 99"):
        files.read(path)


def test_every_summary_row_fits_its_head():
    rows = report.summary_rows(record(*TWO))
    assert {len(row) for row in rows} == {len(report._HEAD_SUMMARY)}
    assert [row[4] for row in rows] == ["torch", "numpy", "fastest"]


def variant_of(*turns):
    return variant.Variant("torch", "nchw", turns=[[[t] for t in turn] for turn in turns])


def test_figure_is_the_lower_quartile_and_noise_the_gap_of_the_fastest_two():
    made = variant_of([1.0, 1.1, 1.2], [2.0, 2.0, 2.0], [1.05, 1.05, 9.0])
    made.faults = [0.0]
    found = made.as_dict()
    assert found["seconds"] == pytest.approx(1.05)
    assert found["noise"] == pytest.approx(0.0), "1.05 and 1.05"
    assert found["spread"] == pytest.approx((2.0 - 1.05) / 1.05)
    assert variant_of([1.0, 2.0, 1.0, 2.0]).noise() == pytest.approx(1.0), "even and odd visits"
    assert variant_of([1.0]).noise() == 0


def test_noise_of_a_change_is_that_of_the_ratio_within_each_process():
    """Times that differ by half between processes, ratios that do not differ at all."""
    old, new = (result("a", (ms,), {"torch": (4,)}) for ms in (2, 3))
    for entry in (*old["peers"], *new["peers"]):
        ms = 1e3 * entry["seconds"]
        entry |= {"noise": 0.5, "processes": [ms, 1.5 * ms, 1.2 * ms]}
    change = change_of(old, new)
    assert (change.factor, change.noise) == (pytest.approx(1.5), pytest.approx(0, abs=1e-9))
    assert change.verdict(0.05) == "slower"


def test_no_layer_is_quieter_than_the_middle_one():
    loud = result("b", (2,), {"torch": (4,)}), result("c", (2,), {"torch": (4,)})
    for entry in (v for r in loud for v in r["peers"]):
        entry["noise"] = 0.2
    quiet = result("a", (2,), {"torch": (4,)})
    found = compare.changes(record(quiet, *loud), record(quiet, *loud))
    assert {round(change.noise, 3) for change in found} == {1.2}
