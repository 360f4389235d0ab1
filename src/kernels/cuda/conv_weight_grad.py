"""The gradients of a convolution with respect to its weights and bias.

dw[k, c, r] = sum over images n and outputs p of dy[n, k, p] x[n, c, p stride + r dilation - pad]
db[k] = sum over n and p of dy[n, k, p]

          taps of dw                  A product whose depth are the pixels: the roles of taps and
         +----------+                 pixels in windows.py exchanged. What belongs to taps a
         |    x     |  pixels         block computes once, what belongs to pixels `CHUNK` steps
pixels   +----------+                 ahead. The taps lie in the order of dw's memory.
+----+   +----------+
| dy |   |    dw    |  filters        There are few tiles and long sums, so these are cut into
+----+   +----------+                 parts, by the shape alone, that are added in order.
"""

import functools
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from convnet.kernels.cuda import depthwise
from convnet.kernels.cuda.conv import F32, F64, MOST, axes_of, in_elements, is_last, three
from convnet.kernels.cuda.engine import (
    ALONG_DEPTH,
    ALONG_LINE,
    VECTORS,
    Tile,
    allows_tf32,
    buffers,
    multiply,
    my_place,
    my_share,
    place,
    row_of,
    share,
    spread,
    takes_vectors,
)
from convnet.kernels.cuda.gemm import (
    BLOCK,
    choose_splits,
    make_add_parts,
)
from convnet.kernels.cuda.intrinsics import (
    VECTOR,
    begins_at_vector,
    clear_sums,
    copy_async,
    copy_commit,
    copy_vector_async,
    copy_wait,
    inside,
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
from convnet.kernels.cuda.sums import bias_grad
from convnet.kernels.cuda.windows import CHUNK, SIZES, describe_pixels, describe_taps
from convnet.shapes import ConvDims
from numba import cuda, int32, int64

TILES = {
    F32: (Tile(128, 128, 8, 4, 8, 8), Tile(64, 64, 8, 4, 4, 4)),
    F64: (Tile(64, 64, 8, 4, 4, 4),),
}


@functools.cache
def make_weight_grad(
    dtype: np.dtype, tile: Tile, dy_mode: int, x_mode: int, axes: int, tf32: bool = False
) -> Kernel:
    """dy, x, dw or its parts, SIZES of the forward convolution, (splits, pixels of a part, wide,
    first of groups x splits)."""
    rows, columns, depth, stages, thread_rows, thread_columns = tile
    threads, sums_of_thread = tile.threads, thread_rows * thread_columns
    a_pitch, b_pitch, a_stage, b_stage, b_start, length = buffers(tile, dtype, tf32)
    (a_across, a_lanes, a_step, a_passes, a_depth_step, a_depth_passes) = share(
        tile, rows, dy_mode, dtype
    )
    (b_across, b_lanes, b_step, b_passes, b_depth_step, b_depth_passes) = share(
        tile, columns, x_mode, dtype
    )
    warp_rows, warp_columns, warps, lanes, row_groups, rows_apart, columns_apart = place(
        tile, dtype, tf32
    )
    of_warp, across_warp = tile.warp_tile
    ahead, under_way, last_stage = stages - 1, stages - 2, stages - 1
    chunk = CHUNK * depth
    ring = 2 * chunk
    taps_length, places_length = 4 * columns, 4 * ring
    three_axes = axes == 3
    dy_vectors, x_vectors = dy_mode == VECTORS, x_mode == VECTORS
    numbers = len(SIZES)

    @kernel(
        f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], UniTuple(int64, {numbers}), "
        "UniTuple(int64, 4))",
        max_threads=threads,
        min_blocks=2 if tf32 else None,
    )
    def weight_grad(dy, x, parts, sizes, split):
        shared = shared_array(length, dtype)
        taps = shared_array(taps_length, int32)
        weights = shared_array(columns, int32)
        pixel_x = shared_array(ring, int64)
        pixel_y = shared_array(ring, int64)
        places = shared_array(places_length, int32)
        values = cuda.local.array(lanes, dtype)
        pixel = cuda.local.array(4, int32)
        tap = cuda.local.array(4, int32)
        sums = cuda.local.array(sums_of_thread, dtype)
        clear_sums(sums, sums_of_thread)

        thread = int32(cuda.threadIdx.x)
        f_first, t_first = int32(cuda.blockIdx.x * rows), int32(cuda.blockIdx.y * columns)
        z = int32(cuda.blockIdx.z + split[3])
        group = z // int32(split[0])
        p_first = int32(z % int32(split[0]) * split[1])
        end = int32(min(sizes[1], p_first + split[1]))
        steps = (end - p_first + (depth - 1)) // depth
        describe_taps(
            taps, weights, t_first, columns, thread, threads, columns, int32(sizes[2]), sizes
        )
        describe_pixels(
            pixel_x, pixel_y, places, p_first, end, ring, thread, threads, ring, group, sizes
        )
        cuda.syncthreads()

        line, a_d = my_share(thread, dy_mode, a_across, a_lanes)
        a_to, a_lines = int32(a_d * a_pitch + line), int32(sizes[0] - f_first - line)
        channel = sizes[40]
        a_at = (f_first + line) * channel
        b_line, b_d = my_share(thread, x_mode, b_across, b_lanes)
        b_to = int32(b_start + b_d * b_pitch + b_line)
        extent_0, extent_1, extent_2 = int32(sizes[25]), int32(sizes[26]), int32(sizes[27])
        row, column = my_place(
            thread, warp_rows, warp_columns, warps, lanes, of_warp, across_warp, tf32
        )

        for step in range(int32(ahead + steps)):
            if step >= ahead:
                copy_wait(under_way)
                cuda.syncthreads()
                if step % CHUNK == 0:
                    describe_pixels(
                        pixel_x, pixel_y, places, p_first + step * depth + chunk, end, ring,
                        thread, threads, chunk, group, sizes,
                    )  # fmt: skip
            stage = int32(step & last_stage)
            first = int32(step * depth)
            for j in range(a_depth_passes):
                source = pixel_y[(first + a_d + j * a_depth_step) & (ring - 1)]
                for i in range(a_passes):
                    there = (source >= 0) & (i * a_step < a_lines)
                    to = a_to + stage * a_stage + j * (a_depth_step * a_pitch) + i * a_step
                    at = a_at + source + i * (a_step * channel)
                    if dy_vectors:
                        copy_vector_async(shared, to, dy, at, a_lanes if there else 0)
                    else:
                        copy_async(shared, to, dy, at, 1 if there else 0)
            for i in range(b_passes):
                load_registers(taps, 4 * (b_line + i * b_step), tap, 0, 4)
                for j in range(b_depth_passes):
                    slot = (first + b_d + j * b_depth_step) & (ring - 1)
                    load_registers(places, 4 * slot, pixel, 0, 4)
                    there = inside(tap[2] + pixel[2], extent_1)
                    there &= inside(tap[3] + pixel[3], extent_2)
                    if three_axes:
                        there &= inside(tap[1] + pixel[1], extent_0)
                    to = b_to + stage * b_stage + j * (b_depth_step * b_pitch) + i * b_step
                    at = pixel_x[slot] + tap[0]
                    if x_vectors:
                        copy_vector_async(shared, to, x, at, b_lanes if there else 0)
                    else:
                        copy_async(shared, to, x, at, 1 if there else 0)
            copy_commit()
            if step >= ahead:
                stage = int32((step + 1) & last_stage)
                multiply(
                    shared, stage * a_stage + row, a_pitch, b_start + stage * b_stage + column,
                    b_pitch, sums, depth, lanes, thread_rows, thread_columns, rows_apart,
                    columns_apart, of_warp, across_warp, tf32,
                )  # fmt: skip

        filters, count, wide = sizes[0], sizes[2], split[2]
        copy_wait(0)
        for g in range(row_groups):
            spread(
                shared, row, column, b_pitch, sums, g, lanes, thread_rows, thread_columns,
                columns_apart, of_warp, across_warp, tf32,
            )  # fmt: skip
            for e in range(thread * lanes, rows_apart * columns, threads * lanes):
                r, j = e // columns, e % columns
                f, t = f_first + row_of(g, r, rows_apart, of_warp, tf32), t_first + j
                if (f < filters) & (t < count):
                    load_registers(shared, r * b_pitch + j, values, 0, lanes)
                    to = (z * filters + f) * count + t
                    if wide != 0:
                        store_registers(parts, to, values, 0, lanes)
                    else:
                        for u in range(lanes):
                            if t + u < count:
                                parts[to + u] = values[u]

    return weight_grad


