"""cross_check() and `convnet check` find a planted fault, and only that."""

import os
import subprocess
import sys

import convnet
import numpy as np
import pytest
from convnet import cli, ops
from convnet.backends import cpu
from convnet.check import bits, runner, specs
from convnet.check.compare import Call, compare


def one_element_off(function):
    """The same backend function with one element of its last array off by a little."""

    def faulty(*args, **kwargs):
        function(*args, **kwargs)
        y = [a for a in args if isinstance(a, np.ndarray)][-1]
        y.reshape(-1)[y.size // 2] += 1e-3

    return faulty


def test_correct_calls_pass_and_are_counted():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    with convnet.cross_check() as report:
        y = ops.relu(x)
        ops.relu_backward(x, y)
        ops.relu_backward(x, y)
    ops.relu(x)
    assert report.calls == 3
    assert {name: s.calls for name, s in report.functions.items()} == {
        "relu": 1,
        "relu_backward": 2,
    }
    assert report.worst == 0
    assert "relu_backward" in str(report)


def test_in_place_call_is_compared_with_the_input_it_had():
    x = np.random.default_rng(0).standard_normal(50)
    with convnet.cross_check() as report:
        ops.relu(x, out=x)
    assert report.calls == 1
    assert (x >= 0).all()


def test_planted_fault_is_named(monkeypatch):
    monkeypatch.setattr(cpu, "relu", one_element_off(cpu.relu))
    x = np.ones((2, 3), np.float32)
    with convnet.cross_check(), pytest.raises(convnet.CrossCheckError) as caught:
        ops.relu(x)
    error = caught.value
    assert (error.function, error.backend, error.output) == ("relu", "cpu", "y")
    assert error.level == convnet.info()["instruction_set"]
    assert error.index == (1, 0)
    assert error.got == np.float32(1.001)
    assert error.expected == 1
    assert error.error == pytest.approx(1e-3, rel=1e-3)
    assert error.bound == 0
    message = str(error)
    for piece in ("relu on cpu", "y[1, 0]", "1 of 6 elements", "x = float32 (2, 3)"):
        assert piece in message


def test_changed_input_is_found(monkeypatch):
    real = cpu.relu

    def faulty(x, y):
        real(x, y)
        x[0] = 7

    monkeypatch.setattr(cpu, "relu", faulty)
    with convnet.cross_check(), pytest.raises(convnet.CrossCheckError, match="changed its input x"):
        ops.relu(np.ones(4))


def test_unwritten_element_is_found_whatever_the_memory_held(monkeypatch):
    real = cpu.relu

    def faulty(x, y):
        real(x[:-1], y[:-1])

    monkeypatch.setattr(cpu, "relu", faulty)
    with convnet.cross_check(), pytest.raises(convnet.CrossCheckError, match=r"y\[3\]"):
        ops.relu(np.ones(4), out=np.ones(4))


def test_nan_must_stay_nan(monkeypatch):
    x = np.array([1, np.nan, np.inf, -np.inf], np.float32)
    with convnet.cross_check():
        ops.relu(x)
    real = cpu.relu

    def faulty(x, y):
        real(x, y)
        y[1] = 0

    monkeypatch.setattr(cpu, "relu", faulty)
    with convnet.cross_check(), pytest.raises(convnet.CrossCheckError, match=r"y\[1\]"):
        ops.relu(x)


def test_for_the_process_and_off_again(monkeypatch):
    monkeypatch.setattr(cpu, "relu", one_element_off(cpu.relu))
    x = np.ones(3)
    switch = convnet.cross_check()
    try:
        with pytest.raises(convnet.CrossCheckError):
            ops.relu(x)
    finally:
        convnet.cross_check(False)
    assert switch.report.calls == 0  # a call that failed is not one that was checked
    ops.relu(x)


@pytest.mark.parametrize("fault", ["conv", "conv_weight_grad", "relu_backward"])
def test_fault_is_found_through_nn(monkeypatch, fault):
    nn = pytest.importorskip("convnet.nn")
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))

    def step():
        model(nn.Tensor(x)).sum().backward()

    with convnet.cross_check() as report:
        step()
    assert {"conv", "conv_input_grad", "conv_weight_grad", "relu_backward"} <= set(report.functions)
    assert 0 < report.worst <= 1
    monkeypatch.setattr(cpu, fault, one_element_off(getattr(cpu, fault)))
    with convnet.cross_check(), pytest.raises(convnet.CrossCheckError) as caught:
        step()
    assert caught.value.function == fault


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("got", "expected", "bound", "ratio"),
    [
        (1.0, 1.0, 0.0, 0.0),
        (1.25, 1.0, 0.5, 0.5),
        (1.5, 1.0, 0.25, None),
        (np.float32(0.1), 0.1, 0.0, 0.0),  # correctly rounded
        (0.0, -0.0, 0.0, 0.0),
        (NAN, NAN, 0.0, 0.0),
        (NAN, 1.0, 1.0, None),
        (NAN, 1.0, INF, None),
        (1.0, NAN, INF, None),
        (INF, INF, 0.0, 0.0),
        (-INF, INF, INF, None),
        (1e38, INF, INF, None),
        (INF, 1e39, 0.0, 0.0),  # beyond float32
        (np.finfo("f4").max, 3.4028236e38, 1e32, 0.134),
        (7.0, 1.0, NAN, 0.0),  # a non-finite input may have spread
        (NAN, 1.0, NAN, 0.0),
        (NAN, INF, NAN, 0.0),
        (1.0, INF, NAN, None),
    ],
)
def test_one_element(got, expected, bound, ratio):
    call = Call("cpu", cpu, "f", {})
    with np.errstate(all="ignore"):
        arrays = (np.full((2, 2), got, np.float32), np.full((2, 2), expected))
        if ratio is None:
            with pytest.raises(convnet.CrossCheckError, match="4 of 4 elements"):
                compare(call, "y", *arrays, {"y": bound})
        else:
            assert compare(call, "y", *arrays, {"y": bound}) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, bool])
