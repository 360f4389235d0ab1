"""convnet, as its users call it: ops on arrays, a fresh result at every call."""

from collections.abc import Callable
from typing import Any

import numpy as np

import convnet
from convnet import ops
from convnet.benchmark.peers import Unsupported, in_layout
from convnet.benchmark.tasks import LAYOUTS as LAYOUTS
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import conv as conv_workload


def start(threads: int, precision: str) -> None:
    convnet.set_num_threads(threads)
    convnet.set_precision(precision)


def version() -> str:
    return convnet.__version__


def array(output: Any) -> Any:
    return output


def _conv(task: Task, arrays: dict[str, np.ndarray]) -> Callable[[], tuple]:
    x, w, arguments = arrays["x"], arrays["w"], conv_workload.arguments(task)
    if task.direction == "forward":
        return lambda: (ops.conv2d(x, w, **arguments),)
    dy = arrays["dy"]
    return lambda: ops.conv2d_backward(dy, x, w, **arguments)


def _gemm(task: Task, arrays: dict[str, np.ndarray]) -> Callable[[], tuple]:
    a, b = arrays["a"], arrays["b"]
    return lambda: (ops.matmul(a, b),)


_OPS = {"conv": _conv, "gemm": _gemm}


def prepare(task: Task, inputs: dict[str, np.ndarray], layout: str) -> Callable[[], tuple]:
    if task.op not in _OPS:
        raise Unsupported(f"no {task.op}")
    arrays = inputs
    if task.images:
        arrays = {name: in_layout(a, layout) for name, a in inputs.items()}
    return _OPS[task.op](task, arrays)


def algorithm(task: Task, layout: str) -> str:
    if task.op != "conv":
        return ""
    d = conv_workload.dims(task)
    gradients = (None,) if task.direction == "forward" else ("input", "weight")
    found = [
        ops.conv2d_algorithm(
            (d.batch, d.in_channels, *d.in_size),
            (d.out_channels, d.in_channels // d.groups, *d.kernel_size),
            **conv_workload.arguments(task),
            channels_last=layout == "channels_last",
            gradient=gradient,
            dtype=task.dtype,
        )
        for gradient in gradients
    ]
    return found[0] if len(set(found)) == 1 else ", ".join(found)
