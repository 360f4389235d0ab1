"""Convolution with one input channel a group, in one or two dimensions: direct, no product.

It moves more than it computes: 9 multiply-adds for the 8 bytes of an element read and one written.
A thread goes down `STRIP` rows of one column of the output with the R x S inputs of its window in
registers, and reads `fresh` new rows of S for each output:

        x   o o o   window of output p          lanes side by side along the columns of an image,
            o o o                               image after image (NCHW), or along channels
            o o o   and the window of p + 1,    (channels-last): neighbours read neighbours.
            n n n   one row of it new

With stride 1 the input gradient is the same with the kernel turned about; with larger strides each
input gathers the taps that meet it. The weight gradient keeps R x S sums in the registers of a
thread, which go down columns one after another; a block adds its threads' sums in a tree, and parts
of the images are added in order.
"""

import functools
from collections.abc import Iterator
from math import gcd, prod
from typing import Any

import numpy as np
from convnet.kernels.cuda.engine import inlined
from convnet.kernels.cuda.intrinsics import inside, pick, quotient, shared_array
from convnet.kernels.cuda.launch import Kernel, check_size, flat, grid_for, kernel, launch, scratch
from convnet.kernels.cuda.sums import sum_columns
from convnet.shapes import ConvDims
from numba import cuda, int32

STRIP = 8
THREADS = 256
MOST_TAPS = 25
MOST = 2**31 - 2**16
ENOUGH_BLOCKS = 528

# The kernels' numbers, in order.
SIZES = (
    *("images", "filters", "multiplier", "strips", "height", "width", "last"),  # of the result
    *("rows", "columns", "step_0", "step_1", "start_0", "start_1", "tap_0", "tap_1"),  # of x
    *("x_image", "x_channel", "x_0", "x_1", "y_image", "y_channel", "y_0", "y_1"),
    *("flip", "bias", "relu"),
)


def suits(dims: ConvDims) -> bool:
    """Whether these kernels run a convolution."""
    return (
        dims.groups > 1
        and dims.in_channels == dims.groups
        and len(dims.kernel_size) <= 2
        and prod(dims.kernel_size) <= MOST_TAPS
    )


@inlined
def read_rows(x, window, first, rows, columns, at, place, column, sizes, zero):
    """Rows first, ..., rows of a window: those of its R that are new."""
    for r in range(first, rows):
        h = place + r * int32(sizes[13])
        for s in range(columns):
            w = column + s * int32(sizes[14])
            value = zero
            if inside(h, int32(sizes[7])) & inside(w, int32(sizes[8])):
                value = x[at + h * sizes[17] + w * sizes[18]]
            window[r * columns + s] = value


@inlined
def find(t, sizes):
    """(image, filter, strip, column) of a thread's strip."""
    filters, width = int32(sizes[1]), int32(sizes[5])
    inner = filters if sizes[6] != 0 else width
    outer = width if sizes[6] != 0 else filters
    rest = quotient(t, inner)
    i = int32(t - rest * inner)
    t = quotient(rest, outer)
    j = int32(rest - t * outer)
    n = quotient(t, int32(sizes[3]))
    strip = int32(t - n * int32(sizes[3]))
    k, q = (i, j) if sizes[6] != 0 else (j, i)
    return n, k, strip, q


