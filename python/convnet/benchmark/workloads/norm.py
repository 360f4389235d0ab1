"""Batch normalisation in training; backward: dx, dweight and dbias together."""

from math import prod

import numpy as np

import convnet
from convnet import ops
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, near, normal

EPS = 1e-5


def inputs(task: Task) -> dict[str, np.ndarray]:
    """x, and dy for backward : (N, C, H, W)    weight, bias, running_mean, running_var : (C,)"""
    shape = tuple(task.params["shape"])
    arrays = {"x": normal(shape, task.dtype, 1)}
    if task.direction == "backward":
        arrays["dy"] = normal(shape, task.dtype, 2)
    channel = (shape[1],)
    return {
        **arrays,
        "weight": normal(channel, task.dtype, 3),
        "bias": normal(channel, task.dtype, 4),
        "running_mean": np.zeros(channel, task.dtype),
        "running_var": np.ones(channel, task.dtype),
    }


def cost(task: Task) -> tuple[float, float]:
    """x is read twice (statistics first), backward x and dy."""
    arrays = 3 if task.direction == "forward" else 5
    return 0.0, float(arrays * np.dtype(task.dtype).itemsize * prod(task.params["shape"]))


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    n, c = arrays["x"].shape[:2]
    whole = tuple((0, m) for m in arrays["x"].shape[2:])
    found = []
    for image, channel in ((0, 0), (n - 1, c - 1)):
        only = slice(channel, channel + 1)
        a = {
            name: (v[:, only] if v.ndim > 1 else v[only]).astype(np.float64)
            for name, v in arrays.items()
        }
        box = ((image, image + 1), (channel, channel + 1), *whole)
        terms = a["x"].size
        with convnet.use_backend("reference"):
            if task.direction == "forward":
                y = ops.batch_norm(
                    a["x"],
                    a["running_mean"],
                    a["running_var"],
                    a["weight"],
                    a["bias"],
                    training=True,
                    eps=EPS,
                )
                part = y[image : image + 1]
                found.append(Expectation(0, box, part, near(part, task.dtype, terms)))
                continue
            mean, var = ops.batch_norm_stats(a["x"])
            gradients = ops.batch_norm_backward(
                a["dy"], a["x"], mean, var, a["weight"], training=True, eps=EPS
            )
        parts = (gradients[0][image : image + 1], *gradients[1:])
        boxes = (box, (box[1],), (box[1],))
        # A sum of normal values is about the root of their number, its rounding errors are not.
        scales = (1.0, terms**0.5, terms**0.5)
        for output, (part, where, scale) in enumerate(zip(parts, boxes, scales, strict=True)):
            allowed = near(part, task.dtype, terms, scale)
            found.append(Expectation(output, where, part, allowed))
    return found
