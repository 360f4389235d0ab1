"""Softmax, its logarithm and their gradients, over the middle axis of (outer, n, inner).

Rows (inner = 1) that fit in registers are read once: a warp has up to 1024 elements (float64:
512), a block of 256 threads up to 8192; 128 bytes a thread, 16 bytes at a time where n allows.

    row | t0 | t1 | ... | t31 | t0 | t1 | ...        maximum, sum of exponentials: by shuffles

Everything else is streamed, twice: a block has X columns of S threads each, which take every S-th
element. The maximum and the sum of exp(x - maximum) are found in one pass: a new maximum m' makes
the sum so far s exp(m - m'). (Milakov, Gimelshein, Online normalizer calculation, 2018.)

    inner > 1    X = 32 or 128 neighbouring columns: coalesced along inner
    inner = 1    X = 1, S = 256: coalesced along the row
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics import (
    LANES,
    WARP,
    barrier,
    lanes_of,
    load_registers,
    store_registers,
    warp_max,
    warp_sum,
)
from convnet.kernels.cuda.launch import (
    SIMULATED,
    Kernel,
    check_size,
    flat,
    grid_for,
    kernel,
    launch,
    multiprocessors,
)
from convnet.kernels.cuda.reduction import block_max, block_sum
from convnet.kernels.cuda.scalar import exp, inline, larger, log
from numba import cuda

THREADS = 64 if SIMULATED else 256
HELD = 128  # bytes of a row that a thread has in registers, at most
BLOCKS = 32  # a multiprocessor, at most
MANY = 1024  # columns a multiprocessor from which on one thread takes a whole column


# Rows in registers ----------------------------------------------------------------------------


@inline
def load_row(x, first, n, t, group, r, lanes, fill):
    """This thread's elements of the row of n that begins at x[first]; `fill` beyond its end."""
    for v in range(len(r) // lanes):
        i = (v * group + t) * lanes
        if i < n:
            load_registers(x, first + i, r, v * lanes, lanes)
        else:
            for k in range(lanes):
                r[v * lanes + k] = fill


@inline
def store_row(y, first, n, t, group, r, lanes):
    for v in range(len(r) // lanes):
        i = (v * group + t) * lanes
        if i < n:
            store_registers(y, first + i, r, v * lanes, lanes)


@inline
def row_sum(value, t, shared, threads, group):
    return warp_sum(value) if group == WARP else block_sum(value, t, shared, threads)


@inline
def row_max(value, t, shared, threads, group):
    return warp_max(value) if group == WARP else block_max(value, t, shared, threads)


@inline
def row_statistics(r, t, shared, threads, group, exponentials):
    """(maximum, sum of exp(x - maximum)) of a row; r becomes x - maximum, or its exponentials."""
    real = type(r[0])
    top = real(-math.inf)
    for k in range(len(r)):
        top = larger(top, r[k])
    top = row_max(top, t, shared, threads, group)
    total = real(0)
    for k in range(len(r)):
        r[k] -= top
        e = exp(r[k])
        total += e
        if exponentials:
            r[k] = e
    return top, row_sum(total, t, shared, threads, group)


@functools.cache
def make_rows(
    dtype: np.dtype, logarithm: bool, lanes: int, group: int, held: int, threads: int
) -> Kernel:
    """softmax or log_softmax of rows, `group` threads a row, `held` elements a thread."""
    least = dtype.type(-math.inf)
    one = dtype.type(1)
    rows = threads // group

    def softmax_rows(x, y, outer, n):
        r = cuda.local.array(held, dtype)
        shared = cuda.shared.array(WARP, dtype)
        t = cuda.threadIdx.x % group
        o = np.int64(cuda.blockIdx.x) * rows
        while o < outer:
            row = o + cuda.threadIdx.x // group
            length = n if row < outer else 0
            load_row(x, row * n, length, t, group, r, lanes, least)
            _, total = row_statistics(r, t, shared, threads, group, not logarithm)
            if logarithm:
                total = log(total)
                for k in range(held):
                    r[k] -= total
            else:
                inverse = one / total
                for k in range(held):
                    r[k] *= inverse
            store_row(y, row * n, length, t, group, r, lanes)
            o += cuda.gridDim.x * rows

    softmax_rows.__name__ = "log_softmax_rows" if logarithm else "softmax_rows"
    signature = f"void({dtype}[::1], {dtype}[::1], int64, int64)"
    return kernel(signature, max_threads=threads, min_blocks=2)(softmax_rows)


@functools.cache
def make_rows_backward(
    dtype: np.dtype, logarithm: bool, lanes: int, group: int, held: int, threads: int
) -> Kernel:
    zero = dtype.type(0)
    rows = threads // group

    def softmax_backward_rows(dy, y, dx, outer, n):
        r = cuda.local.array(held, dtype)
        s = cuda.local.array(held, dtype)
        shared = cuda.shared.array(WARP, dtype)
        t = cuda.threadIdx.x % group
        o = np.int64(cuda.blockIdx.x) * rows
        while o < outer:
            row = o + cuda.threadIdx.x // group
            length = n if row < outer else 0
            load_row(dy, row * n, length, t, group, r, lanes, zero)
            load_row(y, row * n, length, t, group, s, lanes, zero)
            total = zero
            for k in range(held):
                total += r[k] if logarithm else r[k] * s[k]
            total = row_sum(total, t, shared, threads, group)
            for k in range(held):
                r[k] = r[k] - exp(s[k]) * total if logarithm else s[k] * (r[k] - total)
            store_row(dx, row * n, length, t, group, r, lanes)
            o += cuda.gridDim.x * rows

    softmax_backward_rows.__name__ = f"{'log_' if logarithm else ''}softmax_backward_rows"
    signature = f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], int64, int64)"
    return kernel(signature, max_threads=threads, min_blocks=1)(softmax_backward_rows)


