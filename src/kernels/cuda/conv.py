"""Convolution: which kernel runs, and its numbers for implicit GEMM (windows.py).

N images, C channels, K filters, G groups. One and two dimensions are three with extents of 1.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from convnet.kernels.cuda import depthwise
from convnet.kernels.cuda.engine import (
    ALONG_DEPTH,
    ALONG_LINE,
    VECTORS,
    Tile,
    allows_tf32,
    takes_vectors,
)
from convnet.kernels.cuda.intrinsics import VECTOR, begins_at_vector
from convnet.kernels.cuda.launch import MOST_BLOCKS, Kernel, check_size, flat, launch
from convnet.kernels.cuda.windows import SIZES, make_windows
from convnet.shapes import ConvDims

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
MOST = 2**31 - 2**16  # of what kernels count in 32 bits, a tile at a time
ENOUGH_BLOCKS = 132

# (filters, pixels) of a tile, as Tile's arguments; pixels come first where they run along rows.
TILES = {
    F32: (
        Tile(128, 128, 8, 4, 8, 8),
        Tile(64, 128, 8, 4, 4, 8),
        Tile(32, 128, 8, 4, 4, 4),
        Tile(64, 64, 8, 4, 4, 4),
    ),
    F64: (Tile(64, 64, 8, 4, 4, 4), Tile(32, 128, 8, 2, 4, 4)),
}


def conv_algorithm(
    dims: ConvDims,
    channels_last: bool,
    gradient: str | None = None,
    dtype: np.dtype = F32,
) -> str:
    """ "depthwise" where every group has one input channel and few taps, else "implicit_gemm"."""
    return "depthwise" if depthwise.suits(dims) else "implicit_gemm"


def three(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    """One number for each of three axes."""
    return (fill,) * (3 - len(values)) + values


def in_elements(a: Any) -> tuple[int, ...]:
    """Strides: (image or filter, channel, three axes)."""
    strides = tuple(s // a.dtype.itemsize for s in a.strides)
    return *strides[:2], *three(strides[2:], 0)


def axes_of(name: str, values: tuple[int, ...]) -> dict[str, int]:
    return {f"{name}_{i}": v for i, v in enumerate(values)}


def is_last(a: Any) -> bool:
    """Whether an array lies channels-last."""
    return not a.flags.c_contiguous


def choose_tile(filters: int, pixels: int, groups: int, turned: bool, dtype: np.dtype) -> Tile:
    tiles = TILES[dtype]
    fits = [t for t in tiles if t.rows < 2 * filters] or [min(tiles)]
    tile = fits[0]
    if -(-filters // tile.rows) * -(-pixels // tile.columns) * groups < ENOUGH_BLOCKS:
        tile = fits[-1] if filters > 32 else tile
    return turn(tile) if turned else tile


def turn(tile: Tile) -> Tile:
    """The same tile with pixels along rows."""
    return tile._replace(
        rows=tile.columns,
        columns=tile.rows,
        thread_rows=tile.thread_columns,
        thread_columns=tile.thread_rows,
    )


def _are_lines(n: Mapping[str, int], lanes: int) -> bool:
    """Whether windows are the pixels themselves, side by side: vectors may be copied."""
    same = all(
        n[f"taps_{i}"] == 1
        and n[f"step_{i}"] == 1
        and n[f"start_{i}"] == 0
        and n[f"extent_{i}"] == n[f"size_{i}"]
        for i in range(3)
    )
    return same and _side_by_side("x", n, lanes)


def _side_by_side(array: str, n: Mapping[str, int], lanes: int) -> bool:
    """Whether the pixels of an image follow one another in whole vectors."""
    expected = 1
    for i in (2, 1, 0):
        if n[f"size_{i}"] > 1 and n[f"{array}_{i}"] != expected:
            return False
        expected *= n[f"size_{i}"]
    apart = expected, n[f"{array}_image"], n[f"{array}_channel"], n[f"{array}_group"]
    return not any(a % lanes for a in apart)


def run_windows(
    w: Any, x: Any, b: Any, y: Any, numbers: dict[str, int], groups: int, tile: Tile | None = None
) -> None:
    """Launch the kernel of windows.py with its numbers by name; all but how results are stored."""
    dtype, turned, lanes = x.dtype, is_last(y), VECTOR[x.dtype]
    check_size("pixels of the result", numbers["pixels"], MOST)
    check_size("elements of an image", max(x.size, y.size) // max(x.shape[0], 1), MOST)
    check_size("elements of w", w.size, MOST)
    tile = tile or choose_tile(numbers["filters"], numbers["pixels"], groups, turned, dtype)
    filters_of, pixels_of = (tile.columns, tile.rows) if turned else (tile.rows, tile.columns)
    w_mode = ALONG_LINE if numbers["w_filter"] == 1 and numbers["filters"] > 1 else ALONG_DEPTH
    x_mode = ALONG_DEPTH if is_last(x) else ALONG_LINE
    vectors = takes_vectors(tile, pixels_of, dtype)
    if x_mode == ALONG_LINE and vectors and _are_lines(numbers, lanes) and begins_at_vector(x):
        x_mode = VECTORS
    if turned:
        whole = (numbers[f"y_{i}"] for i in (*range(3), "image", "group", "at"))
        wide = not any(s % lanes for s in (numbers["filters"], *whole))
    else:
        wide = numbers["y_at"] == 0 and _side_by_side("y", numbers, lanes)
    numbers["wide"] = wide and begins_at_vector(y)
    numbers["bias"] = b is not None
    flat_ = numbers["extent_0"] == numbers["taps_0"] == 1 and numbers["start_0"] == 0
    axes, tf32 = 2 if flat_ else 3, allows_tf32(tile, dtype)
    run = make_windows(dtype, tile, w_mode, x_mode, axes, turned, tf32)
    arrays = flat(w), flat(x), flat(y if b is None else b), flat(y)
    tiles = -(-numbers["pixels"] // pixels_of)
    for first in range(0, tiles, MOST_BLOCKS):
        numbers["first_tile"] = first
        grid = -(-numbers["filters"] // filters_of), min(tiles - first, MOST_BLOCKS), groups
        launch(run, grid, tile.threads, *arrays, tuple(numbers[s] for s in SIZES))


def conv(x: Any, w: Any, b: Any, y: Any, dims: ConvDims, activation: str | None) -> None:
    if depthwise.suits(dims):
        depthwise.forward(x, w, b, y, dims, activation)
    else:
        implicit_gemm(x, w, b, y, dims, activation)


def implicit_gemm(
    x: Any, w: Any, b: Any, y: Any, dims: ConvDims, activation: str | None, tile: Tile | None = None
) -> None:
    """conv as a product of w and x's windows."""
    sizes, taps = three(dims.out_size, 1), three(dims.kernel_size, 1)
    channels, filters = dims.in_channels // dims.groups, dims.out_channels // dims.groups
    x_image, x_channel, *x_axes = in_elements(x)
    w_filter, w_channel, *w_axes = in_elements(w)
    y_image, y_channel, *y_axes = in_elements(y)
    numbers = {
        "filters": filters,
        "pixels": dims.batch * prod(sizes),
        "depths": channels * prod(taps),
        "channels_inner": int(is_last(x) or is_last(w)),
        "channels": channels,
        **axes_of("size", sizes),
        **axes_of("taps", taps),
        **{"w_at": 0, "w_group": filters * w_filter, "w_filter": w_filter, "w_channel": w_channel},
        **axes_of("w", w_axes),
        **{"x_image": x_image, "x_group": channels * x_channel, "x_channel": x_channel},
        **axes_of("x", x_axes),
        **axes_of("extent", three(dims.in_size, 1)),
        **axes_of("step", three(dims.stride, 1)),
        **axes_of("start", three(tuple(-p for p in dims.pad_low), 0)),
        **axes_of("tap", three(dims.dilation, 1)),
        **{"y_at": 0, "y_image": y_image, "y_group": filters * y_channel, "y_channel": y_channel},
        **axes_of("y", y_axes),
        "relu": activation is not None,
    }
    run_windows(w, x, b, y, numbers, dims.groups, tile)


def programs() -> Iterator[Kernel]:
    """Every tile, and for the largest what differs between forward, gradient and formats."""
    for tile in TILES[F32]:
        yield make_windows(F32, tile, ALONG_DEPTH, ALONG_LINE, 2, False)
    large = TILES[F32][0]
    yield make_windows(F32, large, ALONG_DEPTH, VECTORS, 2, False)
    yield make_windows(F32, large, ALONG_LINE, VECTORS, 2, False)
    yield make_windows(F32, turn(large), ALONG_DEPTH, ALONG_DEPTH, 2, True)
    yield make_windows(F32, turn(large), ALONG_LINE, ALONG_DEPTH, 2, True)
    yield make_windows(F32, large, ALONG_DEPTH, ALONG_LINE, 3, False)
    for tile in TILES[F32]:
        yield make_windows(F32, tile, ALONG_DEPTH, ALONG_LINE, 2, False, True)
        yield make_windows(F32, turn(tile), ALONG_DEPTH, ALONG_DEPTH, 2, True, True)
    for tile in TILES[F64]:
        yield make_windows(F64, tile, ALONG_DEPTH, ALONG_LINE, 2, False)
    yield make_windows(F64, turn(tile), ALONG_DEPTH, ALONG_DEPTH, 3, True)
