"""Each peer computes what its task asks for: small tasks of every op, in this process."""

import importlib
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from convnet.benchmark import peers, workloads
from convnet.benchmark.suites import Request, tasks_of
from convnet.benchmark.tasks import Task

IMAGE, ROWS = (3, 5, 9, 11), (7, 13)


def small(task):
    """The task on a shape that takes no time; odd sizes."""
    shape = {"conv": None, "train": None, "gemm": None}.get(task.op, IMAGE if task.images else ROWS)
    if shape and workloads.FAMILIES[task.op] == "optim":
        shape = (1001,)
    if shape:
        return replace(task, suite="small", params={**task.params, "shape": shape})
    if task.op == "train":
        return replace(task, params={**task.params, "N": 2})
    return task


def conv(direction, **changed):
    params = {"N": 2, "C": 4, "H": 9, "W": 10, "K": 6, "R": 3, "S": 3, "groups": 1}
    for name, value in {"stride": 1, "pad": 1, "dilation": 1}.items():
        params |= {f"{name}_h": value, f"{name}_w": value}
    return Task("small", "conv", "conv", direction, "float32", params | changed)


CONV = [
    {},
    {"stride_h": 2, "stride_w": 3, "pad_w": 0},
    {"groups": 2, "dilation_w": 2},
    {"C": 6, "groups": 6},
    {"R": 1, "S": 1, "pad_h": 0, "pad_w": 0, "stride_h": 2, "stride_w": 2},
]
TASKS = [small(t) for t in tasks_of(["pool", "elementwise", "train"], (), Request())]
TASKS = list({(t.op, t.name, t.direction): t for t in TASKS}.values())
TASKS += [conv(d, **changed) for changed in CONV for d in ("forward", "backward")]
TASKS += [
    Task(
        "small",
        f"gemm{a}{b}",
        "gemm",
        "forward",
        "float32",
        {"M": 5, "N": 9, "K": 17, "transA": a, "transB": b},
        images=False,
    )
    for a in (0, 1)
    for b in (0, 1)
]
LACKS = {  # how many of TASKS
    "convnet": 0,
    "torch": 0,
    "numpy": 18,
    "scipy": 37,
    "onnxruntime": 29,
}


@pytest.fixture(params=[peers.OURS, *peers.KNOWN])
def peer(request):
    """A peer's module, its package's own settings restored afterwards."""
    name = request.param
    if name != peers.OURS:
        pytest.importorskip(name) if name in ("torch", "scipy") else None
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    module = importlib.import_module(f"convnet.benchmark.peers.{name}")
    if name == "torch":
        import torch

        threads = torch.get_num_threads()
        module.start(1, "high", "cpu")
        yield name, module
        torch.set_grad_enabled(True)
        torch.set_num_threads(threads)
        return
    if name == "onnxruntime":
        module.start(1, "high", "cpu")
    yield name, module


def test_results_are_right(peer):
    name, module = peer
    lacking = 0
    for task in TASKS:
        work = workloads.of(task)
        inputs = work.inputs(task)
        before = {k: a.copy() for k, a in inputs.items()}
        expected = work.expectations(task, inputs)
        for layout in module.LAYOUTS if task.images else ("nchw",):
            try:
                run = module.prepare(task, inputs, layout)
            except peers.Unsupported:
                lacking += 1
                continue
            outputs = getattr(run, "checked", run)()
            for e in expected:
                got = workloads.cut(module.array(outputs[e.output]).astype(np.float64), e.box)
                assert got.shape == e.values.shape, (task, layout)
                assert (np.abs(got - e.values) <= e.allowed).all(), (task, layout)
            run()
        assert all(np.array_equal(before[k], a) for k, a in inputs.items()), f"{task}: inputs"
    assert lacking == LACKS[name], "tasks that the peer has nothing for"


def test_memory_format_is_what_was_asked_for(peer):
    """The output's strides, seen through NumPy, tell in which format a peer worked."""
    _, module = peer
    task = conv("forward")
    inputs = workloads.of(task).inputs(task)
    for layout in module.LAYOUTS:
        y = module.array(module.prepare(task, inputs, layout)()[0])
        assert y.flags.c_contiguous == (layout == "nchw")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["caffe"], "got 'caffe'"), (["torch", "TORCH"], "got 'TORCH'"), (["=x"], "got '=x'")],
)
def test_unknown_peer(names, message):
    with pytest.raises(ValueError, match=message):
        peers.modules_of(names)


def test_peers_by_name_and_by_module():
    found = peers.modules_of(["numpy", "mine=a.b"])
    assert list(found) == ["convnet", "numpy", "mine"]
    assert found["mine"] == "a.b"
