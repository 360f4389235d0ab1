"""2-D convolution without a bias; backward: dx, dw and db together.

Whole results of the reference would take minutes. So it computes blocks of a few pixels and
channels: at the first corner of the first image, at the last corner of the last one, and amid.
"""

from math import prod

import numpy as np

import convnet
from convnet import ops
from convnet.benchmark.shape_files import dims as dims_of
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, normal
from convnet.check.spec import sum_bound
from convnet.shapes import ConvDims

_PIXELS, _FILTERS = 7, 4  # of a checked block; a tile of Winograd's has 4 pixels
_WINOGRAD = {(3, 3), (5, 5)}


def dims(task: Task) -> ConvDims:
    return dims_of(task.params, task.params["N"])


def arguments(task: Task) -> dict:
    """The keyword arguments of ops.conv2d, and torch's by the same names."""
    p = task.params
    return {
        "stride": (p["stride_h"], p["stride_w"]),
        "padding": (p["pad_h"], p["pad_w"]),
        "dilation": (p["dilation_h"], p["dilation_w"]),
        "groups": p["groups"],
    }


def inputs(task: Task) -> dict[str, np.ndarray]:
    """x : (N, C, H, W)    w : (K, C/groups, R, S)    dy : (N, K, P, Q), backward only"""
    d = dims(task)
    arrays = {
        "x": normal((d.batch, d.in_channels, *d.in_size), task.dtype, 1),
        "w": normal((d.out_channels, d.in_channels // d.groups, *d.kernel_size), task.dtype, 2),
    }
    if task.direction == "backward":
        arrays["dy"] = normal((d.batch, d.out_channels, *d.out_size), task.dtype, 3)
    return arrays


def cost(task: Task) -> tuple[float, float]:
    d = dims(task)
    x = d.batch * d.in_channels * prod(d.in_size)
    y = d.batch * d.out_channels * prod(d.out_size)
    w = d.out_channels * (d.in_channels // d.groups) * prod(d.kernel_size)
    flops = 2.0 * y * (d.in_channels // d.groups) * prod(d.kernel_size)
    size = np.dtype(task.dtype).itemsize
    if task.direction == "forward":
        return flops, float(size * (x + w + y))
    return 2 * flops, float(size * (2 * x + 2 * w + y))


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    d = dims(task)
    with convnet.use_backend("reference"):
        if task.direction == "forward":
            return [_forward(task, d, arrays, part) for part in (0, 1, 2)]
        found = [_input_gradient(task, d, arrays, part) for part in (0, 1, 2)]
        for part in (0, 2):
            found += _weight_gradient(task, d, arrays, part)
        return found


def _span(n: int, length: int, part: int) -> tuple[int, int]:
    """`length` of n places: the first ones, those amid, the last ones."""
    length = min(n, length)
    start = (n - length) * part // 2
    return start, start + length


def _channels(groups: int, channels: int, part: int) -> tuple[int, tuple[int, int]]:
    """A group, and a run of its channels, counted within the group."""
    return _span(groups, 1, part)[0], _span(channels // groups, _FILTERS, part)


def _allowed(
    task: Task, d: ConvDims, terms: float, magnitude: np.ndarray, axes: tuple[int, ...]
) -> np.ndarray:
    """DESIGN's bound of a sum; Winograd's where any package may use it."""
    limits = np.finfo(task.dtype)
    front = 8.0
    if d.kernel_size in _WINOGRAD and task.dtype == "float32":
        front, magnitude = 16.0, magnitude.max(axis=axes, keepdims=True)
    return sum_bound(terms, magnitude, float(limits.eps), float(limits.tiny), front=front)


def _crop(a: np.ndarray, image: int, channels: slice, starts: list, sizes: list) -> np.ndarray:
    """Part of an image in float64, zeros where it reaches beyond: (1, channels, *sizes)."""
    out = np.zeros((1, len(range(*channels.indices(a.shape[1]))), *sizes))
    inner, outer = [], []
    for start, size, n in zip(starts, sizes, a.shape[2:], strict=True):
        low, high = max(start, 0), min(start + size, n)
        outer.append(slice(low, max(low, high)))
        inner.append(slice(low - start, max(low, high) - start))
    out[0][:, *inner] = a[image][channels][:, *outer]
    return out


def _forward(task: Task, d: ConvDims, arrays: dict, part: int) -> Expectation:
    image = _span(d.batch, 1, part)[0]
    group, run = _channels(d.groups, d.out_channels, part)
    per_group, filters = d.in_channels // d.groups, d.out_channels // d.groups
    first = group * filters
    spans = [_span(n, _PIXELS, part) for n in d.out_size]
    axes = range(2)
    starts = [spans[i][0] * d.stride[i] - d.pad_low[i] for i in axes]
    sizes = [
        (spans[i][1] - spans[i][0] - 1) * d.stride[i] + d.dilation[i] * (d.kernel_size[i] - 1) + 1
        for i in axes
    ]
    x = _crop(arrays["x"], image, slice(group * per_group, (group + 1) * per_group), starts, sizes)
    w = arrays["w"][first + run[0] : first + run[1]].astype(np.float64)
    y = ops.conv2d(x, w, stride=d.stride, dilation=d.dilation)
    magnitude = ops.conv2d(np.abs(x), np.abs(w), stride=d.stride, dilation=d.dilation)
    allowed = _allowed(task, d, prod(w.shape[1:]), magnitude, (2, 3))
    box = ((image, image + 1), (first + run[0], first + run[1]), *spans)
    return Expectation(0, box, y, allowed)


def _input_gradient(task: Task, d: ConvDims, arrays: dict, part: int) -> Expectation:
    image = _span(d.batch, 1, part)[0]
    group, run = _channels(d.groups, d.in_channels, part)
    per_group, filters = d.in_channels // d.groups, d.out_channels // d.groups
    spans = [_span(n, _PIXELS, part) for n in d.in_size]
    # The outputs that read the block, and the inputs that those read.
    firsts, counts, starts, sizes = [], [], [], []
    for i, (low, high) in enumerate(spans):
        reach = d.dilation[i] * (d.kernel_size[i] - 1)
        first = (low + d.pad_low[i] - reach) // d.stride[i]
        last = (high - 1 + d.pad_low[i]) // d.stride[i]
        firsts.append(first)
        counts.append(last - first + 1)
        starts.append(first * d.stride[i] - d.pad_low[i])
        sizes.append((last - first) * d.stride[i] + reach + 1)
    dy = _crop(arrays["dy"], image, slice(group * filters, (group + 1) * filters), firsts, counts)
    w = arrays["w"][group * filters : (group + 1) * filters, run[0] : run[1]].astype(np.float64)
    x = np.zeros((1, run[1] - run[0], *sizes))
    common = {"stride": d.stride, "dilation": d.dilation, "needs": (True, False, False)}
    inside = tuple(
        slice(low - start, high - start) for (low, high), start in zip(spans, starts, strict=True)
    )
    dx = _padded(ops.conv2d_backward(dy, x, w, **common)[0], spans, starts)[..., *inside]
    magnitude = ops.conv2d_backward(np.abs(dy), x, np.abs(w), **common)[0]
    magnitude = _padded(magnitude, spans, starts)[..., *inside]
    terms = filters * prod(d.kernel_size)
    first = group * per_group
    box = ((image, image + 1), (first + run[0], first + run[1]), *spans)
    return Expectation(0, box, dx, _allowed(task, d, terms, magnitude, (2, 3)))


def _padded(dx: np.ndarray, spans: list, starts: list) -> np.ndarray:
    """Zeros up to the block's end, for inputs that no window reaches."""
    more = [
        (0, max(0, high - start - n))
        for (_, high), start, n in zip(spans, starts, dx.shape[2:], strict=True)
    ]
    return np.pad(dx, ((0, 0), (0, 0), *more))


def _weight_gradient(task: Task, d: ConvDims, arrays: dict, part: int) -> list[Expectation]:
    group, k_run = _channels(d.groups, d.out_channels, part)
    per_group, filters = d.in_channels // d.groups, d.out_channels // d.groups
    k_run = (k_run[0], min(k_run[1], k_run[0] + 2))
    c_run = _span(per_group, 2, part)
    k0, c0 = group * filters, group * per_group
    dy = arrays["dy"][:, k0 + k_run[0] : k0 + k_run[1]].astype(np.float64)
    x = arrays["x"][:, c0 + c_run[0] : c0 + c_run[1]].astype(np.float64)
    w = np.zeros((dy.shape[1], x.shape[1], *d.kernel_size))
    common = {
        "stride": d.stride,
        "padding": tuple(task.params[p] for p in ("pad_h", "pad_w")),
        "dilation": d.dilation,
        "needs": (False, True, True),
    }
    _, dw, db = ops.conv2d_backward(dy, x, w, **common)
    _, magnitude, db_magnitude = ops.conv2d_backward(np.abs(dy), np.abs(x), w, **common)
    terms = d.batch * prod(d.out_size)
    limits = np.finfo(task.dtype)
    k_box = (k0 + k_run[0], k0 + k_run[1])
    box = (k_box, c_run, *((0, n) for n in d.kernel_size))
    db_allowed = sum_bound(terms, db_magnitude, float(limits.eps), float(limits.tiny))
    return [
        Expectation(1, box, dw, _allowed(task, d, terms, magnitude, (1, 2, 3))),
        Expectation(2, (k_box,), db, db_allowed),
    ]
