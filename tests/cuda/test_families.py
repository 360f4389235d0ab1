"""The cases of `convnet check`, as far as they are small, on the simulator.

Through convnet.ops, with blocks and grids so small (conftest.py) that the cases cross every edge.
Bounds are the specs', against the reference in float64.
"""

from functools import cache

import numpy as np
import pytest
from convnet import backend
from convnet.backends import cuda
from convnet.check import families
from convnet.check.cross import cross_check
from convnet.check.runner import call
from convnet.kernels.cuda import (
    adaptive_pool,
    cross_entropy,
    loss,
    planes,
    pool,
)
from convnet.kernels.cuda.intrinsics import vectors

MOST = 700  # elements of a case's largest array


@pytest.fixture
def run(monkeypatch):
    """run(case, dtype, format): the case through ops, cross-checked."""

    def run(case, dtype, memory_format="nchw"):
        monkeypatch.setitem(backend._modules, "cpu", cuda)
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


def in_turns(found):
    """The cases in float32 and float64 by turns: most of them come in groups of like ones."""
    types = ("float32", "float64")
    return [
        pytest.param(*p.values, types[i % 2], id=f"{p.id}-{types[i % 2]}")
        for i, p in enumerate(found)
    ]


ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")


@pytest.mark.parametrize(("case", "memory_format"), of("activation", *ACTIVATIONS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activation(run, case, memory_format, dtype):
    run(case, dtype)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 17])
def test_arrays_off_16_bytes(run, monkeypatch, n):
    monkeypatch.setattr(vectors, "begins_at_vector", lambda a: False)
    case = next(p.values[0] for p in of("activation", "silu"))
    case = type(case)("silu", str(n), {"x": type(case.args["x"])((n,))})
    run(case, "float32")


@pytest.mark.parametrize(
    ("case", "memory_format", "dtype"), in_turns(of("activation", "softmax", "log_softmax"))
)
def test_softmax(run, case, memory_format, dtype):
    run(case, dtype)


@pytest.mark.parametrize(("case", "memory_format", "dtype"), in_turns(cases("loss", most=240)))
def test_loss(run, case, memory_format, dtype):
    run(case, dtype)


@pytest.mark.parametrize("shape", [(4, 5, 1), (2, 5, 3)])
def test_classes_out_of_range_give_nan(shape):
    """ops cannot look at targets on a GPU without waiting for it."""
    outer, n, inner = shape
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    target = np.arange(outer * inner).reshape(outer, inner) % n
    target[0, 0], target[-1, -1] = n, -1
    wrong = (target < 0) | (target >= n)
    one = np.ones((), np.float32)
    for name, family in (("cross_entropy", cross_entropy), ("nll_loss", loss)):
        y, dx = np.empty((outer, inner), np.float32), np.empty_like(x)
        getattr(family, name)(x, target, y, -100)
        getattr(family, f"{name}_backward")(x, target, one, dx, -100)
        assert np.array_equal(np.isnan(y), wrong)
        assert np.array_equal(np.isnan(dx), np.broadcast_to(wrong[:, None], shape))


@pytest.mark.parametrize(("case", "memory_format", "dtype"), in_turns(cases("optim", most=40)))
def test_optim(run, case, memory_format, dtype):
    run(case, dtype)


FORMATS = ("nchw", "channels_last")


@pytest.mark.parametrize(
    ("case", "memory_format", "dtype"),
    in_turns([p for p in cases("norm", FORMATS) if p.values[0].op.startswith("dropout")]),
)
def test_dropout(run, case, memory_format, dtype):
    """The mask is the reference's bit for bit: its spec allows nothing else."""
    run(case, dtype, memory_format)


@pytest.mark.parametrize(
    ("case", "memory_format", "dtype"),
    in_turns(
        [p for p in cases("norm", FORMATS, most=900) if p.values[0].op.startswith("batch_norm")]
    )[::3],
)
def test_batch_norm(run, case, memory_format, dtype):
    """Two warps a block, several parts a channel, a grid that wraps."""
    run(case, dtype, memory_format)


def pools():
    """Every few of the many cases; those with planes that are no image of each other."""
    found = [p for p in cases("pool", FORMATS, most=500) if "adaptive" not in p.values[0].op]
    return [p for i, p in enumerate(found) if "global" not in p.values[0].op and i % 7 == 0]


@pytest.mark.parametrize(("case", "memory_format"), pools())
@pytest.mark.parametrize("taps", [0, 27])
def test_pool(run, monkeypatch, case, memory_format, taps):
    """Windows as constants of the kernel, and as arguments."""
    monkeypatch.setattr(pool, "TAPS", taps)
    run(case, "float64" if taps else "float32", memory_format)


ADAPTIVE = [
    p
    for p in cases("pool", FORMATS, most=500)
    if "adaptive" in p.values[0].op or "global" in p.values[0].op
]


@pytest.mark.parametrize(("case", "memory_format"), ADAPTIVE[::5])
@pytest.mark.parametrize("small", [1, 1000])
def test_adaptive_pool(run, monkeypatch, case, memory_format, small):
    """As many lanes a cell as it has elements, and a thread a cell."""
    monkeypatch.setattr(planes, "THREADS", 8 if small > 1 else 32)
    monkeypatch.setattr(adaptive_pool, "SMALL", small)
    run(case, "float64" if small > 1 else "float32", memory_format)


@pytest.mark.parametrize(
    ("case", "memory_format"),
    [p for p in cases("conv", FORMATS, most=500) if p.values[0].op in ("im2col", "col2im")],
)
def test_im2col(run, case, memory_format):
    run(case, "float32", memory_format)


@pytest.mark.parametrize(("case", "memory_format"), cases("interpolate", FORMATS))
def test_interpolate(run, case, memory_format):
    run(case, "float32", memory_format)
