"""The CUDA kernels without a GPU: on Numba's simulator, and compiled for sm_80 and sm_90.

They want the cuda extra; CONVNET_TEST_CUDA=required makes its absence a failure.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# A missing extra is a skip here, except where it is meant to be installed.
if importlib.util.find_spec("numba_cuda") is None:
    if os.environ.get("CONVNET_TEST_CUDA") == "required":
        raise ImportError("CONVNET_TEST_CUDA=required, but numba-cuda is not installed")
    pytest.skip(
        'numba-cuda is not installed: pip install "convnet-kernels[cuda]"', allow_module_level=True
    )

HERE = Path(__file__).parent


def test_on_the_simulator():
    """tests/cuda in a process of its own: the simulator's switch holds for a whole process."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(HERE / "cuda")],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


def kernels():
    from convnet.kernels.cuda import report

    return [
        pytest.param(k, id=f"{family}-{k.name}-{i}")
        for i, (family, k) in enumerate(report.programs())
    ]


@pytest.mark.parametrize("kernel", kernels())
def test_compiles_without_spills(kernel):
    """For sm_80 and sm_90."""
    from convnet.kernels.cuda import report

    for machine_code, facts in report.compile(kernel, "sm_80", "sm_90"):
        assert machine_code[:4] == b"\x7fELF"
        assert facts.spilled == 0, facts
        # What fits at all: 64 K registers a multiprocessor, 48 KB of static shared memory.
        assert facts.registers * (kernel.max_threads or 1024) <= 65536, facts
        assert facts.shared <= 49152, facts


def test_without_a_gpu_the_first_array_says_so():
    import convnet

    if convnet.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(convnet.GPUError, match="needs an NVIDIA driver and a GPU") as info:
        convnet.to_device([1.0])
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("found", "message"),
    [(False, "needs numba-cuda: pip install"), (True, "needs an NVIDIA driver and a GPU")],
)
def test_importing_asks_for_nothing_and_the_first_array_for_what_is_missing(found, message):
    """In a process of its own: `import convnet`, nn and the command line work without CUDA."""
    import convnet

    if convnet.cuda.is_available():
        pytest.skip("there is a GPU")
    code = f"""
import sys, convnet
from convnet import nn, ops, cli
from convnet.gpu import driver
if not {found}:
    driver.extra_is_installed = lambda: False
model = nn.Linear(2, 2)
assert not [m for m in sys.modules if m.partition(".")[0] in ("numba", "cuda", "llvmlite")]
for first in (lambda: convnet.to_device([1.0]), lambda: model.to("cuda"),
              lambda: nn.Tensor([1.0]).cuda()):
    try:
        first()
    except convnet.GPUError as error:
        assert {message!r} in str(error), error
    else:
        raise AssertionError("no error")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


def test_what_is_cached_on_disk_is_of_these_very_sources(monkeypatch):
    """A kernel's own file says nothing of the functions it calls, which stand in others."""
    from convnet.kernels.cuda import activation, launch, maps

    numbers = maps.make_map(activation._relu, maps.np.dtype("float32"), 1, None, 4, 256, 2)
    stamp = numbers.dispatcher._cache._cache_file._source_stamp
    assert stamp == launch.sources()
    launch.sources.cache_clear()
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda p: read(p) + (b" " if p.name == "activation.py" else b"")
    )
    assert launch.sources() != stamp
    launch.sources.cache_clear()


def test_a_launch_gives_the_driver_what_numba_would(monkeypatch):
    """The parameters of every kind of argument, against those of Numba's own launch."""
    import ctypes
    from types import SimpleNamespace

    import numpy as np
    from convnet.kernels.cuda import launch
    from cuda.core.utils import StridedMemoryView
    from numba.cuda.dispatcher import _Kernel

    x = np.arange(5, dtype=np.float32)
    view = StridedMemoryView.from_dlpack(x, stream_ptr=-1)
    array = SimpleNamespace(span=x.size, ptr=x.ctypes.data, stream="its stream", device=0)
    flags = SimpleNamespace(span=3, ptr=4096, stream="another", device=0)

    @launch.kernel(
        "void(UniTuple(float32[::1], 1), boolean[::1], int32, int64, float32, float64, "
        "UniTuple(int64, 2), UniTuple(float32, 2), bool_)",
        shared=128,
    )
    def nothing(a, b, i, n, f, d, shape, factors, flag):
        pass

    numbers = (-3, 2**40, 0.5, 0.25, (7, 8), (0.5, 2.5), True)
    given = []
    monkeypatch.setattr(launch, "_launch", lambda *call: given.append(call))
    monkeypatch.setattr(launch.Kernel, "loaded", lambda self, device: "the kernel")
    launch.launch(nothing, 6, (32, 2), (array,), flags, *numbers)
    stream, config, kernel, *parameters = given[0]
    assert (stream, kernel) == ("its stream", "the kernel")
    assert (config.grid, config.block, config.shmem_size) == ((6, 1, 1), (32, 2, 1), 128)

    def plain(values):
        return [v.value if isinstance(v, ctypes._SimpleCData) else v for v in values]

    wanted = []
    maker = SimpleNamespace(extensions=())
    maker._prepare_args = lambda *a: _Kernel._prepare_args(maker, *a)
    kinds = [nothing.types[0], *nothing.types[2:]]
    for type_, value in zip(kinds, ((view,), *numbers), strict=True):
        _Kernel._prepare_args(maker, type_, value, 0, [], wanted)
    assert plain(parameters[:7] + parameters[14:]) == plain(wanted)
    assert parameters[7:14] == [0, 0, 3, 1, 4096, 3, 1]


def test_every_call_of_the_driver_exists():
    import re

    from convnet.gpu import driver

    bindings = pytest.importorskip("cuda.bindings.driver")
    source = Path(driver.__file__).read_text()
    calls = set(re.findall(r"\.(cu[A-Z]\w+)\(", source)) - {"cuInit", "cuDeviceGetCount"}
    assert len(calls) > 15
    assert not [name for name in calls if not hasattr(bindings, name)]
    flags = re.findall(r"\bflags?\.(CU_\w+)|(CU\w+_flags)\.(CU_\w+)", source)
    assert flags
    for name in (n for found in flags for n in found if n.startswith("CU_")):
        assert hasattr(bindings.CUevent_flags, name) or hasattr(bindings.CUstream_flags, name)
