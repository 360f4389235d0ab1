"""Benchmarks of convnet alone, over the layers of `convnet bench`.

    pytest bench --benchmark-only [-k resnet50] [--bench-threads 2] [--bench-batch 1]
    pytest bench --benchmark-only --benchmark-autosave; pytest-benchmark compare

A group is a suite and a pass, a name a layer and its memory format. For other packages, and what
the machine can do, there is `convnet bench`.
"""

import convnet
import pytest


def pytest_addoption(parser):
    group = parser.getgroup("convnet")
    group.addoption("--bench-threads", type=int, default=1, help="default: %(default)s")
    group.addoption("--bench-batch", type=int, default=None, help="default: the suite's")
    group.addoption("--bench-dtype", choices=("float32", "float64"), default="float32")
    group.addoption("--bench-precision", choices=("highest", "high", "medium"), default="high")


@pytest.fixture(autouse=True)
def settings(request):
    option = request.config.getoption
    with (
        convnet.set_num_threads(option("--bench-threads")),
        convnet.set_precision(option("--bench-precision")),
    ):
        yield


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["convnet"] = convnet.info()
