"""Batch normalisation, forward and backward, over planes (NCHW) or pixels (channels-last).

    forward    sums of v and v^2, v = x - x's first of the channel   -> mean, var -> y
    backward   sums of dy and dy (x - mean)                          -> dweight, dbias -> dx

Both are two sums over p w, w w or p alone: one pair of kernels. A block sums a part of a channel
(planes) or of some channels (pixels) in float64, a vector's or eight rows' share in the element's
type first; a warp a channel adds the parts. Parts follow from the shape alone: results repeat bit
for bit, on any GPU. Then one pass over the elements, with the channel's factors in registers.

    planes   | tx: 32 to 256 threads along a plane | ty: so many planes of the channel at once |
    pixels   | tx: threads along the channels, 16 bytes each | ty: so many pixels at once      |

The variance is what the squares' mean leaves of the mean's square. Both are of distances to one of
the channel's own values, so that a mean far from 0 takes nothing away from it.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from convnet.kernels.cuda.intrinsics import (
    LANES,
    WARP,
    lanes_of,
    load_registers,
    store_registers,
    warp_sum,
)
from convnet.kernels.cuda.launch import (
    SIMULATED,
    Kernel,
    flat,
    grid_for,
    kernel,
    launch,
    multiprocessors,
    scratch,
)
from convnet.kernels.cuda.reduction import block_sum
from convnet.kernels.cuda.scalar import inline, sqrt
from convnet.kernels.cuda.softmax import join_sum
from numba import cuda

THREADS = 64 if SIMULATED else 256
BLOCKS = 32  # a multiprocessor, at most, of the passes over elements
PART = 16384  # elements of a channel that a block sums
PARTS = 256
ROWS = 8  # pixels summed in the element's type

_F64 = np.dtype(np.float64)


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


# Sums -----------------------------------------------------------------------------------------


@functools.cache
def make_plane_sums(
    dtype: np.dtype, backward: bool, lanes: int, across: int, threads: int
) -> Kernel:
    """partial[0, c, part], partial[1, c, part]: block (part, c)'s two sums."""
    zero = dtype.type(0)
    down = threads // across

    def plane_sums(x, dy, mean, partial, images, channels, plane, parts_of_images, parts_of_plane):
        r = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        shared = cuda.shared.array(WARP, np.float64)
        t = cuda.threadIdx.x
        c = cuda.blockIdx.y
        part = cuda.blockIdx.x // parts_of_plane
        piece = cuda.blockIdx.x - part * parts_of_plane
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
            at = np.int64(c) * cuda.gridDim.x + cuda.blockIdx.x
            partial[at] = total
            partial[at + np.int64(channels) * cuda.gridDim.x] = product

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


