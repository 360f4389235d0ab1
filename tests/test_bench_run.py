"""A run: peers in processes of their own, whatever these do."""

import json
import os
import signal
import statistics
import sys

import pytest
from convnet import cli
from convnet.benchmark import files, run, variant
from convnet.benchmark.peers import modules_of
from convnet.benchmark.process import Failure, Worker
from convnet.benchmark.run import Plan, Run
from convnet.benchmark.suites import Request, tasks_of
from convnet.benchmark.table import Table

LAYERS = """\
name,count,C,H,W,K,R,S,stride_h,stride_w,pad_h,pad_w,dilation_h,dilation_w,groups
small,1,3,12,12,8,3,3,1,1,1,1,1,1,1
strided,2,4,12,12,8,3,3,2,2,0,0,1,1,2
"""

# Its own clock: a call takes `seconds`, give or take a percent, whatever the machine does.
CLOCK = """
import __main__, random, types
now = 0.0
__main__.time = types.SimpleNamespace(perf_counter=lambda: now)
def prepare(task, inputs, layout):
    call = ours.prepare(task, inputs, layout)
    def run():
        global now
        now += seconds * random.uniform(0.99, 1.01)
        return call()
    return run
"""

# Peers that are convnet but for one thing.
PEERS = {
    "good": "",
    "crashes": "import os\ndef prepare(task, inputs, layout):\n    os.abort()",
    "crashes_once": """
import os, pathlib
def prepare(task, inputs, layout):
    mark = pathlib.Path(__file__).with_suffix(".crashed")
    if not mark.exists():
        mark.touch()
        print("about to crash", file=__import__("sys").stderr, flush=True)
        os._exit(3)
    return ours.prepare(task, inputs, layout)
""",
    "hangs": """
import time
def prepare(task, inputs, layout):
    if task.name == "small":
        time.sleep(60)
    return ours.prepare(task, inputs, layout)
""",
    "wrong": """
def prepare(task, inputs, layout):
    call = ours.prepare(task, inputs, layout)
    return lambda: tuple(1.001 * y for y in call())
""",
    "nan": """
def prepare(task, inputs, layout):
    call = ours.prepare(task, inputs, layout)
    return lambda: tuple(float("nan") * y for y in call())
""",
    "raises": "def prepare(task, inputs, layout):\n    raise MemoryError('no room')",
    "lacks": """
from convnet.benchmark.peers import Unsupported
def prepare(task, inputs, layout):
    raise Unsupported("no convolution at all")
""",
    "talks": """
def prepare(task, inputs, layout):
    print("hello")
    return ours.prepare(task, inputs, layout)
""",
    "missing": "import there_is_no_such_module",
    "steady": "seconds = 1e-4" + CLOCK,
    "slower": "seconds = 1.3e-4" + CLOCK,
}
BASE = "from convnet.benchmark.peers import convnet as ours\nfrom {0} import *\n"


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """name -> what --peers wants for one of PEERS; processes find them."""
    for name, text in PEERS.items():
        base = BASE.format("convnet.benchmark.peers.convnet")
        (tmp_path / f"peer_{name}.py").write_text(base + text + "\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    monkeypatch.setenv("PYTHONPATH", path)
    return lambda *names: modules_of([f"{name}=peer_{name}" for name in names])


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text(LAYERS)
    return tasks_of((), [path], Request(directions=("forward",), batch=2))


@pytest.fixture(autouse=True)
def no_limits(monkeypatch):
    """Measuring the machine takes seconds and a gigabyte."""
    fixed = {"flops": 1e11, "copies": [{"bytes": 2**20, "bytes_per_s": 1e10}]}

    def measured(self, ours, threads):
        self.limits[threads] = {"float32": fixed}

    monkeypatch.setattr(Run, "_measure_limits", measured)


def results_of(plan):
    """name of task -> peer -> the entry of its first memory format; what the run said."""
    said = []
    measured = Run(plan, said.append)
    return {r["name"]: {v["peer"]: v for v in reversed(r["peers"])} for r in measured}, said


def test_good_and_bad_peers_side_by_side(tasks, peers):
    bad = ("crashes", "wrong", "nan", "raises", "lacks", "talks", "missing")
    plan = Plan(tasks, peers("good", *bad), seconds=0.002, processes=2)
    found, said = results_of(plan)
    assert said == ["missing is left out: No module named 'there_is_no_such_module'"]
    for layer in ("small", "strided"):
        entries = found[layer]
        assert set(entries) == {"convnet", "good", *bad} - {"missing"}
        for peer in ("convnet", "good", "talks"):
            turns = entries[peer]["samples"]
            assert [len(turn) for turn in turns] == [run.ROUNDS // 2] * 2
            samples = [s for turn in turns for visit in turn for s in visit]
            assert 0.999 * min(samples) <= entries[peer]["seconds"] <= 1.001 * max(samples)
            assert entries[peer]["spread"] >= 0
            assert 0 < entries[peer]["error"] <= 1
        assert entries["crashes"]["problem"] == "crashed (SIGABRT)"
        assert "further off than the reference's bound" in entries["wrong"]["problem"]
        assert "wrong result" in entries["nan"]["problem"]
        assert entries["raises"]["problem"] == "MemoryError: no room"
        assert entries["lacks"]["unsupported"] == "no convolution at all"


def test_a_peer_that_crashed_is_started_again(tasks, peers):
    found, _ = results_of(Plan(tasks, peers("crashes_once"), seconds=0.002, processes=1))
    problem = found["small"]["crashes_once"]["problem"]
    assert problem == "crashed (exit status 3): about to crash"
    assert found["strided"]["crashes_once"]["seconds"] > 0


def test_a_peer_that_hangs_is_ended_and_the_rest_goes_on(tasks, peers):
    found, _ = results_of(Plan(tasks, peers("hangs"), seconds=0.002, limit=8.0, processes=2))
    assert found["small"]["hangs"]["problem"] == "no answer in 8 s; its process was ended"
    assert found["small"]["convnet"]["seconds"] > 0
    assert found["strided"]["hangs"]["seconds"] > 0


def test_a_peer_that_always_crashes_is_left_out(tasks, peers):
    plan = Plan(tasks[:1] * 5, peers("crashes"), layouts=("nchw",), seconds=0.001, processes=2)
    measured = list(Run(plan))
    problems = [r["peers"][1]["problem"] for r in measured]
    assert problems[:3] == ["crashed (SIGABRT)"] * 3
    assert problems[3:] == ["failed 3 times in a row; left out"] * 2


def test_idle_processes_stand_still():
    worker = Worker("numpy", "convnet.benchmark.peers.numpy", 1, "high", "cpu")
    try:
        worker.start(30.0)
        status = f"/proc/{worker._process.pid}/stat"
        if not os.path.exists(status):
            pytest.skip("there is no /proc here")
        os.waitpid(worker._process.pid, os.WUNTRACED)  # until the signal has come
        with open(status) as file:
            assert file.read().rpartition(")")[2].split()[0] == "T"
        assert worker.ask("release", 30.0) == {}
    finally:
        worker.close()
    with pytest.raises(Failure, match="its process is gone"):
        worker.ask("release", 1.0)


def test_another_device_is_refused():
    with pytest.raises(NotImplementedError, match="convnet: device 'mps'"):
        list(Run(Plan((), modules_of(["numpy"]), device="mps")))


def bench(tmp_path, *arguments):
    path = tmp_path / "layers.csv"
    path.write_text(LAYERS)
    common = ["--shapes", str(path), "--batch", "2", "--pass", "forward", "--processes", "2"]
    return cli.main(["bench", *common, *arguments])


def test_command_writes_what_it_measured(tmp_path, capsys, peers):
    file = tmp_path / "new" / "a.json"
    arguments = ["--peers", "numpy", "--time", "0.002", "--threads", "1,2", "--json", str(file)]
    assert bench(tmp_path, *arguments) == 0
    out = capsys.readouterr().out
    assert "layers forward, 2 threads, float32" in out
    assert "wrote" in out
    record = files.read(file)
    assert [(r["name"], r["threads"]) for r in record["results"]] == [
        (name, n) for n in (1, 2) for name in ("small", "strided")
    ]
    first = record["results"][0]["peers"][0]
    assert first["algorithm"] == "implicit_gemm"
    visits = [statistics.median(visit) for turn in first["samples"] for visit in turn]
    assert first["seconds"] == pytest.approx(variant.lower_quartile(visits), rel=1e-3)
    assert record["processes"] == len(first["samples"]) == 2
    assert record["versions"]["numpy"]
    assert record["machine"]["processor"]
    assert not record["interrupted"]


def test_ctrl_c_keeps_what_was_measured(tmp_path, capsys, peers, monkeypatch):
    def add(self, result, limits):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Table, "add", add)
    file = tmp_path / "a.json"
    # A test runner in the background may have been started with the signal ignored.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert bench(tmp_path, "--peers", "numpy", "--time", "0.002", "--json", str(file)) == 130
    finally:
        signal.signal(signal.SIGINT, former)
    assert "stopped by Ctrl-C; what was measured is kept" in capsys.readouterr().out
    record = files.read(file)
    assert record["interrupted"]
    small, strided = record["results"]
    turns = [[len(v["samples"]) for v in r["peers"]] for r in (small, strided)]
    assert turns == [[2] * 3, [1] * 3], "of the second layer one of two processes"


def test_wrong_result_of_convnet_fails_the_run(tmp_path, capsys, peers):
    status = bench(tmp_path, "--peers", "convnet=peer_wrong", "--time", "0.002")
    assert status == 1
    assert "wrong results, not timed: convnet layers small forward" in capsys.readouterr().out


def test_planted_slow_down_is_found(tmp_path, capsys, peers):
    """The same layers twice, the second time with a convnet that is 1.3 times as slow.

    Another peer stands for the machine. bench/slower.py does the same by the wall clock.
    """
    records = []
    for number, ours in enumerate(("steady", "steady", "slower")):
        file = tmp_path / f"{number}.json"
        chosen = ["--peers", f"convnet=peer_{ours},other=peer_steady", "--processes", "4"]
        assert bench(tmp_path, *chosen, "--time", "0.002", "--json", str(file)) == 0
        records.append(str(file))
    capsys.readouterr()
    first, again, slower = records
    assert cli.main(["bench", "compare", first, again, "--fail-on-regression"]) == 0
    assert "4 compared: 0 faster, 0 slower" in capsys.readouterr().out
    assert cli.main(["bench", "compare", first, slower, "--fail-on-regression"]) == 1
    assert "4 compared: 0 faster, 4 slower" in capsys.readouterr().out
    assert cli.main(["bench", "compare", slower, first, "--fail-on-regression"]) == 0
    assert "4 compared: 4 faster, 0 slower" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "alexnet"], "suite: expected one of gemm, mnist, "),
        (["--peers", "caffe"], "peers: expected some of torch, numpy, "),
        (["--shapes", "/there/is/none.csv"], "No such file"),
        (["--suite", "gemm", "--pass", "backward"], "nothing to measure"),
        (["compare", "/there/is/none.json", "b.json"], "No such file"),
    ],
)
def test_bad_request_is_one_line(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("convnet bench: error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pass", "sideways"], "expected a pass out of forward, backward, got 'sideways'"),
        (["--threads", "1,0"], "expected a whole number from 1 to 4096, got '0'"),
        (["--batch", "1.5"], "expected a whole number"),
        (["--time", "0"], "expected a number of seconds above 0, got '0'"),
        (["--dtype", "float16"], "invalid choice: 'float16'"),
        (["--plot", "picture.bmp"], "expected a name that ends in .png or .svg"),
        (["compare", "a.json"], "required: B.json"),
        (["compare", "a", "b", "--tolerance", "-1"], "expected a percentage of at least 0"),
        (["report", "a.json"], "required: --out"),
    ],
)
def test_bad_usage(arguments, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", *arguments])
    assert message in capsys.readouterr().err


def test_json_that_is_no_result_file(tmp_path, capsys):
    path = tmp_path / "a.json"
    for text in ("{", "[]", '{"format": 1}', json.dumps(dict.fromkeys(files._KEYS, 0))):
        path.write_text(text)
        assert cli.main(["bench", "compare", str(path), str(path)]) == 2
        assert str(path) in capsys.readouterr().err
