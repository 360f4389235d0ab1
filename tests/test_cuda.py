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


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel", kernels())
def test_compiles_without_spills(kernel, arch):
    from convnet.kernels.cuda import report

    machine_code, facts = report.compile(kernel, arch)
    assert machine_code[:4] == b"\x7fELF"
    assert facts.spilled == 0, facts
    # What can be resident at all: 64 K registers a multiprocessor, 48 KB of static shared memory.
    assert facts.registers * (kernel.max_threads or 1024) <= 65536, facts
    assert facts.shared <= 49152, facts


def test_without_a_gpu_the_first_array_says_so():
    import convnet

    if convnet.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(convnet.GPUError, match="needs an NVIDIA driver and a GPU"):
        convnet.to_device([1.0])
