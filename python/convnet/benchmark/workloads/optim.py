"""A step of an optimizer on one array of parameters, in place."""

import numpy as np

import convnet
from convnet import nn, optim
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, near, normal

LR, MOMENTUM = 1e-3, 0.9
_PART = 1000  # elements of a checked block
_MOVED = {"adam": 7, "sgd": 5}  # arrays read and written


def inputs(task: Task) -> dict[str, np.ndarray]:
    """param, grad : (n,)"""
    shape = tuple(task.params["shape"])
    return {"param": normal(shape, task.dtype, 1), "grad": normal(shape, task.dtype, 2)}


def cost(task: Task) -> tuple[float, float]:
    (n,) = task.params["shape"]
    return 0.0, float(_MOVED[task.op] * np.dtype(task.dtype).itemsize * n)


def optimizer(task: Task, param: nn.Parameter) -> optim.Optimizer:
    if task.op == "adam":
        return optim.Adam([param], lr=LR)
    return optim.SGD([param], lr=LR, momentum=MOMENTUM)


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    """After the first step."""
    (n,) = task.params["shape"]
    found = []
    for start in (0, max(0, n - _PART)):
        span = (start, min(n, start + _PART))
        param, grad = (arrays[a][slice(*span)].astype(np.float64) for a in ("param", "grad"))
        tensor = nn.Parameter(param)
        tensor.grad = nn.Tensor(grad)
        with convnet.use_backend("reference"):
            optimizer(task, tensor).step()
        found.append(Expectation(0, (span,), tensor.data, near(tensor.data, task.dtype)))
    return found