# Streamed -------------------------------------------------------------------------------------


@inline
def column_statistics(x, first, n, inner, ty, slices):
    """(maximum, sum of exp(x - maximum)) of every slices-th element of a column."""
    real = x.dtype.type
    top = real(-math.inf)
    total = real(0)
    step = slices * inner
    i = np.int64(ty)
    while i + 3 * slices < n:
        # Four at a time: their loads run together, and the sum is brought to their maximum once.
        at = first + i * inner
        v0, v1, v2, v3 = x[at], x[at + step], x[at + 2 * step], x[at + 3 * step]
        high = larger(larger(top, larger(v0, v1)), larger(v2, v3))
        origin = high if high > real(-math.inf) else real(0)
        if top < high:
            total *= exp(top - high)
        total += (exp(v0 - origin) + exp(v1 - origin)) + (exp(v2 - origin) + exp(v3 - origin))
        top = high
        i += 4 * slices
    while i < n:
        v = x[first + i * inner]
        if v == top:
            total += real(1)
        else:
            e = exp(-abs(v - top))
            total = total * e + real(1) if v > top else total + e
        top = larger(top, v)
        i += slices
    return top, total


@inline
def join_statistics(top, total, tops, totals, tx, ty, columns, slices):
    """The statistics of a block's columns, from those of their threads; in all threads."""
    real = type(top)
    if slices > 1:
        at = ty * columns + tx
        tops[at] = top
        totals[at] = total
        barrier()
        step = slices // 2
        while step > 0:
            if ty < step:
                a = tops[at]
                b = tops[at + step * columns]
                high = larger(a, b)
                first = real(1) if a == high else exp(a - high)
                second = real(1) if b == high else exp(b - high)
                totals[at] = totals[at] * first + totals[at + step * columns] * second
                tops[at] = high
            barrier()
            step //= 2
        top = tops[tx]
        total = totals[tx]
        barrier()
    if top == real(math.inf):
        total = real(math.nan)
    return top, total


@inline
def join_sum(total, totals, tx, ty, columns, slices):
    if slices > 1:
        at = ty * columns + tx
        totals[at] = total
        barrier()
        step = slices // 2
        while step > 0:
            if ty < step:
                totals[at] += totals[at + step * columns]
            barrier()
            step //= 2
        total = totals[tx]
        barrier()
    return total


@inline
def first_of(column, n, inner):
    """Where a column of n elements, `inner` apart, begins; there are fewer than 2^32 columns."""
    return column + np.uint32(column) // np.uint32(inner) * (n - 1) * inner


@functools.cache
def make_columns(dtype: np.dtype, logarithm: bool, columns: int, slices: int) -> Kernel:
    """softmax or log_softmax, `slices` threads a column."""
    size = columns * slices if slices > 1 else 1

    def softmax_columns(x, y, outer, n, inner):
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
            i = np.int64(ty)
            while i < length:
                d = (x[first + i * inner] - top) - log_total
                y[first + i * inner] = d if logarithm else exp(d)
                i += slices
            block += cuda.gridDim.x * columns

    softmax_columns.__name__ = "log_softmax_columns" if logarithm else "softmax_columns"
    signature = f"void({dtype}[::1], {dtype}[::1], int64, int64, int64)"
    return kernel(signature, max_threads=columns * slices, min_blocks=2)(softmax_columns)


