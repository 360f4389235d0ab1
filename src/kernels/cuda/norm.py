"""Batch normalisation, forward and backward, over planes (NCHW) or pixels (channels-last).

    forward    sums over x (norm_sums.py) -> mean, var -> y
    backward   sums over dy and x         -> dweight, dbias -> dx

The second arrow is one pass over the elements, with the channel's factors in registers.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda import norm_sums
from convnet.kernels.cuda.intrinsics import LANES, WARP, load_registers, store_registers
from convnet.kernels.cuda.launch import (
    Kernel,
    flat,
    grid_for,
    kernel,
    launch,
    multiprocessors,
    scratch,
)
from convnet.kernels.cuda.norm_sums import F64, Shape, channel_totals, shape_of
from convnet.kernels.cuda.scalar import inline, sqrt
from numba import cuda

BLOCKS = 32  # a multiprocessor, at most


@inline
def _normalised(x, mean, scale, bias):
    return (x - mean) * scale + bias


@functools.cache
def make_plane_forward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    """y = (x - mean) weight / sqrt(var + eps) + bias, `across` threads a plane."""
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def normalise_planes(
        x, mean, var, weight, bias, y, planes, channels, plane, has_weight, has_bias, eps
    ):
        r = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        p = np.int64(cuda.blockIdx.x) * down + t // across
        while p < planes:
            c = np.uint32(p % channels)
            middle = mean[c]
            scale = (weight[c] if has_weight else one) / sqrt(var[c] + eps)
            rise = bias[c] if has_bias else zero
            i = (t % across) * lanes
            while i < plane:
                load_registers(x, p * plane + i, r, 0, lanes)
                for k in range(lanes):
                    r[k] = _normalised(r[k], middle, scale, rise)
                store_registers(y, p * plane + i, r, 0, lanes)
                i += across * lanes
            p += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    signature = f"void({arrays}, int64, int64, int64, int64, int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(normalise_planes)


@functools.cache
def make_pixel_forward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def normalise_pixels(
        x, mean, var, weight, bias, y, pixels, channels, has_weight, has_bias, eps
    ):
        r = cuda.local.array(lanes, dtype)
        middle = cuda.local.array(lanes, dtype)
        scale = cuda.local.array(lanes, dtype)
        rise = cuda.local.array(lanes, dtype)
        c = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        if c < channels:
            for k in range(lanes):
                middle[k] = mean[c + k]
                scale[k] = (weight[c + k] if has_weight else one) / sqrt(var[c + k] + eps)
                rise[k] = bias[c + k] if has_bias else zero
            pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
            while pixel < pixels:
                load_registers(x, pixel * channels + c, r, 0, lanes)
                for k in range(lanes):
                    r[k] = _normalised(r[k], middle[k], scale[k], rise[k])
                store_registers(y, pixel * channels + c, r, 0, lanes)
                pixel += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    signature = f"void({arrays}, int64, int64, int64, int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(normalise_pixels)


@inline
def _factors(weight, has_weight, var, total, product, count, eps, training):
    """(a, b, d) of dx = a dy + (x - mean) b + d, of a channel."""
    real = type(var)
    rstd = real(1) / sqrt(var + eps)
    a = weight * rstd if has_weight else rstd
    b = -a * rstd * rstd * real(product / count) if training else real(0)
    d = -a * real(total / count) if training else real(0)
    return a, b, d


@functools.cache
def make_plane_backward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    one = dtype.type(1)
    down = threads // across

    def gradient_planes(
        dy, x, mean, var, weight, dx, sums, planes, channels, plane, has_weight, training, count,
        eps,
    ):  # fmt: skip
        r = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        p = np.int64(cuda.blockIdx.x) * down + t // across
        while p < planes:
            c = np.uint32(p % channels)
            middle = mean[c]
            total = sums[c] if training else np.float64(0)
            product = sums[channels + c] if training else np.float64(0)
            w = weight[c] if has_weight else one
            a, b, d = _factors(w, has_weight, var[c], total, product, count, eps, training)
            i = (t % across) * lanes
            while i < plane:
                load_registers(dy, p * plane + i, g, 0, lanes)
                load_registers(x, p * plane + i, r, 0, lanes)
                for k in range(lanes):
                    r[k] = g[k] * a + ((r[k] - middle) * b + d)
                store_registers(dx, p * plane + i, r, 0, lanes)
                i += across * lanes
            p += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    numbers = f"int64, int64, int64, int64, int64, float64, {dtype}"
    return kernel(f"void({arrays}, float64[::1], {numbers})", max_threads=threads, min_blocks=2)(
        gradient_planes
    )


@functools.cache
def make_pixel_backward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    one = dtype.type(1)
    down = threads // across

    def gradient_pixels(
        dy, x, mean, var, weight, dx, sums, pixels, channels, has_weight, training, count, eps
    ):
        r = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        middle = cuda.local.array(lanes, dtype)
        a = cuda.local.array(lanes, dtype)
        b = cuda.local.array(lanes, dtype)
        d = cuda.local.array(lanes, dtype)
        c = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        if c < channels:
            for k in range(lanes):
                middle[k] = mean[c + k]
                total = sums[c + k] if training else np.float64(0)
                product = sums[channels + c + k] if training else np.float64(0)
                w = weight[c + k] if has_weight else one
                a[k], b[k], d[k] = _factors(
                    w, has_weight, var[c + k], total, product, count, eps, training
                )
            pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
            while pixel < pixels:
                load_registers(dy, pixel * channels + c, g, 0, lanes)
                load_registers(x, pixel * channels + c, r, 0, lanes)
                for k in range(lanes):
                    r[k] = g[k] * a[k] + ((r[k] - middle[k]) * b[k] + d[k])
                store_registers(dx, pixel * channels + c, r, 0, lanes)
                pixel += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    numbers = f"int64, int64, int64, int64, float64, {dtype}"
    return kernel(f"void({arrays}, float64[::1], {numbers})", max_threads=threads, min_blocks=2)(
        gradient_pixels
    )


def _over_elements(planes: Any, pixels: Any, s: Shape, dtype: np.dtype, arrays: Any, *rest: Any):
    """Launch the pass over elements of one of two factories. arrays: flat."""
    down = norm_sums.THREADS // s.across
    most = BLOCKS * multiprocessors()
    if s.plane == 1:
        run = pixels(dtype, s.lanes, s.across, norm_sums.THREADS)
        columns = grid_for(s.channels, s.across * s.lanes)
        grid = grid_for(s.images, down, max(1, most // columns)), columns
        launch(run, grid, (s.across, down), *arrays, s.images, s.channels, *rest)
    else:
        run = planes(dtype, s.lanes, s.across, norm_sums.THREADS)
        grid = grid_for(s.images * s.channels, down, most)
        sizes = s.images * s.channels, s.channels, s.plane
        launch(run, grid, norm_sums.THREADS, *arrays, *sizes, *rest)


def batch_norm_stats(x: Any, mean: Any, var: Any) -> None:
    s = shape_of(x)
    channel_totals(x, None, mean, var, mean, var, None, s, 0.0)


def batch_norm(
    x: Any, mean: Any, var: Any, weight: Any | None, bias: Any | None, y: Any, eps: float
) -> None:
    given = x, mean, var, mean if weight is None else weight, mean if bias is None else bias, y
    flags = int(weight is not None), int(bias is not None)
    s = shape_of(x, y)
    arrays = tuple(map(flat, given))
    _over_elements(make_plane_forward, make_pixel_forward, s, x.dtype, arrays, *flags, eps)


def batch_norm_training(
    x: Any, weight: Any | None, bias: Any | None, mean: Any, var: Any, y: Any, eps: float
) -> None:
    batch_norm_stats(x, mean, var)
    batch_norm(x, mean, var, weight, bias, y, eps)


def batch_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    var: Any,
    weight: Any | None,
    dx: Any | None,
    dweight: Any | None,
    dbias: Any | None,
    eps: float,
    training: bool,
) -> None:
    s = shape_of(x, dy) if dx is None else shape_of(x, dy, dx)
    sums = scratch(x, (2 * s.channels,), F64)
    if dweight is not None or dbias is not None or training:
        first = scratch(x, (s.channels,)) if dweight is None else dweight
        second = scratch(x, (s.channels,)) if dbias is None else dbias
        channel_totals(x, dy, mean, var, first, second, sums, s, eps)
    if dx is not None:
        given = dy, x, mean, var, mean if weight is None else weight, dx, sums
        rest = int(weight is not None), int(training), s.count, eps
        arrays = tuple(map(flat, given))
        _over_elements(make_plane_backward, make_pixel_backward, s, x.dtype, arrays, *rest)


def programs() -> Iterator[Kernel]:
    threads = norm_sums.THREADS
    for dtype, lanes in LANES.items():
        yield make_plane_forward(dtype, lanes, threads, threads)
        yield make_pixel_forward(dtype, lanes, WARP, threads)
        yield make_plane_backward(dtype, lanes, threads, threads)
        yield make_pixel_backward(dtype, lanes, WARP, threads)
