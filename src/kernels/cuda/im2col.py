"""im2col and col2im as operations of their own; the convolutions never form this matrix.

    cols[n, (c R + r) S + s, p Q + q] = x[n, c, p stride + r dilation - pad, ...], 0 outside

A row of cols is a plane of P x Q elements: a thread has four of them, neighbours along Q. col2im
gathers: a thread has one element of x and goes over the taps that read it.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda import planes
from convnet.kernels.cuda.intrinsics import LANES
from convnet.kernels.cuda.launch import Kernel, kernel
from convnet.kernels.cuda.planes import TOGETHER, check_planes, inside, run_planes
from convnet.shapes import ConvDims
from numba import cuda

_PAIRS = ", ".join(["UniTuple(int64, 2)"] * 6)


@functools.cache
def make_im2col(dtype: np.dtype, across: int, threads: int) -> Kernel:
    """strides : of x, in elements, for N, C, H, W: either memory format."""
    zero = dtype.type(0)
    down = threads // across

    def im2col(x, cols, planes, channels, n, q, k, s, p, d, strides):
        values = cuda.local.array(TOGETHER, dtype)
        outputs = q[0] * q[1]
        t = cuda.threadIdx.x
        step = np.int64(cuda.gridDim.y) * across
        plane = np.int64(cuda.blockIdx.x) * down + t // across
        while plane < planes:
            pair = plane // k[1]
            column = plane - pair * k[1]
            whole = pair // k[0]
            row = pair - whole * k[0]
            image = whole // channels
            first = image * strides[0] + (whole - image * channels) * strides[1]
            i = np.int64(cuda.blockIdx.y) * across + t % across
            while i < outputs:
                for e in range(TOGETHER):
                    j = min(i + e * step, outputs - 1)
                    o = np.int64(np.uint32(j) // np.uint32(q[1]))
                    u = o * s[0] + row * d[0] - p[0]
                    w = (j - o * q[1]) * s[1] + column * d[1] - p[1]
                    within = inside(u, n[0]) & inside(w, n[1])
                    v = x[first + (u * strides[2] + w * strides[3] if within else np.int64(0))]
                    values[e] = v if within else zero
                for e in range(TOGETHER):
                    if i + e * step < outputs:
                        cols[plane * outputs + i + e * step] = values[e]
                i += TOGETHER * step
            plane += cuda.gridDim.x * down

    signature = f"void({dtype}[::1], {dtype}[::1], int64, int64, {_PAIRS}, UniTuple(int64, 4))"
    return kernel(signature, max_threads=threads, min_blocks=2)(im2col)


@functools.cache
def make_col2im(dtype: np.dtype, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    down = threads // across

    def col2im(cols, x, planes, n, q, k, s, p, d):
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
                for r in range(k[0]):
                    y = u + p[0] - r * d[0]
                    a = np.int64(np.uint32(y) // np.uint32(s[0]))
                    if y >= 0 and a < q[0] and a * s[0] == y:
                        for c in range(k[1]):
                            v = w + p[1] - c * d[1]
                            b = np.int64(np.uint32(v) // np.uint32(s[1]))
                            if v >= 0 and b < q[1] and b * s[1] == v:
                                row = (plane * k[0] + r) * k[1] + c
                                total += cols[row * outputs + a * q[1] + b]
                x[plane * size + i] = total
                i += cuda.gridDim.y * across
            plane += cuda.gridDim.x * down

    signature = f"void({dtype}[::1], {dtype}[::1], int64, {_PAIRS})"
    return kernel(signature, max_threads=threads, min_blocks=2)(col2im)


def _geometry(dims: ConvDims) -> tuple[tuple[int, ...], ...]:
    check_planes(dims.in_size, dims.out_size)
    n, q, k = dims.in_size, dims.out_size, dims.kernel_size
    return n, q, k, dims.stride, dims.pad_low, dims.dilation


def im2col(x: Any, cols: Any, dims: ConvDims) -> None:
    planes = dims.batch * dims.in_channels * math.prod(dims.kernel_size)
    strides = tuple(s // x.dtype.itemsize for s in x.strides)
    rest = dims.in_channels, *_geometry(dims), strides
    run_planes(make_im2col, (x.dtype,), (x, cols), planes, math.prod(dims.out_size), *rest)


def col2im(cols: Any, x: Any, dims: ConvDims) -> None:
    planes, rest = dims.batch * dims.in_channels, _geometry(dims)
    run_planes(make_col2im, (x.dtype,), (cols, x), planes, math.prod(dims.in_size), *rest)


def programs() -> Iterator[Kernel]:
    for dtype in LANES:
        yield make_im2col(dtype, planes.THREADS, planes.THREADS)
        yield make_col2im(dtype, planes.THREADS, planes.THREADS)
