"""Tests of the CUDA kernels on Numba's simulator, in a process of their own.

tests/test_cuda.py runs them; by hand: NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda. Without the
variable there is nothing to collect here.
"""

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
