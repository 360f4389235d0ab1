"""Whole training steps: forward, loss, backward, Adam.

What is checked is the loss of the first steps from the same weights, without dropout.
"""

from typing import Any

import numpy as np

import convnet
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, normal

STEPS = 2  # whose losses are compared: before and after a first update
LR = 1e-3
CLASSES = 10
_IMAGE = {"cnn": (1, 28, 28), "mlp": (784,)}
_WEIGHTS = {
    "cnn": ((32, 1, 5, 5), (64, 32, 5, 5), (1024, 3136), (CLASSES, 1024)),
    "mlp": ((100, 784), (CLASSES, 100)),
}
# Adam divides by the gradient's size, so that rounding errors of tiny gradients count as much as
# large ones; the loss still agrees to this, relatively.
_AGREEMENT = {"float32": 1e-4, "float64": 1e-8}


def network(nn: Any, kind: str, dropout: float) -> Any:
    """In torch.nn's or convnet.nn's words, which are the same."""
    if kind == "mlp":
        return nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, CLASSES))
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 1024),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(1024, CLASSES),
    )


def inputs(task: Task) -> dict[str, np.ndarray]:
    """x : (N, ...)    target : (N,)    w0, b0, w1, ... : the network's parameters, in order"""
    kind, batch = task.params["network"], task.params["N"]
    arrays = {
        "x": normal((batch, *_IMAGE[kind]), task.dtype, 1),
        "target": np.random.default_rng(2).integers(0, CLASSES, batch),
    }
    for i, shape in enumerate(_WEIGHTS[kind]):
        fan_in = np.prod(shape[1:])
        arrays[f"w{i}"] = normal(shape, task.dtype, 3 + i) / np.sqrt(fan_in, dtype=task.dtype)
        arrays[f"b{i}"] = np.zeros(shape[0], task.dtype)
    return arrays


def parameters(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [a for name, a in arrays.items() if name[0] in "wb"]


def trainer(nn: Any, optim: Any, net: Any, x: Any, target: Any) -> Any:
    """A function that makes one step and returns the loss; the loop a user would write."""
    criterion, optimizer = nn.CrossEntropyLoss(), optim.Adam(net.parameters(), lr=LR)

    def step() -> Any:
        optimizer.zero_grad()
        loss = criterion(net(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return step


class Steps:
    """A peer's training: called, it makes a step with dropout; `checked` gives the losses."""

    def __init__(self, made: Any) -> None:
        """made(dropout) -> a function that makes one step and returns the loss."""
        self._made, self._step = made, made(0.5)

    def __call__(self) -> tuple:
        return (self._step(),)

    def checked(self) -> tuple:
        step = self._made(0.0)
        return (np.array([step().item() for _ in range(STEPS)]),)


def cost(task: Task) -> tuple[float, float]:
    """Forward and two gradients a layer (the first has no dx); Adam's seven arrays."""
    kind, batch = task.params["network"], task.params["N"]
    pixels = {"cnn": (28 * 28, 14 * 14, 1, 1), "mlp": (1, 1)}[kind]
    sizes = [int(np.prod(shape)) for shape in _WEIGHTS[kind]]
    macs = [batch * n * p for n, p in zip(sizes, pixels, strict=True)]
    flops = 6.0 * sum(macs) - 2.0 * macs[0]
    return flops, float(7 * np.dtype(task.dtype).itemsize * sum(sizes))


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    from convnet import nn, optim

    double = {k: a if a.dtype.kind == "i" else a.astype(np.float64) for k, a in arrays.items()}
    net = network(nn, task.params["network"], 0.0)
    for p, w in zip(net.parameters(), parameters(double), strict=True):
        p.data = w
    step = trainer(nn, optim, net, nn.Tensor(double["x"]), nn.Tensor(double["target"]))
    with convnet.use_backend("reference"):
        losses = np.array([step().item() for _ in range(STEPS)])
    return [Expectation(0, ((0, STEPS),), losses, _AGREEMENT[task.dtype] * np.abs(losses))]
