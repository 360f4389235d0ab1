"""The cases of `convnet check`, as far as they are small, on the simulator.

Through convnet.ops, with the kernels' blocks and grids made so small that the cases cross every
edge: a vector and its tail, a block, the grid. Bounds are the specs', against the reference in
float64.
"""

from functools import cache

import numpy as np
import pytest
from convnet import backend
from convnet.check import families
from convnet.check.cross import cross_check
from convnet.check.runner import call
from convnet.kernels.cuda import (
    activation,
    dropout,
    loss,
    maps,
    optim,
    reduction,
    registers,
    softmax,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

MOST = 700  # elements of a case's largest array


@pytest.fixture
def run(monkeypatch):
    """run(module, case, dtype, format): the case through ops, cross-checked."""

    def run(module, case, dtype, memory_format="nchw"):
        monkeypatch.setitem(backend._modules, "cpu", module)
        with cross_check() as report:
            call(case, case.materialise(np.dtype(dtype), memory_format))
        return report

    return run


@cache
def cases(family, formats=("nchw",), most=MOST):
    """(case, format) of a family; an array of `most` elements at most."""
    return [
        pytest.param(case, memory_format, id=f"{case}-{memory_format}")
        for case in families()[family].CASES
        for arrays in [arrays_of(case)]
        if max(a.size for a in arrays) <= most
        for memory_format in formats
        if memory_format in case.formats
        and (memory_format == "nchw" or any(a.ndim >= 3 for a in arrays))
    ]


def arrays_of(case):
    return [a for a in case.materialise(np.float32).values() if isinstance(a, np.ndarray)]


def of(family, *names):
    """The family's cases of these ops and of their gradients."""
    wanted = {f"{name}{end}" for name in names for end in ("", "_backward")}
    return [p for p in cases(family) if p.values[0].op in wanted]


ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")


@pytest.mark.parametrize(("case", "memory_format"), of("activation", *ACTIVATIONS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activation(run, monkeypatch, case, memory_format, dtype):
    monkeypatch.setattr(maps, "THREADS", 4)
    monkeypatch.setattr(maps, "BLOCKS", 1)
    run(activation, case, dtype)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 17])
def test_arrays_off_16_bytes(run, monkeypatch, n):
    monkeypatch.setattr(maps, "THREADS", 4)
    monkeypatch.setattr(registers, "begins_at_vector", lambda a: False)
    case = next(p.values[0] for p in of("activation", "silu"))
    case = type(case)("silu", str(n), {"x": type(case.args["x"])((n,))})
    run(activation, case, "float32")


@pytest.fixture
def small_rows(monkeypatch):
    """Two warps a block, rows of up to 96 elements in registers, sums of 64 elements a part."""
    monkeypatch.setattr(softmax, "THREADS", 64)
    monkeypatch.setattr(softmax, "BLOCKS", 1)
    monkeypatch.setattr(softmax, "HELD", 32)
    monkeypatch.setattr(maps, "THREADS", 4)
    monkeypatch.setattr(maps, "BLOCKS", 1)
    monkeypatch.setattr(loss, "THREADS", 8)
    monkeypatch.setattr(loss, "BLOCKS", 1)
    monkeypatch.setattr(reduction, "THREADS", 64)
    monkeypatch.setattr(reduction, "PART", 64)


@pytest.mark.parametrize(("case", "memory_format"), of("activation", "softmax", "log_softmax"))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("small_rows")
def test_softmax(run, case, memory_format, dtype):
    run(softmax, case, dtype)


@pytest.mark.parametrize(("case", "memory_format"), cases("loss", most=240))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("small_rows")
def test_loss(run, case, memory_format, dtype):
    run(loss, case, dtype)


@pytest.mark.parametrize(("case", "memory_format"), cases("optim", most=40))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optim(run, monkeypatch, case, memory_format, dtype):
    monkeypatch.setattr(optim, "THREADS", 4)
    monkeypatch.setattr(optim, "BLOCKS", 1)
    monkeypatch.setattr(reduction, "THREADS", 64)
    monkeypatch.setattr(reduction, "PART", 64)
    run(optim, case, dtype)


FORMATS = ("nchw", "channels_last")


@pytest.mark.parametrize(
    ("case", "memory_format"),
    [p for p in cases("norm", FORMATS) if p.values[0].op.startswith("dropout")],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout(run, monkeypatch, case, memory_format, dtype):
    """The mask is the reference's bit for bit: its spec allows nothing else."""
    monkeypatch.setattr(dropout, "THREADS", 8)
    monkeypatch.setattr(dropout, "BLOCKS", 1)
    run(dropout, case, dtype, memory_format)