@functools.cache
def make_depthwise(
    dtype: np.dtype, rows: int, columns: int, fresh: int, strip: int, threads: int
) -> Kernel:
    """x, w, b, y, SIZES: a kernel of rows x columns, `fresh` rows new from output to output."""
    zero = dtype.type(0)
    taps, kept = rows * columns, rows - fresh
    moved = fresh * columns

    @kernel(
        f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], {dtype}[::1], "
        f"UniTuple(int64, {len(SIZES)}))",
        max_threads=threads,
    )
    def depthwise(x, w, b, y, sizes):
        window = cuda.local.array(taps, dtype)
        weights = cuda.local.array(taps, dtype)
        t = int32(cuda.grid(1))
        height = int32(sizes[4])
        if t < sizes[0] * sizes[1] * sizes[3] * sizes[5]:
            n, k, down, q = find(t, sizes)
            for i in range(taps):
                window[i] = zero
                weights[i] = w[k * taps + (taps - 1 - i if sizes[23] != 0 else i)]
            bias = b[k] if sizes[24] != 0 else zero
            c = quotient(k, int32(sizes[2]))
            x_at = n * sizes[15] + c * sizes[16]
            y_at = n * sizes[19] + k * sizes[20] + q * sizes[22]
            column = int32(q * sizes[10] + sizes[12])
            p = int32(down * strip)
            last = min(p + strip, height)
            place = int32(p * sizes[9] + sizes[11])
            read_rows(x, window, 0, kept, columns, x_at, place, column, sizes, zero)
            while p < last:
                read_rows(x, window, kept, rows, columns, x_at, place, column, sizes, zero)
                total = bias
                for i in range(taps):
                    total += window[i] * weights[i]
                y[y_at + p * sizes[21]] = zero if (sizes[25] != 0) & (total < zero) else total
                for i in range(taps - moved):
                    window[i] = window[i + moved]
                p += 1
                place = int32(place + sizes[9])

    return depthwise


@functools.cache
def make_gather(dtype: np.dtype, threads: int) -> Kernel:
    """dy, w, b, dx, SIZES (the result is dx, x is dy; steps are strides, starts padding), (taps
    along rows and columns, which of them apart meet an input, -dilation mod stride)."""
    zero = dtype.type(0)

    @kernel(
        f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], {dtype}[::1], "
        f"UniTuple(int64, {len(SIZES)}), UniTuple(int64, 6))",
        max_threads=threads,
    )
    def gather(dy, w, b, dx, sizes, kernel_size):
        t = int32(cuda.grid(1))
        if t < sizes[0] * sizes[1] * sizes[3] * sizes[5]:
            n, c, h, q = find(t, sizes)
            rows, columns = int32(kernel_size[0]), int32(kernel_size[1])
            multiplier = int32(sizes[2])
            total = b[c] if sizes[24] != 0 else zero
            r_first, s_first = int32(0), int32(0)
            at_0, at_1 = int32(h + sizes[11]), int32(q + sizes[12])
            met = at_0
            while r_first < rows and quotient(met, int32(sizes[9])) * sizes[9] != met:
                r_first += int32(1)
                met += int32(kernel_size[4])
            met = at_1
            while s_first < columns and quotient(met, int32(sizes[10])) * sizes[10] != met:
                s_first += int32(1)
                met += int32(kernel_size[5])
            for m in range(multiplier):
                k = c * multiplier + m
                at = n * sizes[15] + k * sizes[16]
                r = r_first
                while r < rows:
                    i = int32(at_0 - r * sizes[13])
                    s = s_first
                    while s < columns:
                        j = int32(at_1 - s * sizes[14])
                        if (i >= 0) & (j >= 0):
                            p, o = quotient(i, int32(sizes[9])), quotient(j, int32(sizes[10]))
                            if (p < sizes[7]) & (o < sizes[8]):
                                value = dy[at + p * sizes[17] + o * sizes[18]]
                                total += value * w[(k * rows + r) * columns + s]
                        s = int32(s + kernel_size[3])
                    r = int32(r + kernel_size[2])
            dx[n * sizes[19] + c * sizes[20] + h * sizes[21] + q * sizes[22]] = total

    return gather


