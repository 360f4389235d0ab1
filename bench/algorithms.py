"""Winograd against the implicit matrix product, over channels, filters, image sizes and kernels.

    python bench/algorithms.py      the grid that the rules of backends/algorithm.py cite
    python bench/algorithms.py --channels 8,16 --filters 16 --sizes 7,14 --kernels 3 --last

One line a layer: the time of the implicit product over Winograd's, for the forward pass, the
input gradient and the weight gradient. Above 1 Winograd wins; a star marks where the rule decides
against the time, by more than 5 %. Both run in turn; medians. Pin the process to one core.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from itertools import product

import numpy as np
from convnet import get_num_threads
from convnet.backends import cpu
from convnet.backends.algorithm import conv_algorithm
from convnet.shapes import ConvDims

PASSES = (None, "input", "weight")


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def channels_last(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def ratio(one: Callable[[], None], other: Callable[[], None], seconds: float) -> float:
    """The median time of the one over that of the other, which run in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, spent in zip((one, other), times, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    return statistics.median(times[0][1:]) / statistics.median(times[1][1:])


def layer(
    channels: int, filters: int, size: int, kernel: int, batch: int, last: bool, seconds: float
) -> str:
    k = importlib.import_module(f"convnet.kernels.{cpu.usable_levels()[0]}_f32")
    rng = np.random.default_rng(0)
    pads = (kernel // 2, kernel // 2)
    sizes = (size, size)
    dims = ConvDims(
        batch, channels, filters, 1, sizes, (kernel, kernel), sizes, (1, 1), pads, pads, (1, 1)
    )
    x = rng.standard_normal((batch, channels, size, size), dtype=np.float32)
    w = rng.standard_normal((filters, channels, kernel, kernel), dtype=np.float32)
    dy = rng.standard_normal((batch, filters, size, size), dtype=np.float32)
    if last:
        x, w, dy = (channels_last(a) for a in (x, w, dy))
    y, dx, dw = (np.empty_like(a) for a in (dy, x, w))
    n = get_num_threads()
    calls = (
        (
            lambda: k.conv(x, w, None, y, dims, None, n),
            lambda: k.winograd(x, w, None, y, dims, None, n),
        ),
        (
            lambda: k.conv_input_grad(dy, w, None, dx, dims, n),
            lambda: k.winograd_input_grad(dy, w, None, dx, dims, n),
        ),
        (
            lambda: k.conv_weight_grad(dy, x, dw, None, dims, n),
            lambda: k.winograd_weight_grad(dy, x, dw, None, dims, n),
        ),
    )
    line = f"C{channels:<4d} K{filters:<4d} {size:3d}x{size:<3d} {kernel}x{kernel}"
    for gradient, pair in zip(PASSES, calls, strict=True):
        won = ratio(*pair, seconds)
        rule = conv_algorithm(dims, last, gradient).startswith("winograd")
        wrong = won < 0.95 if rule else won > 1.05
        line += f"  {won:5.2f}{'*' if wrong else ' '}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=numbers, default=[4, 8, 16, 32, 64, 256])
    parser.add_argument("--filters", type=numbers, default=[4, 8, 16, 32, 64, 256])
    parser.add_argument("--sizes", type=numbers, default=[3, 4, 7, 8, 14, 28, 56])
    parser.add_argument("--kernels", type=numbers, default=[3, 5])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--last", action="store_true", help="channels-last")
    parser.add_argument("--seconds", type=float, default=0.02, help="for each pass of each layer")
    a = parser.parse_args()
    print(f"{'layer':24s} forward    dx     dw")
    for kernel, size, channels, filters in product(a.kernels, a.sizes, a.channels, a.filters):
        print(layer(channels, filters, size, kernel, a.batch, a.last, a.seconds), flush=True)


if __name__ == "__main__":
    main()