def conv_weight_grad(dy: Any, x: Any, dw: Any, db: Any, dims: ConvDims) -> None:
    if db is not None:
        bias_grad(dy, db)
    if dw is None:
        return
    if depthwise.suits(dims):
        depthwise.weight_grad(dy, x, dw, dims)
    else:
        implicit_gemm(dy, x, dw, dims)


def implicit_gemm(
    dy: Any, x: Any, dw: Any, dims: ConvDims, tile: Tile | None = None, splits: int | None = None
) -> None:
    """conv_weight_grad's dw as a product of dy and x's windows."""
    dtype, lanes = x.dtype, VECTOR[x.dtype]
    sizes, taps = three(dims.out_size, 1), three(dims.kernel_size, 1)
    channels, filters = dims.in_channels // dims.groups, dims.out_channels // dims.groups
    x_image, x_channel, *x_axes = in_elements(x)
    dy_image, dy_channel, *dy_axes = in_elements(dy)
    pixels, depths = dims.batch * prod(sizes), channels * prod(taps)
    check_size("pixels of dy", pixels, MOST)
    check_size("elements of an image of x", x.size // max(x.shape[0], 1), MOST)
    check_size("elements of a filter", depths, MOST)
    numbers = {
        **{"filters": filters, "pixels": pixels, "depths": depths, "first_tile": 0},
        **{"channels_inner": int(is_last(dw)), "channels": channels},
        **axes_of("size", sizes),
        **axes_of("taps", taps),
        **dict.fromkeys(("w_at", "w_group", "w_filter", "w_channel", "w_0", "w_1", "w_2"), 0),
        **{"x_image": x_image, "x_group": channels * x_channel, "x_channel": x_channel},
        **axes_of("x", x_axes),
        **axes_of("extent", three(dims.in_size, 1)),
        **axes_of("step", three(dims.stride, 1)),
        **axes_of("start", three(tuple(-p for p in dims.pad_low), 0)),
        **axes_of("tap", three(dims.dilation, 1)),
        **{"y_at": 0, "y_image": dy_image, "y_group": filters * dy_channel},
        **{"y_channel": dy_channel, **axes_of("y", dy_axes)},
        **{"relu": 0, "bias": 0, "wide": 0},
    }
    if tile is None:
        tile = TILES[dtype][0]
        if filters <= tile.rows // 2 or depths <= tile.columns // 2:
            tile = TILES[dtype][-1]
    blocks = -(-filters // tile.rows) * -(-depths // tile.columns) * dims.groups
    splits = splits or choose_splits(blocks, pixels)
    ring = 2 * CHUNK * tile.depth
    part = -(-pixels // (splits * ring)) * ring
    splits = -(-pixels // part)
    dy_mode = x_mode = ALONG_DEPTH
    if is_last(dy):
        whole = takes_vectors(tile, tile.rows, dtype) and begins_at_vector(dy)
        whole &= filters % lanes == 0
        dy_mode = VECTORS if whole else ALONG_LINE
    if is_last(x):
        whole = takes_vectors(tile, tile.columns, dtype) and begins_at_vector(x)
        whole &= channels % lanes == 0 and is_last(dw)
        x_mode = VECTORS if whole else ALONG_LINE
    to = dw if splits == 1 else scratch(dw, (dims.groups * splits * filters * depths,))
    wide = depths % lanes == 0 and begins_at_vector(to)
    axes = 2 if numbers["extent_0"] == numbers["taps_0"] == 1 and numbers["start_0"] == 0 else 3
    run = make_weight_grad(dtype, tile, dy_mode, x_mode, axes, allows_tf32(tile, dtype))
    values = tuple(numbers[s] for s in SIZES)
    tiles = -(-filters // tile.rows), -(-depths // tile.columns)
    for first in range(0, dims.groups * splits, MOST_BLOCKS):
        grid = *tiles, min(dims.groups * splits - first, MOST_BLOCKS)
        split = splits, part, wide, first
        launch(run, grid, tile.threads, flat(dy), flat(x), flat(to), values, split)
    if splits > 1:
        elements = filters * depths
        arrays = flat(to), flat(dw), flat(dw)
        add = elements, elements, splits, 0, 0, 0, 0
        grid = grid_for(elements, BLOCK), dims.groups
        launch(make_add_parts(dtype), grid, BLOCK, *arrays, add, 1.0, 0.0)


def programs() -> Iterator[Kernel]:
    large, small = TILES[F32]
    yield make_weight_grad(F32, large, ALONG_DEPTH, ALONG_DEPTH, 2)
    yield make_weight_grad(F32, large, VECTORS, VECTORS, 2)
    yield make_weight_grad(F32, large, ALONG_LINE, ALONG_LINE, 3)
    yield make_weight_grad(F32, small, ALONG_DEPTH, ALONG_DEPTH, 3)
    for tile in TILES[F32]:
        for mode in (ALONG_DEPTH, ALONG_LINE):
            yield make_weight_grad(F32, tile, mode, mode, 2, True)
    yield make_weight_grad(F32, small, ALONG_LINE, ALONG_LINE, 2)
    yield make_weight_grad(F64, *TILES[F64], ALONG_DEPTH, ALONG_DEPTH, 2)
    yield make_weight_grad(F64, *TILES[F64], ALONG_LINE, ALONG_LINE, 3)
