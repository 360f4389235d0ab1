"""Losses of each element and their gradients; the sum of an array.

Cross-entropy goes over slices as softmax does: maximum, exponentials, their sum, and then the
logarithm (forward) or the scaling (backward) while the row is in registers; no probabilities are
written. A class out of range gives NaN: nobody waits for the GPU to look at targets before. The
element-wise losses run over flat memory like the activations.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda import maps
from convnet.kernels.cuda.intrinsics import LANES, WARP
from convnet.kernels.cuda.launch import Kernel, flat, grid_for, kernel, launch, multiprocessors
from convnet.kernels.cuda.reduction import programs_of_sum, sum_array
from convnet.kernels.cuda.scalar import exp, inline, larger, log, log1p, logistic
from convnet.kernels.cuda.softmax import (
    BLOCKS,
    SHAPES_OF_COLUMNS,
    THREADS,
    column_statistics,
    join_statistics,
    load_row,
    row_max,
    row_sum,
    run_slices,
    shapes_of_rows,
    store_row,
)
from numba import cuda

# Cross-entropy --------------------------------------------------------------------------------


@functools.cache
def make_cross_entropy_rows(
    dtype: np.dtype, lanes: int, group: int, held: int, threads: int
) -> Kernel:
    """loss[o] = log(sum of exp(x[o])) - x[o, target[o]]."""
    least = dtype.type(-math.inf)
    zero = dtype.type(0)
    nan = dtype.type(math.nan)
    rows = threads // group

    def cross_entropy_rows(x, target, loss, outer, n, ignore_index):
        r = cuda.local.array(held, dtype)
        shared = cuda.shared.array(WARP, dtype)
        t = cuda.threadIdx.x % group
        o = np.int64(cuda.blockIdx.x) * rows
        while o < outer:
            row = o + cuda.threadIdx.x // group
            load_row(x, row * n, n if row < outer else 0, t, group, r, lanes, least)
            top = least
            for k in range(held):
                top = larger(top, r[k])
            top = row_max(top, t, shared, threads, group)
            total = zero
            for k in range(held):
                total += exp(r[k] - top)
            total = row_sum(total, t, shared, threads, group)
            if t == 0 and row < outer:
                at = target[row]
                if at == ignore_index:
                    loss[row] = zero
                elif at < 0 or at >= n:
                    loss[row] = nan
                else:
                    loss[row] = log(total) - (x[row * n + at] - top)
            o += cuda.gridDim.x * rows

    signature = f"void({dtype}[::1], int64[::1], {dtype}[::1], int64, int64, int64)"
    return kernel(signature, max_threads=threads, min_blocks=2)(cross_entropy_rows)


@functools.cache
def make_cross_entropy_columns(dtype: np.dtype, columns: int, slices: int) -> Kernel:
    size = columns * slices if slices > 1 else 1
    zero = dtype.type(0)
    nan = dtype.type(math.nan)

    def cross_entropy_columns(x, target, loss, outer, n, inner, ignore_index):
        tops = cuda.shared.array(size, dtype)
        totals = cuda.shared.array(size, dtype)
        tx = cuda.threadIdx.x
        ty = cuda.threadIdx.y
        block = np.int64(cuda.blockIdx.x) * columns
        while block < outer * inner:
            column = block + tx
            length = n if column < outer * inner else 0
            first = column + np.uint32(column) // np.uint32(inner) * (n - 1) * inner
            top, total = column_statistics(x, first, length, inner, ty, slices)
            top, total = join_statistics(top, total, tops, totals, tx, ty, columns, slices)
            if ty == 0 and length > 0:
                at = target[column]
                if at == ignore_index:
                    loss[column] = zero
                elif at < 0 or at >= n:
                    loss[column] = nan
                else:
                    loss[column] = log(total) - (x[first + at * inner] - top)
            block += cuda.gridDim.x * columns

    signature = f"void({dtype}[::1], int64[::1], {dtype}[::1], int64, int64, int64, int64)"
    return kernel(signature, max_threads=columns * slices, min_blocks=2)(cross_entropy_columns)


@functools.cache
def make_cross_entropy_backward_rows(
    dtype: np.dtype, lanes: int, group: int, held: int, threads: int
) -> Kernel:
    """dx[o, c] = scale[o scale_step] (softmax(x[o])[c] - (c == target[o])), 0 where ignored."""
    least = dtype.type(-math.inf)
    zero = dtype.type(0)
    nan = dtype.type(math.nan)
    one = dtype.type(1)
    rows = threads // group

    def cross_entropy_backward_rows(x, target, scale, dx, outer, n, ignore_index, scale_step):
        r = cuda.local.array(held, dtype)
        shared = cuda.shared.array(WARP, dtype)
        t = cuda.threadIdx.x % group
        o = np.int64(cuda.blockIdx.x) * rows
        while o < outer:
            row = o + cuda.threadIdx.x // group
            length = n if row < outer else 0
            load_row(x, row * n, length, t, group, r, lanes, least)
            top = least
            for k in range(held):
                top = larger(top, r[k])
            top = row_max(top, t, shared, threads, group)
            total = zero
            for k in range(held):
                r[k] = exp(r[k] - top)
                total += r[k]
            inverse = one / row_sum(total, t, shared, threads, group)
            at = target[row] if row < outer else ignore_index
            factor = scale[row * scale_step] if row < outer else zero
            if at < 0 or at >= n:
                factor = nan
            for v in range(held // lanes):
                for k in range(lanes):
                    hit = one if (v * group + t) * lanes + k == at else zero
                    p = (r[v * lanes + k] * inverse - hit) * factor
                    r[v * lanes + k] = zero if at == ignore_index else p
            store_row(dx, row * n, length, t, group, r, lanes)
            o += cuda.gridDim.x * rows

    arrays = f"{dtype}[::1], int64[::1], {dtype}[::1], {dtype}[::1]"
    signature = f"void({arrays}, int64, int64, int64, int64)"
    return kernel(signature, max_threads=threads, min_blocks=2)(cross_entropy_backward_rows)


@functools.cache
def make_cross_entropy_backward_columns(dtype: np.dtype, columns: int, slices: int) -> Kernel:
    size = columns * slices if slices > 1 else 1
    zero = dtype.type(0)
    nan = dtype.type(math.nan)
    one = dtype.type(1)

    def cross_entropy_backward_columns(
        x, target, scale, dx, outer, n, inner, ignore_index, scale_step
    ):
        tops = cuda.shared.array(size, dtype)
        totals = cuda.shared.array(size, dtype)
        tx = cuda.threadIdx.x
        ty = cuda.threadIdx.y
        block = np.int64(cuda.blockIdx.x) * columns
        while block < outer * inner:
            column = block + tx
            length = n if column < outer * inner else 0
            first = column + np.uint32(column) // np.uint32(inner) * (n - 1) * inner
            top, total = column_statistics(x, first, length, inner, ty, slices)
            top, total = join_statistics(top, total, tops, totals, tx, ty, columns, slices)
            log_total = log(total)
            at = target[column] if length > 0 else ignore_index
            factor = scale[column * scale_step] if length > 0 else zero
            if at < 0 or at >= n:
                factor = nan
            i = np.int64(ty)
            while i < length:
                hit = one if i == at else zero
                p = (exp((x[first + i * inner] - top) - log_total) - hit) * factor
                dx[first + i * inner] = zero if at == ignore_index else p
                i += slices
            block += cuda.gridDim.x * columns

    arrays = f"{dtype}[::1], int64[::1], {dtype}[::1], {dtype}[::1]"
    signature = f"void({arrays}, int64, int64, int64, int64, int64)"
    return kernel(signature, max_threads=columns * slices, min_blocks=2)(
        cross_entropy_backward_columns
    )


def cross_entropy(logits: Any, target: Any, loss: Any, ignore_index: int) -> None:
    arrays = logits, target, loss
    run_slices(make_cross_entropy_rows, make_cross_entropy_columns, (), arrays, ignore_index)


def cross_entropy_backward(
    logits: Any, target: Any, scale: Any, dlogits: Any, ignore_index: int
) -> None:
    run_slices(
        make_cross_entropy_backward_rows,
        make_cross_entropy_backward_columns,
        (),
        (logits, target, scale, dlogits),
        ignore_index,
        0 if scale.ndim == 0 else 1,
    )


# Negative log-likelihood ----------------------------------------------------------------------


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


# Element-wise losses --------------------------------------------------------------------------


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
    maps.binary(_bce_with_logits, x, target, loss)


def bce_with_logits_backward(x: Any, target: Any, scale: Any, dx: Any) -> None:
    maps.scaled(_bce_with_logits_backward, x, target, scale, dx)


def bce(x: Any, target: Any, loss: Any) -> None:
    maps.binary(_bce, x, target, loss)


def bce_backward(x: Any, target: Any, scale: Any, dx: Any) -> None:
    maps.scaled(_bce_backward, x, target, scale, dx)


def mse_loss(x: Any, target: Any, loss: Any) -> None:
    maps.binary(_mse_loss, x, target, loss)


def mse_loss_backward(x: Any, target: Any, scale: Any, dx: Any) -> None:
    maps.scaled(_mse_loss_backward, x, target, scale, dx)


def smooth_l1_loss(x: Any, target: Any, loss: Any, beta: float) -> None:
    maps.binary(_smooth_l1_loss, x, target, loss, beta)


def smooth_l1_loss_backward(x: Any, target: Any, scale: Any, dx: Any, beta: float) -> None:
    maps.scaled(_smooth_l1_loss_backward, x, target, scale, dx, beta)


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
    for dtype, lanes in LANES.items():
        for shape in shapes_of_rows(dtype):
            yield make_cross_entropy_rows(dtype, *shape, THREADS)
            yield make_cross_entropy_backward_rows(dtype, *shape, THREADS)
        for shape in SHAPES_OF_COLUMNS:
            yield make_cross_entropy_columns(dtype, *shape)
            yield make_cross_entropy_backward_columns(dtype, *shape)
        yield make_nll(dtype, THREADS)
        yield make_nll_backward(dtype, THREADS)
        for f in _PAIRS:
            yield maps.make_binary(f, dtype, lanes, maps.THREADS, maps.UNROLL)
        for f in _GRADIENTS:
            for one in (False, True):
                yield maps.make_scaled(f, dtype, lanes, maps.THREADS, maps.UNROLL, one)
    yield from programs_of_sum(squares=False)
