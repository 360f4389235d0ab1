"""Kernels that work element by element on flat arrays: y = f(a), f(a, b), f(a, b) c.

    x   | block 0: 256 threads x 2 vectors of 16 bytes | block 1 | ...  then from block 0 on again
        | t0 | t1 | ... | t255 | t0 | t1 | ...         |                               | tail |

A thread has UNROLL vectors of every input under way before it computes: with 2048 threads on a
multiprocessor 64 KB, more than the 26 KB that 4.8 TB/s times 700 ns of latency ask for. Elements
that fill no vector are the first block's; arrays that do not begin at 16 bytes go one element at a
time. An element's value depends on nothing but its operands.
"""

import functools
from collections.abc import Callable, Iterator
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
from numba import cuda

THREADS = 8 if SIMULATED else 256
UNROLL = 2
BLOCKS = 32  # a multiprocessor, at most


@functools.cache
def make_map(
    function: Callable[..., Any],
    dtype: np.dtype,
    inputs: int,
    scale: str | None,
    lanes: int,
    threads: int,
    unroll: int,
) -> Kernel:
    """y = function(a[, b], p); scale "each": times an array like them; "one": times a number."""
    held = lanes * unroll
    each, one = scale == "each", scale == "one"
    read = inputs + each
    arrays_, length, last = inputs + (scale is not None) + 1, read * held, inputs + (each or one)

    def map_elements(arrays, n, p):
        r = cuda.local.array(length, dtype)
        t = cuda.threadIdx.x
        whole = n // lanes * lanes
        factor = arrays[inputs][0] if one else p
        first = cuda.blockIdx.x * (threads * held) + t * lanes
        while first < whole:
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    for j in range(read):
                        load_registers(arrays[j], i, r, j * held + u * lanes, lanes)
            for k in range(held):
                if inputs == 1:
                    r[k] = function(r[k], p)
                else:
                    r[k] = function(r[k], r[held + k], p)
                if each:
                    r[k] *= r[2 * held + k]
                if one:
                    r[k] *= factor
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    store_registers(arrays[last], i, r, u * lanes, lanes)
            first += cuda.gridDim.x * (threads * held)
        i = whole + t
        if cuda.blockIdx.x == 0 and i < n:
            if inputs == 1:
                value = function(arrays[0][i], p)
            else:
                value = function(arrays[0][i], arrays[1][i], p)
            if each or one:
                value *= arrays[inputs][i if each else 0]
            arrays[last][i] = value

    map_elements.__name__ = function.__name__ + ("_narrow" if lanes == 1 else "")
    signature = f"void(UniTuple({dtype}[::1], {arrays_}), int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(map_elements)


def apply(
    function: Callable[..., Any], inputs: tuple[Any, ...], y: Any, p: float = 0.0, scale: Any = None
) -> None:
    """y = function(*inputs, p) scale, element by element; scale is like them, 0-d or None.

    y may be one of the inputs.
    """
    how = None if scale is None else "each" if scale.ndim else "one"
    arrays = (*inputs, y) if scale is None else (*inputs, scale, y)
    lanes = lanes_of(y.dtype, *inputs, y, *(scale,) if how == "each" else ())
    run = make_map(function, y.dtype, len(inputs), how, lanes, THREADS, UNROLL)
    grid = grid_for(y.size, THREADS * UNROLL * LANES[y.dtype], BLOCKS * multiprocessors())
    launch(run, grid, THREADS, tuple(map(flat, arrays)), y.size, p)


def programs_of(
    functions: tuple[Callable[..., Any], ...], dtype: np.dtype, inputs: int, *scales: str | None
) -> Iterator[Kernel]:
    """The kernels that ship for these functions."""
    for function in functions:
        for scale in scales or (None,):
            yield make_map(function, dtype, inputs, scale, LANES[dtype], THREADS, UNROLL)