def _sums(x: Any, dy: Any, mean: Any, s: Shape, backward: bool) -> tuple[Any, int]:
    """(partial sums, how many parts a channel)."""
    parts = grid_for(s.count, PART, PARTS)
    down = THREADS // s.across
    arrays = flat(x), flat(dy), flat(mean)
    if s.plane == 1:
        partial = scratch(x, (2 * s.channels * parts,), _F64)
        run = make_pixel_sums(x.dtype, backward, s.lanes, s.across, THREADS, ROWS)
        grid = parts, grid_for(s.channels, s.across * s.lanes)
        launch(run, grid, (s.across, down), *arrays, flat(partial), s.images, s.channels)
        return partial, parts
    of_images = min(parts, grid_for(s.images, down))
    of_plane = min(-(-parts // of_images), grid_for(s.plane, s.across * s.lanes))
    parts = of_images * of_plane
    partial = scratch(x, (2 * s.channels * parts,), _F64)
    run = make_plane_sums(x.dtype, backward, s.lanes, s.across, THREADS)
    sizes = s.images, s.channels, s.plane, of_images, of_plane
    launch(run, (parts, s.channels), THREADS, *arrays, flat(partial), *sizes)
    return partial, parts


# Elements -------------------------------------------------------------------------------------


@inline
def _normalised(x, mean, scale, bias):
    return (x - mean) * scale + bias


@functools.cache
def make_plane_forward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    """y = (x - mean) weight / sqrt(var + eps) + bias, `across` threads a plane."""
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def normalise_planes(
        x, mean, var, weight, bias, y, planes, channels, plane, has_weight, has_bias, eps
    ):
        r = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        p = np.int64(cuda.blockIdx.x) * down + t // across
        while p < planes:
            c = np.uint32(p % channels)
            middle = mean[c]
            scale = (weight[c] if has_weight else one) / sqrt(var[c] + eps)
            rise = bias[c] if has_bias else zero
            i = (t % across) * lanes
            while i < plane:
                load_registers(x, p * plane + i, r, 0, lanes)
                for k in range(lanes):
                    r[k] = _normalised(r[k], middle, scale, rise)
                store_registers(y, p * plane + i, r, 0, lanes)
                i += across * lanes
            p += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    signature = f"void({arrays}, int64, int64, int64, int64, int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(normalise_planes)


@functools.cache
def make_pixel_forward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    zero = dtype.type(0)
    one = dtype.type(1)
    down = threads // across

    def normalise_pixels(
        x, mean, var, weight, bias, y, pixels, channels, has_weight, has_bias, eps
    ):
        r = cuda.local.array(lanes, dtype)
        middle = cuda.local.array(lanes, dtype)
        scale = cuda.local.array(lanes, dtype)
        rise = cuda.local.array(lanes, dtype)
        c = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        if c < channels:
            for k in range(lanes):
                middle[k] = mean[c + k]
                scale[k] = (weight[c + k] if has_weight else one) / sqrt(var[c + k] + eps)
                rise[k] = bias[c + k] if has_bias else zero
            pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
            while pixel < pixels:
                load_registers(x, pixel * channels + c, r, 0, lanes)
                for k in range(lanes):
                    r[k] = _normalised(r[k], middle[k], scale[k], rise[k])
                store_registers(y, pixel * channels + c, r, 0, lanes)
                pixel += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    signature = f"void({arrays}, int64, int64, int64, int64, {dtype})"
    return kernel(signature, max_threads=threads, min_blocks=2)(normalise_pixels)


@inline
def _factors(weight, has_weight, var, total, product, count, eps, training):
    """(a, b, d) of dx = a dy + (x - mean) b + d, of a channel."""
    real = type(var)
    rstd = real(1) / sqrt(var + eps)
    a = weight * rstd if has_weight else rstd
    b = -a * rstd * rstd * real(product / count) if training else real(0)
    d = -a * real(total / count) if training else real(0)
    return a, b, d


@functools.cache
def make_plane_backward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    one = dtype.type(1)
    down = threads // across

    def gradient_planes(
        dy, x, mean, var, weight, dx, sums, planes, channels, plane, has_weight, training, count,
        eps,
    ):  # fmt: skip
        r = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        t = cuda.threadIdx.x
        p = np.int64(cuda.blockIdx.x) * down + t // across
        while p < planes:
            c = np.uint32(p % channels)
            middle = mean[c]
            total = sums[c] if training else np.float64(0)
            product = sums[channels + c] if training else np.float64(0)
            w = weight[c] if has_weight else one
            a, b, d = _factors(w, has_weight, var[c], total, product, count, eps, training)
            i = (t % across) * lanes
            while i < plane:
                load_registers(dy, p * plane + i, g, 0, lanes)
                load_registers(x, p * plane + i, r, 0, lanes)
                for k in range(lanes):
                    r[k] = g[k] * a + ((r[k] - middle) * b + d)
                store_registers(dx, p * plane + i, r, 0, lanes)
                i += across * lanes
            p += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    numbers = f"int64, int64, int64, int64, int64, float64, {dtype}"
    return kernel(f"void({arrays}, float64[::1], {numbers})", max_threads=threads, min_blocks=2)(
        gradient_planes
    )


@functools.cache
def make_pixel_backward(dtype: np.dtype, lanes: int, across: int, threads: int) -> Kernel:
    one = dtype.type(1)
    down = threads // across

    def gradient_pixels(
        dy, x, mean, var, weight, dx, sums, pixels, channels, has_weight, training, count, eps
    ):
        r = cuda.local.array(lanes, dtype)
        g = cuda.local.array(lanes, dtype)
        middle = cuda.local.array(lanes, dtype)
        a = cuda.local.array(lanes, dtype)
        b = cuda.local.array(lanes, dtype)
        d = cuda.local.array(lanes, dtype)
        c = (cuda.blockIdx.y * across + cuda.threadIdx.x) * lanes
        if c < channels:
            for k in range(lanes):
                middle[k] = mean[c + k]
                total = sums[c + k] if training else np.float64(0)
                product = sums[channels + c + k] if training else np.float64(0)
                w = weight[c + k] if has_weight else one
                a[k], b[k], d[k] = _factors(
                    w, has_weight, var[c + k], total, product, count, eps, training
                )
            pixel = np.int64(cuda.blockIdx.x) * down + cuda.threadIdx.y
            while pixel < pixels:
                load_registers(dy, pixel * channels + c, g, 0, lanes)
                load_registers(x, pixel * channels + c, r, 0, lanes)
                for k in range(lanes):
                    r[k] = g[k] * a[k] + ((r[k] - middle[k]) * b[k] + d[k])
                store_registers(dx, pixel * channels + c, r, 0, lanes)
                pixel += cuda.gridDim.x * down

    arrays = ", ".join([f"{dtype}[::1]"] * 6)
    numbers = f"int64, int64, int64, int64, float64, {dtype}"
    return kernel(f"void({arrays}, float64[::1], {numbers})", max_threads=threads, min_blocks=2)(
        gradient_pixels
    )


def _over_elements(planes: Any, pixels: Any, s: Shape, dtype: np.dtype, arrays: Any, *rest: Any):
    """Launch the pass over elements of one of two factories. arrays: flat."""
    down = THREADS // s.across
    most = BLOCKS * multiprocessors()
    if s.plane == 1:
        run = pixels(dtype, s.lanes, s.across, THREADS)
        columns = grid_for(s.channels, s.across * s.lanes)
        grid = grid_for(s.images, down, max(1, most // columns)), columns
        launch(run, grid, (s.across, down), *arrays, s.images, s.channels, *rest)
    else:
        run = planes(dtype, s.lanes, s.across, THREADS)
        grid = grid_for(s.images * s.channels, down, most)
        sizes = s.images * s.channels, s.channels, s.plane
        launch(run, grid, THREADS, *arrays, *sizes, *rest)


# Functions ------------------------------------------------------------------------------------


def batch_norm_stats(x: Any, mean: Any, var: Any) -> None:
    s = shape_of(x)
    partial, parts = _sums(x, x, mean, s, backward=False)
    run = make_totals(x.dtype, False, THREADS)
    arrays = flat(partial), flat(x), flat(var), flat(mean), flat(var), flat(partial)
    numbers = s.channels, parts, s.plane, s.count, 0.0
    launch(run, grid_for(s.channels, THREADS // WARP), THREADS, *arrays, *numbers)


def batch_norm(
    x: Any, mean: Any, var: Any, weight: Any | None, bias: Any | None, y: Any, eps: float
) -> None:
    given = x, mean, var, mean if weight is None else weight, mean if bias is None else bias, y
    flags = int(weight is not None), int(bias is not None)
    s = shape_of(x, y)
    arrays = tuple(map(flat, given))
    _over_elements(make_plane_forward, make_pixel_forward, s, x.dtype, arrays, *flags, eps)


def batch_norm_training(
    x: Any, weight: Any | None, bias: Any | None, mean: Any, var: Any, y: Any, eps: float
) -> None:
    batch_norm_stats(x, mean, var)
    batch_norm(x, mean, var, weight, bias, y, eps)


def batch_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    var: Any,
    weight: Any | None,
    dx: Any | None,
    dweight: Any | None,
    dbias: Any | None,
    eps: float,
    training: bool,
) -> None:
    s = shape_of(x, dy) if dx is None else shape_of(x, dy, dx)
    sums = scratch(x, (2 * s.channels,), _F64)
    if dweight is not None or dbias is not None or training:
        partial, parts = _sums(x, dy, mean, s, backward=True)
        first = scratch(x, (s.channels,)) if dweight is None else dweight
        second = scratch(x, (s.channels,)) if dbias is None else dbias
        run = make_totals(x.dtype, True, THREADS)
        arrays = tuple(map(flat, (partial, x, var, first, second, sums)))
        numbers = s.channels, parts, s.plane, s.count, eps
        launch(run, grid_for(s.channels, THREADS // WARP), THREADS, *arrays, *numbers)
    if dx is not None:
        given = dy, x, mean, var, mean if weight is None else weight, dx, sums
        rest = int(weight is not None), int(training), s.count, eps
        arrays = tuple(map(flat, given))
        _over_elements(make_plane_backward, make_pixel_backward, s, x.dtype, arrays, *rest)


def programs() -> Iterator[Kernel]:
    for dtype, lanes in LANES.items():
        for backward in (False, True):
            for wide in (lanes, 1):
                yield make_plane_sums(dtype, backward, wide, THREADS, THREADS)
                yield make_pixel_sums(dtype, backward, wide, WARP, THREADS, ROWS)
            yield make_totals(dtype, backward, THREADS)
        yield make_plane_forward(dtype, lanes, THREADS, THREADS)
        yield make_pixel_forward(dtype, lanes, WARP, THREADS)
        yield make_plane_backward(dtype, lanes, THREADS, THREADS)
        yield make_pixel_backward(dtype, lanes, WARP, THREADS)
