"""Optimizer steps: one pass over a parameter, its gradient and its state, flat in memory order.

    param, grad, state   | a vector of 16 bytes a thread, of every array | ...     in place

Every scalar of the formula is computed once, in double, on the host, and enters the kernel in the
element's type. What is switched on or off (momentum, amsgrad, ...) is a constant of the kernel. An
array that a kernel does not read is given as `param`. Elements that fill no vector are the first
block's. A step is a function of registers: r[k] of the parameter, r[lanes + k] of the gradient,
then of the state in its order.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics import LANES, lanes_of, load_registers, store_registers
from convnet.kernels.cuda.launch import (
    SIMULATED,
    Kernel,
    flat,
    grid_for,
    kernel,
    launch,
    multiprocessors,
)
from convnet.kernels.cuda.reduction import programs_of_sum, sum_array
from convnet.kernels.cuda.scalar import inline, sqrt
from numba import cuda

THREADS = 8 if SIMULATED else 256
BLOCKS = 32  # a multiprocessor, at most


@inline
def _sgd(r, k, lanes, flags, numbers):
    """d = grad + decay param; buf = rate buf + keep d (first: d); param -= lr buf."""
    momentum, nesterov, first = flags
    lr, rate, keep, decay = numbers
    p, g, buf = k, lanes + k, 2 * lanes + k
    d = r[g] + decay * r[p]
    if momentum:
        b = d if first else rate * r[buf] + keep * d
        r[buf] = b
        d = d + rate * b if nesterov else b
    r[p] -= lr * d


@inline
def _adam(r, k, lanes, flags, numbers):
    """m, v: means of d and d^2; param -= shrink param + rate m / (sqrt(v) root + eps).

    amsgrad : the largest v in the place of v
    rest = 1 - beta; rate = lr / (1 - beta1^t); root = 1 / sqrt(1 - beta2^t).
    l2 : weight decay as a gradient; shrink : lr times the decoupled decay.
    """
    (amsgrad,) = flags
    beta1, rest1, beta2, rest2, rate, root, eps, l2, shrink = numbers
    p, g, m, v, largest = k, lanes + k, 2 * lanes + k, 3 * lanes + k, 4 * lanes + k
    d = r[g] + l2 * r[p]
    r[m] = beta1 * r[m] + rest1 * d
    most = beta2 * r[v] + rest2 * d * d
    r[v] = most
    if amsgrad:
        most = r[largest] if r[largest] > most else most
        r[largest] = most
    r[p] -= shrink * r[p] + rate * r[m] / (sqrt(most) * root + eps)


@inline
def _rmsprop(r, k, lanes, flags, numbers):
    """v, mean: means of d^2 and d; d / (sqrt(v - mean^2) + eps); rest = 1 - alpha."""
    momentum, centered = flags
    lr, alpha, rest, eps, decay, keep = numbers
    p, g, v, buf, mean = k, lanes + k, 2 * lanes + k, 3 * lanes + k, 4 * lanes + k
    d = r[g] + decay * r[p]
    variance = alpha * r[v] + rest * d * d
    r[v] = variance
    if centered:
        r[mean] = alpha * r[mean] + rest * d
        variance -= r[mean] * r[mean]
        if variance < type(variance)(0):
            variance = type(variance)(0)
    d = d / (sqrt(variance) + eps)
    if momentum:
        d = keep * r[buf] + d
        r[buf] = d
    r[p] -= lr * d


@inline
def _adagrad(r, k, lanes, flags, numbers):
    """total += d^2; param -= lr d / (sqrt(total) + eps)."""
    lr, eps, decay = numbers
    p, g, total = k, lanes + k, 2 * lanes + k
    d = r[g] + decay * r[p]
    r[total] += d * d
    r[p] -= lr * d / (sqrt(r[total]) + eps)


@functools.cache
def make_step(
    function: Callable[..., None],
    dtype: np.dtype,
    reads: tuple[bool, ...],
    writes: tuple[bool, ...],
    flags: tuple[bool, ...],
    numbers: int,
    lanes: int,
    threads: int,
) -> Kernel:
    """function(r, k, lanes, flags, numbers) on elements r[k], r[lanes + k], ... of the arrays."""
    count = len(reads)
    length = count * lanes

    def step(arrays, n, numbers):
        r = cuda.local.array(length, dtype)
        t = cuda.threadIdx.x
        i = (np.int64(cuda.blockIdx.x) * threads + t) * lanes
        whole = n // lanes * lanes
        while i < whole:
            for j in range(count):
                if reads[j]:
                    load_registers(arrays[j], i, r, j * lanes, lanes)
            for k in range(lanes):
                function(r, k, lanes, flags, numbers)
            for j in range(count):
                if writes[j]:
                    store_registers(arrays[j], i, r, j * lanes, lanes)
            i += cuda.gridDim.x * threads * lanes
        i = whole + t
        if cuda.blockIdx.x == 0 and i < n:
            for j in range(count):
                if reads[j]:
                    r[j * lanes] = arrays[j][i]
            function(r, 0, lanes, flags, numbers)
            for j in range(count):
                if writes[j]:
                    arrays[j][i] = r[j * lanes]

    step.__name__ = function.__name__.strip("_")
    signature = f"void(UniTuple({dtype}[::1], {count}), int64, UniTuple({dtype}, {numbers}))"
    return kernel(signature, max_threads=threads, min_blocks=2)(step)


def _run(
    function: Callable[..., None],
    flags: tuple[bool, ...],
    arrays: tuple[Any, ...],
    numbers: tuple[float, ...],
    reads: tuple[bool, ...] | None = None,
) -> None:
    """One step: param, grad and the state, of which what is None is neither read nor written."""
    param = arrays[0]
    there = tuple(a is not None for a in arrays)
    given = [param if a is None else a for a in arrays]
    lanes = lanes_of(param.dtype, *given)
    writes = there[0], False, *there[2:]
    key = param.dtype, reads or there, writes, flags, len(numbers), lanes, THREADS
    grid = grid_for(param.size, THREADS * lanes, BLOCKS * multiprocessors())
    launch(make_step(function, *key), grid, THREADS, tuple(map(flat, given)), param.size, numbers)


def sgd(
    param: Any,
    grad: Any,
    buf: Any | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
) -> None:
    flags = buf is not None, buf is not None and nesterov, buf is not None and first
    numbers = lr, momentum, 1 - dampening, weight_decay
    _run(_sgd, flags, (param, grad, buf), numbers, (True, True, flags[0] and not flags[2]))


def adam(
    param: Any,
    grad: Any,
    m: Any,
    v: Any,
    v_max: Any | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    numbers = (
        *(beta1, 1 - beta1, beta2, 1 - beta2),
        *(lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step), eps),
        *((0.0, lr * weight_decay) if decoupled else (weight_decay, 0.0)),
    )
    _run(_adam, (v_max is not None,), (param, grad, m, v, v_max), numbers)


def rmsprop(
    param: Any,
    grad: Any,
    v: Any,
    buf: Any | None,
    mean: Any | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    flags = buf is not None, mean is not None
    numbers = lr, alpha, 1 - alpha, eps, weight_decay, momentum
    _run(_rmsprop, flags, (param, grad, v, buf, mean), numbers)


def adagrad(param: Any, grad: Any, total: Any, lr: float, eps: float, weight_decay: float) -> None:
    _run(_adagrad, (False,), (param, grad, total), (lr, eps, weight_decay))


def sum_squares(x: Any, total: Any) -> None:
    sum_array(x, total, squares=True)


def programs() -> Iterator[Kernel]:
    yes, no = True, False
    for dtype, lanes in LANES.items():
        for function, there, read, flags, numbers in (
            (_sgd, (yes, yes, no), (yes, yes, no), (no, no, no), 4),
            (_sgd, (yes, yes, yes), (yes, yes, yes), (yes, no, no), 4),
            (_sgd, (yes, yes, yes), (yes, yes, no), (yes, yes, yes), 4),
            (_adam, (yes, yes, yes, yes, no), None, (no,), 9),
            (_adam, (yes, yes, yes, yes, yes), None, (yes,), 9),
            (_rmsprop, (yes, yes, yes, no, no), None, (no, no), 6),
            (_rmsprop, (yes, yes, yes, yes, yes), None, (yes, yes), 6),
            (_adagrad, (yes, yes, yes), None, (no,), 3),
        ):
            writes = yes, no, *there[2:]
            yield make_step(function, dtype, read or there, writes, flags, numbers, lanes, THREADS)
    yield from programs_of_sum(squares=True)
