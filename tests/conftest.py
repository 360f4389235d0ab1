"""What every run shows, and what it does not forgive.

CONVNET_TEST_ORACLES=required makes a test fail that would be skipped because torch, scipy or onnx
is missing: for runs where they are meant to be installed.

--backend cuda runs tests/gpu alone: the whole case list on a GPU. Without a usable GPU it fails.
"""

import os

import convnet
import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--backend", choices=("cpu", "cuda"), default="cpu", help="cuda: tests/gpu alone, on a GPU"
    )


def pytest_configure(config):
    if config.getoption("--backend") == "cuda":
        from convnet.gpu import GPUError, driver

        try:
            driver.ensure()
        except GPUError as error:
            raise pytest.UsageError(f"--backend cuda: {error}") from None


def pytest_ignore_collect(collection_path, config):
    """tests/gpu with --backend cuda, all else without."""
    if collection_path.suffix != ".py":
        return None
    on_gpu = collection_path.parent.name == "gpu"
    return True if on_gpu != (config.getoption("--backend") == "cuda") else None


def pytest_report_header():
    facts = convnet.info()
    return (
        f"convnet {facts['version']}: {facts['instruction_set']} of "
        f"{', '.join(facts['levels_built'])}; {facts['threads']} threads; {convnet.__file__}"
    )


@pytest.fixture(autouse=True)
def long_doubles_still_work():
    """A kernel that left an MMX register in use would make NaN of them."""
    yield
    assert np.longdouble(2) * np.longdouble(1.5) == 3, "the x87's registers were left in use"


def _without_excuse(report):
    if os.environ.get("CONVNET_TEST_ORACLES") != "required" or report.outcome != "skipped":
        return report
    if "could not import" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"CONVNET_TEST_ORACLES=required, but: {report.longrepr[-1]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _without_excuse((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _without_excuse((yield))
