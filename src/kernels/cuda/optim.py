"""Optimizer steps: one pass over a parameter, its gradient and its state, flat in memory order.

    param, grad, state   | a vector of 16 bytes a thread, of every array | ...     in place

Every scalar of the formula is computed once, in double, on the host, and enters the kernel in the
element's type. What is switched on or off (momentum, amsgrad, ...) is a constant of the kernel. An
array that a kernel does not read is given as `param`. Elements that fill no vector are the first
block's.
"""

import functools
import math
from collections.abc import Iterator
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


def _signature(dtype: np.dtype, arrays: int, numbers: int) -> str:
    every = [f"{dtype}[::1]"] * arrays + ["int64"] + [str(dtype)] * numbers
    return f"void({', '.join(every)})"


@functools.cache
def make_sgd(
    dtype: np.dtype, momentum: bool, nesterov: bool, first: bool, lanes: int, threads: int
) -> Kernel:
    """d = grad + decay param; buf = rate buf + keep d (first: d); param -= lr buf."""

    def sgd(param, grad, buf, n, lr, rate, keep, decay):
        p = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        b = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        i = (np.int64(cuda.blockIdx.x) * threads + t) * lanes
        whole = n // lanes * lanes
        while i < whole:
            load_registers(param, i, p, 0, lanes)
            load_registers(grad, i, g, 0, lanes)
            if momentum and not first:
                load_registers(buf, i, b, 0, lanes)
            for k in range(lanes):
                d = g[k] + decay * p[k]
                if momentum:
                    b[k] = d if first else rate * b[k] + keep * d
                    d = d + rate * b[k] if nesterov else b[k]
                p[k] -= lr * d
            store_registers(param, i, p, 0, lanes)
            if momentum:
                store_registers(buf, i, b, 0, lanes)
            i += cuda.gridDim.x * threads * lanes
        if cuda.blockIdx.x == 0 and whole + t < n:
            i = whole + t
            d = grad[i] + decay * param[i]
            if momentum:
                s = d if first else rate * buf[i] + keep * d
                buf[i] = s
                d = d + rate * s if nesterov else s
            param[i] -= lr * d

    return kernel(_signature(dtype, 3, 4), max_threads=threads, min_blocks=2)(sgd)


@inline
def _adam(p, g, m, v, most, amsgrad, beta1, rest1, beta2, rest2, rate, root, eps, l2, shrink):
    """(param, m, v, the largest v) after a step."""
    d = g + l2 * p
    m = beta1 * m + rest1 * d
    v = beta2 * v + rest2 * d * d
    most = most if amsgrad and most > v else v
    return p - (shrink * p + rate * m / (sqrt(most) * root + eps)), m, v, most


@functools.cache
def make_adam(dtype: np.dtype, amsgrad: bool, lanes: int, threads: int) -> Kernel:
    """rest = 1 - beta; rate = lr / (1 - beta1^t); root = 1 / sqrt(1 - beta2^t).

    l2 : weight decay as a gradient; shrink : lr times the decoupled decay.
    """

    def adam(
        param, grad, mean, square, largest, n, beta1, rest1, beta2, rest2, rate, root, eps, l2,
        shrink,
    ):  # fmt: skip
        p = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        m = cuda.local.array(lanes, dtype)
        v = cuda.local.array(lanes, dtype)
        w = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        i = (np.int64(cuda.blockIdx.x) * threads + t) * lanes
        whole = n // lanes * lanes
        while i < whole:
            load_registers(param, i, p, 0, lanes)
            load_registers(grad, i, g, 0, lanes)
            load_registers(mean, i, m, 0, lanes)
            load_registers(square, i, v, 0, lanes)
            if amsgrad:
                load_registers(largest, i, w, 0, lanes)
            for k in range(lanes):
                p[k], m[k], v[k], w[k] = _adam(
                    p[k], g[k], m[k], v[k], w[k], amsgrad, beta1, rest1, beta2, rest2, rate, root,
                    eps, l2, shrink,
                )  # fmt: skip
            store_registers(param, i, p, 0, lanes)
            store_registers(mean, i, m, 0, lanes)
            store_registers(square, i, v, 0, lanes)
            if amsgrad:
                store_registers(largest, i, w, 0, lanes)
            i += cuda.gridDim.x * threads * lanes
        if cuda.blockIdx.x == 0 and whole + t < n:
            i = whole + t
            p0, m0, v0, w0 = _adam(
                param[i], grad[i], mean[i], square[i], largest[i], amsgrad, beta1, rest1, beta2,
                rest2, rate, root, eps, l2, shrink,
            )  # fmt: skip
            param[i] = p0
            mean[i] = m0
            square[i] = v0
            if amsgrad:
                largest[i] = w0

    return kernel(_signature(dtype, 5, 9), max_threads=threads, min_blocks=2)(adam)


@inline
def _rmsprop(p, g, v, b, m, momentum, centered, lr, alpha, rest, eps, decay, keep):
    """(param, v, momentum, mean) after a step."""
    d = g + decay * p
    v = alpha * v + rest * d * d
    variance = v
    if centered:
        m = alpha * m + rest * d
        variance = v - m * m
        if variance < type(v)(0):
            variance = type(v)(0)
    d = d / (sqrt(variance) + eps)
    if momentum:
        d = keep * b + d
        b = d
    return p - lr * d, v, b, m


