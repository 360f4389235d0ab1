"""What a task reads, what its exact result is, and what it costs: one module a family.

A workload module has three functions.

    inputs(task) -> {name: array}         the same in every process, C-contiguous
    expectations(task, inputs) -> [Expectation, ...]     parts of the result from the reference in
                                          float64, with the error allowed
    cost(task) -> (flops, bytes)          of the direct algorithm; every array moved once
"""

import importlib
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np

from convnet.benchmark.tasks import Task

_OPS = {
    "conv": ("conv",),
    "gemm": ("gemm",),
    "pool": ("max_pool", "avg_pool", "global_avg_pool"),
    "activation": ("relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh"),
    "norm": ("batch_norm",),
    "softmax": ("softmax", "log_softmax", "cross_entropy"),
    "optim": ("adam", "sgd"),
    "train": ("train",),
}
FAMILIES = {op: family for family, ops in _OPS.items() for op in ops}

Box = tuple[tuple[int, int], ...]  # a part of an array: (start, stop) along each axis


@dataclass
class Expectation:
    """Part `box` of output number `output`: its exact values, and how far they may be off."""

    output: int
    box: Box
    values: np.ndarray
    allowed: np.ndarray | float


def of(task: Task) -> ModuleType:
    """The module of a task's family."""
    return importlib.import_module(f"convnet.benchmark.workloads.{FAMILIES[task.op]}")


_PERIOD = 1_000_003  # values drawn; a prime, so that repeats do not fall on rows


@lru_cache(maxsize=16)
def _drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(_PERIOD)


def normal(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Standard normal values, drawn once and repeated: 100 MB in a tenth of a second."""
    return np.resize(_drawn(seed).astype(dtype), shape)


def corners(shape: tuple[int, ...]) -> list[Box]:
    """Of the first axes of an array: the first place and the last one."""
    return [tuple((0, 1) for _ in shape), tuple((n - 1, n) for n in shape)]


def near(values: np.ndarray, dtype: str, terms: float = 0, scale: float = 1.0) -> np.ndarray:
    """What an element-wise result, or one that rests on sums of `terms`, may be off by.

    scale : the size of what was added; a result may be near 0 by cancellation
    """
    slack = (16 + 2 * np.sqrt(terms)) * float(np.finfo(dtype).eps)
    return slack * np.maximum(np.abs(values), scale)


def cut(a: np.ndarray, box: Box) -> np.ndarray:
    return a[tuple(slice(start, stop) for start, stop in box)]
