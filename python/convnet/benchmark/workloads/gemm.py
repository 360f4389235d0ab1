"""Products of two matrices, y = a b, either of which may come transposed."""

import numpy as np

import convnet
from convnet import ops
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import Expectation, normal
from convnet.check.spec import sum_bound

_PART = 8  # rows and columns of a checked block


def inputs(task: Task) -> dict[str, np.ndarray]:
    """a : (M, K)    b : (K, N); the transpose of a C-contiguous array where the task says so."""
    m, n, k = (task.params[p] for p in "MNK")
    a = normal((k, m), task.dtype, 1).T if task.params["transA"] else normal((m, k), task.dtype, 1)
    b = normal((n, k), task.dtype, 2).T if task.params["transB"] else normal((k, n), task.dtype, 2)
    return {"a": a, "b": b}


def expectations(task: Task, arrays: dict[str, np.ndarray]) -> list[Expectation]:
    m, n, k = (task.params[p] for p in "MNK")
    limits = np.finfo(task.dtype)
    found = []
    for rows, columns in (
        ((0, min(_PART, m)), (max(0, n - _PART), n)),
        ((max(0, m - _PART), m), (0, min(_PART, n))),
    ):
        a = arrays["a"][slice(*rows)].astype(np.float64)
        b = arrays["b"][:, slice(*columns)].astype(np.float64)
        with convnet.use_backend("reference"):
            exact, magnitude = ops.matmul(a, b), ops.matmul(np.abs(a), np.abs(b))
        allowed = sum_bound(k, magnitude, float(limits.eps), float(limits.tiny))
        found.append(Expectation(0, (rows, columns), exact, allowed))
    return found


def cost(task: Task) -> tuple[float, float]:
    m, n, k = (task.params[p] for p in "MNK")
    return 2.0 * m * n * k, float(np.dtype(task.dtype).itemsize * (m * k + k * n + m * n))
