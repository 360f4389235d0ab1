"""Softmax along rows, and cross-entropy on logits; backward: dx, of cross-entropy loss and dx."""

import numpy as np

import convnet
from convnet import ops
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, near, normal

_ROWS = 4  # of a checked block


def inputs(task: Task) -> dict[str, np.ndarray]:
    """x : (M, C)    dy likewise, backward of softmax only    target : (M,), cross-entropy only"""
    rows, classes = task.params["shape"]
    arrays = {"x": normal((rows, classes), task.dtype, 1)}
    if task.op == "cross_entropy":
        arrays["target"] = np.random.default_rng(2).integers(0, classes, rows)
    elif task.direction == "backward":
        arrays["dy"] = normal((rows, classes), task.dtype, 2)
    return arrays


def cost(task: Task) -> tuple[float, float]:
    """Every array once."""
    rows, classes = task.params["shape"]
    arrays = {("cross_entropy", "forward"): 1, ("cross_entropy", "backward"): 2}.get(
        (task.op, task.direction), 2 if task.direction == "forward" else 3
    )
    return 0.0, float(arrays * np.dtype(task.dtype).itemsize * rows * classes)


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    rows, classes = task.params["shape"]
    found = []
    with convnet.use_backend("reference"):
        if task.op == "cross_entropy":
            loss = ops.cross_entropy(arrays["x"].astype(np.float64), arrays["target"])
            values = np.asarray(loss, np.float64)
            found.append(Expectation(0, (), values, near(values, task.dtype, rows)))
            if task.direction == "forward":
                return found
        few = min(_ROWS, rows)
        for start in (0, rows - few):
            part = slice(start, start + few)
            x, box = arrays["x"][part].astype(np.float64), ((start, start + few), (0, classes))
            if task.op == "cross_entropy":
                target = arrays["target"][part]
                dx = ops.cross_entropy_backward(x, target, "mean", dy=few / rows)
                found.append(Expectation(1, box, dx, near(dx, task.dtype, scale=1 / rows)))
                continue
            values = getattr(ops, task.op)(x)
            if task.direction == "backward":
                dy = arrays["dy"][part].astype(np.float64)
                values = getattr(ops, task.op + "_backward")(dy, values)
            found.append(Expectation(0, box, values, near(values, task.dtype, classes)))
    return found
