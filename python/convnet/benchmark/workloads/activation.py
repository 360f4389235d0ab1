"""Activations of images; backward: dx."""

from collections.abc import Callable
from math import prod

import numpy as np

import convnet
from convnet import ops
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, corners, cut, near, normal

SLOPE = 0.01  # leaky_relu's

_FORWARD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": ops.relu,
    "leaky_relu": lambda x: ops.leaky_relu(x, SLOPE),
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "silu": ops.silu,
    "gelu": ops.gelu,
    "gelu_tanh": lambda x: ops.gelu(x, "tanh"),
}
FROM_Y = ("relu", "sigmoid", "tanh")  # whose gradient is computed from y, not from x
_BACKWARD: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "relu": ops.relu_backward,
    "leaky_relu": lambda dy, x: ops.leaky_relu_backward(dy, x, SLOPE),
    "sigmoid": ops.sigmoid_backward,
    "tanh": ops.tanh_backward,
    "silu": ops.silu_backward,
    "gelu": ops.gelu_backward,
    "gelu_tanh": lambda dy, x: ops.gelu_backward(dy, x, "tanh"),
}
OPS = tuple(_FORWARD)


def forward(task: Task) -> Callable[[np.ndarray], np.ndarray]:
    return _FORWARD[task.op]


def backward(task: Task) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """From dy and from y or x."""
    return _BACKWARD[task.op]


def inputs(task: Task) -> dict[str, np.ndarray]:
    """x, and dy for backward, of one shape"""
    names = ("x",) if task.direction == "forward" else ("x", "dy")
    shape = tuple(task.params["shape"])
    return {name: normal(shape, task.dtype, 1 + i) for i, name in enumerate(names)}


def cost(task: Task) -> tuple[float, float]:
    arrays = 2 if task.direction == "forward" else 3
    return 0.0, float(arrays * np.dtype(task.dtype).itemsize * prod(task.params["shape"]))


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    found = []
    for channels in corners(arrays["x"].shape[:2]):
        x = cut(arrays["x"], channels).astype(np.float64)
        with convnet.use_backend("reference"):
            values = forward(task)(x)
            if task.direction == "backward":
                dy = cut(arrays["dy"], channels).astype(np.float64)
                values = backward(task)(dy, values if task.op in FROM_Y else x)
        box = (*channels, *((0, n) for n in x.shape[2:]))
        found.append(Expectation(0, box, values, near(values, task.dtype)))
    return found
