"""Two sums a channel, which batch normalisation wants forward and backward.

    forward    v and v^2, v = x - x's first of the channel    -> mean, var
    backward   dy and dy (x - mean)                           -> dweight, dbias

Both are over p w, w w or p alone: one pair of kernels. A block sums a part of a channel (planes) or
of some channels (pixels) in float64, a vector's or eight rows' share in the element's type first; a
warp a channel adds the parts. Parts follow from the shape alone: results repeat bit for bit, on any
GPU.

    planes   | tx: 32 to 256 threads along a plane | ty: so many planes of the channel at once |
    pixels   | tx: threads along the channels, 16 bytes each | ty: so many pixels at once      |

The variance is what the squares' mean leaves of the mean's square. Both are of distances to one of
the channel's own values, so that a mean far from 0 takes nothing away from it.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from convnet.kernels.cuda.intrinsics import LANES, WARP, lanes_of, load_registers, warp_sum
from convnet.kernels.cuda.launch import SIMULATED, Kernel, flat, grid_for, kernel, launch, scratch
from convnet.kernels.cuda.reduction import block_sum
from convnet.kernels.cuda.scalar import sqrt
from convnet.kernels.cuda.softmax import join_sum
from numba import cuda

THREADS = 64 if SIMULATED else 256
PART = 16384  # elements of a channel that a block sums
PARTS = 256
ROWS = 8  # pixels summed in the element's type

F64 = np.dtype(np.float64)


class Shape(NamedTuple):
    """images x channels x plane in NCHW; pixels x channels where plane is 1."""

    images: int
    channels: int
    plane: int
    lanes: int
    across: int  # threads along a plane, or along the channels

    @property
    def count(self) -> int:
        return self.images * self.plane


def shape_of(x: Any, *others: Any) -> Shape:
    images, channels = x.shape[:2]
    plane = x.size // (images * channels)
    if not x.flags.c_contiguous:
        images, plane = images * plane, 1
    row = channels if plane == 1 else plane
    lanes = lanes_of(x.dtype, x, *others, multiple_of=row)
    across = 1 if plane == 1 else min(WARP, THREADS)
    while across * lanes < row and across < (WARP if plane == 1 else THREADS):
        across *= 2
    return Shape(images, channels, plane, lanes, across)


@functools.cache
def make_plane_sums(
    dtype: np.dtype, backward: bool, lanes: int, across: int, threads: int
) -> Kernel:
    """partial[0, c, part], partial[1, c, part]: the two sums of block (c, part)."""
    zero = dtype.type(0)
    down = threads // across

    def plane_sums(x, dy, mean, partial, images, channels, plane, parts_of_images, parts_of_plane):
        r = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        shared = cuda.shared.array(WARP, np.float64)
        t = cuda.threadIdx.x
        c = cuda.blockIdx.x
        part = cuda.blockIdx.y // parts_of_plane
        piece = cuda.blockIdx.y - part * parts_of_plane
        base = mean[c] if backward else x[np.int64(c) * plane]
        total = np.float64(0)
        product = np.float64(0)
        n = part * down + t // across
        while n < images:
            first = (np.int64(n) * channels + c) * plane
            i = (piece * across + t % across) * lanes
            while i < plane:
                load_registers(x, first + i, r, 0, lanes)
                if backward:
                    load_registers(dy, first + i, g, 0, lanes)
                s = zero
                q = zero
                for k in range(lanes):
                    w = r[k] - base
                    p = g[k] if backward else w
                    s += p
                    q += p * w
                total += np.float64(s)
                product += np.float64(q)
                i += parts_of_plane * across * lanes
            n += parts_of_images * down
        total = block_sum(total, t, shared, threads)
        product = block_sum(product, t, shared, threads)
        if t == 0:
            at = np.int64(c) * cuda.gridDim.y + cuda.blockIdx.y
            partial[at] = total
            partial[at + np.int64(channels) * cuda.gridDim.y] = product

    plane_sums.__name__ = "gradient_sums_of_planes" if backward else "sums_of_planes"
    arrays = f"{dtype}[::1], {dtype}[::1], {dtype}[::1], float64[::1]"
    signature = f"void({arrays}, int64, int64, int64, int64, int64)"
    return kernel(signature, max_threads=threads, min_blocks=2)(plane_sums)


@functools.cache
def make_pixel_sums(
    dtype: np.dtype, backward: bool, lanes: int, across: int, threads: int, together: int
) -> Kernel:
    """The same for block (part, columns of channels); a thread has `lanes` channels."""
    zero = dtype.type(0)
    down = threads // across

    def pixel_sums(x, dy, mean, partial, pixels, channels):
        base = cuda.local.array(lanes, dtype)
        s = cuda.local.array(lanes, dtype)
        q = cuda.local.array(lanes, dtype)
        r = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        total = cuda.local.array(lanes, np.float64)
        product = cuda.local.array(lanes, np.float64)
        shared = cuda.shared.array(threads, np.float64)
        tx = cuda.threadIdx.x
        ty = cuda.threadIdx.y
        c = (cuda.blockIdx.y * across + tx) * lanes
        mine = c < channels
        for k in range(lanes):
            total[k] = np.float64(0)
            product[k] = np.float64(0)
            if mine:
                base[k] = mean[c + k] if backward else x[c + k]
        step = np.int64(cuda.gridDim.x) * down
        pixel = np.int64(cuda.blockIdx.x) * down + ty
        while pixel < pixels and mine:
            for k in range(lanes):
                s[k] = zero
                q[k] = zero
            for _ in range(together):
                if pixel < pixels:
                    load_registers(x, pixel * channels + c, r, 0, lanes)
                    if backward:
                        load_registers(dy, pixel * channels + c, g, 0, lanes)
                    for k in range(lanes):
                        w = r[k] - base[k]
                        p = g[k] if backward else w
                        s[k] += p
                        q[k] += p * w
                pixel += step
            for k in range(lanes):
                total[k] += np.float64(s[k])
                product[k] += np.float64(q[k])
        for k in range(lanes):
            one = join_sum(total[k], shared, tx, ty, across, down)
            two = join_sum(product[k], shared, tx, ty, across, down)
            if ty == 0 and mine:
                at = np.int64(c + k) * cuda.gridDim.x + cuda.blockIdx.x
                partial[at] = one
                partial[at + np.int64(channels) * cuda.gridDim.x] = two

    pixel_sums.__name__ = "gradient_sums_of_pixels" if backward else "sums_of_pixels"
    arrays = f"{dtype}[::1], {dtype}[::1], {dtype}[::1], float64[::1]"
    return kernel(f"void({arrays}, int64, int64)", max_threads=threads, min_blocks=2)(pixel_sums)


@functools.cache
def make_totals(dtype: np.dtype, backward: bool, threads: int) -> Kernel:
    """A warp a channel adds the parts. Forward: mean and var; backward: dweight, dbias, sums.

    plane : where channel c begins in x, over c
    """
    rows = threads // WARP

    def totals(partial, x, var, first, second, sums, channels, parts, plane, count, eps):
        lane = cuda.threadIdx.x % WARP
        c = cuda.blockIdx.x * rows + cuda.threadIdx.x // WARP
        total = np.float64(0)
        product = np.float64(0)
        if c < channels:
            i = lane
            while i < parts:
                total += partial[np.int64(c) * parts + i]
                product += partial[np.int64(channels + c) * parts + i]
                i += WARP
        total = warp_sum(total)
        product = warp_sum(product)
        if lane == 0 and c < channels:
            if backward:
                first[c] = product / sqrt(np.float64(var[c]) + eps)
                second[c] = total
                sums[c] = total
                sums[channels + c] = product
            else:
                shift = total / count
                first[c] = np.float64(x[np.int64(c) * plane]) + shift
                squares = product / count - shift * shift
                second[c] = squares if squares > np.float64(0) or squares != squares else 0

    totals.__name__ = "gradient_totals" if backward else "totals"
    reals = ", ".join([f"{dtype}[::1]"] * 4)
    signature = f"void(float64[::1], {reals}, float64[::1], int64, int64, int64, float64, float64)"
    return kernel(signature, max_threads=threads, min_blocks=2)(totals)


def _parts(x: Any, dy: Any, mean: Any, s: Shape, backward: bool) -> tuple[Any, int]:
    """(partial sums, how many parts a channel)."""
    parts = grid_for(s.count, PART, PARTS)
    down = THREADS // s.across
    arrays = flat(x), flat(dy), flat(mean)
    if s.plane == 1:
        partial = scratch(x, (2 * s.channels * parts,), F64)
        run = make_pixel_sums(x.dtype, backward, s.lanes, s.across, THREADS, ROWS)
        grid = parts, grid_for(s.channels, s.across * s.lanes)
        launch(run, grid, (s.across, down), *arrays, flat(partial), s.images, s.channels)
        return partial, parts
    of_images = min(parts, grid_for(s.images, down))
    of_plane = min(-(-parts // of_images), grid_for(s.plane, s.across * s.lanes))
    parts = of_images * of_plane
    partial = scratch(x, (2 * s.channels * parts,), F64)
    run = make_plane_sums(x.dtype, backward, s.lanes, s.across, THREADS)
    sizes = s.images, s.channels, s.plane, of_images, of_plane
    launch(run, (s.channels, parts), THREADS, *arrays, flat(partial), *sizes)
    return partial, parts


def channel_totals(
    x: Any,
    dy: Any | None,
    mean: Any,
    var: Any,
    first: Any,
    second: Any,
    sums: Any | None,
    s: Shape,
    eps: float,
) -> None:
    """Forward (dy is None) first, second = mean, var; backward dweight, dbias, and both sums."""
    backward = dy is not None
    partial, parts = _parts(x, dy if backward else x, mean, s, backward)
    run = make_totals(x.dtype, backward, THREADS)
    arrays = partial, x, var, first, second, sums if backward else partial
    numbers = s.channels, parts, s.plane, s.count, eps
    launch(run, grid_for(s.channels, THREADS // WARP), THREADS, *map(flat, arrays), *numbers)


def programs() -> Iterator[Kernel]:
    for dtype, lanes in LANES.items():
        for backward in (False, True):
            for wide in (lanes, 1):
                yield make_plane_sums(dtype, backward, wide, THREADS, THREADS)
                yield make_pixel_sums(dtype, backward, wide, WARP, THREADS, ROWS)
            yield make_totals(dtype, backward, THREADS)
