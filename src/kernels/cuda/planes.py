"""Kernels over planes (NCHW) and pixels (channels-last): places in a plane, and their launch.

    planes    `across` threads side by side on a plane, so many planes a block
    pixels    `across` threads along the channels, 16 bytes each, so many pixels a block

A place of up to three axes is one number of 32 bits within its plane: there are fewer than 2^32.
"""

from math import prod
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics import WARP, lanes_of
from convnet.kernels.cuda.launch import (
    SIMULATED,
    check_size,
    flat,
    grid_for,
    launch,
    multiprocessors,
)
from convnet.kernels.cuda.scalar import inline

THREADS = 32 if SIMULATED else 256
BLOCKS = 32  # a multiprocessor, at most
TOGETHER = 4  # elements of a plane whose loads a thread has under way at once


@inline
def inside(i, n):
    """0 <= i < n, both within 32 bits: one comparison."""
    return np.uint32(i) < np.uint32(n)


@inline
def place_of(a, b, c, q):
    """(a, b, c) as one index into a plane q; computed in 32 bits, which halves the instructions."""
    return np.int64(np.uint32((a * q[1] + b) * q[2] + c))


@inline
def places_of(i, q):
    """The three indices of element i of a plane q, of fewer than 2^32 elements."""
    row = np.uint32(np.uint32(i) // np.uint32(q[2]))
    plane = np.uint32(row // np.uint32(q[1]))
    b = np.uint32(row - plane * np.uint32(q[1]))
    c = np.uint32(np.uint32(i) - row * np.uint32(q[2]))
    return np.int64(plane), np.int64(b), np.int64(c)


def check_planes(*sizes: tuple[int, ...], most: int = 2**32 - 2**16) -> None:
    """ValueError where the places of a plane would not fit what kernels count them in."""
    for size in sizes:
        check_size(f"elements of a plane of {' x '.join(map(str, size))}", prod(size), most)


def power_of_two(n: int, least: int, most: int) -> int:
    """The least power of two from `least` on that is n or more, but not above `most`."""
    p = least
    while p < n and p < most:
        p *= 2
    return p


def run_planes(make: Any, key: Any, arrays: Any, planes: int, places: int, *numbers: Any) -> None:
    """A kernel over planes of so many places. key : the factory's arguments before `across`."""
    across = power_of_two(places, min(WARP, THREADS), THREADS)
    most = BLOCKS * multiprocessors()
    grid = grid_for(planes, THREADS // across, most)
    pieces = grid_for(places, across, max(1, most // grid))
    run = make(*key, across, THREADS)
    launch(run, (grid, pieces), THREADS, *map(flat, arrays), planes, *numbers)


def run_pixels(
    make: Any, key: Any, arrays: Any, pixels: int, images: int, channels: int, *numbers: Any
) -> None:
    """A kernel over pixels of channels. key : the factory's arguments before `lanes`."""
    lanes = lanes_of(arrays[0].dtype, *arrays, multiple_of=channels)
    across = power_of_two(-(-channels // lanes), 1, WARP)
    columns = grid_for(channels, across * lanes)
    down = THREADS // across
    grid = grid_for(pixels, down, max(1, BLOCKS * multiprocessors() // columns)), columns
    run = make(*key, lanes, across, THREADS)
    launch(run, grid, (across, down), *map(flat, arrays), images, channels, *numbers)


def lifted(sizes: tuple[int, ...], fill: int) -> tuple[int, ...]:
    """Sizes of one to three axes as three."""
    return (fill,) * (3 - len(sizes)) + tuple(sizes)
