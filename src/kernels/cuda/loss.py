"""Losses of each element and their gradients, in one pass; the sum of an array.

nll_loss reads one element a slice. A class out of range gives NaN: nobody waits for the GPU to look
at targets before. The element-wise losses run over flat memory like the activations.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda import maps
from convnet.kernels.cuda.intrinsics import LANES
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
from convnet.kernels.cuda.scalar import exp, inline, log, log1p, logistic
from numba import cuda

THREADS = 8 if SIMULATED else 256
BLOCKS = 32  # a multiprocessor, at most


@functools.cache
def make_nll(dtype: np.dtype, threads: int) -> Kernel:
    """loss[o, j] = -x[o, target[o, j], j]."""
    zero = dtype.type(0)
    nan = dtype.type(math.nan)

    def nll_loss(x, target, loss, n, inner, count, ignore_index):
        i = np.int64(cuda.blockIdx.x) * threads + cuda.threadIdx.x
        while i < count:
            at = target[i]
            o = i // inner
            if at == ignore_index:
                loss[i] = zero
            elif at < 0 or at >= n:
                loss[i] = nan
            else:
                loss[i] = -x[(o * n + at) * inner + (i - o * inner)]
            i += cuda.gridDim.x * threads

    signature = f"void({dtype}[::1], int64[::1], {dtype}[::1], int64, int64, int64, int64)"
    return kernel(signature, max_threads=threads, min_blocks=2)(nll_loss)


@functools.cache
def make_nll_backward(dtype: np.dtype, threads: int) -> Kernel:
    """dx[o, c, j] = -scale[(o, j) scale_step] where c is the target, else 0."""
    zero = dtype.type(0)
    nan = dtype.type(math.nan)

    def nll_loss_backward(target, scale, dx, n, inner, count, ignore_index, scale_step):
        i = np.int64(cuda.blockIdx.x) * threads + cuda.threadIdx.x
        while i < count:
            row = i // inner
            o = row // n
            column = o * inner + (i - row * inner)
            at = target[column]
            if at == ignore_index:
                dx[i] = zero
            elif at < 0 or at >= n:
                dx[i] = nan
            else:
                dx[i] = -scale[column * scale_step] if at == row - o * n else zero
            i += cuda.gridDim.x * threads

    arrays = f"int64[::1], {dtype}[::1], {dtype}[::1]"
    signature = f"void({arrays}, int64, int64, int64, int64, int64)"
    return kernel(signature, max_threads=threads, min_blocks=2)(nll_loss_backward)


def _grid(count: int) -> int:
    return grid_for(count, THREADS, BLOCKS * multiprocessors())


def nll_loss(log_probability: Any, target: Any, loss: Any, ignore_index: int) -> None:
    _, n, inner = log_probability.shape
    run = make_nll(loss.dtype, THREADS)
    arrays = flat(log_probability), flat(target), flat(loss)
    launch(run, _grid(loss.size), THREADS, *arrays, n, inner, loss.size, ignore_index)


def nll_loss_backward(
    log_probability: Any, target: Any, scale: Any, dx: Any, ignore_index: int
) -> None:
    _, n, inner = dx.shape
    run = make_nll_backward(dx.dtype, THREADS)
    arrays = flat(target), flat(scale), flat(dx)
    step = 0 if scale.ndim == 0 else 1
    launch(run, _grid(dx.size), THREADS, *arrays, n, inner, dx.size, ignore_index, step)


@inline
def _bce_with_logits(x, t, p):
    real = type(x)
    other = t if x < real(0) else real(1) - t
    far = real(0) if other == real(0) else abs(x) * other
    return far + log1p(exp(-abs(x)))


@inline
def _bce_with_logits_backward(x, t, p):
    return logistic(x) - t


@inline
def _bce(x, t, p):
    real = type(x)
    least = real(-100)
    log_x = log(x)
    log_rest = log1p(-x)
    log_x = least if log_x < least else log_x
    log_rest = least if log_rest < least else log_rest
    return -(t * log_x + (real(1) - t) * log_rest)


@inline
def _bce_backward(x, t, p):
    real = type(x)
    variance = (real(1) - x) * x
    return (x - t) / (real(1e-12) if variance < real(1e-12) else variance)


@inline
def _mse_loss(x, t, p):
    return (x - t) * (x - t)


@inline
def _mse_loss_backward(x, t, p):
    return (x - t) + (x - t)


@inline
def _smooth_l1_loss(x, t, beta):
    half = type(x)(0.5)
    d = abs(x - t)
    return d * d * half / beta if d < beta else d - half * beta


@inline
def _smooth_l1_loss_backward(x, t, beta):
    """d / beta between -1 and 1; NaN stays."""
    real = type(x)
    d = x - t
    if abs(d) < beta:
        return d / beta
    if d > real(0):
        return real(1)
    return real(-1) if d < real(0) else d


def bce_with_logits(x: Any, target: Any, loss: Any) -> None:
    maps.apply(_bce_with_logits, (x, target), loss)


def bce_with_logits_backward(x: Any, target: Any, scale: Any, dx: Any) -> None:
    maps.apply(_bce_with_logits_backward, (x, target), dx, scale=scale)


def bce(x: Any, target: Any, loss: Any) -> None:
    maps.apply(_bce, (x, target), loss)


def bce_backward(x: Any, target: Any, scale: Any, dx: Any) -> None:
    maps.apply(_bce_backward, (x, target), dx, scale=scale)


def mse_loss(x: Any, target: Any, loss: Any) -> None:
    maps.apply(_mse_loss, (x, target), loss)


def mse_loss_backward(x: Any, target: Any, scale: Any, dx: Any) -> None:
    maps.apply(_mse_loss_backward, (x, target), dx, scale=scale)


def smooth_l1_loss(x: Any, target: Any, loss: Any, beta: float) -> None:
    maps.apply(_smooth_l1_loss, (x, target), loss, beta)


def smooth_l1_loss_backward(x: Any, target: Any, scale: Any, dx: Any, beta: float) -> None:
    maps.apply(_smooth_l1_loss_backward, (x, target), dx, beta, scale)


def sum_all(x: Any, total: Any) -> None:
    sum_array(x, total, squares=False)


_PAIRS = (_bce_with_logits, _bce, _mse_loss, _smooth_l1_loss)
_GRADIENTS = (
    _bce_with_logits_backward,
    _bce_backward,
    _mse_loss_backward,
    _smooth_l1_loss_backward,
)


def programs() -> Iterator[Kernel]:
    for dtype in LANES:
        yield make_nll(dtype, THREADS)
        yield make_nll_backward(dtype, THREADS)
        yield from maps.programs_of(_PAIRS, dtype, 2)
        yield from maps.programs_of(_GRADIENTS, dtype, 2, "each", "one")
    yield from programs_of_sum(squares=False)
