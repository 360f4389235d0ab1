"""The engine of products: C = A B by tiles, that gemm, convolution and its gradients share.

            B  depth x columns            A block computes one tile of C, `rows` x `columns`. It
           +--------------+               walks along the depth in steps of `depth`: each step of A
           |   ########   |  depth        and of B lies in shared memory as [depth][row] and
           +--------------+               [depth][column], `PAD` elements apart, in one of `stages`
    A      +--------------+               places, into which cp.async copies ahead of time.
    +--+   |   ########   |
    |##|   |   ########   |  rows         A thread keeps `thread_rows` x `thread_columns` sums in
    +--+   +--------------+               registers, as groups of one 16-byte vector that lie
    depth      columns                    apart, so that a warp reads whole lines without
                                          conflicts: 4 reads of 16 bytes for 64 multiply-adds.

Why 4-byte copies: shared memory holds A and B with the depth outermost. Where memory has the depth
innermost the copy transposes; where it is im2col's matrix every element has an address of its own.
cp.async does both, with zeros for what lies outside, at one instruction an element: 8 a thread
beside 512 multiply-adds. Where rows or columns are innermost and aligned a copy takes 16 bytes.

The finished tile goes back to shared memory, a group of rows at a time, and from there to where it
belongs: whole lines, whichever of rows and columns memory has innermost, and all of scaling, bias
and activation in one place.

What differs between operations is how they copy (`copy_matrix` here, windows in conv.py) and store.
An element of C is one chain of multiply-adds in the order of the depth, whatever the tile.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from convnet.kernels.cuda.intrinsics import (
    VECTOR,
    copy_async,
    copy_vector_async,
)
from convnet.kernels.cuda.launch import SIMULATED
from numba import cuda

PAD = 4  # 8 threads along the depth by 4 along rows meet 32 different banks

# How the threads of a block share a step of an operand: side by side along the depth (which memory
# has innermost), along rows or columns, or along these with 16 bytes each.
ALONG_DEPTH, ALONG_LINE, VECTORS = range(3)


def inlined(function: Callable[..., Any]) -> Any:
    """Make a function of the module part of the kernels that call it, its constants theirs."""
    return function if SIMULATED else cuda.jit(device=True, inline="always")(function)


class Tile(NamedTuple):
    """What a block computes, and what each of its threads does."""

    rows: int
    columns: int
    depth: int
    stages: int
    thread_rows: int
    thread_columns: int

    @property
    def threads(self) -> int:
        return self.rows // self.thread_rows * (self.columns // self.thread_columns)

    def length(self, dtype: np.dtype) -> int:
        """Elements of shared memory: the stages of A and B, or later a group of rows of C."""
        stages = (self.rows + self.columns + 2 * PAD) * self.depth * self.stages
        group = VECTOR[dtype] * self.rows // self.thread_rows
        return max(stages, group * (self.columns + PAD))


class Share(NamedTuple):
    """Which elements of a step of an operand a thread copies: (line, depth) and strides."""

    across: int  # threads side by side: along the depth for ALONG_DEPTH, else along lines
    lanes: int  # elements of a copy
    line_step: int
    line_passes: int
    depth_step: int
    depth_passes: int


def takes_vectors(tile: Tile, lines: int, dtype: np.dtype) -> bool:
    """Whether all threads find 16 bytes of a step of so many lines to copy."""
    return tile.threads * VECTOR[dtype] <= lines * tile.depth


@functools.cache
def share(tile: Tile, lines: int, mode: int, dtype: np.dtype) -> Share:
    """The share of each thread in an operand of so many lines (rows of A, columns of B)."""
    threads, depth = tile.threads, tile.depth
    if mode == ALONG_DEPTH:
        across = min(8, depth)
        step = threads // across
        result = Share(across, 1, step, lines // step, across, depth // across)
    else:
        lanes = VECTOR[dtype] if mode == VECTORS else 1
        across = min(threads, lines // lanes)
        step = threads // across
        passes = lines // (across * lanes)
        result = Share(across, lanes, across * lanes, passes, step, depth // step)
    copied = result.line_passes * result.depth_passes * result.lanes * threads
    assert copied == lines * depth, (tile, lines, mode)
    return result


@inlined
def my_share(thread, mode, across, lanes):
    """The first (line, depth) of a thread's share."""
    if mode == ALONG_DEPTH:
        return thread // across, thread % across
    return thread % across * lanes, thread // across


@inlined
def copy_matrix(
    shared,
    to,
    pitch,
    a,
    at,
    line_stride,
    depth_stride,
    lines,
    depths,
    lanes,
    line_step,
    line_passes,
    depth_step,
    depth_passes,
):
    """Copy a thread's share of a step of a matrix, zeros beyond its end.

    to, at : where its first element goes, and lies; lines, depths : how many there are from it on;
    a thread with one line that is not there has no depths
    """
    for i in range(line_passes):
        for j in range(depth_passes):
            inside = j * depth_step < depths
            if line_passes > 1:
                inside &= i * line_step < lines
            place_of = to + j * (depth_step * pitch) + i * line_step
            source = at + i * (line_step * line_stride) + j * (depth_step * depth_stride)
            if lanes == 1:
                copy_async(shared, place_of, a, source, 1 if inside else 0)
            else:
                copy_vector_async(shared, place_of, a, source, lanes if inside else 0)


class Place(NamedTuple):
    """Where the sums of a thread lie in its tile: groups of a vector, `*_apart` apart."""

    warp_rows: int  # threads of a warp along rows, and along columns
    warp_columns: int
    warps: int  # along rows
    lanes: int
    row_groups: int
    rows_apart: int
    columns_apart: int


@functools.cache
def place(tile: Tile, dtype: np.dtype) -> Place:
    lanes = VECTOR[dtype]
    along_rows = tile.rows // tile.thread_rows
    along_columns = tile.columns // tile.thread_columns
    warp_rows = min(8, along_rows)
    warp_columns = min(32 // warp_rows, along_columns)
    return Place(
        warp_rows,
        warp_columns,
        along_rows // warp_rows,
        lanes,
        tile.thread_rows // lanes,
        along_rows * lanes,
        along_columns * lanes,
    )


@inlined
def my_place(thread, warp_rows, warp_columns, warps, lanes):
    """The first (row, column) of a thread's sums in the tile."""
    row = thread % warp_rows
    rest = thread // warp_rows
    column = rest % warp_columns
    warp = rest // warp_columns
    row += warp % warps * warp_rows
    column += warp // warps * warp_columns
    return row * lanes, column * lanes
