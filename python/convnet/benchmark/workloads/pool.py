"""Pooling of images; backward: dx. Whole planes are checked, of a few channels."""

from math import prod
from typing import Any

import numpy as np

import convnet
from convnet import ops
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, corners, cut, normal
from convnet.check.spec import sum_bound


def sizes(task: Task) -> dict[str, Any]:
    """kernel_size, stride and padding, as ops.max_pool2d and ops.avg_pool2d call them."""
    return {name: task.params[name] for name in ("kernel_size", "stride", "padding")}


def forward(task: Task, x: np.ndarray) -> np.ndarray:
    if task.op == "max_pool":
        return ops.max_pool2d(x, **sizes(task))
    if task.op == "avg_pool":
        return ops.avg_pool2d(x, **sizes(task))
    return ops.global_avg_pool2d(x)


def backward(task: Task, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    if task.op == "max_pool":
        indices = ops.max_pool2d(x, **sizes(task), return_indices=True)[1]
        return ops.max_pool2d_backward(dy, indices, x.shape, **sizes(task))
    if task.op == "avg_pool":
        return ops.avg_pool2d_backward(dy, x.shape, **sizes(task))
    return ops.global_avg_pool2d_backward(dy, x.shape)


def out_shape(task: Task) -> tuple[int, ...]:
    n, c, *image = task.params["shape"]
    if task.op == "global_avg_pool":
        return (n, c, 1, 1)
    size, stride, padding = sizes(task).values()
    return (n, c, *((m + 2 * padding - size) // stride + 1 for m in image))


def inputs(task: Task) -> dict[str, np.ndarray]:
    """x : (N, C, H, W)    dy : (N, C, P, Q), backward only"""
    arrays = {"x": normal(tuple(task.params["shape"]), task.dtype, 1)}
    if task.direction == "backward":
        arrays["dy"] = normal(out_shape(task), task.dtype, 2)
    return arrays


def cost(task: Task) -> tuple[float, float]:
    """No arithmetic to speak of. Backward of max pooling reads indices of 4 bytes."""
    size = np.dtype(task.dtype).itemsize
    x, y = prod(task.params["shape"]), prod(out_shape(task))
    indices = 4 * y if task.op == "max_pool" and task.direction == "backward" else 0
    return 0.0, float(size * (x + y) + indices)


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    limits, found = np.finfo(task.dtype), []
    x_shape = arrays["x"].shape
    shape = x_shape if task.direction == "backward" else out_shape(task)
    terms = prod(x_shape[2:]) if task.op == "global_avg_pool" else task.params["kernel_size"] ** 2
    for channels in corners(x_shape[:2]):
        x = cut(arrays["x"], channels).astype(np.float64)
        with convnet.use_backend("reference"):
            if task.direction == "forward":
                values, magnitude = forward(task, x), forward(task, np.abs(x))
            else:
                dy = cut(arrays["dy"], channels).astype(np.float64)
                values, magnitude = backward(task, x, dy), backward(task, x, np.abs(dy))
        allowed: Any = 0.0
        if task.op != "max_pool" or task.direction == "backward":
            allowed = sum_bound(terms, magnitude, float(limits.eps), float(limits.tiny))
        box = (*channels, *((0, n) for n in shape[2:]))
        found.append(Expectation(0, box, values, allowed))
    return found
