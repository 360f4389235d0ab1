"""Dropout with counter-based random numbers: Philox4x32-10, the very bits of the CPU.

    element   0 1 2 3 | 4 5 6 7 | ...     in logical (NCHW) order, whatever the memory format
    counter   offset  | offset+1| ...     four words of 32 bits each; kept if word >= p 2^32

A thread takes one counter, and so four elements. In memory of logical order they are one vector of
16 bytes (float32). In channels-last memory they lie C elements apart, and neighbouring threads take
neighbouring channels; the counters that two channels share are drawn for both.
(Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3; 2011.)
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics import LANES, lanes_of, load_registers, store_registers
from convnet.kernels.cuda.launch import (
    SIMULATED,
    Kernel,
    flat,
    grid_for,
    kernel,
    launch,
    multiprocessors,
)
from convnet.kernels.cuda.scalar import inline
from numba import cuda

THREADS = 8 if SIMULATED else 256
BLOCKS = 32  # a multiprocessor, at most

_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)
_MULTIPLY_A, _MULTIPLY_B = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_A, _WEYL_B = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@inline
def philox(counter, seed):
    """The four words of a counter, each in 64 bits."""
    a = counter & _LOW
    b = counter >> _HIGH
    c = counter & np.uint64(0)
    d = c
    key_a = seed & _LOW
    key_b = seed >> _HIGH
    for _ in range(10):
        p = a * _MULTIPLY_A
        q = c * _MULTIPLY_B
        a = (q >> _HIGH) ^ b ^ key_a
        c = (p >> _HIGH) ^ d ^ key_b
        b = q & _LOW
        d = p & _LOW
        key_a = (key_a + _WEYL_A) & _LOW
        key_b = (key_b + _WEYL_B) & _LOW
    return a, b, c, d


@functools.cache
def make_dropout(dtype: np.dtype, lanes: int, threads: int) -> Kernel:
    """Planes of `plane` elements, `step` apart in memory: (image, channel), logical order within.

    In logical order the whole array is one plane, step is 1 and channels is 1. lanes > 1 is for
    that alone.
    """
    zero = dtype.type(0)

    def dropout(x, y, mask, planes, channels, plane, quads, step, seed, offset, threshold, scale):
        i = np.int64(cuda.blockIdx.x) * threads + cuda.threadIdx.x
        words = cuda.local.array(4, np.uint64)
        r = cuda.local.array(4, dtype)
        while i < planes * quads:
            # The channel runs fastest, then the counters of a plane, then the images.
            rest = i // channels
            channel = i - rest * channels
            image = rest // quads
            begin = (image * channels + channel) * plane
            first = (begin // 4 + (rest - image * quads)) * 4
            counter = np.uint64(offset) + np.uint64(first // 4)
            words[0], words[1], words[2], words[3] = philox(counter, np.uint64(seed))
            memory = image * channels * plane + channel
            if lanes > 1 and first + 4 <= plane:
                for v in range(4 // lanes):
                    load_registers(x, first + v * lanes, r, v * lanes, lanes)
                for k in range(4):
                    keep = words[k] >= threshold
                    mask[first + k] = keep
                    r[k] = r[k] * scale if keep else zero
                for v in range(4 // lanes):
                    store_registers(y, first + v * lanes, r, v * lanes, lanes)
            else:
                for k in range(4):
                    at = first + k - begin
                    if at >= 0 and at < plane:
                        keep = words[k] >= threshold
                        mask[memory + at * step] = keep
                        y[memory + at * step] = x[memory + at * step] * scale if keep else zero
            i += cuda.gridDim.x * threads

    arrays = f"{dtype}[::1], {dtype}[::1], boolean[::1]"
    signature = (
        f"void({arrays}, int64, int64, int64, int64, int64, uint64, uint64, uint64, {dtype})"
    )
    return kernel(signature, max_threads=threads, min_blocks=2)(dropout)


@functools.cache
def make_dropout_backward(dtype: np.dtype, lanes: int, threads: int) -> Kernel:
    zero = dtype.type(0)

    def dropout_backward(dy, mask, dx, n, scale):
        r = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        i = (np.int64(cuda.blockIdx.x) * threads + t) * lanes
        whole = n // lanes * lanes
        while i < whole:
            load_registers(dy, i, r, 0, lanes)
            for k in range(lanes):
                r[k] = r[k] * scale if mask[i + k] else zero
            store_registers(dx, i, r, 0, lanes)
            i += cuda.gridDim.x * threads * lanes
        if cuda.blockIdx.x == 0 and whole + t < n:
            dx[whole + t] = dy[whole + t] * scale if mask[whole + t] else zero

    signature = f"void({dtype}[::1], boolean[::1], {dtype}[::1], int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(dropout_backward)


def _grid(threads: int) -> int:
    return grid_for(threads, THREADS, BLOCKS * multiprocessors())


def _scale(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0


def dropout(x: Any, y: Any, mask: Any, p: float, seed: int, offset: int) -> None:
    """Arrays of one memory format."""
    n = x.size
    if x.flags.c_contiguous:
        images, channels, plane, quads = 1, 1, n, -(-n // 4)
        lanes = lanes_of(x.dtype, x, y)
    else:
        images, channels = x.shape[:2]
        lanes = 1
        plane = n // (images * channels)
        quads = -(-plane // 4) + (plane % 4 != 0)  # planes that begin within a counter: one more
    planes = images * channels
    threshold = math.ceil(p * 2.0**32)
    sizes = planes, channels, plane, quads, channels
    arrays = flat(x), flat(y), flat(mask)
    run = make_dropout(x.dtype, lanes, THREADS)
    grid = _grid(planes * quads)
    launch(run, grid, THREADS, *arrays, *sizes, seed, offset, threshold, _scale(p))


def dropout_backward(dy: Any, mask: Any, dx: Any, p: float) -> None:
    lanes = lanes_of(dy.dtype, dy, dx)
    run = make_dropout_backward(dy.dtype, lanes, THREADS)
    grid = _grid(-(-dy.size // lanes))
    launch(run, grid, THREADS, flat(dy), flat(mask), flat(dx), dy.size, _scale(p))


def programs() -> Iterator[Kernel]:
    for dtype, lanes in LANES.items():
        yield make_dropout(dtype, lanes, THREADS)
        yield make_dropout(dtype, 1, THREADS)
        yield make_dropout_backward(dtype, lanes, THREADS)
