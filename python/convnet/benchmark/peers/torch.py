"""PyTorch on the CPU. Backward passes call its convolution's backward, without autograd's graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from convnet.benchmark.peers import Unsupported
from convnet.benchmark.tasks import LAYOUTS as LAYOUTS
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import conv as conv_workload


def start(threads: int, precision: str) -> None:
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)


def version() -> str:
    return torch.__version__


def array(output: Any) -> Any:
    return None if output is None else output.numpy()


def _conv(task: Task, tensors: dict[str, torch.Tensor]) -> Callable[[], tuple]:
    x, w, a = tensors["x"], tensors["w"], conv_workload.arguments(task)
    stride, padding, dilation, groups = (
        a[name] for name in ("stride", "padding", "dilation", "groups")
    )
    if task.direction == "forward":
        return lambda: (F.conv2d(x, w, None, stride, padding, dilation, groups),)
    dy, backward = tensors["dy"], torch.ops.aten.convolution_backward
    bias, none, needs = [w.shape[0]], [0, 0], [True, True, True]
    return lambda: backward(dy, x, w, bias, stride, padding, dilation, False, none, groups, needs)


def _gemm(task: Task, tensors: dict[str, torch.Tensor]) -> Callable[[], tuple]:
    a, b = tensors["a"], tensors["b"]
    return lambda: (torch.matmul(a, b),)


_OPS = {"conv": _conv, "gemm": _gemm}


def _tensor(a: np.ndarray, images: bool, layout: str) -> torch.Tensor:
    tensor = torch.from_numpy(a)
    if images and layout == "channels_last" and a.ndim == 4:
        return tensor.to(memory_format=torch.channels_last)
    return tensor


def prepare(task: Task, inputs: dict[str, np.ndarray], layout: str) -> Callable[[], tuple]:
    if task.op not in _OPS:
        raise Unsupported(f"no {task.op}")
    return _OPS[task.op](
        task, {name: _tensor(a, task.images, layout) for name, a in inputs.items()}
    )


def algorithm(task: Task, layout: str) -> str:
    return ""
