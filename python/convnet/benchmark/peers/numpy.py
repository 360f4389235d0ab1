"""NumPy as one would write it: im2col, and OpenBLAS for the product. NCHW only."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convnet.benchmark import workloads
from convnet.benchmark.peers import Arrays, Run, Unsupported, cpu_only
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import activation, conv, norm, optim, pool
from convnet.shapes import ConvDims

LAYOUTS = ("nchw",)


def start(threads: int, precision: str, device: str) -> None:
    """OpenBLAS has its number of threads from the environment."""
    cpu_only(device)


def version() -> str:
    return np.__version__


def array(output: Any) -> Any:
    return np.asarray(output)


def _columns(x: np.ndarray, d: ConvDims) -> np.ndarray:
    """im2col: (N, G, C/G * R * S, P * Q)"""
    pads = [(low, max(high, 0)) for low, high in zip(d.pad_low, d.pad_high, strict=True)]
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    spans = [q * (m - 1) + 1 for q, m in zip(d.dilation, d.kernel_size, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, (2, 3))
    windows = windows[:, :, :: d.stride[0], :: d.stride[1], :: d.dilation[0], :: d.dilation[1]]
    taps = windows.transpose(0, 1, 4, 5, 2, 3)
    return taps.reshape(len(x), d.groups, -1, prod(d.out_size))


def _forward(x: np.ndarray, w: np.ndarray, d: ConvDims) -> tuple:
    y = np.matmul(w.reshape(d.groups, len(w) // d.groups, -1), _columns(x, d))
    return (y.reshape(len(x), len(w), *d.out_size),)


def _backward(dy: np.ndarray, x: np.ndarray, w: np.ndarray, d: ConvDims) -> tuple:
    gradient = dy.reshape(len(x), d.groups, len(w) // d.groups, -1)
    dw = np.matmul(gradient, _columns(x, d).swapaxes(-1, -2)).sum(0).reshape(w.shape)
    weights = w.reshape(d.groups, len(w) // d.groups, -1)
    columns = np.matmul(weights.swapaxes(-1, -2), gradient)
    columns = columns.reshape(*x.shape[:2], *d.kernel_size, *d.out_size)
    sizes = [n + 2 * low for n, low in zip(d.in_size, d.pad_low, strict=True)]
    dx = np.zeros((*x.shape[:2], *sizes), x.dtype)
    for r, s in np.ndindex(*d.kernel_size):
        rows, cols = (
            slice(t * q, t * q + n * step, step)
            for t, q, n, step in zip((r, s), d.dilation, d.out_size, d.stride, strict=True)
        )
        dx[:, :, rows, cols] += columns[:, :, r, s]
    inside = (slice(low, low + n) for n, low in zip(d.in_size, d.pad_low, strict=True))
    return dx[:, :, *inside], dw, dy.sum((0, 2, 3))


def _conv(task: Task, a: Arrays) -> Run:
    x, w, d = a["x"], a["w"], conv.dims(task)
    if task.direction == "forward":
        return lambda: _forward(x, w, d)
    dy = a["dy"]
    return lambda: _backward(dy, x, w, d)


def _gemm(task: Task, arrays: Arrays) -> Run:
    a, b = arrays["a"], arrays["b"]
    return lambda: (np.matmul(a, b),)


def _pool(task: Task, a: Arrays) -> Run:
    if task.direction == "backward":
        raise Unsupported("no gradients of pools")
    x = a["x"]
    if task.op == "global_avg_pool":
        return lambda: (x.mean((2, 3), keepdims=True),)
    size, stride, padding = pool.sizes(task).values()
    fill = -np.inf if task.op == "max_pool" else 0

    def run() -> tuple:
        padded = np.pad(x, ((0, 0), (0, 0), *((padding, padding),) * 2), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))
        windows = windows[:, :, ::stride, ::stride]
        return (windows.max((4, 5)) if task.op == "max_pool" else windows.mean((4, 5)),)

    return run


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


_FORWARD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, activation.SLOPE * x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "silu": lambda x: x * _sigmoid(x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3))),
}
_BACKWARD: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "relu": lambda dy, y: np.where(y > 0, dy, 0),
    "leaky_relu": lambda dy, x: np.where(x > 0, dy, activation.SLOPE * dy),
    "sigmoid": lambda dy, y: dy * y * (1 - y),
    "tanh": lambda dy, y: dy * (1 - y * y),
}


def _activation(task: Task, a: Arrays) -> Run:
    functions: dict[str, Any] = _FORWARD if task.direction == "forward" else _BACKWARD
    if task.op not in functions:
        raise Unsupported(f"no {task.op} {task.direction}")
    x, function = a["x"], functions[task.op]
    if task.direction == "forward":
        return lambda: (function(x),)
    dy, source = a["dy"], _FORWARD[task.op](x) if task.op in activation.FROM_Y else x
    return lambda: (function(dy, source),)


def _norm(task: Task, a: Arrays) -> Run:
    if task.direction == "backward":
        raise Unsupported("no gradient of batch_norm")
    x = a["x"]
    weight, bias = (a[name][:, None, None] for name in ("weight", "bias"))

    def run() -> tuple:
        mean = x.mean((0, 2, 3), keepdims=True)
        centred = x - mean
        var = np.square(centred).mean((0, 2, 3), keepdims=True)
        return (centred * (weight / np.sqrt(var + norm.EPS)) + bias,)

    return run


def _softmax(task: Task, a: Arrays) -> Run:
    if task.op == "cross_entropy" or task.direction == "backward":
        raise Unsupported(f"no {task.op} {task.direction}")
    x = a["x"]

    def softmax() -> tuple:
        e = np.exp(x - x.max(-1, keepdims=True))
        return (e / e.sum(-1, keepdims=True),)

    def log_softmax() -> tuple:
        centred = x - x.max(-1, keepdims=True)
        return (centred - np.log(np.exp(centred).sum(-1, keepdims=True)),)

    return softmax if task.op == "softmax" else log_softmax


def _optim(task: Task, a: Arrays) -> Run:
    if task.op != "adam":
        raise Unsupported(f"no {task.op}")
    param, grad = a["param"].copy(), a["grad"]
    m, v, step = np.zeros_like(param), np.zeros_like(param), 0

    def run() -> tuple:
        nonlocal m, v, step, param
        step += 1
        m = 0.9 * m + 0.1 * grad
        v = 0.999 * v + 0.001 * grad * grad
        rate = optim.LR / (1 - 0.9**step)
        param -= rate * m / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        return (param,)

    return run


_FAMILIES = {
    "conv": _conv,
    "gemm": _gemm,
    "pool": _pool,
    "activation": _activation,
    "norm": _norm,
    "softmax": _softmax,
    "optim": _optim,
}


def prepare(task: Task, inputs: Arrays, layout: str) -> Run:
    family = workloads.FAMILIES[task.op]
    if family not in _FAMILIES:
        raise Unsupported(f"no {task.op}")
    return _FAMILIES[family](task, inputs)


def algorithm(task: Task, layout: str) -> str:
    return ""