@functools.cache
def make_weight_grad(
    dtype: np.dtype, rows: int, columns: int, fresh: int, strip: int, threads: int, across: int
) -> Kernel:
    """dy, x, parts, SIZES of the forward convolution, (strips of a part): R x S sums a filter.

    A block has `across` filters side by side, whose strips its threads share.
    """
    zero = dtype.type(0)
    taps, kept = rows * columns, rows - fresh
    moved = fresh * columns
    lines = threads // across

    @kernel(
        f"void({dtype}[::1], {dtype}[::1], {dtype}[::1], UniTuple(int64, {len(SIZES)}), int64)",
        max_threads=threads,
        min_blocks=1 if taps * dtype.itemsize > 100 else None,  # 5x5 of doubles would spill
    )
    def depthwise_weight_grad(dy, x, parts, sizes, part):
        shared = shared_array(threads, dtype)
        window = cuda.local.array(taps, dtype)
        sums = cuda.local.array(taps, dtype)
        thread = int32(cuda.threadIdx.x)
        filters, width, strips = int32(sizes[1]), int32(sizes[5]), int32(sizes[3])
        k = int32(cuda.blockIdx.x * across + thread % across)
        for i in range(taps):
            window[i] = zero
            sums[i] = zero
        if k < filters:
            first = cuda.blockIdx.y * part
            end = int32(min(first + part, sizes[0] * strips * width))
            c = quotient(k, int32(sizes[2]))
            for t in range(int32(first + thread // across), end, lines):
                rest = quotient(t, width)
                q = int32(t - rest * width)
                n = quotient(rest, strips)
                p = int32((rest - n * strips) * strip)
                x_at = n * sizes[15] + c * sizes[16]
                y_at = n * sizes[19] + k * sizes[20] + q * sizes[22]
                column = int32(q * sizes[10] + sizes[12])
                last = int32(min(p + strip, sizes[4]))
                place = int32(p * sizes[9] + sizes[11])
                read_rows(x, window, 0, kept, columns, x_at, place, column, sizes, zero)
                while p < last:
                    read_rows(x, window, kept, rows, columns, x_at, place, column, sizes, zero)
                    factor = dy[y_at + p * sizes[21]]
                    for i in range(taps):
                        sums[i] += window[i] * factor
                    for i in range(taps - moved):
                        window[i] = window[i + moved]
                    p += 1
                    place = int32(place + sizes[9])
        for i in range(taps):
            cuda.syncthreads()
            shared[thread] = pick(sums, i, taps)
            step = threads // 2
            while step >= across:
                cuda.syncthreads()
                if thread < step:
                    shared[thread] += shared[thread + step]
                step //= 2
            if (thread < across) & (k < filters):
                parts[(cuda.blockIdx.y * filters + k) * taps + i] = shared[thread]

    return depthwise_weight_grad


def two(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    """One number for each of two axes."""
    return (fill,) * (2 - len(values)) + tuple(values)


def _strides(a: Any) -> tuple[int, ...]:
    strides = tuple(s // a.dtype.itemsize for s in a.strides)
    return *strides[:2], *two(strides[2:], 0)


def _sizes(images: int, filters: int, multiplier: int, size: tuple[int, ...], y: Any, x: Any,
           extent: tuple[int, ...], step: tuple[int, ...], start: tuple[int, ...],
           tap: tuple[int, ...], strip: int | None = None,
           **flags: int) -> tuple[int, ...]:  # fmt: skip
    """SIZES; the bias, relu and flip are 0 where they are not given."""
    strip = strip or STRIP
    strips, last = -(-size[0] // strip), not y.flags.c_contiguous
    check_size(f"columns of {strip} rows of the result", images * filters * strips * size[1], MOST)
    rest = (flags.get(name, 0) for name in ("flip", "bias", "relu"))
    return (
        *(images, filters, multiplier, strips, *size, last, *extent, *step, *start, *tap),
        *(*_strides(x), *_strides(y), *rest),
    )


def _fresh(rows: int, step: int, tap: int) -> int:
    """How many rows of a window the one before did not have."""
    return step if tap == 1 and step < rows else rows


def _run(kernel_: Kernel, sizes: tuple[int, ...], arrays: tuple[Any, ...], *more: Any) -> None:
    threads = sizes[0] * sizes[1] * sizes[3] * sizes[5]
    launch(kernel_, grid_for(threads, THREADS), THREADS, *map(flat, arrays), sizes, *more)


def forward(x: Any, w: Any, b: Any, y: Any, dims: ConvDims, activation: str | None) -> None:
    taps, step, tap = two(dims.kernel_size, 1), two(dims.stride, 1), two(dims.dilation, 1)
    sizes = _sizes(
        *(dims.batch, dims.out_channels, dims.out_channels // dims.groups),
        *(two(dims.out_size, 1), y, x, two(dims.in_size, 1), step),
        *(two(tuple(-p for p in dims.pad_low), 0), tap),
        bias=b is not None,
        relu=activation is not None,
    )
    run = make_depthwise(x.dtype, *taps, _fresh(taps[0], step[0], tap[0]), STRIP, THREADS)
    _run(run, sizes, (x, w, w if b is None else b, y))


def input_grad(dy: Any, w: Any, b: Any, dx: Any, dims: ConvDims) -> None:
    taps, step, tap = two(dims.kernel_size, 1), two(dims.stride, 1), two(dims.dilation, 1)
    low, multiplier = two(dims.pad_low, 0), dims.out_channels // dims.groups
    size, extent, bias = two(dims.in_size, 1), two(dims.out_size, 1), b is not None
    arrays = dy, w, w if b is None else b, dx
    if step == (1, 1) and multiplier == 1:
        start = tuple(p - t * (r - 1) for p, t, r in zip(low, tap, taps, strict=True))
        sizes = _sizes(
            *(dims.batch, dims.in_channels, 1, size, dx, dy, extent, step, start, tap),
            flip=1,
            bias=bias,
        )
        fresh = _fresh(taps[0], 1, tap[0])
        _run(make_depthwise(dy.dtype, *taps, fresh, STRIP, THREADS), sizes, arrays)
    else:
        apart = tuple(s // gcd(s, t) for s, t in zip(step, tap, strict=True))
        sizes = _sizes(
            *(dims.batch, dims.in_channels, multiplier, size, dx, dy, extent, step, low, tap),
            strip=1,
            bias=bias,
        )
        back = (-t % s for s, t in zip(step, tap, strict=True))
        _run(make_gather(dy.dtype, THREADS), sizes, arrays, (*taps, *apart, *back))


def weight_grad(
    dy: Any, x: Any, dw: Any, dims: ConvDims, threads: int | None = None, across: int = 32
) -> None:
    taps, step, tap = two(dims.kernel_size, 1), two(dims.stride, 1), two(dims.dilation, 1)
    filters, threads = dims.out_channels, threads or THREADS
    sizes = _sizes(
        *(dims.batch, filters, filters // dims.groups, two(dims.out_size, 1), dy, x),
        *(two(dims.in_size, 1), step, two(tuple(-p for p in dims.pad_low), 0), tap),
    )
    across = min(across, threads) if sizes[6] else 1
    blocks, strips = -(-filters // across), sizes[0] * sizes[3] * sizes[5]
    parts = max(1, min(-(-ENOUGH_BLOCKS // blocks), strips // (threads // across)))
    part = -(-strips // parts)
    parts = -(-strips // part)
    fresh = _fresh(taps[0], step[0], tap[0])
    run = make_weight_grad(x.dtype, *taps, fresh, STRIP, threads, across)
    to = dw if parts == 1 else scratch(dw, (parts, filters * prod(taps)))
    launch(run, (blocks, parts), threads, flat(dy), flat(x), flat(to), sizes, part)
    if parts > 1:
        sum_columns(to, dw, parts, filters * prod(taps))


def programs() -> Iterator[Kernel]:
    """3x3 with strides 1 and 2, and 5x5."""
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for rows, fresh in ((3, 1), (3, 2), (5, 1)):
            yield make_depthwise(dtype, rows, rows, fresh, STRIP, THREADS)
            yield make_weight_grad(dtype, rows, rows, fresh, STRIP, THREADS, 32)
        yield make_weight_grad(dtype, 3, 3, 1, STRIP, THREADS, 1)
        yield make_gather(dtype, THREADS)
