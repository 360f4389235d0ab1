"""Cross-entropy of scores and classes, and its gradient.

It goes over slices as softmax does: maximum, exponentials, their sum, and then the logarithm
(forward) or the scaling (backward) while the row is in registers; no probabilities are written. A
class out of range gives NaN: nobody waits for the GPU to look at targets before.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics import LANES, WARP
from convnet.kernels.cuda.launch import Kernel, kernel
from convnet.kernels.cuda.scalar import exp, log
from convnet.kernels.cuda.softmax import (
    SHAPES_OF_COLUMNS,
    THREADS,
    column_statistics,
    first_of,
    join_statistics,
    load_row,
    row_statistics,
    run_slices,
    shapes_of_rows,
    store_row,
)
from numba import cuda


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
            top, total = row_statistics(r, t, shared, threads, group, False)
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
            first = first_of(column, n, inner)
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
            _, total = row_statistics(r, t, shared, threads, group, True)
            inverse = one / total
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
            first = first_of(column, n, inner)
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


def programs() -> Iterator[Kernel]:
    for dtype in LANES:
        for shape in shapes_of_rows(dtype):
            yield make_cross_entropy_rows(dtype, *shape, THREADS)
            yield make_cross_entropy_backward_rows(dtype, *shape, THREADS)
        for shape in SHAPES_OF_COLUMNS:
            yield make_cross_entropy_columns(dtype, *shape)
            yield make_cross_entropy_backward_columns(dtype, *shape)