@functools.cache
def make_rmsprop(
    dtype: np.dtype, momentum: bool, centered: bool, lanes: int, threads: int
) -> Kernel:
    """rest = 1 - alpha."""

    def rmsprop(param, grad, square, buf, mean, n, lr, alpha, rest, eps, decay, keep):
        p = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        v = cuda.local.array(lanes, dtype)
        b = cuda.local.array(lanes, dtype)
        m = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        i = (np.int64(cuda.blockIdx.x) * threads + t) * lanes
        whole = n // lanes * lanes
        while i < whole:
            load_registers(param, i, p, 0, lanes)
            load_registers(grad, i, g, 0, lanes)
            load_registers(square, i, v, 0, lanes)
            if momentum:
                load_registers(buf, i, b, 0, lanes)
            if centered:
                load_registers(mean, i, m, 0, lanes)
            for k in range(lanes):
                p[k], v[k], b[k], m[k] = _rmsprop(
                    p[k], g[k], v[k], b[k], m[k], momentum, centered, lr, alpha, rest, eps, decay,
                    keep,
                )  # fmt: skip
            store_registers(param, i, p, 0, lanes)
            store_registers(square, i, v, 0, lanes)
            if momentum:
                store_registers(buf, i, b, 0, lanes)
            if centered:
                store_registers(mean, i, m, 0, lanes)
            i += cuda.gridDim.x * threads * lanes
        if cuda.blockIdx.x == 0 and whole + t < n:
            i = whole + t
            p0, v0, b0, m0 = _rmsprop(
                param[i], grad[i], square[i], buf[i], mean[i], momentum, centered, lr, alpha, rest,
                eps, decay, keep,
            )  # fmt: skip
            param[i] = p0
            square[i] = v0
            if momentum:
                buf[i] = b0
            if centered:
                mean[i] = m0

    return kernel(_signature(dtype, 5, 6), max_threads=threads, min_blocks=2)(rmsprop)


@inline
def _adagrad(p, g, s, lr, eps, decay):
    d = g + decay * p
    s = s + d * d
    return p - lr * d / (sqrt(s) + eps), s


@functools.cache
def make_adagrad(dtype: np.dtype, lanes: int, threads: int) -> Kernel:
    def adagrad(param, grad, total, n, lr, eps, decay):
        p = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        s = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        i = (np.int64(cuda.blockIdx.x) * threads + t) * lanes
        whole = n // lanes * lanes
        while i < whole:
            load_registers(param, i, p, 0, lanes)
            load_registers(grad, i, g, 0, lanes)
            load_registers(total, i, s, 0, lanes)
            for k in range(lanes):
                p[k], s[k] = _adagrad(p[k], g[k], s[k], lr, eps, decay)
            store_registers(param, i, p, 0, lanes)
            store_registers(total, i, s, 0, lanes)
            i += cuda.gridDim.x * threads * lanes
        if cuda.blockIdx.x == 0 and whole + t < n:
            i = whole + t
            p0, s0 = _adagrad(param[i], grad[i], total[i], lr, eps, decay)
            param[i] = p0
            total[i] = s0

    return kernel(_signature(dtype, 3, 3), max_threads=threads, min_blocks=2)(adagrad)


def _run(make: Any, flags: tuple[bool, ...], arrays: tuple[Any, ...], *numbers: float) -> None:
    """One step with the kernel of a factory; an array that is None is not read."""
    param = arrays[0]
    given = [param if a is None else a for a in arrays]
    lanes = lanes_of(param.dtype, *given)
    run = make(param.dtype, *flags, lanes, THREADS)
    grid = grid_for(param.size, THREADS * lanes, BLOCKS * multiprocessors())
    launch(run, grid, THREADS, *map(flat, given), param.size, *numbers)


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
    _run(make_sgd, flags, (param, grad, buf), lr, momentum, 1 - dampening, weight_decay)


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
    _run(
        make_adam,
        (v_max is not None,),
        (param, grad, m, v, v_max),
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        lr / (1 - beta1**step),
        1 / math.sqrt(1 - beta2**step),
        eps,
        0.0 if decoupled else weight_decay,
        lr * weight_decay if decoupled else 0.0,
    )


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
    _run(make_rmsprop, flags, (param, grad, v, buf, mean), *numbers)


def adagrad(param: Any, grad: Any, total: Any, lr: float, eps: float, weight_decay: float) -> None:
    _run(make_adagrad, (), (param, grad, total), lr, eps, weight_decay)


def sum_squares(x: Any, total: Any) -> None:
    sum_array(x, total, squares=True)


def programs() -> Iterator[Kernel]:
    for dtype, lanes in LANES.items():
        yield make_sgd(dtype, False, False, False, lanes, THREADS)
        yield make_sgd(dtype, True, False, False, lanes, THREADS)
        yield make_sgd(dtype, True, True, True, lanes, THREADS)
        for amsgrad in (False, True):
            yield make_adam(dtype, amsgrad, lanes, THREADS)
        yield make_rmsprop(dtype, False, False, lanes, THREADS)
        yield make_rmsprop(dtype, True, True, lanes, THREADS)
        yield make_adagrad(dtype, lanes, THREADS)
    yield from programs_of_sum(squares=True)
