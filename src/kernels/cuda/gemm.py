"""Matrix products: out = activation(alpha a b + beta c), on the engine.

m rows, n columns, k the length of the sums. Operands are used as they lie: whichever axis memory
has innermost decides how a block copies its steps (engine.py), and 16 bytes at a time where the
other stride and the address allow it.

A product with few tiles and long sums would leave most of the GPU idle: its sums are cut into
`splits` parts of the same length, by the shape alone, whose sums a second kernel adds in order.
"""

import functools
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from convnet.kernels.cuda.engine import (
    ALONG_DEPTH,
    ALONG_LINE,
    VECTORS,
    Tile,
    allows_tf32,
    buffers,
    copy_matrix,
    multiply,
    my_place,
    my_share,
    place,
    row_of,
    share,
    spread,
    takes_vectors,
)
from convnet.kernels.cuda.intrinsics import (
    VECTOR,
    begins_at_vector,
    clear_sums,
    copy_commit,
    copy_wait,
    load_registers,
    shared_array,
    store_registers,
)
from convnet.kernels.cuda.launch import (
    MOST_BLOCKS,
    Kernel,
    check_size,
    flat,
    grid_for,
    kernel,
    launch,
    scratch,
)
from numba import cuda, int32

FLOATS = np.dtype(np.float32), np.dtype(np.float64)
BLOCK = 256
ENOUGH_BLOCKS = 264  # two on each of the multiprocessors of an H100: what a grid should have
SHORTEST_PART = 256  # of a sum that is split
MOST = 2**31 - 2**16  # of what kernels count in 32 bits, a tile at a time


@functools.cache
def make_gemm(dtype: np.dtype, tile: Tile, a_mode: int, b_mode: int, tf32: bool = False) -> Kernel:
    """a, b, c, out, (m, n, k, strides of a, b, c (row, column), of batches of a, b, c,
    splits, length of a part, relu, whether out takes 16-byte stores, first column of tiles,
    first of batch x splits), alpha, beta. tf32 : factors rounded to TF32, by tensor cores."""
    rows, columns, depth, stages, thread_rows, thread_columns = tile
    threads, sums_of_thread = tile.threads, thread_rows * thread_columns
    a_pitch, b_pitch, a_stage, b_stage, b_start, length = buffers(tile, dtype, tf32)
    (a_across, a_lanes, *a_share), (b_across, b_lanes, *b_share) = (
        share(tile, lines, mode, dtype) for lines, mode in ((rows, a_mode), (columns, b_mode))
    )
    a_step, a_passes, a_depth_step, a_depth_passes = a_share
    b_step, b_passes, b_depth_step, b_depth_passes = b_share
    warp_rows, warp_columns, warps, lanes, row_groups, rows_apart, columns_apart = place(
        tile, dtype, tf32
    )
    of_warp, across_warp = tile.warp_tile
    ahead, under_way, last_stage = stages - 1, stages - 2, stages - 1
    zero = dtype.type(0)

    @kernel(
        f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], {dtype}[::1], UniTuple(int64, 18), "
        f"{dtype}, {dtype})",
        max_threads=threads,
        min_blocks=2 if dtype.itemsize == 4 else None,  # doubles spill at 128 registers on sm_80
    )
    def gemm(a, b, c, out, sizes, alpha, beta):
        m, n, k = int32(sizes[0]), int32(sizes[1]), int32(sizes[2])
        a_row, a_column, b_row, b_column = sizes[3], sizes[4], sizes[5], sizes[6]
        splits, part = int32(sizes[12]), int32(sizes[13])
        shared = shared_array(length, dtype)
        values = cuda.local.array(lanes, dtype)
        sums = cuda.local.array(sums_of_thread, dtype)
        clear_sums(sums, sums_of_thread)

        # Which tile of which matrix, and which part of its sums
        thread = int32(cuda.threadIdx.x)
        m_first = int32(cuda.blockIdx.x * rows)
        n_first = int32((cuda.blockIdx.y + sizes[16]) * columns)
        z = int32(cuda.blockIdx.z + sizes[17])
        batch = z // splits
        k_first = z % splits * part
        depths = int32(min(k - k_first, part))
        steps = (depths + (depth - 1)) // depth

        line, d = my_share(thread, a_mode, a_across, a_lanes)
        a_to, a_ends = int32(d * a_pitch + line), int32(depths - d)
        a_lines = int32(m - m_first - line)
        a_at = batch * sizes[9] + (m_first + line) * a_row + (k_first + d) * a_column
        if a_passes == 1 and a_lines <= 0:
            a_ends = int32(0)
        line, d = my_share(thread, b_mode, b_across, b_lanes)
        b_to, b_ends = int32(b_start + d * b_pitch + line), int32(depths - d)
        b_lines = int32(n - n_first - line)
        b_at = batch * sizes[10] + (n_first + line) * b_column + (k_first + d) * b_row
        if b_passes == 1 and b_lines <= 0:
            b_ends = int32(0)
        row, column = my_place(
            thread, warp_rows, warp_columns, warps, lanes, of_warp, across_warp, tf32
        )

        for step in range(int32(ahead + steps)):
            if step >= ahead:
                copy_wait(under_way)
                cuda.syncthreads()
            stage = int32(step & last_stage)
            copy_matrix(
                shared, a_to + stage * a_stage, a_pitch, a, a_at, a_row, a_column, a_lines,
                a_ends, a_lanes, a_step, a_passes, a_depth_step, a_depth_passes,
            )  # fmt: skip
            copy_matrix(
                shared, b_to + stage * b_stage, b_pitch, b, b_at, b_column, b_row, b_lines,
                b_ends, b_lanes, b_step, b_passes, b_depth_step, b_depth_passes,
            )  # fmt: skip
            copy_commit()
            a_at += depth * a_column
            b_at += depth * b_row
            a_ends = int32(a_ends - depth)
            b_ends = int32(b_ends - depth)
            if step >= ahead:
                stage = int32((step + 1) & last_stage)
                multiply(
                    shared, stage * a_stage + row, a_pitch, b_start + stage * b_stage + column,
                    b_pitch, sums, depth, lanes, thread_rows, thread_columns, rows_apart,
                    columns_apart, of_warp, across_warp, tf32,
                )  # fmt: skip

        # A group of rows at a time through shared memory, so that threads store whole lines
        c_row, c_column, relu, wide = sizes[7], sizes[8], sizes[14], sizes[15]
        c_at, out_at = batch * sizes[11], z * (sizes[0] * sizes[1])
        copy_wait(0)  # the last copies are zeros for steps that are not there, and must not be late
        for group in range(row_groups):
            spread(
                shared, row, column, b_pitch, sums, group, lanes, thread_rows, thread_columns,
                columns_apart, of_warp, across_warp, tf32,
            )  # fmt: skip
            for e in range(thread * lanes, rows_apart * columns, threads * lanes):
                r, j = e // columns, n_first + e % columns
                i = m_first + row_of(group, r, rows_apart, of_warp, tf32)
                if (i < m) & (j < n):
                    load_registers(shared, r * b_pitch + e % columns, values, 0, lanes)
                    for u in range(lanes):
                        value = values[u] * alpha
                        if (beta != zero) & (j + u < n):
                            value += beta * c[c_at + i * c_row + (j + u) * c_column]
                        values[u] = zero if (relu != 0) & (value < zero) else value
                    to = out_at + i * sizes[1] + j
                    if wide != 0:
                        store_registers(out, to, values, 0, lanes)
                    else:
                        for u in range(lanes):
                            if j + u < n:
                                out[to + u] = values[u]

    return gemm


