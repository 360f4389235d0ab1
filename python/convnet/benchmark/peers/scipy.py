"""SciPy, where it has something of the kind: correlations plane by plane, filters, BLAS."""

from typing import Any

import numpy as np
import scipy
from scipy import linalg, ndimage, signal, special

from convnet.benchmark import workloads
from convnet.benchmark.peers import Arrays, Run, Unsupported, cpu_only
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import conv, pool

LAYOUTS = ("nchw",)
_MOST_MACS = 1e8  # a correlation beyond this would take the whole run's time


def start(threads: int, precision: str, device: str) -> None:
    cpu_only(device)


def version() -> str:
    return scipy.__version__


def array(output: Any) -> Any:
    return np.asarray(output)


def _conv(task: Task, a: Arrays) -> Run:
    d, x, w = conv.dims(task), a["x"], a["w"]
    if task.direction == "backward" or d.groups > 1 or d.dilation != (1, 1):
        raise Unsupported("no gradients, groups or dilation")
    if conv.cost(task)[0] / 2 > _MOST_MACS:
        raise Unsupported("too slow for so large a layer")
    pads = [(0, 0), *((low, max(high, 0)) for low, high in zip(d.pad_low, d.pad_high, strict=True))]

    def run() -> tuple:
        y = np.empty((d.batch, d.out_channels, *d.out_size), x.dtype)
        for n, image in enumerate(x):
            padded = np.pad(image, pads)
            for k, kernel in enumerate(w):
                plane = signal.correlate(padded, kernel, "valid")[0]
                y[n, k] = plane[:: d.stride[0], :: d.stride[1]]
        return (y,)

    return run


def _gemm(task: Task, arrays: Arrays) -> Run:
    a, b = arrays["a"], arrays["b"]
    function = linalg.get_blas_funcs("gemm", (a, b))
    # BLAS is column-major: what is C-contiguous goes in as its transpose, so y' = b' a'.
    left, trans_left = (b.T, 0) if b.flags.c_contiguous else (b, 1)
    right, trans_right = (a.T, 0) if a.flags.c_contiguous else (a, 1)
    return lambda: (function(1.0, left, right, trans_a=trans_left, trans_b=trans_right).T,)


def _pool(task: Task, a: Arrays) -> Run:
    if task.direction == "backward" or task.op == "global_avg_pool":
        raise Unsupported("no gradients of its filters, no global pooling")
    x, (size, stride, padding) = a["x"], pool.sizes(task).values()
    # A filter's output lies at its centre; output 0 of a pool at size // 2 - padding.
    start, window = size // 2 - padding, (1, 1, size, size)
    p, q = pool.out_shape(task)[2:]
    places = (
        ...,
        slice(start, start + p * stride, stride),
        slice(start, start + q * stride, stride),
    )
    if task.op == "max_pool":
        return lambda: (ndimage.maximum_filter(x, window, mode="constant", cval=-np.inf)[places],)
    return lambda: (ndimage.uniform_filter(x, window, mode="constant")[places],)


def _activation(task: Task, a: Arrays) -> Run:
    if task.op != "sigmoid" or task.direction == "backward":
        raise Unsupported(f"no {task.op} {task.direction}")
    x = a["x"]
    return lambda: (special.expit(x),)


def _softmax(task: Task, a: Arrays) -> Run:
    if task.op == "cross_entropy" or task.direction == "backward":
        raise Unsupported(f"no {task.op} {task.direction}")
    x, function = a["x"], getattr(special, task.op)
    return lambda: (function(x, axis=-1),)


_FAMILIES = {
    "conv": _conv,
    "gemm": _gemm,
    "pool": _pool,
    "activation": _activation,
    "softmax": _softmax,
}


def prepare(task: Task, inputs: Arrays, layout: str) -> Run:
    family = workloads.FAMILIES[task.op]
    if family not in _FAMILIES:
        raise Unsupported(f"no {task.op}")
    return _FAMILIES[family](task, inputs)


def algorithm(task: Task, layout: str) -> str:
    return ""