@functools.cache
def make_columns_backward(dtype: np.dtype, logarithm: bool, columns: int, slices: int) -> Kernel:
    size = columns * slices if slices > 1 else 1
    zero = dtype.type(0)

    def softmax_backward_columns(dy, y, dx, outer, n, inner):
        totals = cuda.shared.array(size, dtype)
        tx = cuda.threadIdx.x
        ty = cuda.threadIdx.y
        block = np.int64(cuda.blockIdx.x) * columns
        while block < outer * inner:
            column = block + tx
            length = n if column < outer * inner else 0
            first = first_of(column, n, inner)
            total = zero
            i = np.int64(ty)
            while i < length:
                at = first + i * inner
                total += dy[at] if logarithm else dy[at] * y[at]
                i += slices
            total = join_sum(total, totals, tx, ty, columns, slices)
            i = np.int64(ty)
            while i < length:
                at = first + i * inner
                dx[at] = dy[at] - exp(y[at]) * total if logarithm else y[at] * (dy[at] - total)
                i += slices
            block += cuda.gridDim.x * columns

    softmax_backward_columns.__name__ = f"{'log_' if logarithm else ''}softmax_backward_columns"
    signature = f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], int64, int64, int64)"
    return kernel(signature, max_threads=columns * slices, min_blocks=2)(softmax_backward_columns)


# Which ----------------------------------------------------------------------------------------


def row_shape(dtype: np.dtype, n: int, lanes: int) -> tuple[int, int] | None:
    """(threads a row, elements a thread) for rows of n in registers; None where they do not fit."""
    most = HELD // dtype.itemsize
    for group, least in ((WARP, 4), (THREADS, most // 4)):
        held = least
        while held <= most:
            if n <= group * held:
                return group, held
            held *= 2
    return None


def column_shape(outer: int, n: int, inner: int) -> tuple[int, int]:
    """(columns a block, threads a column)."""
    if inner == 1:
        return 1, THREADS
    if outer * inner >= MANY * multiprocessors() or n < 16:
        return THREADS // 2, 1
    return WARP, THREADS // WARP


def run_slices(
    rows: Any, columns: Any, key: tuple[Any, ...], arrays: tuple[Any, ...], *numbers: Any
) -> None:
    """Launch the kernel of `rows` or of `columns` (factories) that suits the arrays.

    arrays : (outer, n, inner) the first, others too or smaller; key : what factories take first
    """
    x = arrays[0]
    outer, n, inner = x.shape
    check_size("slices of x", outer * inner, 2**32 - 1)
    most = BLOCKS * multiprocessors()
    if inner == 1:
        lanes = lanes_of(x.dtype, *(a for a in arrays if a.ndim == 3), multiple_of=n)
        fits = row_shape(x.dtype, n, lanes)
        if fits:
            run = rows(x.dtype, *key, lanes, *fits, THREADS)
            grid = grid_for(outer, THREADS // fits[0], most)
            launch(run, grid, THREADS, *map(flat, arrays), outer, n, *numbers)
            return
    width, slices = column_shape(outer, n, inner)
    run = columns(x.dtype, *key, width, slices)
    grid = grid_for(outer * inner, width, most)
    launch(run, grid, (width, slices), *map(flat, arrays), outer, n, inner, *numbers)


def softmax(x: Any, y: Any) -> None:
    run_slices(make_rows, make_columns, (False,), (x, y))


def log_softmax(x: Any, y: Any) -> None:
    run_slices(make_rows, make_columns, (True,), (x, y))


def softmax_backward(dy: Any, y: Any, dx: Any) -> None:
    run_slices(make_rows_backward, make_columns_backward, (False,), (dy, y, dx))


def log_softmax_backward(dy: Any, y: Any, dx: Any) -> None:
    run_slices(make_rows_backward, make_columns_backward, (True,), (dy, y, dx))


def shapes_of_rows(dtype: np.dtype) -> Iterator[tuple[int, int, int]]:
    """(lanes, threads a row, elements a thread): the widest of each kind."""
    held = HELD // dtype.itemsize
    yield LANES[dtype], WARP, held
    yield LANES[dtype], THREADS, held
    yield 1, WARP, held


SHAPES_OF_COLUMNS = ((THREADS // 2, 1), (WARP, THREADS // WARP), (1, THREADS))


def programs() -> Iterator[Kernel]:
    for dtype in LANES:
        for logarithm in (False, True):
            for shape in shapes_of_rows(dtype):
                yield make_rows(dtype, logarithm, *shape, THREADS)
                yield make_rows_backward(dtype, logarithm, *shape, THREADS)
            for shape in SHAPES_OF_COLUMNS:
                yield make_columns(dtype, logarithm, *shape)
                yield make_columns_backward(dtype, logarithm, *shape)
