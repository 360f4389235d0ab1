"""Kernels that work element by element on flat arrays: y = f(a), f(a, b), f(a, b, c).

    x   | block 0: 256 threads x 2 vectors of 16 bytes | block 1 | ...  then from block 0 on again
        | t0 | t1 | ... | t255 | t0 | t1 | ...         |                               | tail |

A thread has UNROLL vectors of every input under way before it computes: with 2048 threads on a
multiprocessor 64 KB, more than the 26 KB that 4.8 TB/s times 700 ns of latency ask for. Elements
that fill no vector are the first block's; arrays that do not begin at 16 bytes go one element at a
time. An element's value depends on nothing but its operands.
"""

import functools
from collections.abc import Callable
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

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def named(kernel_function: Callable[..., None], function: Callable[..., Any], lanes: int) -> Any:
    """The kernel's function, called what it computes."""
    kernel_function.__name__ = function.__name__ + ("_narrow" if lanes == 1 else "")
    return kernel_function


@functools.cache
def make_unary(
    function: Callable[..., Any], dtype: np.dtype, lanes: int, threads: int, unroll: int
) -> Kernel:
    """y = function(x, p)."""
    held = lanes * unroll

    def unary(x, y, n, p):
        r = cuda.local.array(held, dtype)
        t = cuda.threadIdx.x
        whole = n // lanes * lanes
        first = cuda.blockIdx.x * (threads * held) + t * lanes
        while first < whole:
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    load_registers(x, i, r, u * lanes, lanes)
            for k in range(held):
                r[k] = function(r[k], p)
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    store_registers(y, i, r, u * lanes, lanes)
            first += cuda.gridDim.x * (threads * held)
        if cuda.blockIdx.x == 0 and whole + t < n:
            y[whole + t] = function(x[whole + t], p)

    signature = f"void({dtype}[::1], {dtype}[::1], int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(named(unary, function, lanes))


@functools.cache
def make_binary(
    function: Callable[..., Any], dtype: np.dtype, lanes: int, threads: int, unroll: int
) -> Kernel:
    """y = function(a, b, p)."""
    held = lanes * unroll

    def binary(a, b, y, n, p):
        r = cuda.local.array(held, dtype)
        s = cuda.local.array(held, dtype)
        t = cuda.threadIdx.x
        whole = n // lanes * lanes
        first = cuda.blockIdx.x * (threads * held) + t * lanes
        while first < whole:
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    load_registers(a, i, r, u * lanes, lanes)
                    load_registers(b, i, s, u * lanes, lanes)
            for k in range(held):
                r[k] = function(r[k], s[k], p)
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    store_registers(y, i, r, u * lanes, lanes)
            first += cuda.gridDim.x * (threads * held)
        if cuda.blockIdx.x == 0 and whole + t < n:
            y[whole + t] = function(a[whole + t], b[whole + t], p)

    signature = f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(named(binary, function, lanes))


@functools.cache
def make_scaled(
    function: Callable[..., Any],
    dtype: np.dtype,
    lanes: int,
    threads: int,
    unroll: int,
    one_scale: bool,
) -> Kernel:
    """y = function(a, b, p) times scale: an array like them or, with one_scale, one number."""
    held = lanes * unroll

    def scaled(a, b, scale, y, n, p):
        r = cuda.local.array(held, dtype)
        s = cuda.local.array(held, dtype)
        c = cuda.local.array(held, dtype)
        t = cuda.threadIdx.x
        whole = n // lanes * lanes
        if one_scale:
            for k in range(held):
                c[k] = scale[0]
        first = cuda.blockIdx.x * (threads * held) + t * lanes
        while first < whole:
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    load_registers(a, i, r, u * lanes, lanes)
                    load_registers(b, i, s, u * lanes, lanes)
                    if not one_scale:
                        load_registers(scale, i, c, u * lanes, lanes)
            for k in range(held):
                r[k] = function(r[k], s[k], p) * c[k]
            for u in range(unroll):
                i = first + u * (threads * lanes)
                if i < whole:
                    store_registers(y, i, r, u * lanes, lanes)
            first += cuda.gridDim.x * (threads * held)
        if cuda.blockIdx.x == 0 and whole + t < n:
            i = whole + t
            y[i] = function(a[i], b[i], p) * scale[0 if one_scale else i]

    signature = f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], {dtype}[::1], int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(named(scaled, function, lanes))


def grid_of(n: int, dtype: np.dtype, unroll: int) -> int:
    """Blocks for n elements."""
    return grid_for(n, THREADS * unroll * LANES[dtype], BLOCKS * multiprocessors())


def unary(function: Callable[..., Any], x: Any, y: Any, p: float = 0.0) -> None:
    """y = function(x, p), element by element; y may be x."""
    lanes = lanes_of(x.dtype, x, y)
    run = make_unary(function, x.dtype, lanes, THREADS, UNROLL)
    launch(run, grid_of(x.size, x.dtype, UNROLL), THREADS, flat(x), flat(y), x.size, p)


def binary(function: Callable[..., Any], a: Any, b: Any, y: Any, p: float = 0.0) -> None:
    """y = function(a, b, p), element by element; y may be a or b."""
    lanes = lanes_of(a.dtype, a, b, y)
    run = make_binary(function, a.dtype, lanes, THREADS, UNROLL)
    grid = grid_of(a.size, a.dtype, UNROLL)
    launch(run, grid, THREADS, flat(a), flat(b), flat(y), a.size, p)


def scaled(
    function: Callable[..., Any], a: Any, b: Any, scale: Any, y: Any, p: float = 0.0
) -> None:
    """y = function(a, b, p) scale, element by element; scale is like a, or 0-d."""
    one = scale.ndim == 0
    lanes = lanes_of(a.dtype, a, b, y, *() if one else (scale,))
    run = make_scaled(function, a.dtype, lanes, THREADS, UNROLL, one)
    grid = grid_of(a.size, a.dtype, UNROLL)
    launch(run, grid, THREADS, flat(a), flat(b), flat(scale), flat(y), a.size, p)
