"""Settings for the process and for a context: use_backend, set_num_threads, set_precision."""

import os
import subprocess
import sys
import threading

import convnet
import numpy as np
import pytest
from convnet import backend, ops
from convnet.backends import cpu, reference

# setter, getter, two values that differ from each other
SETTINGS = {
    "backend": (convnet.use_backend, convnet.get_backend, "reference", "cpu"),
    "precision": (convnet.set_precision, convnet.get_precision, "highest", "medium"),
    "threads": (convnet.set_num_threads, convnet.get_num_threads, 3, 5),
}
each_setting = pytest.mark.parametrize(
    ("set_", "get", "one", "two"), SETTINGS.values(), ids=SETTINGS
)


@each_setting
def test_block_nests_and_restores(set_, get, one, two):
    before = get()
    with set_(one):
        assert get() == one
        with set_(two):
            assert get() == two
        assert get() == one
    assert get() == before


@each_setting
def test_block_restores_after_an_error(set_, get, one, two):
    before = get()
    with pytest.raises(RuntimeError), set_(one):
        raise RuntimeError
    assert get() == before


@each_setting
def test_call_holds_for_the_process_and_a_block_overrides_it(set_, get, one, two):
    before = get()
    seen = []
    try:
        with set_(two):
            set_(one)
            assert get() == two
        assert get() == one
        thread = threading.Thread(target=lambda: seen.append(get()))
        thread.start()
        thread.join()
        assert seen == [one]
    finally:
        set_(before)
    assert get() == before


@each_setting
def test_block_does_not_reach_other_threads(set_, get, one, two):
    before, seen = get(), []
    ready, done = threading.Event(), threading.Event()

    def other():
        ready.wait(10)
        seen.append(get())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with set_(one):
        ready.set()
        assert done.wait(10)
    thread.join()
    assert seen == [before]


def test_use_backend_decides_what_runs(monkeypatch):
    ran = []
    for name, module in (("cpu", cpu), ("reference", reference)):
        real = module.relu

        def spy(x, y, name=name, real=real):
            ran.append(name)
            real(x, y)

        monkeypatch.setattr(module, "relu", spy)
    ops.relu(np.ones(3))
    with convnet.use_backend("reference"):
        ops.relu(np.ones(3))
        with convnet.use_backend(None):
            ops.relu(np.ones(3))
    assert ran == ["cpu", "reference", "cpu"]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: convnet.use_backend("gpu"), ValueError, "name: expected one of cpu, .* got 'gpu'"),
        (lambda: convnet.use_backend(3), ValueError, "got 3"),
        (lambda: convnet.set_precision("low"), ValueError, "precision: expected one of highest"),
        (lambda: convnet.set_num_threads(0), ValueError, "n: expected at least 1 thread, got 0"),
        (lambda: convnet.set_num_threads(1.0), TypeError, "whole number of threads, got float"),
        (lambda: convnet.set_num_threads(True), TypeError, "whole number of threads, got bool"),
        (lambda: cpu.use_level("z80"), ValueError, "level: expected one of .* got 'z80'"),
    ],
)
def test_bad_value(call, error, match):
    before = convnet.info()
    with pytest.raises(error, match=match):
        call()
    assert convnet.info() == before


def run_python(code, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CONVNET_", "OMP_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


RELU = "import convnet, numpy as np; convnet.ops.relu(np.ones(3)); print(convnet.info())"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CONVNET_BACKEND", "gpu", "CONVNET_BACKEND: expected one of cpu, cuda, reference"),
        ("CONVNET_PRECISION", "low", "CONVNET_PRECISION: expected one of highest, high, medium"),
        ("CONVNET_NUM_THREADS", "many", "CONVNET_NUM_THREADS: expected a whole number from 1 to"),
        ("CONVNET_NUM_THREADS", "0", "CONVNET_NUM_THREADS: expected a whole number from 1 to"),
        ("CONVNET_ISA", "z80", "CONVNET_ISA=z80: this build holds "),
    ],
)
def test_bad_environment(variable, value, message):
    run = run_python(RELU, **{variable: value})
    assert run.returncode == 1
    assert message in run.stderr


@pytest.mark.parametrize("level", cpu.usable_levels())
def test_instruction_set_from_the_environment(level):
    run = run_python(RELU, CONVNET_ISA=level.replace("_v", "-v").replace("x86_", "X86_"))
    assert run.returncode == 0, run.stderr
    facts = eval(run.stdout)
    assert (facts["instruction_set"], facts["instruction_set_from"]) == (level, "CONVNET_ISA")


def test_settings_from_the_environment():
    run = run_python(
        RELU, CONVNET_BACKEND="reference", CONVNET_PRECISION="highest", CONVNET_NUM_THREADS="7"
    )
    assert run.returncode == 0, run.stderr
    facts = eval(run.stdout)
    assert (facts["backend"], facts["precision"]) == ("reference", "highest")
    assert (facts["threads"], facts["threads_from"]) == (7, "CONVNET_NUM_THREADS")


def test_active_is_the_module_itself_without_a_cross_check():
    assert backend.active() is cpu


def test_import_is_light():
    code = (
        "import sys, convnet\n"
        "heavy = ('convnet.check', 'convnet.cli', 'convnet.train', 'safetensors', 'matplotlib',"
        " 'rich', 'scipy', 'torch', 'PIL')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    run = run_python(code)
    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr


class Driver:
    """libcuda with a number of GPUs; None makes it fail to start."""

    def __init__(self, gpus):
        self.gpus = gpus

    def cuInit(self, flags):  # noqa: N802
        return 100 if self.gpus is None else 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.gpus
        return 0


@pytest.mark.parametrize(
    ("gpus", "text"),
    [
        (None, "a driver without a usable GPU"),
        (1, "1 GPU"),
        (2, "2 GPUs"),
    ],
)
def test_info_tells_of_gpus(monkeypatch, gpus, text):
    monkeypatch.setattr("ctypes.CDLL", lambda name: Driver(gpus))
    assert convnet.info()["cuda"].split("; ")[0] == text


def test_info_without_a_driver(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert convnet.info()["cuda"].split("; ")[0] == "no driver on this machine"
    assert convnet.info()["backends"] == ["cpu", "reference"]


@pytest.mark.parametrize("installed", [True, False])
def test_info_tells_of_the_extra(monkeypatch, installed):
    monkeypatch.setattr("convnet.gpu.driver.extra_is_installed", lambda: installed)
    words = "is installed" if installed else "is not installed"
    assert f"numba-cuda {words}" in convnet.info()["cuda"]


def test_without_the_extra_the_first_array_on_a_gpu_says_so(monkeypatch):
    monkeypatch.setattr("convnet.gpu.driver.extra_is_installed", lambda: False)
    monkeypatch.setattr("convnet.gpu.driver._ready", threading.local())
    with pytest.raises(convnet.GPUError, match=r"numba-cuda: pip install .convnet-kernels\[cuda\]"):
        convnet.to_device(np.ones(3))
    with pytest.raises(convnet.GPUError, match="needs numba-cuda"):
        convnet.nn.Linear(2, 2).to("cuda")
    assert not convnet.cuda.is_available()
