"""Gradients of pools by gathering: a thread goes over the windows that hold its input.

No two threads write to one place, and the sum has one order.
"""

import functools

import numpy as np
from convnet.kernels.cuda.intrinsics import load_registers, store_registers
from convnet.kernels.cuda.launch import Kernel, kernel
from convnet.kernels.cuda.planes import TOGETHER, place_of, places_of
from convnet.kernels.cuda.pool_windows import (
    GEOMETRY,
    Window,
    divisor_of,
    holders,
    named_pool,
    windows_of,
)
from numba import cuda


@functools.cache
def make_planes_backward(
    dtype: np.dtype,
    index: np.dtype | None,
    average: bool,
    window: Window | None,
    across: int,
    threads: int,
) -> Kernel:
    """dx: of every input, the sum over the windows that hold it (and have it as their maximum)."""
    zero = dtype.type(0)
    fixed = window is not None
    c0, c1, c2, t0, t1, t2, e0, e1, e2 = window or (1,) * 9
    down = threads // across

    def gather_planes(dy, indices, dx, planes, n, q, k, s, p, d, end, counts_padding, divisor):
        k0, k1, k2 = (c0, c1, c2) if fixed else (k[0], k[1], k[2])
        s0, s1, s2 = (t0, t1, t2) if fixed else (s[0], s[1], s[2])
        d0, d1, d2 = (e0, e1, e2) if fixed else (d[0], d[1], d[2])
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        h0, h1, h2 = holders(k0, s0, d0), holders(k1, s1, d1), holders(k2, s2, d2)
        totals = cuda.local.array(TOGETHER, dtype)
        t = cuda.threadIdx.x
        step = np.int64(cuda.gridDim.y) * across
        plane = np.int64(cuda.blockIdx.x) * down + t // across
        while plane < planes:
            i = np.int64(cuda.blockIdx.y) * across + t % across
            while i < size:
                for e in range(TOGETHER):
                    place = min(i + e * step, size - 1)
                    z, u, w = places_of(place, n)
                    begin0, stop0 = windows_of(z, k0, q[0], s0, p[0], d0)
                    begin1, stop1 = windows_of(u, k1, q[1], s1, p[1], d1)
                    begin2, stop2 = windows_of(w, k2, q[2], s2, p[2], d2)
                    total = zero
                    for a in range(begin0, begin0 + h0):
                        for b in range(begin1, begin1 + h1):
                            for c in range(begin2, begin2 + h2):
                                within = (a <= stop0) & (b <= stop1) & (c <= stop2)
                                at = place_of(a, b, c, q) if within else np.int64(0)
                                v = dy[plane * outputs + at]
                                if average:
                                    cells = divisor_of(
                                        a, b, c, k, s, p, end, n, counts_padding, divisor
                                    )
                                    total += v / dtype.type(cells) if within else zero
                                else:
                                    within = within & (indices[plane * outputs + at] == place)
                                    total += v if within else zero
                    totals[e] = total
                for e in range(TOGETHER):
                    if i + e * step < size:
                        dx[plane * size + i + e * step] = totals[e]
                i += TOGETHER * step
            plane += cuda.gridDim.x * down

    signature = f"void({dtype}[::1], {index or dtype}[::1], {dtype}[::1], int64, {GEOMETRY})"
    named = named_pool(gather_planes, average, window, "_backward_planes")
    return kernel(signature, max_threads=threads, min_blocks=2)(named)


@functools.cache
def make_pixels_backward(
    dtype: np.dtype,
    index: np.dtype | None,
    average: bool,
    window: Window | None,
    lanes: int,
    across: int,
    threads: int,
) -> Kernel:
    zero = dtype.type(0)
    fixed = window is not None
    c0, c1, c2, t0, t1, t2, e0, e1, e2 = window or (1,) * 9
    down = threads // across

    def gather_pixels(
        dy, indices, dx, images, channels, n, q, k, s, p, d, end, counts_padding, divisor
    ):
        k0, k1, k2 = (c0, c1, c2) if fixed else (k[0], k[1], k[2])
        s0, s1, s2 = (t0, t1, t2) if fixed else (s[0], s[1], s[2])
        d0, d1, d2 = (e0, e1, e2) if fixed else (d[0], d[1], d[2])
        total = cuda.local.array(lanes, dtype)
        r = cuda.local.array(lanes, dtype)
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        h0, h1, h2 = holders(k0, s0, d0), holders(k1, s1, d1), holders(k2, s2, d2)
        ch = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
        while pixel < images * size and ch < channels:
            image = pixel // size
            i = pixel - image * size
            z, u, w = places_of(i, n)
            begin0, stop0 = windows_of(z, k0, q[0], s0, p[0], d0)
            begin1, stop1 = windows_of(u, k1, q[1], s1, p[1], d1)
            begin2, stop2 = windows_of(w, k2, q[2], s2, p[2], d2)
            for m in range(lanes):
                total[m] = zero
            for a in range(begin0, begin0 + h0):
                for b in range(begin1, begin1 + h1):
                    for c in range(begin2, begin2 + h2):
                        within = (a <= stop0) & (b <= stop1) & (c <= stop2)
                        at = place_of(a, b, c, q) if within else np.int64(0)
                        first = (image * outputs + at) * channels + ch
                        load_registers(dy, first, r, 0, lanes)
                        if average:
                            cells = divisor_of(a, b, c, k, s, p, end, n, counts_padding, divisor)
                            for m in range(lanes):
                                total[m] += r[m] / dtype.type(cells) if within else zero
                        else:
                            for m in range(lanes):
                                mine = within & (indices[first + m] == i)
                                total[m] += r[m] if mine else zero
            store_registers(dx, pixel * channels + ch, total, 0, lanes)
            pixel += cuda.gridDim.x * down

    arrays = f"{dtype}[::1], {index or dtype}[::1], {dtype}[::1]"
    signature = f"void({arrays}, int64, int64, {GEOMETRY})"
    named = named_pool(gather_pixels, average, window, "_backward_pixels")
    blocks = 2 if not fixed else 3 if average else 4
    return kernel(signature, max_threads=threads, min_blocks=blocks)(named)
