"""Every algorithm against the implicit matrix product, over channels, filters, images and kernels.

    python bench/algorithms.py      the grid that the rules of backends/algorithm.py cite
    python bench/algorithms.py --channels 8,16 --filters 16 --sizes 7,14 --kernels 3 --last
    python bench/algorithms.py --channels 1,3,6,8 --strides 1,2     where direct kernels may win

One line a layer: the time of the implicit product over that of each other algorithm, for the
forward pass, the input gradient and the weight gradient. Above 1 the other one wins; a star marks
where the rule loses more than 5 % against the best. All run in turn; medians. Pin the process to
one core.
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
from convnet.backends.algorithm import WINOGRAD_TILES, conv_algorithm
from convnet.shapes import ConvDims

PASSES = {None: "forward", "input": "dx", "weight": "dw"}
DIRECT = 16  # channels up to which the direct kernels are tried


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def channels_last(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def medians(calls: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """The median time of each call; they run in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["implicit_gemm"]) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def candidates(dims: ConvDims, last: bool, gradient: str | None) -> list[str]:
    """The algorithms that can compute it, and may pay."""
    names = ["implicit_gemm"]
    if dims.stride == (2, 2) and dims.kernel_size == (3, 3) and gradient != "weight":
        names.append("winograd_5x5_3x3_stride2")
    if dims.stride == (1, 1):
        kernel = "x".join(map(str, dims.kernel_size))
        names += [name for name in WINOGRAD_TILES if name.endswith(kernel)]
    if dims.in_channels <= DIRECT and (last or gradient != "weight"):
        names.append("direct")
    return names


def layer(
    channels: int,
    filters: int,
    size: int,
    kernel: int,
    stride: int,
    batch: int,
    last: bool,
    seconds: float,
) -> str:
    k = importlib.import_module(f"convnet.kernels.{cpu.usable_levels()[0]}_f32")
    rng = np.random.default_rng(0)
    pads = (kernel // 2, kernel // 2)
    sizes, strides = (size, size), (stride, stride)
    out = (size - 1) // stride + 1
    dims = ConvDims(
        batch,
        channels,
        filters,
        1,
        sizes,
        (kernel, kernel),
        (out, out),
        strides,
        pads,
        pads,
        (1, 1),
    )
    x = rng.standard_normal((batch, channels, size, size), dtype=np.float32)
    w = rng.standard_normal((filters, channels, kernel, kernel), dtype=np.float32)
    dy = rng.standard_normal((batch, filters, out, out), dtype=np.float32)
    if last:
        x, w, dy = (channels_last(a) for a in (x, w, dy))
    y, dx, dw = (np.empty_like(a) for a in (dy, x, w))
    arguments = {
        None: ("", (x, w, None, y, dims, None, get_num_threads())),
        "input": ("_input_grad", (dy, w, None, dx, dims, get_num_threads())),
        "weight": ("_weight_grad", (dy, x, dw, None, dims, get_num_threads())),
    }
    line = f"C{channels:<4d} K{filters:<4d} {size:3d}x{size:<3d} {kernel}x{kernel}/{stride}"
    for gradient, label in PASSES.items():
        suffix, values = arguments[gradient]
        calls = {}
        for name in candidates(dims, last, gradient):
            tile = (WINOGRAD_TILES[name],) if name in WINOGRAD_TILES else ()
            family = "winograd" if tile else "conv" if name == "implicit_gemm" else name
            run = getattr(k, family + suffix)
            calls[name] = lambda run=run, values=values + tile: run(*values)
        spent = medians(calls, seconds)
        chosen = conv_algorithm(dims, last, gradient)
        star = "*" if spent[chosen] > 1.05 * min(spent.values()) else " "
        line += f" | {label:7s}{star}"
        for name in spent:
            if name != "implicit_gemm":
                line += f" {name} {spent['implicit_gemm'] / spent[name]:5.2f}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=numbers, default=[4, 8, 16, 32, 64, 256])
    parser.add_argument("--filters", type=numbers, default=[4, 8, 16, 32, 64, 256])
    parser.add_argument("--sizes", type=numbers, default=[3, 4, 7, 8, 14, 28, 56])
    parser.add_argument("--kernels", type=numbers, default=[3, 5])
    parser.add_argument("--strides", type=numbers, default=[1])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--last", action="store_true", help="channels-last")
    parser.add_argument("--seconds", type=float, default=0.02, help="for each pass of each layer")
    a = parser.parse_args()
    grid = product(a.kernels, a.strides, a.sizes, a.channels, a.filters)
    for kernel, stride, size, channels, filters in grid:
        shape = (channels, filters, size, kernel, stride)
        print(layer(*shape, a.batch, a.last, a.seconds), flush=True)


if __name__ == "__main__":
    main()
