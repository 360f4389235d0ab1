"""NumPy as one would write it: im2col, and OpenBLAS for the product. NCHW only."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convnet.benchmark.peers import Unsupported
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import conv as conv_workload
from convnet.shapes import ConvDims

LAYOUTS = ("nchw",)


def start(threads: int, precision: str) -> None:
    """OpenBLAS has its number of threads from the environment."""


def version() -> str:
    return np.__version__


def array(output: Any) -> Any:
    return output


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


def _conv(task: Task, arrays: dict[str, np.ndarray]) -> Callable[[], tuple]:
    x, w, d = arrays["x"], arrays["w"], conv_workload.dims(task)
    if task.direction == "forward":
        return lambda: _forward(x, w, d)
    dy = arrays["dy"]
    return lambda: _backward(dy, x, w, d)


def _gemm(task: Task, arrays: dict[str, np.ndarray]) -> Callable[[], tuple]:
    a, b = arrays["a"], arrays["b"]
    return lambda: (np.matmul(a, b),)


_OPS = {"conv": _conv, "gemm": _gemm}


def prepare(task: Task, inputs: dict[str, np.ndarray], layout: str) -> Callable[[], tuple]:
    if task.op not in _OPS:
        raise Unsupported(f"no {task.op}")
    return _OPS[task.op](task, inputs)


def algorithm(task: Task, layout: str) -> str:
    return ""
