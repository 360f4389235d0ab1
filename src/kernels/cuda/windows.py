"""Convolution as a product: weights times im2col's matrix, which is never made. For conv and its
input gradient, which is a convolution of dy for each phase of the stride.

              taps x pixels of x             A tap is a channel and a place in the kernel, a pixel
             +-------------------+           an image and a place in the output. x at both lies at
             |                   |  taps
    filters  +-------------------+               pixel_x[pixel] + tap_x[tap]
    +----+   +-------------------+
    |    |   |         y         |           and is inside along an axis where pixel_at + tap_at is
    +----+   +-------------------+           in [0, extent): one comparison. What is not is 0.
     taps

A block computes pixel_x and pixel_at of its pixels once; what belongs to taps it computes `CHUNK`
steps ahead into a ring in shared memory. So a copied element costs an addition, a comparison an
axis and the copy. Results that lie channels-last have the pixels along rows (`turned`), so that
whole lines of channels are stored.
"""

import functools

import numpy as np
from convnet.kernels.cuda.engine import (
    VECTORS,
    Tile,
    buffers,
    inlined,
    multiply,
    my_place,
    my_share,
    place,
    row_of,
    share,
    spread,
)
from convnet.kernels.cuda.intrinsics import (
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
from convnet.kernels.cuda.launch import Kernel, kernel
from numba import cuda, int32, int64

CHUNK = 4  # steps whose taps are computed at once
OUTSIDE = -(1 << 30)  # a place that no extent holds, whatever is added

# The kernel's numbers, in order: names for what builds them (`sizes_of` in conv.py).
SIZES = (
    *("filters", "pixels", "depths", "first_tile"),
    *("size_0", "size_1", "size_2"),  # the pixels' grid
    *("channels_inner", "channels", "taps_0", "taps_1", "taps_2"),
    *("w_at", "w_group", "w_filter", "w_channel", "w_0", "w_1", "w_2"),
    *("x_image", "x_group", "x_channel", "x_0", "x_1", "x_2"),
    *("extent_0", "extent_1", "extent_2"),
    *("step_0", "step_1", "step_2", "start_0", "start_1", "start_2"),  # of a pixel in x
    *("tap_0", "tap_1", "tap_2"),  # how far a tap is from the one before, in x
    *("y_at", "y_image", "y_group", "y_channel", "y_0", "y_1", "y_2"),
    *("relu", "bias", "wide"),
)


@inlined
def describe_taps(taps, weights, first, ring, thread, threads, count, depths, sizes):
    """Taps first, ..., first + count: (offset in x, three places), and the offset in w."""
    for e in range(thread, count, threads):
        t = int32(first + e)
        slot = int32(t & (ring - 1))
        if t >= depths:
            taps[4 * slot] = 0
            taps[4 * slot + 1] = OUTSIDE
            taps[4 * slot + 2] = OUTSIDE
            taps[4 * slot + 3] = OUTSIDE
            weights[slot] = 0
        else:
            channels, taps_1, taps_2 = int32(sizes[8]), int32(sizes[10]), int32(sizes[11])
            c = int32(0)
            if sizes[7] != 0:
                c = t % channels
                t = t // channels
            w = t % taps_2
            t = t // taps_2
            h = t % taps_1
            t = t // taps_1
            d = t
            if sizes[7] == 0:
                d = t % int32(sizes[9])
                c = t // int32(sizes[9])
            at_d, at_h, at_w = d * sizes[34], h * sizes[35], w * sizes[36]
            taps[4 * slot] = c * sizes[21] + at_d * sizes[22] + at_h * sizes[23] + at_w * sizes[24]
            taps[4 * slot + 1] = at_d
            taps[4 * slot + 2] = at_h
            taps[4 * slot + 3] = at_w
            weights[slot] = c * sizes[15] + d * sizes[16] + h * sizes[17] + w * sizes[18]


@inlined
def describe_pixels(
    pixel_x, pixel_y, places, first, end, ring, thread, threads, count, group, sizes
):
    """Pixels first, ..., first + count, none from `end` on: offsets in x and y, three places."""
    for i in range(thread, count, threads):
        p = int32(first + i)
        e = int32(p & (ring - 1))
        if p >= end:
            pixel_x[e] = 0
            pixel_y[e] = -1
            places[4 * e + 1] = OUTSIDE
            places[4 * e + 2] = OUTSIDE
            places[4 * e + 3] = OUTSIDE
        else:
            w = p % int32(sizes[6])
            p = p // int32(sizes[6])
            h = p % int32(sizes[5])
            p = p // int32(sizes[5])
            d = p % int32(sizes[4])
            n = p // int32(sizes[4])
            at_d, at_h, at_w = (
                d * sizes[28] + sizes[31],
                h * sizes[29] + sizes[32],
                w * sizes[30] + sizes[33],
            )
            places[4 * e + 1] = at_d
            places[4 * e + 2] = at_h
            places[4 * e + 3] = at_w
            x = n * sizes[19] + group * sizes[20]
            pixel_x[e] = x + at_d * sizes[22] + at_h * sizes[23] + at_w * sizes[24]
            y = sizes[37] + n * sizes[38] + group * sizes[39]
            pixel_y[e] = y + d * sizes[41] + h * sizes[42] + w * sizes[43]


@functools.cache
def make_windows(
    dtype: np.dtype,
    tile: Tile,
    w_mode: int,
    x_mode: int,
    axes: int,
    turned: bool,
    tf32: bool = False,
) -> Kernel:
    """w, x, b, y, SIZES.

    w_mode, x_mode : how threads share a step of the weights and of the windows; axes : 2 or 3 to
    look at; turned : pixels along rows, filters along columns
    """
    rows, columns, depth, stages, thread_rows, thread_columns = tile
    threads, sums_of_thread = tile.threads, thread_rows * thread_columns
    a_pitch, b_pitch, a_stage, b_stage, b_start, length = buffers(tile, dtype, tf32)
    filters_of, pixels_of = (columns, rows) if turned else (rows, columns)
    w_pitch, x_pitch = (b_pitch, a_pitch) if turned else (a_pitch, b_pitch)
    w_stage, x_stage = (b_stage, a_stage) if turned else (a_stage, b_stage)
    w_start, x_start = (b_start, 0) if turned else (0, b_start)
    (w_across, w_lanes, w_step, w_passes, w_depth_step, w_depth_passes) = share(
        tile, filters_of, w_mode, dtype
    )
    (x_across, x_lanes, x_step, x_passes, x_depth_step, x_depth_passes) = share(
        tile, pixels_of, x_mode, dtype
    )
    warp_rows, warp_columns, warps, lanes, row_groups, rows_apart, columns_apart = place(
        tile, dtype, tf32
    )
    of_warp, across_warp = tile.warp_tile
    ahead, under_way, last_stage = stages - 1, stages - 2, stages - 1
    chunk = CHUNK * depth
    ring = 2 * chunk
    taps_length, places_length = 4 * ring, 4 * pixels_of
    three = axes == 3
    vectors = x_mode == VECTORS
    zero = dtype.type(0)
    numbers = len(SIZES)

    @kernel(
        f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], {dtype}[::1], UniTuple(int64, {numbers}))",
        max_threads=threads,
        min_blocks=2 if dtype.itemsize == 4 else None,
    )
    def windows(w, x, b, y, sizes):
        shared = shared_array(length, dtype)
        taps = shared_array(taps_length, int32)
        weights = shared_array(ring, int32)
        pixel_x = shared_array(pixels_of, int64)
        pixel_y = shared_array(pixels_of, int64)
        places = shared_array(places_length, int32)
        values = cuda.local.array(lanes, dtype)
        tap = cuda.local.array(4, int32)
        origin = cuda.local.array(x_passes, int64)
        at_0 = cuda.local.array(x_passes, int32)
        at_1 = cuda.local.array(x_passes, int32)
        at_2 = cuda.local.array(x_passes, int32)
        sums = cuda.local.array(sums_of_thread, dtype)
        clear_sums(sums, sums_of_thread)

        thread = int32(cuda.threadIdx.x)
        f_first = int32(cuda.blockIdx.x * filters_of)
        p_first = int32((cuda.blockIdx.y + sizes[3]) * pixels_of)
        depths = int32(sizes[2])
        steps = (depths + (depth - 1)) // depth
        group = int32(cuda.blockIdx.z)
        describe_pixels(
            pixel_x, pixel_y, places, p_first, int32(sizes[1]), pixels_of, thread, threads,
            pixels_of, group, sizes,
        )  # fmt: skip
        describe_taps(taps, weights, 0, ring, thread, threads, ring, depths, sizes)
        cuda.syncthreads()

        line, w_d = my_share(thread, w_mode, w_across, w_lanes)
        w_to, w_ends = int32(w_start + w_d * w_pitch + line), int32(depths - w_d)
        w_lines = int32(sizes[0] - f_first - line)
        w_at = sizes[12] + group * sizes[13] + (f_first + line) * sizes[14]
        w_filter = sizes[14]
        if w_passes == 1 and w_lines <= 0:
            w_ends = int32(0)
        line, x_d = my_share(thread, x_mode, x_across, x_lanes)
        x_to = int32(x_start + x_d * x_pitch + line)
        for i in range(x_passes):
            p = line + i * x_step
            origin[i] = pixel_x[p]
            at_0[i], at_1[i], at_2[i] = places[4 * p + 1], places[4 * p + 2], places[4 * p + 3]
        extent_0, extent_1, extent_2 = int32(sizes[25]), int32(sizes[26]), int32(sizes[27])
        row, column = my_place(
            thread, warp_rows, warp_columns, warps, lanes, of_warp, across_warp, tf32
        )

        for step in range(int32(ahead + steps)):
            if step >= ahead:
                copy_wait(under_way)
                cuda.syncthreads()
                if step % CHUNK == 0:
                    describe_taps(
                        taps, weights, step * depth + chunk, ring, thread, threads, chunk, depths,
                        sizes,
                    )  # fmt: skip
            stage = int32(step & last_stage)
            slot = int32(step % (2 * CHUNK) * depth)
            for j in range(w_depth_passes):
                offset = w_at + weights[slot + w_d + j * w_depth_step]
                for i in range(w_passes):
                    there = j * w_depth_step < w_ends
                    if w_passes > 1:
                        there &= i * w_step < w_lines
                    copy_async(
                        shared,
                        w_to + stage * w_stage + j * (w_depth_step * w_pitch) + i * w_step,
                        w,
                        offset + i * (w_step * w_filter),
                        1 if there else 0,
                    )
            for j in range(x_depth_passes):
                load_registers(taps, 4 * (slot + x_d + j * x_depth_step), tap, 0, 4)
                for i in range(x_passes):
                    there = inside(at_1[i] + tap[2], extent_1) & inside(at_2[i] + tap[3], extent_2)
                    if three:
                        there &= inside(at_0[i] + tap[1], extent_0)
                    to = x_to + stage * x_stage + j * (x_depth_step * x_pitch) + i * x_step
                    if vectors:
                        copy_vector_async(
                            shared, to, x, origin[i] + tap[0], x_lanes if there else 0
                        )
                    else:
                        copy_async(shared, to, x, origin[i] + tap[0], 1 if there else 0)
            copy_commit()
            w_ends = int32(w_ends - depth)
            if step >= ahead:
                stage = int32((step + 1) & last_stage)
                multiply(
                    shared, stage * a_stage + row, a_pitch, b_start + stage * b_stage + column,
                    b_pitch, sums, depth, lanes, thread_rows, thread_columns, rows_apart,
                    columns_apart, of_warp, across_warp, tf32,
                )  # fmt: skip

        filters, relu, bias, wide = sizes[0], sizes[44], sizes[45], sizes[46]
        channel = sizes[40]
        copy_wait(0)
        for g in range(row_groups):
            spread(
                shared, row, column, b_pitch, sums, g, lanes, thread_rows, thread_columns,
                columns_apart, of_warp, across_warp, tf32,
            )  # fmt: skip
            for e in range(thread * lanes, rows_apart * columns, threads * lanes):
                r, j = e // columns, e % columns
                load_registers(shared, r * b_pitch + j, values, 0, lanes)
                r = row_of(g, r, rows_apart, of_warp, tf32)
                f, p = (f_first + j, r) if turned else (f_first + r, j)
                if f < filters:
                    for u in range(lanes):
                        k = f + u if turned else f
                        value = values[u]
                        if (bias != 0) & (k < filters):
                            value += b[group * filters + k]
                        values[u] = zero if (relu != 0) & (value < zero) else value
                    to = pixel_y[p]
                    if wide != 0:
                        if to >= 0:
                            store_registers(y, to + f * channel, values, 0, lanes)
                    else:
                        for u in range(lanes):
                            k = f + u if turned else f
                            to = pixel_y[p if turned else p + u]
                            if (to >= 0) & (k < filters):
                                y[to + k * channel] = values[u]

    return windows
