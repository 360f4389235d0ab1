"""Tests of the CUDA kernels on Numba's simulator, in a process of their own.

tests/test_cuda.py runs them; by hand: NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda. Without the
variable there is nothing to collect here.
"""

import importlib
import os
import sys

import pytest

collect_ignore_glob = [] if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else ["test_*.py"]


# A simulated block is so many Python threads that wait for one another; at the interpreter's own
# interval of 5 ms they take more than twice as long.
sys.setswitchinterval(1e-4)


def pytest_collection_modifyitems(items):
    """A GPU computes inf - inf and 0 / 0 without a word; NumPy's scalars, its stand-ins, warn."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning"))


OWN_TILES = ("test_gemm", "test_conv", "test_depthwise")

# Blocks and grids so small that small cases cross every edge: a vector and its tail, a block, the
# grid, a part of a sum. Threads are what the simulator's time goes to.
SMALL = {
    "maps": {"THREADS": 4, "BLOCKS": 1},
    "softmax": {"THREADS": 64, "BLOCKS": 1, "HELD": 32},  # two warps, rows of up to 96 in registers
    "loss": {"THREADS": 8, "BLOCKS": 1},
    "reduction": {"THREADS": 64, "PART": 64},
    "optim": {"THREADS": 4, "BLOCKS": 1},
    "dropout": {"THREADS": 8, "BLOCKS": 1},
    "norm": {"BLOCKS": 1},
    "norm_sums": {"THREADS": 64, "PART": 64, "ROWS": 2},
    "sums": {"SUM_LINES": 2, "SUM_COLUMNS": 4, "IMAGE_LINES": 2, "IMAGE_LANES": 2},
    "planes": {"THREADS": 8, "BLOCKS": 1, "WARP": 2},
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for family, values in SMALL.items():
        module = importlib.import_module(f"convnet.kernels.cuda.{family}")
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


@pytest.fixture(autouse=True)
def small_tiles(request, monkeypatch):
    """Products and convolution on tiles of 4 threads, except where a test chooses its own."""
    if request.module.__name__.rpartition(".")[2] in OWN_TILES:
        return
    from convnet.kernels.cuda import conv, conv_weight_grad, depthwise, gemm
    from convnet.kernels.cuda.engine import Tile

    tile = Tile(8, 8, 4, 4, 4, 4)
    for module in (gemm, conv, conv_weight_grad):
        monkeypatch.setattr(module, "TILES", dict.fromkeys(module.TILES, (tile,) * 4))
    monkeypatch.setattr(depthwise, "THREADS", 8)


@pytest.fixture(autouse=True)
def copies_are_waited_for(request):
    """Late copies to shared memory would overwrite what a kernel keeps there after its loop."""
    from convnet.kernels.cuda.intrinsics.shared import groups_of_threads

    groups_of_threads.clear()
    yield
    if "test_intrinsics" not in request.module.__name__:
        assert not any(groups_of_threads)


@pytest.fixture
def checked():
    """checked(family module): its functions, each call held against the reference in float64.

    Bounds are those of convnet.check; outputs are filled with rubbish first, and inputs must stay
    as they were.
    """
    from convnet.check.cross import Checker

    checker = Checker()
    yield lambda module: checker.wrap("cuda", module)
    assert checker.report.calls, "nothing was checked"
