"""Sums over a block, and the sum of an array: warps by shuffles, then across warps; no atomics.

    x | part 0 | part 1 | ...    a block each, in float64: threads, warps, block    -> partial sums
      -> one block adds the partial sums                                            -> total

The parts follow from the array's size alone, so that a sum has one order on every GPU.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics import (
    LANES,
    WARP,
    barrier,
    lanes_of,
    load_registers,
    warp_max,
    warp_sum,
)
from convnet.kernels.cuda.launch import SIMULATED, Kernel, flat, grid_for, kernel, launch, scratch
from convnet.kernels.cuda.scalar import inline
from numba import cuda

THREADS = 64 if SIMULATED else 256
PARTS = 1024
PART = 4096  # elements of a part, at least

_F64 = np.dtype(np.float64)


@inline
def block_sum(value, t, shared, threads):
    """The sum over a block's threads, in all of them. shared : an element a warp."""
    value = warp_sum(value)
    if threads > WARP:
        lane = t % WARP
        if lane == 0:
            shared[t // WARP] = value
        barrier()
        value = shared[lane] if lane < threads // WARP else type(value)(0)
        value = warp_sum(value)
        barrier()
    return value


@inline
def block_max(value, t, shared, threads):
    """The largest value of a block's threads, in all of them; NaN where one is NaN."""
    value = warp_max(value)
    if threads > WARP:
        lane = t % WARP
        if lane == 0:
            shared[t // WARP] = value
        barrier()
        value = warp_max(shared[lane if lane < threads // WARP else 0])
        barrier()
    return value


@functools.cache
def make_sum(dtype: np.dtype, squares: bool, lanes: int, threads: int) -> Kernel:
    """Each block's share of the sum of x, or of its squares, in float64."""

    def sum_parts(x, partial, n):
        r = cuda.local.array(lanes, dtype)
        shared = cuda.shared.array(WARP, np.float64)
        t = cuda.threadIdx.x
        whole = n // lanes * lanes
        total = np.float64(0)
        i = (cuda.blockIdx.x * threads + t) * lanes
        while i < whole:
            load_registers(x, i, r, 0, lanes)
            for k in range(lanes):
                v = np.float64(r[k])
                total += v * v if squares else v
            i += cuda.gridDim.x * threads * lanes
        if cuda.blockIdx.x == 0 and whole + t < n:
            v = np.float64(x[whole + t])
            total += v * v if squares else v
        total = block_sum(total, t, shared, threads)
        if t == 0:
            partial[cuda.blockIdx.x] = total

    sum_parts.__name__ = "sum_squares" if squares else "sum_all"
    return kernel(f"void({dtype}[::1], float64[::1], int64)", max_threads=threads, min_blocks=2)(
        sum_parts
    )


def sum_array(x: Any, total: Any, squares: bool) -> None:
    """total (0-d float64) = the sum of x, or of its squares."""
    lanes = lanes_of(x.dtype, x)
    parts = grid_for(x.size, PART, PARTS)
    partial = total if parts == 1 else scratch(x, (parts,), _F64)
    run = make_sum(x.dtype, squares, lanes, THREADS)
    launch(run, parts, THREADS, flat(x), flat(partial), x.size)
    if parts > 1:
        last = make_sum(_F64, False, lanes_of(_F64, partial), THREADS)
        launch(last, 1, THREADS, flat(partial), flat(total), parts)


def programs_of_sum(squares: bool) -> Iterator[Kernel]:
    for dtype, lanes in LANES.items():
        yield make_sum(dtype, squares, lanes, THREADS)
