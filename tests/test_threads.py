"""How many threads: environment, affinity, cgroup quota, and one in a forked child."""

import os
import signal
import sys
import time
import warnings

import convnet
import numpy as np
import pytest
from convnet import ops, threads


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv("CONVNET_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return monkeypatch


def test_convnet_variable_goes_before_openmp_before_the_machine(environment):
    environment.setattr(threads, "available_cpus", lambda: 6)
    assert threads._default() == (6, "affinity and cgroup quota")
    environment.setenv("OMP_NUM_THREADS", "3,2")
    assert threads._default() == (3, "OMP_NUM_THREADS")
    environment.setenv("CONVNET_NUM_THREADS", " 5 ")
    assert threads._default() == (5, "CONVNET_NUM_THREADS")
    environment.setenv("CONVNET_NUM_THREADS", "")
    assert threads._default() == (3, "OMP_NUM_THREADS")


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_bad_variable(environment, text):
    environment.setenv("CONVNET_NUM_THREADS", text)
    with pytest.raises(ValueError, match="CONVNET_NUM_THREADS: expected a whole number"):
        threads._default()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "rubbish"}, None),
        ({"cpu.max": "100000 0"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_cgroup_quota(monkeypatch, tmp_path, files, expected):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    real = threads.Path
    monkeypatch.setattr(
        threads, "Path", lambda p: real(str(p).replace("/sys/fs/cgroup", str(tmp_path)))
    )
    assert threads._cgroup_quota() == expected


def test_available_is_the_smaller_of_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for quota, expected in ((None, 8), (3, 3), (20, 8)):
        monkeypatch.setattr(threads, "_cgroup_quota", lambda quota=quota: quota)
        assert threads.available_cpus() == expected


def test_info_tells_where_the_number_is_from():
    with convnet.set_num_threads(convnet.get_num_threads() + 1):
        assert convnet.info()["threads_from"] == "set_num_threads"
    assert convnet.info()["threads_from"] == threads._count_from


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_runs_on_one_thread_and_does_not_hang():
    x = np.linspace(-1, 1, 1_000_000, dtype=np.float32)
    with convnet.set_num_threads(2):
        expected = ops.relu(x)  # the parent's threads are running now
        sys.stdout.flush()
        with warnings.catch_warnings():  # Python >= 3.12 warns of threads before a fork
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            good = convnet.get_num_threads() == 1 and np.array_equal(ops.relu(x), expected)
            os._exit(0 if good else 3)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the forked child hangs in a kernel")
    assert convnet.get_num_threads() >= 1
