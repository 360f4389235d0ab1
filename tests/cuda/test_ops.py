"""The whole path on the simulator: ops on DeviceArrays, their checks, kernels, and results.

Cases are convnet.check's, the small ones: the simulator runs a thread of the GPU as a thread of
Python.
"""

import inspect

import convnet
import numpy as np
import pytest
from convnet import backend, ops
from convnet.backends import cuda, reference
from convnet.check import families, runner
from convnet.gpu import DeviceArray, to_device
from convnet.gpu.array import mirror

SMALL = 100  # elements of all arguments together


def plain(run):
    """Whether a run is small, and its function is there."""
    if isinstance(run.case, runner.ErrorCase):
        return False
    args = run.case.materialise(np.dtype(run.dtype), run.memory_format)
    return sum(a.size for a in args.values() if isinstance(a, np.ndarray)) <= SMALL


def runs():
    found = {}
    for run in runner.plan(backends=("cuda",), dtype="float32"):
        if plain(run):
            found.setdefault((run.family, run.case.op), []).append(run)
    return found


RUNS = runs()


@pytest.mark.parametrize(("family", "op"), RUNS, ids=lambda v: v)
def test_cases(family, op):
    """Two cases of each op within the bounds, with the bits of any layout and batch."""
    chosen = RUNS[family, op][:: max(1, len(RUNS[family, op]) // 2)][:2]
    for run in chosen:
        _, failure = runner.run_one(run)
        assert not failure, failure


@pytest.mark.parametrize("name", sorted(set(reference.__all__) & set(vars(cuda))))
def test_signature_is_the_references(name):
    def parameters(function):
        return [
            (p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()
        ]

    assert parameters(getattr(cuda, name)) == parameters(getattr(reference, name))


def test_families_are_all_looked_at():
    assert set(families()) <= {f for f, _ in RUNS} | {"optim"}


class Interface:
    """An array of some other library on a GPU."""

    def __init__(self, array, stream=None):
        self.array = array  # a DeviceArray
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, "stream": stream}


def test_what_has_the_interface_comes_in_without_a_copy():
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    device = to_device(x)
    y = ops.relu(Interface(device))
    assert type(y) is DeviceArray
    np.testing.assert_array_equal(y.get(), np.maximum(x, 0))
    out = Interface(device)
    ops.relu(out, out=out)
    np.testing.assert_array_equal(device.get(), np.maximum(x, 0))


def test_a_stream_that_an_array_names_is_kept():
    y = ops.relu(Interface(to_device(np.ones(3, np.float32)), stream=7))
    assert y.queue == 7
    assert y.__cuda_array_interface__["stream"] == 7
    assert ops.relu(Interface(to_device(np.ones(3, np.float32)), stream=1)).queue == 0


def moved(case):
    """An error case's arguments with their arrays on the GPU; None where that loses the error."""
    args = case.args()
    arrays = [a for a in args.values() if type(a) is np.ndarray]
    lost = any(a.dtype.kind not in "fiub" or not a.dtype.isnative for a in arrays)
    lost |= any(not a.flags.aligned or not a.flags.writeable for a in arrays)
    lost |= any(np.may_share_memory(a, b) for a in arrays for b in arrays if a is not b)
    lost |= case.id in ("class", "negative", "huge", "index high", "index low")  # values
    if lost or not arrays or not hasattr(ops, case.op):
        return None
    there = {id(a): mirror(a) for a in arrays}
    return {p: there.get(id(a), a) for p, a in args.items()}


ERRORS = [
    pytest.param(case, args, id=str(case))
    for family in families().values()
    for case in family.ERROR_CASES
    for args in [moved(case)]
    if args is not None
]


@pytest.mark.parametrize(("case", "args"), ERRORS)
def test_bad_input_is_refused_as_on_the_cpu(case, args):
    """The values of classes and indices are not looked at: that would wait for the GPU."""
    with pytest.raises(case.exception, match=case.match):
        getattr(ops, case.op)(**args)


def test_lacking_functions_say_so(monkeypatch):
    monkeypatch.delattr(cuda, "relu")
    with pytest.raises(NotImplementedError, match="backend 'cuda' has no relu"):
        ops.relu(to_device(np.ones(3, np.float32)))


def test_info():
    assert convnet.info()["backends"] == ["cpu", "cuda", "reference"]
    assert convnet.cuda.is_available()
    assert backend.active(to_device(np.ones(1))) is cuda
