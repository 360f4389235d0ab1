"""cross_check() and `convnet check` find a planted fault, and only that."""

import os
import subprocess
import sys

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.backends import cpu


def one_element_off(function):
    """The same backend function with one element of its last written array off by a little."""

    def faulty(*args, **kwargs):
        function(*args, **kwargs)
        y = args[-1]
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
