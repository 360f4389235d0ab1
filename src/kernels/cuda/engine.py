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
An element of C is one chain of multiply-adds in the order of the depth, whatever the tile. In TF32
(`set_precision("medium")`) tensor cores multiply; copies and stores are the same.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from convnet.kernels.cuda.intrinsics import (
    VECTOR,
    barrier,
    copy_async,
    copy_vector_async,
    multiply_step,
    multiply_step_tf32,
    spread_sums,
    spread_sums_tf32,
)
from convnet.kernels.cuda.launch import SIMULATED
from convnet.precision import get_precision
from numba import cuda

PAD = 4  # 8 threads along the depth by 4 along rows meet 32 different banks
PAD_TF32 = 8  # 4 threads along the depth by 8 along rows do

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

    @property
    def warp(self) -> tuple[int, int]:
        """Threads of a warp along rows, and along columns."""
        along_rows = self.rows // self.thread_rows
        warp_rows = min(8, along_rows)
        return warp_rows, min(32 // warp_rows, self.columns // self.thread_columns)

    @property
    def warp_tile(self) -> tuple[int, int]:
        """Rows and columns of a warp."""
        return self.warp[0] * self.thread_rows, self.warp[1] * self.thread_columns

    @property
    def suits_tensor_cores(self) -> bool:
        """Whether whole warps have whole products of 16 x 8 x 8."""
        rows, columns = self.warp_tile
        return self.threads % 32 == rows % 16 == columns % 8 == self.depth % 8 == 0


def allows_tf32(tile: Tile, dtype: np.dtype) -> bool:
    """Whether the precision in force lets tensor cores round the factors."""
    medium = dtype == np.float32 and get_precision() == "medium"
    return medium and tile.suits_tensor_cores


class Buffers(NamedTuple):
    """Where the stages of A and B lie in shared memory, in elements; later a group of rows of C."""

    a_pitch: int
    b_pitch: int
    a_stage: int
    b_stage: int
    b_start: int
    length: int


def buffers(tile: Tile, dtype: np.dtype, tf32: bool) -> Buffers:
    pad = PAD_TF32 if tf32 else PAD
    a_pitch, b_pitch = tile.rows + pad, tile.columns + pad
    a_stage, b_stage = tile.depth * a_pitch, tile.depth * b_pitch
    group = place(tile, dtype, tf32).rows_apart * b_pitch
    length = max(tile.stages * (a_stage + b_stage), group)
    return Buffers(a_pitch, b_pitch, a_stage, b_stage, tile.stages * a_stage, length)


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
    """Where the sums of a thread lie in its tile: groups of a vector, `*_apart` apart.

    With tensor cores a warp has as many rows and columns, and a group are 16 rows of each warp.
    """

    warp_rows: int  # threads of a warp along rows, and along columns
    warp_columns: int
    warps: int  # along rows
    lanes: int
    row_groups: int
    rows_apart: int
    columns_apart: int


@functools.cache
def place(tile: Tile, dtype: np.dtype, tf32: bool = False) -> Place:
    lanes = VECTOR[dtype]
    along_rows = tile.rows // tile.thread_rows
    warp_rows, warp_columns = tile.warp
    warps = along_rows // warp_rows
    return Place(
        warp_rows,
        warp_columns,
        warps,
        lanes,
        tile.warp_tile[0] // 16 if tf32 else tile.thread_rows // lanes,
        warps * 16 if tf32 else along_rows * lanes,
        tile.columns // tile.thread_columns * lanes,
    )


@inlined
def my_place(thread, warp_rows, warp_columns, warps, lanes, of_warp, across_warp, tf32):
    """The first (row, column) of a thread's sums in the tile; with tensor cores of its warp's."""
    if tf32:
        warp = thread // 32
        return warp % warps * of_warp, warp // warps * across_warp
    row = thread % warp_rows
    rest = thread // warp_rows
    column = rest % warp_columns
    warp = rest // warp_columns
    row += warp % warps * warp_rows
    column += warp // warps * warp_columns
    return row * lanes, column * lanes


@inlined
def multiply(
    shared,
    a,
    a_pitch,
    b,
    b_pitch,
    sums,
    depth,
    lanes,
    rows,
    columns,
    rows_apart,
    columns_apart,
    of_warp,
    across_warp,
    tf32,
):
    """Add the products of a step that lies in shared memory to a thread's sums."""
    if tf32:
        multiply_step_tf32(shared, a, a_pitch, b, b_pitch, sums, depth, of_warp, across_warp)
    else:
        multiply_step(
            shared, a, a_pitch, b, b_pitch, sums, depth, lanes, rows, columns, rows_apart,
            columns_apart,
        )  # fmt: skip


@inlined
def spread(
    shared,
    row,
    column,
    pitch,
    sums,
    group,
    lanes,
    rows,
    columns,
    columns_apart,
    of_warp,
    across_warp,
    tf32,
):
    """Write a group of the rows of C to shared memory, once all threads are done with it."""
    barrier()
    if tf32:
        at = row // of_warp * 16 * pitch + column
        spread_sums_tf32(shared, at, pitch, sums, group, of_warp, across_warp)
    else:
        at = row * pitch + column
        spread_sums(shared, at, pitch, sums, group, lanes, rows, columns, columns_apart)
    barrier()


@inlined
def row_of(group, r, rows_apart, of_warp, tf32):
    """Which row of the tile the r-th of a group is."""
    if tf32:
        return r // 16 * of_warp + group * 16 + r % 16
    return group * rows_apart + r
