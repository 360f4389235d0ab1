"""Every algorithm within its bound on random normal data, up to 512 channels."""

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.check.cross import cross_check

# algorithm, channels, filters, size, kernel, groups, precision
LAYERS = [
    ("winograd_4x4_3x3", 64, 64, 28, 3, 1, "high"),
    ("winograd_5x5_3x3", 32, 48, 15, 3, 1, "high"),
    ("winograd_5x5_3x3", 512, 64, 14, 3, 1, "high"),
    ("winograd_6x6_3x3", 32, 48, 35, 3, 1, "high"),
    ("winograd_6x6_3x3", 512, 64, 18, 3, 1, "high"),
    ("winograd_4x4_3x3", 512, 512, 7, 3, 1, "high"),
    ("winograd_5x5_3x3_stride2", 32, 64, 30, 3, 1, "high"),
    ("winograd_5x5_3x3_stride2", 512, 64, 20, 3, 1, "high"),
    ("winograd_2x2_5x5", 16, 16, 14, 5, 1, "high"),
    ("winograd_4x4_5x5", 32, 64, 21, 5, 1, "high"),
    ("winograd_4x4_5x5", 512, 32, 20, 5, 1, "high"),
    ("implicit_gemm", 512, 512, 7, 3, 1, "highest"),
    ("implicit_gemm", 512, 1024, 7, 1, 1, "high"),
    ("implicit_gemm", 9, 64, 56, 7, 1, "high"),
    ("direct", 3, 64, 56, 7, 1, "high"),
    ("direct", 6, 16, 28, 5, 1, "high"),
    ("depthwise", 512, 512, 14, 3, 512, "high"),
]


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("layer", LAYERS, ids=[f"{a}-C{c}-{s}x{s}" for a, c, _, s, *_ in LAYERS])
def test_within_the_bound(layer, channels_last):
    algorithm, channels, filters, size, kernel, groups, precision = layer
    strided = algorithm.endswith("stride2")
    options = {"stride": 2 if strided else 1, "padding": kernel // 2, "groups": groups}
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((3, channels, size, size), dtype=np.float32)
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    w = rng.standard_normal((filters, channels // groups, kernel, kernel), dtype=np.float32)
    with convnet.set_precision(precision), cross_check() as report:
        for gradient in (None, "input", "weight"):
            expected = algorithm
            if (
                algorithm == "direct"
                and gradient == "weight"
                and (not channels_last or filters > 32)
            ):
                expected = "implicit_gemm"
            if strided and gradient == "weight":
                expected = "implicit_gemm"
            assert expected == ops.conv2d_algorithm(
                x.shape, w.shape, **options, channels_last=channels_last, gradient=gradient
            )
        y = ops.conv2d(x, w, **options)
        dy = rng.standard_normal(y.shape, dtype=np.float32)
        ops.conv2d_backward(dy, x, w, **options)
    assert set(report.functions) == {"conv", "conv_input_grad", "conv_weight_grad"}
    assert 0 < report.worst <= 1


def test_float64_and_highest_precision_sum_directly():
    shapes = (1, 64, 14, 14), (64, 64, 3, 3)
    assert ops.conv2d_algorithm(*shapes, padding=1) == "winograd_5x5_3x3"
    assert ops.conv2d_algorithm(*shapes, padding=1, dtype=np.float64) == "implicit_gemm"
    with convnet.set_precision("highest"):
        assert ops.conv2d_algorithm(*shapes, padding=1) == "implicit_gemm"
