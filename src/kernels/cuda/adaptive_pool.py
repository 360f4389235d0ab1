"""Adaptive and global average pooling. Cell o of q along an axis of n holds floor(o n/q) to
ceil((o+1) n/q) - 1.

    forward   planes   1 to 32 lanes a cell, by its size: they share its elements, shuffles add them
              pixels   threads along the channels, 16 bytes each; several share a cell's pixels
    backward  a thread an input (or 16 bytes of channels): the sum over the cells that hold it
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda import planes
from convnet.kernels.cuda.intrinsics import (
    LANES,
    WARP,
    lane_xor,
    lanes_of,
    load_registers,
    store_registers,
)
from convnet.kernels.cuda.launch import Kernel, flat, grid_for, kernel, launch, multiprocessors
from convnet.kernels.cuda.planes import (
    TOGETHER,
    check_planes,
    lifted,
    place_of,
    places_of,
    power_of_two,
    run_pixels,
    run_planes,
)
from convnet.kernels.cuda.scalar import inline
from convnet.kernels.cuda.softmax import join_sum
from numba import cuda

SMALL = 8  # elements of a cell to a thread, until a warp has it

_AXES = "UniTuple(int64, 3), UniTuple(int64, 3)"


@inline
def cell_begin(o, n, q):
    return np.int64(np.uint64(o * n) // np.uint64(q))


@inline
def cell_end(o, n, q):
    return np.int64(np.uint64((o + 1) * n + q - 1) // np.uint64(q))


@inline
def first_cell(i, n, q):
    """The first cell that holds input i."""
    return np.int64(np.uint64(i * q) // np.uint64(n))


@inline
def last_cell(i, n, q):
    return np.int64(np.uint64((i + 1) * q - 1) // np.uint64(n))


@inline
def group_sum(value, group):
    """The sum over `group` neighbouring lanes, a power of two, in all of them."""
    mask = group // 2
    while mask > 0:
        value += lane_xor(value, mask)
        mask //= 2
    return value


@functools.cache
def make_planes(dtype: np.dtype, line: bool, group: int, threads: int) -> Kernel:
    """y, `group` threads a cell. line : a cell lies in one row, as after merging axes."""
    zero = dtype.type(0)
    down = threads // group

    def adaptive_planes(x, y, cells, n, q):
        lane = cuda.threadIdx.x % group
        block = np.int64(cuda.blockIdx.x) * down
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        while block < cells:
            cell = min(block + cuda.threadIdx.x // group, cells - 1)
            plane = cell // outputs
            a, b, c = places_of(cell - plane * outputs, q)
            z, u = cell_begin(a, n[0], q[0]), cell_begin(b, n[1], q[1])
            w = cell_begin(c, n[2], q[2])
            depth = cell_end(a, n[0], q[0]) - z
            height = cell_end(b, n[1], q[1]) - u
            width = cell_end(c, n[2], q[2]) - w
            count = depth * height * width
            first = plane * size + place_of(z, u, w, n)
            total = zero
            i = np.int64(lane)
            while i < count:
                # Together: no load waits for another.
                for e in range(TOGETHER):
                    at = min(i + e * group, count - 1)
                    if not line:
                        row = np.int64(np.uint32(at) // np.uint32(width))
                        deep = np.int64(np.uint32(row) // np.uint32(height))
                        at += (deep * n[1] + row - deep * height) * n[2] - row * width
                    v = x[first + at]
                    total += v if i + e * group < count else zero
                i += TOGETHER * group
            total = group_sum(total, group)
            if lane == 0 and block + cuda.threadIdx.x // group < cells:
                y[cell] = total / dtype.type(count)
            block += cuda.gridDim.x * down

    signature = f"void({dtype}[::1], {dtype}[::1], int64, {_AXES})"
    return kernel(signature, max_threads=threads, min_blocks=2)(adaptive_planes)


@functools.cache
def make_pixels(dtype: np.dtype, lanes: int, across: int, down: int) -> Kernel:
    """y for channels-last, `down` threads to the pixels of a cell."""
    zero = dtype.type(0)
    threads = across * down

    def adaptive_pixels(x, y, cells, channels, n, q):
        r = cuda.local.array(lanes, dtype)
        total = cuda.local.array(lanes, dtype)
        shared = cuda.shared.array(threads, dtype)
        tx = cuda.threadIdx.x
        ty = cuda.threadIdx.y
        ch = (cuda.blockIdx.y * across + tx) * lanes
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        cell = np.int64(cuda.blockIdx.x)
        while cell < cells:
            image = cell // outputs
            a, b, c = places_of(cell - image * outputs, q)
            z, u, w = (
                cell_begin(a, n[0], q[0]),
                cell_begin(b, n[1], q[1]),
                cell_begin(c, n[2], q[2]),
            )
            height = cell_end(b, n[1], q[1]) - u
            width = cell_end(c, n[2], q[2]) - w
            count = (cell_end(a, n[0], q[0]) - z) * height * width
            for k in range(lanes):
                total[k] = zero
            i = np.int64(ty)
            while i < count and ch < channels:
                row = np.int64(np.uint32(i) // np.uint32(width))
                deep = np.int64(np.uint32(row) // np.uint32(height))
                at = ((z + deep) * n[1] + u + row - deep * height) * n[2] + w + i - row * width
                load_registers(x, (image * size + at) * channels + ch, r, 0, lanes)
                for k in range(lanes):
                    total[k] += r[k]
                i += down
            for k in range(lanes):
                total[k] = join_sum(total[k], shared, tx, ty, across, down) / dtype.type(count)
            if ty == 0 and ch < channels:
                store_registers(y, cell * channels + ch, total, 0, lanes)
            cell += cuda.gridDim.x

    signature = f"void({dtype}[::1], {dtype}[::1], int64, int64, {_AXES})"
    return kernel(signature, max_threads=threads, min_blocks=2)(adaptive_pixels)


@functools.cache
def make_planes_backward(dtype: np.dtype, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    down = threads // across

    def adaptive_backward_planes(dy, dx, planes, n, q):
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        t = cuda.threadIdx.x
        plane = np.int64(cuda.blockIdx.x) * down + t // across
        while plane < planes:
            i = np.int64(cuda.blockIdx.y) * across + t % across
            while i < size:
                z, u, w = places_of(i, n)
                total = zero
                for a in range(first_cell(z, n[0], q[0]), last_cell(z, n[0], q[0]) + 1):
                    depth = cell_end(a, n[0], q[0]) - cell_begin(a, n[0], q[0])
                    for b in range(first_cell(u, n[1], q[1]), last_cell(u, n[1], q[1]) + 1):
                        height = cell_end(b, n[1], q[1]) - cell_begin(b, n[1], q[1])
                        for c in range(first_cell(w, n[2], q[2]), last_cell(w, n[2], q[2]) + 1):
                            width = cell_end(c, n[2], q[2]) - cell_begin(c, n[2], q[2])
                            at = plane * outputs + (a * q[1] + b) * q[2] + c
                            total += dy[at] / dtype.type(depth * height * width)
                dx[plane * size + i] = total
                i += cuda.gridDim.y * across
            plane += cuda.gridDim.x * down

    signature = f"void({dtype}[::1], {dtype}[::1], int64, {_AXES})"
    return kernel(signature, max_threads=threads, min_blocks=2)(adaptive_backward_planes)


@functools.cache
def make_pixels_backward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    down = threads // across

    def adaptive_backward_pixels(dy, dx, images, channels, n, q):
        r = cuda.local.array(lanes, dtype)
        total = cuda.local.array(lanes, dtype)
        size = n[0] * n[1] * n[2]
        outputs = q[0] * q[1] * q[2]
        ch = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
        while pixel < images * size and ch < channels:
            image = pixel // size
            z, u, w = places_of(pixel - image * size, n)
            for k in range(lanes):
                total[k] = zero
            for a in range(first_cell(z, n[0], q[0]), last_cell(z, n[0], q[0]) + 1):
                depth = cell_end(a, n[0], q[0]) - cell_begin(a, n[0], q[0])
                for b in range(first_cell(u, n[1], q[1]), last_cell(u, n[1], q[1]) + 1):
                    height = cell_end(b, n[1], q[1]) - cell_begin(b, n[1], q[1])
                    for c in range(first_cell(w, n[2], q[2]), last_cell(w, n[2], q[2]) + 1):
                        width = cell_end(c, n[2], q[2]) - cell_begin(c, n[2], q[2])
                        at = image * outputs + (a * q[1] + b) * q[2] + c
                        load_registers(dy, at * channels + ch, r, 0, lanes)
                        for k in range(lanes):
                            total[k] += r[k] / dtype.type(depth * height * width)
            store_registers(dx, pixel * channels + ch, total, 0, lanes)
            pixel += cuda.gridDim.x * down

    signature = f"void({dtype}[::1], {dtype}[::1], int64, int64, {_AXES})"
    return kernel(signature, max_threads=threads, min_blocks=2)(adaptive_backward_pixels)


def adaptive_avg_pool(x: Any, y: Any) -> None:
    n, q = lifted(x.shape[2:], 1), lifted(y.shape[2:], 1)
    check_planes(n, q)
    images, channels = x.shape[:2]
    most = planes.BLOCKS * multiprocessors()
    cell = max(1, math.prod(n) // math.prod(q))
    if x.flags.c_contiguous and y.flags.c_contiguous:
        line = math.prod(q) == q[2] == 1
        if line:  # one cell a plane: its axes are one
            n = 1, 1, math.prod(n)
        group = power_of_two(-(-cell // SMALL), 1, WARP)
        run = make_planes(x.dtype, line, group, planes.THREADS)
        grid = grid_for(y.size, planes.THREADS // group, most)
        launch(run, grid, planes.THREADS, flat(x), flat(y), y.size, n, q)
        return
    cells = images * math.prod(q)
    lanes = lanes_of(x.dtype, x, y, multiple_of=channels)
    across = power_of_two(-(-channels // lanes), 1, planes.WARP)
    down = power_of_two(cell, 1, planes.THREADS // across)
    run = make_pixels(x.dtype, lanes, across, down)
    columns = grid_for(channels, across * lanes)
    grid = grid_for(cells, 1, max(1, most * 2 // columns)), columns
    launch(run, grid, (across, down), flat(x), flat(y), cells, channels, n, q)


def adaptive_avg_pool_backward(dy: Any, dx: Any) -> None:
    n, q = lifted(dx.shape[2:], 1), lifted(dy.shape[2:], 1)
    check_planes(n, q)
    images, channels = dx.shape[:2]
    places = math.prod(n)
    if dy.flags.c_contiguous and dx.flags.c_contiguous:
        key, planes = (dy.dtype,), images * channels
        run_planes(make_planes_backward, key, (dy, dx), planes, places, n, q)
    else:
        key, pixels = (dy.dtype,), images * places
        run_pixels(make_pixels_backward, key, (dy, dx), pixels, images, channels, n, q)


def programs() -> Iterator[Kernel]:
    threads = planes.THREADS
    for dtype, lanes in LANES.items():
        for line, group in ((False, 1), (False, WARP), (True, 8), (True, WARP)):
            yield make_planes(dtype, line, group, threads)
        yield make_pixels(dtype, lanes, WARP, threads // WARP)
        yield make_planes_backward(dtype, threads, threads)
        yield make_pixels_backward(dtype, lanes, WARP, threads)
