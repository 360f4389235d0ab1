"""convnet's part of `convnet bench --device cuda`: a task on the GPU gives what is expected."""

import numpy as np
import pytest
from convnet.benchmark import workloads
from convnet.benchmark.peers import convnet as peer
from convnet.benchmark.tasks import Task


@pytest.fixture
def on_gpu():
    peer.start(1, "high", "cuda")
    yield
    peer._device = "cpu"


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_task(on_gpu, direction):
    task = Task("small", "relu", "relu", direction, "float32", {"shape": (2, 3, 4, 5)})
    inputs = workloads.of(task).inputs(task)
    run = peer.prepare(task, inputs, "nchw")
    outputs = run()
    peer.synchronize()
    assert outputs[0].shape == (2, 3, 4, 5)
    for expected in workloads.of(task).expectations(task, inputs):
        got = workloads.cut(peer.array(outputs[expected.output]), expected.box)
        assert (np.abs(got - expected.values) <= expected.allowed).all()
    peer.elapsed(run, 2)