def test_integers_must_be_equal(dtype):
    call, a = Call("cpu", cpu, "f", {}), np.array([1, 0, 1], dtype)
    assert compare(call, "indices", a, a.copy(), {}) == 0
    with pytest.raises(convnet.CrossCheckError, match=r"indices\[1\]"):
        compare(call, "indices", a, np.array([1, 1, 1], dtype), {})


def test_function_without_a_spec_is_named(monkeypatch):
    monkeypatch.delitem(specs(), "relu")
    with convnet.cross_check(), pytest.raises(convnet.CrossCheckError, match=r"relu: .* no OpSpec"):
        ops.relu(np.ones(3))


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


PLANT = """
import numpy as np, sys, convnet
from convnet.backends import cpu
print("convnet.check" in sys.modules)
real = cpu.relu
def faulty(x, y):
    real(x, y)
    y[0] += 1
cpu.relu = faulty
convnet.ops.relu(np.ones(3))
"""


def test_environment_variable():
    run = run_python(PLANT, CONVNET_CROSS_CHECK="1")
    assert run.returncode == 1
    assert "CrossCheckError: relu on cpu" in run.stderr
    run = run_python(PLANT, CONVNET_CROSS_CHECK="0")
    assert (run.returncode, run.stdout.strip()) == (0, "False")
    run = run_python(PLANT, CONVNET_CROSS_CHECK="yes")
    assert "ValueError: CONVNET_CROSS_CHECK: expected 0 or 1, got 'yes'" in run.stderr


def test_command_passes_and_prints_a_table(capsys):
    assert cli.main(["check", "--quick", "--family", "activation", "--dtype", "float32"]) == 0
    out = capsys.readouterr().out
    assert "activation  relu_backward" in out
    assert " 0 differences" in out


def test_command_finds_a_planted_fault(monkeypatch, capsys):
    monkeypatch.setattr(cpu, "relu_backward", one_element_off(cpu.relu_backward))
    assert cli.main(["check", "--quick", "--family", "activation", "--verbose"]) == 1
    out = capsys.readouterr().out
    assert "DIFFERS: relu_backward-" in out
    assert "CrossCheckError: relu_backward on cpu" in out
    assert "\nok      relu-" in out


def test_command_finds_bits_that_depend_on_threads(monkeypatch, capsys):
    real = cpu.relu

    def faulty(x, y):
        real(x, y)
        if convnet.get_num_threads() == 2:
            y *= 1.5

    monkeypatch.setattr(cpu, "relu", faulty)
    assert cli.main(["check", "--quick", "--family", "activation"]) == 1
    assert "the bits differ between 1 and 2 threads" in capsys.readouterr().out


def test_command_finds_bits_that_depend_on_the_layout(monkeypatch, capsys):
    real = ops.relu

    def faulty(x, out=None):
        y = real(x, out)
        return y if x.flags.c_contiguous else np.nextafter(y, 9, dtype=y.dtype)

    monkeypatch.setattr(ops, "relu", faulty)
    assert cli.main(["check", "--quick", "--family", "activation"]) == 1
    out = capsys.readouterr().out
    assert "the bits differ from a contiguous copy's for inputs every second" in out
    assert "for inputs backwards" in out


def test_command_finds_bits_that_depend_on_the_batch(monkeypatch, capsys):
    real = ops.relu

    def faulty(x, out=None):
        y = real(x, out)
        return y if len(x) == 1 else np.nextafter(y, 9, dtype=y.dtype)

    monkeypatch.setattr(ops, "relu", faulty)
    assert cli.main(["check", "--quick", "--family", "activation"]) == 1
    out = capsys.readouterr().out
    assert "the bits of an image alone differ from those in its batch" in out
    assert "contiguous" not in out


@pytest.mark.parametrize("layout", bits.LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_layouts_hold_the_same_values(layout, dtype):
    a = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    b = bits.LAYOUTS[layout](a)
    np.testing.assert_array_equal(a, b)
    assert b.flags.aligned == (layout != "misaligned")
    assert b.flags.c_contiguous == (layout == "misaligned")
    assert (b.strides[0] < 0) == (layout == "backwards")


def test_command_stops_on_ctrl_c_and_shows_what_it_has(monkeypatch, capsys):
    real, runs = runner.run_one, []

    def interrupted(run):
        runs.append(run)
        if len(runs) == 4:
            raise KeyboardInterrupt
        return real(run)

    monkeypatch.setattr(runner, "run_one", interrupted)
    assert cli.main(["check", "--quick", "--family", "activation"]) == 130
    out = capsys.readouterr().out
    assert "stopped before the end" in out
    assert "2 runs, 0 differences" in out


def test_a_level_that_is_not_there_is_named(capsys):
    assert cli.main(["check", "--level", "z80"]) == 2
    assert "--level: expected one of x86_64" in capsys.readouterr().err


def test_every_level_runs_and_the_former_comes_back():
    before = convnet.info()["instruction_set"]
    runs = runner.plan(family="activation", quick=True)
    assert {r.level for r in runs if r.backend == "cpu"} == set(cpu.usable_levels())
    assert list(runner.run_all(runs, lambda run, failure: None))
    assert convnet.info()["instruction_set"] == before
