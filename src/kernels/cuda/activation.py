"""Element-wise functions."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import Kernel, flat, grid_for, kernel, launch, multiprocessors
from numba import cuda

BLOCK = 256


@functools.cache
def make_relu(dtype: np.dtype) -> Kernel:
    zero = dtype.type(0)

    @kernel(f"void({dtype}[::1], {dtype}[::1], int64)", max_threads=BLOCK)
    def relu(x, y, n):
        stride = cuda.gridsize(1)
        for i in range(cuda.grid(1), n, stride):
            y[i] = zero if x[i] < zero else x[i]

    return relu


def relu(x: Any, y: Any) -> None:
    grid = grid_for(x.size, BLOCK, 32 * multiprocessors())
    launch(make_relu(x.dtype), grid, BLOCK, flat(x), flat(y), x.size)


def programs() -> Iterator[Kernel]:
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        yield make_relu(dtype)
