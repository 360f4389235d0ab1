"""Every layer of every suite, in both memory formats: one benchmark each."""

import numpy as np
import pytest
from convnet.benchmark import workloads
from convnet.benchmark.peers import convnet as ours
from convnet.benchmark.suites import SUITES, Request, tasks_of
from convnet.benchmark.tasks import LAYOUTS


def pytest_generate_tests(metafunc):
    option = metafunc.config.getoption
    request = Request(option("--bench-dtype"), batch=option("--bench-batch"))
    names = [name for name in SUITES if name != "quick"]
    cases = [
        pytest.param(task, layout, id=f"{task.suite}-{task.direction}-{task.name}-{layout}")
        for task in tasks_of(names, (), request)
        for layout in (LAYOUTS if task.images else LAYOUTS[:1])
    ]
    metafunc.parametrize(("task", "layout"), cases)


def test_layer(benchmark, task, layout):
    work = workloads.of(task)
    inputs = work.inputs(task)
    run = ours.prepare(task, inputs, layout)
    outputs = getattr(run, "checked", run)()
    for e in work.expectations(task, inputs):
        got = workloads.cut(np.asarray(outputs[e.output]), e.box)
        assert (np.abs(got - e.values) <= e.allowed).all()
    flops, moved = work.cost(task)
    benchmark.group = f"{task.suite} {task.direction}"
    benchmark.extra_info.update(
        flops=flops, bytes=moved, algorithm=ours.algorithm(task, layout), layout=layout
    )
    benchmark(run)
