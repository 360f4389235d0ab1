"""convnet, as its users call it: ops on arrays, a fresh result at every call."""

from typing import Any

import numpy as np

import convnet
from convnet import nn, ops, optim
from convnet.benchmark import workloads
from convnet.benchmark.peers import Arrays, Run, in_layout
from convnet.benchmark.tasks import LAYOUTS as LAYOUTS
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import activation, conv, norm, pool, train
from convnet.benchmark.workloads import optim as optimizers
from convnet.gpu import driver
from convnet.memory import empty_like
from convnet.nn.conversion import device_name, host, moved

_device = "cpu"


def start(threads: int, precision: str, device: str) -> None:
    global _device
    _device = device_name(device)
    if _device == "cuda":
        driver.ensure()
    convnet.set_num_threads(threads)
    convnet.set_precision(precision)


def version() -> str:
    return convnet.__version__


def array(output: Any) -> Any:
    return host(output)


def synchronize() -> None:
    if _device == "cuda":
        driver.synchronize(0)


def elapsed(run: Run, calls: int) -> float:
    """Seconds of so many calls, between two events in the GPU's own time."""
    start, end = driver.Event(timing=True), driver.Event(timing=True)
    start.record(0)
    for _ in range(calls):
        run()
    end.record(0)
    end.wait()
    return end.seconds_since(start)


def release() -> None:
    convnet.empty_cache()


def _conv(task: Task, a: Arrays) -> Run:
    x, w, arguments = a["x"], a["w"], conv.arguments(task)
    if task.direction == "forward":
        return lambda: (ops.conv2d(x, w, **arguments),)
    dy = a["dy"]
    return lambda: ops.conv2d_backward(dy, x, w, **arguments)


def _gemm(task: Task, arrays: Arrays) -> Run:
    a, b = arrays["a"], arrays["b"]
    return lambda: (ops.matmul(a, b),)


def _pool(task: Task, a: Arrays) -> Run:
    x, sizes = a["x"], pool.sizes(task) if task.op != "global_avg_pool" else {}
    if task.direction == "forward":
        function = getattr(ops, f"{task.op}2d")
        return lambda: (function(x, **sizes),)
    dy, function = a["dy"], getattr(ops, f"{task.op}2d_backward")
    if task.op == "max_pool":
        indices = ops.max_pool2d(x, **sizes, return_indices=True)[1]
        return lambda: (function(dy, indices, x.shape, **sizes),)
    return lambda: (function(dy, x.shape, **sizes),)


def _activation(task: Task, a: Arrays) -> Run:
    x, function = a["x"], activation.forward(task)
    if task.direction == "forward":
        return lambda: (function(x),)
    dy, source, gradient = a["dy"], x, activation.backward(task)
    if task.op in activation.FROM_Y:
        source = function(x)
    return lambda: (gradient(dy, source),)


def _norm(task: Task, a: Arrays) -> Run:
    x, weight, bias = a["x"], a["weight"], a["bias"]
    if task.direction == "forward":
        mean, var = a["running_mean"].copy(), a["running_var"].copy()
        return lambda: (ops.batch_norm(x, mean, var, weight, bias, training=True, eps=norm.EPS),)
    dy = a["dy"]
    mean, var = ops.batch_norm_stats(x)
    return lambda: ops.batch_norm_backward(dy, x, mean, var, weight, training=True, eps=norm.EPS)


def _softmax(task: Task, a: Arrays) -> Run:
    x = a["x"]
    if task.op == "cross_entropy":
        target = a["target"]
        if task.direction == "forward":
            return lambda: (ops.cross_entropy(x, target),)
        return lambda: (ops.cross_entropy(x, target), ops.cross_entropy_backward(x, target))
    function = getattr(ops, task.op)
    if task.direction == "forward":
        return lambda: (function(x),)
    dy, y, gradient = a["dy"], function(x), getattr(ops, f"{task.op}_backward")
    return lambda: (gradient(dy, y),)


def _optim(task: Task, a: Arrays) -> Run:
    param = nn.Parameter(a["param"].copy())
    param.grad = nn.Tensor(a["grad"])
    optimizer = optimizers.optimizer(task, param)

    def run() -> tuple:
        optimizer.step()
        return (param.data,)

    return run


def _train(task: Task, a: Arrays) -> Run:
    def made(dropout: float) -> Any:
        net = train.network(nn, task.params["network"], dropout)
        for p, w in zip(net.parameters(), train.parameters(a), strict=True):
            p.data = moved(w, _device).copy()
        return train.trainer(nn, optim, net, nn.Tensor(a["x"]), nn.Tensor(a["target"]))

    return train.Steps(made)


_FAMILIES = {
    "conv": _conv,
    "gemm": _gemm,
    "pool": _pool,
    "activation": _activation,
    "norm": _norm,
    "softmax": _softmax,
    "optim": _optim,
    "train": _train,
}


def _placed(a: np.ndarray) -> np.ndarray:
    """The same values as a result of convnet's lies in memory: most inputs are results."""
    copy = empty_like(a)
    copy[...] = a
    return copy


def prepare(task: Task, inputs: Arrays, layout: str) -> Run:
    if task.images:
        inputs = {name: in_layout(a, layout) for name, a in inputs.items()}
    inputs = {name: moved(_placed(a), _device) for name, a in inputs.items()}
    return _FAMILIES[workloads.FAMILIES[task.op]](task, inputs)


def algorithm(task: Task, layout: str) -> str:
    if task.op != "conv" or _device != "cpu":
        return ""
    d = conv.dims(task)
    gradients = (None,) if task.direction == "forward" else ("input", "weight")
    found = [
        ops.conv2d_algorithm(
            (d.batch, d.in_channels, *d.in_size),
            (d.out_channels, d.in_channels // d.groups, *d.kernel_size),
            **conv.arguments(task),
            channels_last=layout == "channels_last",
            gradient=gradient,
            dtype=task.dtype,
        )
        for gradient in gradients
    ]
    return found[0] if len(set(found)) == 1 else ", ".join(found)
