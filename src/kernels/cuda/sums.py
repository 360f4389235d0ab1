"""Sums along rows and over images: the gradients of biases, and the parts of other sums.

    x | rows: lines of threads take every lines-th row of a part | columns: side by side |

A block sums a part of the rows; parts follow from the shape and are summed the same way again.
"""

import functools
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics import LANES, shared_array
from convnet.kernels.cuda.launch import MOST_BLOCKS, Kernel, flat, kernel, launch, scratch
from numba import cuda


@functools.cache
def make_sum_rows(dtype: np.dtype, lines: int, columns: int) -> Kernel:
    """x, parts, (rows, columns, rows of a part): a part of the sum of each column.

    A block sums `columns` of them side by side, its `lines` lines of threads every lines-th row.
    """
    zero = dtype.type(0)
    length = lines * columns

    @kernel(f"void({dtype}[::1], {dtype}[::1], UniTuple(int64, 3))", max_threads=length)
    def sum_rows(x, parts, sizes):
        rows, width, part = sizes
        shared = shared_array(length, dtype)
        column, line = cuda.threadIdx.x, cuda.threadIdx.y
        j = cuda.blockIdx.x * columns + column
        first = cuda.blockIdx.y * part
        total = zero
        if j < width:
            for i in range(first + line, min(first + part, rows), lines):
                total += x[i * width + j]
        shared[line * columns + column] = total
        step = lines // 2
        while step > 0:
            cuda.syncthreads()
            if line < step:
                other = shared[(line + step) * columns + column]
                shared[line * columns + column] += other
            step //= 2
        if line == 0 and j < width:
            parts[cuda.blockIdx.y * width + j] = shared[column]

    return sum_rows


SUM_LINES, SUM_COLUMNS = 8, 32
ROWS_OF_PART = 512


def sum_rows(x: Any, out: Any) -> None:
    sum_columns(x, out, *x.shape)


def sum_columns(
    x: Any,
    out: Any,
    rows: int,
    columns: int,
    block: tuple[int, int] | None = None,
    part: int = ROWS_OF_PART,
) -> None:
    """out[j] = sum over i of x[i, j], x's memory being rows x columns.

    In parts of so many rows, each by a block of (lines, columns) threads, and then the parts.
    """
    lines, across = block or (SUM_LINES, SUM_COLUMNS)
    run = make_sum_rows(x.dtype, lines, across)
    while True:
        part = max(part, -(-rows // MOST_BLOCKS))
        parts = -(-rows // part)
        to = out if parts == 1 else scratch(out, (parts, columns))
        grid = -(-columns // across), parts
        launch(run, grid, (across, lines), flat(x), flat(to), (rows, columns, part))
        if parts == 1:
            return
        x, rows = to, parts


@functools.cache
def make_sum_images(dtype: np.dtype, lines: int, lanes: int) -> Kernel:
    """dy, parts, (images, channels, pixels, images of a part): parts of the sums of channels.

    `lanes` threads side by side go along the pixels of an image, `lines` lines of them each take
    another image.
    """
    zero = dtype.type(0)
    threads = lines * lanes

    @kernel(f"void({dtype}[::1], {dtype}[::1], UniTuple(int64, 4))", max_threads=threads)
    def sum_images(dy, parts, sizes):
        images, channels, pixels, part = sizes
        shared = shared_array(threads, dtype)
        thread = cuda.threadIdx.x
        lane, line = thread % lanes, thread // lanes
        channel = cuda.blockIdx.x
        first = cuda.blockIdx.y * part
        total = zero
        for n in range(first + line, min(first + part, images), lines):
            at = (n * channels + channel) * pixels
            for i in range(lane, pixels, lanes):
                total += dy[at + i]
        shared[thread] = total
        step = threads // 2
        while step > 0:
            cuda.syncthreads()
            if thread < step:
                shared[thread] += shared[thread + step]
            step //= 2
        if thread == 0:
            parts[cuda.blockIdx.y * channels + channel] = shared[0]

    return sum_images


IMAGE_LINES, IMAGE_LANES, IMAGES_OF_PART = 8, 32, 16


def bias_grad(
    dy: Any, db: Any, block: tuple[int, int] | None = None, part: int = IMAGES_OF_PART
) -> None:
    """db[k] = sum of dy[:, k]; block : (lines, lanes) of threads, part : images."""
    lines, lanes = block or (IMAGE_LINES, IMAGE_LANES)
    images, channels = dy.shape[:2]
    pixels = prod(dy.shape[2:])
    if not dy.flags.c_contiguous:
        sum_columns(dy, db, images * pixels, channels)
        return
    part = max(part, -(-images // MOST_BLOCKS))
    parts = -(-images // part)
    to = db if parts == 1 else scratch(db, (parts, channels))
    run, grid = make_sum_images(dy.dtype, lines, lanes), (channels, parts)
    launch(run, grid, lines * lanes, flat(dy), flat(to), (images, channels, pixels, part))
    if parts > 1:
        sum_columns(to, db, parts, channels)


def programs() -> Iterator[Kernel]:
    for dtype in LANES:
        yield make_sum_rows(dtype, SUM_LINES, SUM_COLUMNS)
        yield make_sum_images(dtype, IMAGE_LINES, IMAGE_LANES)
