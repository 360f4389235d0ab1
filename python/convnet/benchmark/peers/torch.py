"""PyTorch. Gradients come from the functions that its autograd calls, without autograd's graph;
training steps and the gradient of cross-entropy are as one writes them.
"""

import time
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from convnet.benchmark import workloads
from convnet.benchmark.peers import Arrays, Run
from convnet.benchmark.tasks import LAYOUTS as LAYOUTS
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import activation, conv, norm, pool, train
from convnet.benchmark.workloads import optim as optimizers

_aten = torch.ops.aten
_device = "cpu"
_MASK = [True, True, True]  # which gradients


def start(threads: int, precision: str, device: str) -> None:
    global _device
    _device = device
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "medium"


def elapsed(run: Run, calls: int) -> float:
    """Seconds of so many calls, between two events in the GPU's own time."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def version() -> str:
    return torch.__version__


def array(output: Any) -> Any:
    return output if isinstance(output, np.ndarray) else output.detach().cpu().numpy()


def _conv(task: Task, a: dict[str, torch.Tensor]) -> Run:
    x, w, arguments = a["x"], a["w"], conv.arguments(task)
    stride, padding, dilation, groups = (
        arguments[name] for name in ("stride", "padding", "dilation", "groups")
    )
    if task.direction == "forward":
        return lambda: (F.conv2d(x, w, None, stride, padding, dilation, groups),)
    dy, bias, none = a["dy"], [w.shape[0]], [0, 0]
    return lambda: _aten.convolution_backward(
        dy, x, w, bias, stride, padding, dilation, False, none, groups, _MASK
    )


def _gemm(task: Task, tensors: dict[str, torch.Tensor]) -> Run:
    a, b = tensors["a"], tensors["b"]
    return lambda: (torch.matmul(a, b),)


def _pool(task: Task, a: dict[str, torch.Tensor]) -> Run:
    x = a["x"]
    if task.op == "global_avg_pool":
        if task.direction == "forward":
            return lambda: (F.adaptive_avg_pool2d(x, 1),)
        dy, backward = a["dy"], _aten._adaptive_avg_pool2d_backward
        return lambda: (backward(dy, x),)
    size, stride, padding = pool.sizes(task).values()
    if task.op == "max_pool":
        if task.direction == "forward":
            return lambda: (F.max_pool2d(x, size, stride, padding),)
        indices = F.max_pool2d(x, size, stride, padding, return_indices=True)[1]
        dy, backward = a["dy"], _aten.max_pool2d_with_indices_backward
        sizes = [size] * 2, [stride] * 2, [padding] * 2, [1, 1]
        return lambda: (backward(dy, x, *sizes, False, indices),)
    if task.direction == "forward":
        return lambda: (F.avg_pool2d(x, size, stride, padding),)
    dy, sizes = a["dy"], ([size] * 2, [stride] * 2, [padding] * 2)
    return lambda: (_aten.avg_pool2d_backward(dy, x, *sizes, False, True, None),)


_FORWARD = {
    "relu": F.relu,
    "leaky_relu": partial(F.leaky_relu, negative_slope=activation.SLOPE),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}
_BACKWARD = {
    "relu": lambda dy, y: _aten.threshold_backward(dy, y, 0),
    "leaky_relu": lambda dy, x: _aten.leaky_relu_backward(dy, x, activation.SLOPE, False),
    "sigmoid": _aten.sigmoid_backward,
    "tanh": _aten.tanh_backward,
    "silu": _aten.silu_backward,
    "gelu": _aten.gelu_backward,
    "gelu_tanh": lambda dy, x: _aten.gelu_backward(dy, x, approximate="tanh"),
}


def _activation(task: Task, a: dict[str, torch.Tensor]) -> Run:
    x, function = a["x"], _FORWARD[task.op]
    if task.direction == "forward":
        return lambda: (function(x),)
    dy, source, gradient = a["dy"], x, _BACKWARD[task.op]
    if task.op in activation.FROM_Y:
        source = function(x)
    return lambda: (gradient(dy, source),)


def _norm(task: Task, a: dict[str, torch.Tensor]) -> Run:
    x, weight, bias = a["x"], a["weight"], a["bias"]
    mean, var = a["running_mean"].clone(), a["running_var"].clone()
    if task.direction == "forward":
        return lambda: (F.batch_norm(x, mean, var, weight, bias, True, 0.1, norm.EPS),)
    dy, backward = a["dy"], _aten.native_batch_norm_backward
    saved = torch.native_batch_norm(x, weight, bias, mean, var, True, 0.1, norm.EPS)[1:]
    return lambda: backward(dy, x, weight, mean, var, *saved, True, norm.EPS, _MASK)


def _softmax(task: Task, a: dict[str, torch.Tensor]) -> Run:
    x = a["x"]
    if task.op == "cross_entropy":
        target = a["target"]
        if task.direction == "forward":
            return lambda: (F.cross_entropy(x, target),)
        leaf = x.clone().requires_grad_()

        def run() -> tuple:
            with torch.enable_grad():
                loss = F.cross_entropy(leaf, target)
                return loss, *torch.autograd.grad(loss, leaf)

        return run
    function = torch.softmax if task.op == "softmax" else torch.log_softmax
    if task.direction == "forward":
        return lambda: (function(x, -1),)
    dy, y = a["dy"], function(x, -1)
    backward = getattr(_aten, f"_{task.op}_backward_data")
    return lambda: (backward(dy, y, -1, x.dtype),)


class _Step:
    """Its foreach or its fused optimizer: the one that is faster here, tried on arrays alike."""

    def __init__(self, task: Task, a: dict[str, torch.Tensor]) -> None:
        self._task, self._a = task, a
        seconds = {name: self._try(name) for name in ("foreach", "fused")}
        self.algorithm = min(seconds, key=lambda name: seconds[name])
        self._param, self._optimizer = self._made(self.algorithm)

    def _made(self, name: str) -> tuple[torch.Tensor, Any]:
        param = self._a["param"].clone().requires_grad_()
        param.grad = self._a["grad"]
        if self._task.op == "adam":
            return param, torch.optim.Adam([param], lr=optimizers.LR, **{name: True})
        momentum = optimizers.MOMENTUM
        return param, torch.optim.SGD([param], lr=optimizers.LR, momentum=momentum, **{name: True})

    def _try(self, name: str) -> float:
        _, optimizer = self._made(name)
        optimizer.step()
        synchronize()
        start = time.perf_counter()
        for _ in range(5):
            optimizer.step()
        synchronize()
        return time.perf_counter() - start

    def __call__(self) -> tuple:
        self._optimizer.step()
        return (self._param,)


def _train(task: Task, a: dict[str, torch.Tensor]) -> Run:
    def made(dropout: float) -> Any:
        net = train.network(torch.nn, task.params["network"], dropout)
        net = net.to(a["x"].device, a["x"].dtype)
        for p, w in zip(net.parameters(), train.parameters(a), strict=True):
            p.copy_(w)
        step = train.trainer(torch.nn, torch.optim, net, a["x"], a["target"])
        return torch.enable_grad()(step)

    return train.Steps(made)


_FAMILIES = {
    "conv": _conv,
    "gemm": _gemm,
    "pool": _pool,
    "activation": _activation,
    "norm": _norm,
    "softmax": _softmax,
    "optim": _Step,
    "train": _train,
}


def _tensor(a: np.ndarray, images: bool, layout: str) -> torch.Tensor:
    tensor = torch.from_numpy(a).clone().to(_device)  # in memory that torch aligned
    if images and layout == "channels_last" and a.ndim == 4:
        return tensor.to(memory_format=torch.channels_last)
    return tensor


def prepare(task: Task, inputs: Arrays, layout: str) -> Run:
    tensors = {name: _tensor(a, task.images, layout) for name, a in inputs.items()}
    return _FAMILIES[workloads.FAMILIES[task.op]](task, tensors)


def synchronize() -> None:
    if _device != "cpu":
        torch.cuda.synchronize()


def algorithm(task: Task, layout: str) -> str:
    return ""