@functools.cache
def make_add_parts(dtype: np.dtype) -> Kernel:
    """parts, c, out, (elements, columns, splits, strides of c, of its batch, relu), alpha, beta."""
    zero = dtype.type(0)

    @kernel(
        f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], UniTuple(int64, 7), {dtype}, {dtype})",
        max_threads=BLOCK,
    )
    def add_parts(parts, c, out, sizes, alpha, beta):
        elements, columns, splits, c_row, c_column, c_batch, relu = sizes
        batch = cuda.blockIdx.y
        for i in range(cuda.grid(1), elements, cuda.gridDim.x * BLOCK):
            at = batch * splits * elements + i
            total = parts[at]
            for s in range(1, splits):
                total += parts[at + s * elements]
            total *= alpha
            if beta != zero:
                total += beta * c[batch * c_batch + i // columns * c_row + i % columns * c_column]
            if relu != 0 and total < zero:
                total = zero
            out[batch * elements + i] = total

    return add_parts


# Tiles by what they are for; the first suits large products. Doubles take twice the registers.
TILES = {
    np.dtype(np.float32): (
        Tile(128, 128, 8, 4, 8, 8),
        Tile(64, 64, 8, 4, 4, 4),
        Tile(16, 128, 8, 4, 4, 4),
        Tile(128, 16, 8, 4, 4, 4),
    ),
    np.dtype(np.float64): (
        Tile(128, 64, 8, 2, 8, 4),
        Tile(64, 64, 8, 4, 4, 4),
        Tile(16, 128, 8, 4, 4, 4),
        Tile(128, 16, 8, 4, 4, 4),
    ),
}


def _blocks(m: int, n: int, batch: int, tile: Tile) -> int:
    return -(-m // tile.rows) * -(-n // tile.columns) * batch


def choose_tile(m: int, n: int, batch: int, dtype: np.dtype) -> Tile:
    """The tile for a product of that shape."""
    large, square, flat_, tall = TILES[dtype]
    if m <= 16:
        return flat_
    if n <= 16:
        return tall
    return large if _blocks(m, n, batch, large) >= ENOUGH_BLOCKS // 2 else square


def choose_splits(blocks: int, k: int) -> int:
    """In how many parts to cut sums of k products, for so many tiles; the GPU does not matter."""
    if blocks * 2 > ENOUGH_BLOCKS:
        return 1
    return max(1, min(ENOUGH_BLOCKS // blocks, k // SHORTEST_PART))


def _mode(a: Any, line: int, lines: int, tile: Tile) -> int:
    """How to copy an operand; line : its axis along rows or columns, a tile has `lines`."""
    item = a.dtype.itemsize
    if a.strides[line] != item or a.shape[line] == 1:
        return ALONG_DEPTH
    others = (s for i, s in enumerate(a.strides) if i != line % a.ndim)
    if (
        takes_vectors(tile, lines, a.dtype)
        and begins_at_vector(a)
        and not any(s % 16 for s in (a.shape[line] * item, *others))
    ):
        return VECTORS
    return ALONG_LINE


def gemm(
    a: Any, b: Any, c: Any, out: Any, alpha: float, beta: float, activation: str | None
) -> None:
    (m, k), n, dtype = a.shape[-2:], b.shape[-1], a.dtype
    batch = a.shape[0] if a.ndim == 3 else 1
    tile = choose_tile(m, n, batch, dtype)
    splits = choose_splits(_blocks(m, n, batch, tile), k)
    tf32 = allows_tf32(tile, dtype)
    run_gemm(a, b, c, out, alpha, beta, activation, tile, splits, tf32)


def run_gemm(
    a: Any,
    b: Any,
    c: Any,
    out: Any,
    alpha: float,
    beta: float,
    activation: str | None,
    tile: Tile,
    splits: int,
    tf32: bool = False,
) -> None:
    """gemm with a tile of one's own, its sums in `splits` parts."""
    (m, k), n, dtype = a.shape[-2:], b.shape[-1], a.dtype
    for what, size in (("rows of a", m), ("columns of b", n), ("columns of a", k)):
        check_size(what, size, MOST)
    batch, item, relu = a.shape[0] if a.ndim == 3 else 1, dtype.itemsize, activation is not None
    if c is None or beta == 0:
        c, beta, c_strides = out, 0.0, (0, 0, 0)
    else:
        c_strides = (*(0, *(s // item for s in c.strides))[-2:], 0)
        if c.ndim == 3:
            c_strides = (*c_strides[:2], c.strides[0] // item)
    part = -(-k // (splits * tile.depth)) * tile.depth
    splits = -(-k // part)
    a_batch, b_batch = (x.strides[0] // item if x.ndim == 3 else 0 for x in (a, b))
    to = out if splits == 1 else scratch(out, (batch * splits, m, n))
    wide = n % VECTOR[dtype] == 0 and begins_at_vector(to)
    once = splits == 1
    sizes = (
        *(m, n, k, *(s // item for s in (*a.strides[-2:], *b.strides[-2:]))),
        *(c_strides[0], c_strides[1], a_batch, b_batch, c_strides[2]),
        *(splits, part, once and relu, wide),
    )
    a_mode, b_mode = _mode(a, -2, tile.rows, tile), _mode(b, -1, tile.columns, tile)
    run = make_gemm(dtype, tile, a_mode, b_mode, tf32)
    scales = (alpha, beta) if once else (1.0, 0.0)
    arrays = flat(a), flat(b), flat(c), flat(to)
    tiles_m, tiles_n, parts = -(-m // tile.rows), -(-n // tile.columns), batch * splits
    for y, z in product(range(0, tiles_n, MOST_BLOCKS), range(0, parts, MOST_BLOCKS)):
        grid = tiles_m, min(tiles_n - y, MOST_BLOCKS), min(parts - z, MOST_BLOCKS)
        launch(run, grid, tile.threads, *arrays, (*sizes, y, z), *scales)
    if not once:
        sizes = m * n, n, splits, *c_strides, relu
        grid = grid_for(m * n, BLOCK), batch
        launch(make_add_parts(dtype), grid, BLOCK, flat(to), flat(c), flat(out), sizes, alpha, beta)


def programs() -> Iterator[Kernel]:
    """Every tile; of the largest every way to copy, for doubles the ends of the range."""
    for dtype in FLOATS:
        large, *others = TILES[dtype]
        modes = list(product((ALONG_DEPTH, ALONG_LINE, VECTORS), repeat=2))
        for a_mode, b_mode in modes if dtype == FLOATS[0] else (modes[1], modes[-1]):
            yield make_gemm(dtype, large, a_mode, b_mode)
        for tile in others:
            yield make_gemm(dtype, tile, ALONG_DEPTH, ALONG_LINE)
        if dtype == FLOATS[0]:
            yield make_gemm(dtype, large, ALONG_DEPTH, VECTORS, True)
            yield make_gemm(dtype, large, VECTORS, ALONG_DEPTH, True)
            for tile in others:
                yield make_gemm(dtype, tile, ALONG_DEPTH, ALONG_LINE, True)
        yield make_add_parts(dtype)
