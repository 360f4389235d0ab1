"""Max and average pooling of 1 to 3 spatial dimensions, and their gradients by gathering.

    planes (NCHW)            a thread has one element of the result: neighbours along W
    pixels (channels-last)   a thread has 16 bytes of channels of one pixel

Forward, a thread goes over the taps of its window. Backward, it goes over the windows that hold its
input, and adds what they give: no two threads write to one place, and the sum has one order.
Windows of few taps are constants of the kernel, so that the loops are unrolled and divisions by the
stride become multiplications; all others are arguments. No load hangs on a comparison (what lies
outside reads the plane's first element, and drops it), so that all of a thread run together.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda import planes
from convnet.kernels.cuda.intrinsics import LANES, WARP, load_registers, store_registers
from convnet.kernels.cuda.launch import Kernel, kernel
from convnet.kernels.cuda.planes import (
    TOGETHER,
    check_planes,
    inside,
    lifted,
    place_of,
    places_of,
    run_pixels,
    run_planes,
)
from convnet.kernels.cuda.pool_backward import make_pixels_backward, make_planes_backward
from convnet.kernels.cuda.pool_windows import GEOMETRY, Window, divisor_of, named_pool
from convnet.shapes import PoolDims
from numba import cuda

TAPS = 27  # of windows that are constants, at most


@functools.cache
def make_planes(
    dtype: np.dtype,
    index: np.dtype | None,
    average: bool,
    window: Window | None,
    across: int,
    threads: int,
) -> Kernel:
    """y (and the places of the maxima, of type `index`), `across` threads a plane."""
    zero = dtype.type(0)
    least = dtype.type(-math.inf)
    indexed = index is not None
    place = np.int64 if indexed and index.itemsize == 8 else np.int32
    fixed = window is not None
    c0, c1, c2, t0, t1, t2, e0, e1, e2 = window or (1,) * 9
    down = threads // across
    together = TOGETHER * 4 // dtype.itemsize  # four of float64 would not fit the registers

    def pool_planes(x, y, indices, planes, n, q, k, s, p, d, end, counts_padding, divisor):
        k0, k1, k2 = (c0, c1, c2) if fixed else (k[0], k[1], k[2])
        s0, s1, s2 = (t0, t1, t2) if fixed else (s[0], s[1], s[2])
        d0, d1, d2 = (e0, e1, e2) if fixed else (d[0], d[1], d[2])
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        bests = cuda.local.array(together, dtype)
        wheres = cuda.local.array(together, place)
        t = cuda.threadIdx.x
        step = np.int64(cuda.gridDim.y) * across
        plane = np.int64(cuda.blockIdx.x) * down + t // across
        while plane < planes:
            i = np.int64(cuda.blockIdx.y) * across + t % across
            while i < outputs:
                for e in range(together):
                    o0, o1, o2 = places_of(min(i + e * step, outputs - 1), q)
                    best = zero if average else least
                    where = place(-1)
                    for a in range(k0):
                        z = o0 * s0 - p[0] + a * d0
                        for b in range(k1):
                            u = o1 * s1 - p[1] + b * d1
                            for c in range(k2):
                                w = o2 * s2 - p[2] + c * d2
                                within = inside(z, n[0]) & inside(u, n[1]) & inside(w, n[2])
                                at = place_of(z, u, w, n) if within else np.int64(0)
                                v = x[plane * size + at]
                                if average:
                                    best += v if within else zero
                                else:
                                    more = within & ((v > best) | (v != v) | (where < 0))
                                    best = v if more else best
                                    where = place(at) if more else where
                    if average:
                        cells = divisor_of(o0, o1, o2, k, s, p, end, n, counts_padding, divisor)
                        best = best / dtype.type(cells)
                    bests[e] = best
                    wheres[e] = where
                for e in range(together):
                    if i + e * step < outputs:
                        y[plane * outputs + i + e * step] = bests[e]
                        if indexed:
                            indices[plane * outputs + i + e * step] = wheres[e]
                i += together * step
            plane += cuda.gridDim.x * down

    signature = f"void({dtype}[::1], {dtype}[::1], {index or dtype}[::1], int64, {GEOMETRY})"
    name = ("_indices" if indexed else "") + "_planes"
    return kernel(signature, max_threads=threads, min_blocks=2)(
        named_pool(pool_planes, average, window, name)
    )


@functools.cache
def make_pixels(
    dtype: np.dtype,
    index: np.dtype | None,
    average: bool,
    window: Window | None,
    lanes: int,
    across: int,
    threads: int,
) -> Kernel:
    """The same for channels-last: `across` threads along the channels, `lanes` channels each."""
    zero = dtype.type(0)
    least = dtype.type(-math.inf)
    indexed = index is not None
    place = np.int64 if indexed and index.itemsize == 8 else np.int32
    fixed = window is not None
    c0, c1, c2, t0, t1, t2, e0, e1, e2 = window or (1,) * 9
    down = threads // across

    def pool_pixels(
        x, y, indices, images, channels, n, q, k, s, p, d, end, counts_padding, divisor
    ):
        k0, k1, k2 = (c0, c1, c2) if fixed else (k[0], k[1], k[2])
        s0, s1, s2 = (t0, t1, t2) if fixed else (s[0], s[1], s[2])
        d0, d1, d2 = (e0, e1, e2) if fixed else (d[0], d[1], d[2])
        best = cuda.local.array(lanes, dtype)
        r = cuda.local.array(lanes, dtype)
        where = cuda.local.array(lanes, place)
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        ch = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
        while pixel < images * outputs and ch < channels:
            image = pixel // outputs
            o0, o1, o2 = places_of(pixel - image * outputs, q)
            for m in range(lanes):
                best[m] = zero if average else least
                where[m] = -1
            for a in range(k0):
                z = o0 * s0 - p[0] + a * d0
                if inside(z, n[0]):
                    for b in range(k1):
                        u = o1 * s1 - p[1] + b * d1
                        if inside(u, n[1]):
                            for c in range(k2):
                                w = o2 * s2 - p[2] + c * d2
                                if inside(w, n[2]):
                                    at = place_of(z, u, w, n)
                                    first = (image * size + at) * channels + ch
                                    load_registers(x, first, r, 0, lanes)
                                    for m in range(lanes):
                                        v = r[m]
                                        if average:
                                            best[m] += v
                                        elif v > best[m] or v != v or where[m] < 0:
                                            best[m] = v
                                            where[m] = place(at)
            if average:
                cells = divisor_of(o0, o1, o2, k, s, p, end, n, counts_padding, divisor)
                for m in range(lanes):
                    best[m] = best[m] / dtype.type(cells)
            store_registers(y, pixel * channels + ch, best, 0, lanes)
            if indexed:
                for m in range(lanes):
                    indices[pixel * channels + ch + m] = where[m]
            pixel += cuda.gridDim.x * down

    arrays = f"{dtype}[::1], {dtype}[::1], {index or dtype}[::1]"
    signature = f"void({arrays}, int64, int64, {GEOMETRY})"
    name = ("_indices" if indexed else "") + "_pixels"
    return kernel(signature, max_threads=threads, min_blocks=2)(
        named_pool(pool_pixels, average, window, name)
    )


def _run(
    makes: Any, average: bool, index: Any, arrays: Any, sizes: tuple[int, ...], dims: PoolDims
) -> None:
    """sizes : the spatial extents of the result."""
    n, q = lifted(dims.in_size, 1), lifted(dims.out_size, 1)
    k, s, d = (lifted(a, 1) for a in (dims.kernel_size, dims.stride, dims.dilation))
    p = lifted(dims.pad_low, 0)
    end = tuple(a + b for a, b in zip(n, lifted(dims.pad_high, 0), strict=True))
    check_planes(n, q, most=(2**32 if index == np.int64 else 2**31) - 2**16)
    window = (*k, *s, *d) if math.prod(k) <= TAPS else None
    key = arrays[0].dtype, index, average, window
    rest = n, q, k, s, p, d, end, int(dims.count_include_pad), dims.divisor_override or 0
    places = math.prod(sizes)
    if all(a.flags.c_contiguous for a in arrays):
        run_planes(makes[0], key, arrays, dims.batch * dims.channels, places, *rest)
    else:
        pixels = dims.batch * places
        run_pixels(makes[1], key, arrays, pixels, dims.batch, dims.channels, *rest)


_FORWARD = make_planes, make_pixels
_BACKWARD = make_planes_backward, make_pixels_backward


def max_pool(x: Any, y: Any, indices: Any | None, dims: PoolDims) -> None:
    index = None if indices is None else indices.dtype
    arrays = x, y, y if indices is None else indices
    _run(_FORWARD, False, index, arrays, dims.out_size, dims)


def max_pool_backward(dy: Any, indices: Any, dx: Any, dims: PoolDims) -> bool:
    """Always True: to look whether all indices are places of a plane would wait for the GPU."""
    _run(_BACKWARD, False, indices.dtype, (dy, indices, dx), dims.in_size, dims)
    return True


def avg_pool(x: Any, y: Any, dims: PoolDims) -> None:
    _run(_FORWARD, True, None, (x, y, y), dims.out_size, dims)


def avg_pool_backward(dy: Any, dx: Any, dims: PoolDims) -> None:
    _run(_BACKWARD, True, None, (dy, dy, dx), dims.in_size, dims)


def programs() -> Iterator[Kernel]:
    windows = (1, 2, 2, 1, 2, 2, 1, 1, 1), (1, 3, 3, 1, 2, 2, 1, 1, 1), None
    int32, int64 = np.dtype(np.int32), np.dtype(np.int64)
    threads = planes.THREADS
    for dtype, lanes in LANES.items():
        for window in windows:
            for index, average in ((None, False), (int32, False), (None, True)):
                yield make_planes(dtype, index, average, window, threads, threads)
                yield make_pixels(dtype, index, average, window, lanes, WARP, threads)
            for index, average in ((int32, False), (None, True)):
                yield make_planes_backward(dtype, index, average, window, threads, threads)
                yield make_pixels_backward(dtype, index, average, window, lanes, WARP, threads)
        yield make_planes(dtype, int64, False, None, threads, threads)
        yield make_pixels(dtype, int64, False, None, 1, WARP, threads)
