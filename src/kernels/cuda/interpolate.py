"""Resampling of images: output row p mixes rows first[p] and second[p] of the input, columns too.

    y[p, q] = sum of (1 - a | a) (1 - b | b) x[first | second, first | second]     a = weights[p]

`places` are first and then second, as ops has chosen them; both never decrease. So the outputs that
read one input are neighbours: backward, a thread finds the first by bisection and adds up.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda import planes
from convnet.kernels.cuda.intrinsics import LANES, WARP, load_registers, store_registers
from convnet.kernels.cuda.launch import Kernel, kernel
from convnet.kernels.cuda.planes import check_planes, run_pixels, run_planes
from convnet.kernels.cuda.scalar import inline
from numba import cuda

_SIZES = "UniTuple(int64, 2), UniTuple(int64, 2), int64, int64"


def _signature(dtype: np.dtype, numbers: str) -> str:
    arrays = f"{dtype}[::1], {dtype}[::1], int64[::1], int64[::1], {dtype}[::1], {dtype}[::1]"
    return f"void({arrays}, {numbers}, {_SIZES})"


@inline
def share(places, weights, weighted, p, count, i, zero, one):
    """How much of input i there is in output p."""
    w = weights[p] if weighted else zero
    total = zero
    if places[p] == i:
        total += one - w
    if places[count + p] == i:
        total += w
    return total


@inline
def first_reader(places, count, i):
    """The first output whose second place is not before i."""
    low = np.int64(0)
    high = count
    while low < high:
        middle = (low + high) >> 1
        if places[count + middle] < i:
            low = middle + 1
        else:
            high = middle
    return low


@functools.cache
def make_planes(dtype: np.dtype, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def interpolate_planes(
        x, y, rows, columns, row_weights, column_weights, planes, n, q, by_rows, by_columns
    ):
        size = n[0] * n[1]
        outputs = q[0] * q[1]
        t = cuda.threadIdx.x
        plane = np.int64(cuda.blockIdx.x) * down + t // across
        while plane < planes:
            i = np.int64(cuda.blockIdx.y) * across + t % across
            while i < outputs:
                p = np.int64(np.uint32(i) // np.uint32(q[1]))
                c = i - p * q[1]
                first = plane * size + rows[p] * n[1]
                b = column_weights[c] if by_columns else zero
                v = x[first + columns[c]]
                if by_columns:
                    v = (one - b) * v + b * x[first + columns[q[1] + c]]
                if by_rows:
                    a = row_weights[p]
                    second = plane * size + rows[q[0] + p] * n[1]
                    w = x[second + columns[c]]
                    if by_columns:
                        w = (one - b) * w + b * x[second + columns[q[1] + c]]
                    v = (one - a) * v + a * w
                y[plane * outputs + i] = v
                i += cuda.gridDim.y * across
            plane += cuda.gridDim.x * down

    return kernel(_signature(dtype, "int64"), max_threads=threads, min_blocks=2)(interpolate_planes)


@functools.cache
def make_pixels(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def interpolate_pixels(
        x, y, rows, columns, row_weights, column_weights, images, channels, n, q, by_rows,
        by_columns,
    ):  # fmt: skip
        r = cuda.local.array(lanes, dtype)
        total = cuda.local.array(lanes, dtype)
        outputs = q[0] * q[1]
        ch = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
        while pixel < images * outputs and ch < channels:
            image = pixel // outputs
            i = pixel - image * outputs
            p = np.int64(np.uint32(i) // np.uint32(q[1]))
            c = i - p * q[1]
            for k in range(lanes):
                total[k] = zero
            for e in range(2 if by_rows else 1):
                a = row_weights[p] if by_rows else zero
                a = a if e else one - a
                for f in range(2 if by_columns else 1):
                    b = column_weights[c] if by_columns else zero
                    b = b if f else one - b
                    at = (image * n[0] + rows[e * q[0] + p]) * n[1] + columns[f * q[1] + c]
                    load_registers(x, at * channels + ch, r, 0, lanes)
                    for k in range(lanes):
                        total[k] += (a * b) * r[k]
            store_registers(y, pixel * channels + ch, total, 0, lanes)
            pixel += cuda.gridDim.x * down

    return kernel(_signature(dtype, "int64, int64"), max_threads=threads, min_blocks=2)(
        interpolate_pixels
    )


@functools.cache
def make_planes_backward(dtype: np.dtype, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def interpolate_backward_planes(
        dy, dx, rows, columns, row_weights, column_weights, planes, n, q, by_rows, by_columns
    ):
        size = n[0] * n[1]
        outputs = q[0] * q[1]
        t = cuda.threadIdx.x
        plane = np.int64(cuda.blockIdx.x) * down + t // across
        while plane < planes:
            i = np.int64(cuda.blockIdx.y) * across + t % across
            while i < size:
                u = np.int64(np.uint32(i) // np.uint32(n[1]))
                w = i - u * n[1]
                total = zero
                begin = first_reader(columns, q[1], w)
                p = first_reader(rows, q[0], u)
                while p < q[0] and rows[p] <= u:
                    a = share(rows, row_weights, by_rows, p, q[0], u, zero, one)
                    c = begin
                    while c < q[1] and columns[c] <= w:
                        b = share(columns, column_weights, by_columns, c, q[1], w, zero, one)
                        total += (a * b) * dy[plane * outputs + p * q[1] + c]
                        c += 1
                    p += 1
                dx[plane * size + i] = total
                i += cuda.gridDim.y * across
            plane += cuda.gridDim.x * down

    named = interpolate_backward_planes
    return kernel(_signature(dtype, "int64"), max_threads=threads, min_blocks=2)(named)


@functools.cache
def make_pixels_backward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def interpolate_backward_pixels(
        dy, dx, rows, columns, row_weights, column_weights, images, channels, n, q, by_rows,
        by_columns,
    ):  # fmt: skip
        r = cuda.local.array(lanes, dtype)
        total = cuda.local.array(lanes, dtype)
        size = n[0] * n[1]
        ch = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
        while pixel < images * size and ch < channels:
            image = pixel // size
            i = pixel - image * size
            u = np.int64(np.uint32(i) // np.uint32(n[1]))
            w = i - u * n[1]
            for k in range(lanes):
                total[k] = zero
            begin = first_reader(columns, q[1], w)
            p = first_reader(rows, q[0], u)
            while p < q[0] and rows[p] <= u:
                a = share(rows, row_weights, by_rows, p, q[0], u, zero, one)
                c = begin
                while c < q[1] and columns[c] <= w:
                    b = share(columns, column_weights, by_columns, c, q[1], w, zero, one)
                    at = (image * q[0] + p) * q[1] + c
                    load_registers(dy, at * channels + ch, r, 0, lanes)
                    for k in range(lanes):
                        total[k] += (a * b) * r[k]
                    c += 1
                p += 1
            store_registers(dx, pixel * channels + ch, total, 0, lanes)
            pixel += cuda.gridDim.x * down

    named = interpolate_backward_pixels
    return kernel(_signature(dtype, "int64, int64"), max_threads=threads, min_blocks=2)(named)


def _run(makes: Any, a: Any, out: Any, n: Any, q: Any, taps: tuple[Any, ...]) -> None:
    """a : read; out : written, of (N, C, H, W) or (N, C, P, Q)."""
    check_planes(n, q)
    rows, columns, row_weights, column_weights = taps
    flags = int(row_weights is not None), int(column_weights is not None)
    weights = (a if w is None else w for w in (row_weights, column_weights))
    images, channels = a.shape[:2]
    places = math.prod(out.shape[2:])
    arrays = a, out, rows, columns, *weights
    if a.flags.c_contiguous and out.flags.c_contiguous:
        run_planes(makes[0], (a.dtype,), arrays, images * channels, places, n, q, *flags)
    else:
        pixels = images * places
        run_pixels(makes[1], (a.dtype,), arrays, pixels, images, channels, n, q, *flags)


def interpolate(
    x: Any, y: Any, rows: Any, columns: Any, row_weights: Any | None, column_weights: Any | None
) -> None:
    taps = rows, columns, row_weights, column_weights
    _run((make_planes, make_pixels), x, y, x.shape[2:], y.shape[2:], taps)


def interpolate_backward(
    dy: Any, dx: Any, rows: Any, columns: Any, row_weights: Any | None, column_weights: Any | None
) -> None:
    taps = rows, columns, row_weights, column_weights
    makes = make_planes_backward, make_pixels_backward
    _run(makes, dy, dx, dx.shape[2:], dy.shape[2:], taps)


def programs() -> Iterator[Kernel]:
    threads = planes.THREADS
    for dtype, lanes in LANES.items():
        yield make_planes(dtype, threads, threads)
        yield make_pixels(dtype, lanes, WARP, threads)
        yield make_planes_backward(dtype, threads, threads)
        yield make_pixels_backward(dtype, lanes, WARP, threads)
