"""The error of each convolution algorithm against float64, as a Markdown table (docs/numerics.md).

    python bench/accuracy.py

Standard normal x, w and dy; four images. err: the largest |error| over the largest |result|;
of bound: the worst error over what docs/numerics.md allows it.
"""

import argparse
from collections.abc import Iterator

import convnet
import numpy as np
from convnet import ops
from convnet.check.cross import cross_check

# name, channels, filters, size, kernel, groups, precision
LAYERS = [
    ("winograd_4x4_3x3", 64, 64, 56, 3, 1, "high"),
    ("winograd_4x4_3x3", 128, 128, 28, 3, 1, "high"),
    ("winograd_5x5_3x3", 32, 32, 14, 3, 1, "high"),
    ("winograd_5x5_3x3", 256, 256, 14, 3, 1, "high"),
    ("winograd_5x5_3x3", 512, 512, 14, 3, 1, "high"),
    ("winograd_6x6_3x3", 32, 32, 112, 3, 1, "high"),
    ("winograd_6x6_3x3", 512, 512, 18, 3, 1, "high"),
    ("winograd_4x4_3x3", 512, 512, 7, 3, 1, "high"),
    ("winograd_5x5_3x3_stride2", 32, 64, 56, 3, 1, "high"),
    ("winograd_5x5_3x3_stride2", 128, 128, 56, 3, 1, "high"),
    ("winograd_5x5_3x3_stride2", 512, 512, 20, 3, 1, "high"),
    ("winograd_2x2_5x5", 16, 16, 14, 5, 1, "high"),
    ("winograd_4x4_5x5", 32, 64, 14, 5, 1, "high"),
    ("winograd_4x4_5x5", 512, 64, 14, 5, 1, "high"),
    ("implicit_gemm", 64, 64, 56, 3, 1, "highest"),
    ("implicit_gemm", 512, 512, 7, 3, 1, "highest"),
    ("implicit_gemm", 512, 2048, 7, 1, 1, "high"),
    ("implicit_gemm", 9, 64, 112, 7, 1, "high"),
    ("direct", 3, 64, 112, 7, 1, "high"),
    ("depthwise", 512, 512, 14, 3, 512, "high"),
]


def passes(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, options: dict[str, int]
) -> Iterator[tuple[str, np.ndarray]]:
    """The results of the three passes."""
    yield "forward", ops.conv2d(x, w, **options)
    dx, dw, _ = ops.conv2d_backward(dy, x, w, **options)
    yield "dx", dx
    yield "dw", dw


def measure(layer: tuple) -> tuple[list[float], list[float]]:
    """Relative errors of forward, dx, dw, and their errors over the bounds."""
    name, channels, filters, size, kernel, groups, precision = layer
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, channels, size, size), dtype=np.float32)
    w = rng.standard_normal((filters, channels // groups, kernel, kernel), dtype=np.float32)
    stride = 2 if name.endswith("stride2") else 1
    options = {"stride": stride, "padding": kernel // 2, "groups": groups}
    with convnet.set_precision(precision):
        algorithm = ops.conv2d_algorithm(x.shape, w.shape, **options)
        if algorithm != name:
            raise RuntimeError(f"{layer}: {algorithm} runs")
        y = ops.conv2d(x, w, **options)
        dy = rng.standard_normal(y.shape, dtype=np.float32)
        with cross_check() as report:
            results = dict(passes(x, w, dy, options))
    with convnet.use_backend("reference"):
        exact = dict(passes(*(a.astype(np.float64) for a in (x, w, dy)), options))
    relative = [float(np.abs(results[p] - e).max() / np.abs(e).max()) for p, e in exact.items()]
    functions = ("conv", "conv_input_grad", "conv_weight_grad")
    return relative, [report.functions[f].worst for f in functions]


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print("| algorithm | layer | err: forward, dx, dw | of bound |")
    print("|---|---|---|---|")
    for layer in LAYERS:
        name, channels, filters, size, kernel, _, _ = layer
        relative, ratios = measure(layer)
        print(
            f"| {name} | C{channels} K{filters} {size}x{size} {kernel}x{kernel} | "
            + ", ".join(f"{e:.1e}" for e in relative)
            + " | "
            + ", ".join(f"{r:.2f}" for r in ratios)
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
