"""The gradient of a convolution with respect to its input: convolutions of dy, no scatter.

    dx[n, c, h] = b[c] + sum over k and the taps r that h + pad - r dilation = p stride holds for
        of dy[n, k, p] w[k, c, r]

Along an axis the inputs h of one phase, h mod stride, meet the same taps: every
(stride / gcd(stride, dilation))-th from the first on; and p moves by 1 from one h of the phase to
the next. So each phase is a convolution of dy with stride 1 (windows.py), and a launch. Inputs that
no tap meets get b alone, from sums of nothing.
"""

from itertools import product
from math import gcd, prod
from typing import Any

from convnet.kernels.cuda import depthwise
from convnet.kernels.cuda.conv import axes_of, in_elements, is_last, run_windows, three
from convnet.kernels.cuda.engine import Tile
from convnet.shapes import ConvDims


def conv_input_grad(dy: Any, w: Any, b: Any, dx: Any, dims: ConvDims) -> None:
    if depthwise.suits(dims):
        depthwise.input_grad(dy, w, b, dx, dims)
    else:
        implicit_gemm(dy, w, b, dx, dims)


def _phase(
    phase: int, size: int, taps: int, stride: int, dilation: int, pad: int
) -> tuple[int, int, int, int, int, int]:
    """(inputs, taps, first tap, taps apart, where it reads for the first input, tap's step)."""
    inputs = -(-(size - phase) // stride)
    apart = stride // gcd(stride, dilation)
    met = [r for r in range(min(taps, apart)) if (phase + pad - r * dilation) % stride == 0]
    if not met:
        return inputs, 0, 0, 1, 0, 0
    first = met[0]
    return (
        inputs,
        -(-(taps - first) // apart),
        first,
        apart,
        (phase + pad - first * dilation) // stride,
        -apart * dilation // stride,
    )


def implicit_gemm(
    dy: Any, w: Any, b: Any, dx: Any, dims: ConvDims, tile: Tile | None = None
) -> None:
    """conv_input_grad as products of w and dy's windows."""
    filters, channels = dims.in_channels // dims.groups, dims.out_channels // dims.groups
    stride = three(dims.stride, 1)
    axes = (
        *(three(dims.in_size, 1), three(dims.kernel_size, 1), stride),
        *(three(dims.dilation, 1), three(dims.pad_low, 0)),
    )
    dy_image, dy_channel, *dy_axes = in_elements(dy)
    w_filter, w_channel, *w_axes = in_elements(w)
    dx_image, dx_channel, *dx_axes = in_elements(dx)
    for phases in product(*(range(min(s, n)) for s, n in zip(stride, axes[0], strict=True))):
        sizes, taps, first, apart, start, step = zip(
            *(_phase(p, *axis) for p, *axis in zip(phases, *axes, strict=True)), strict=True
        )
        numbers = {
            "filters": filters,
            "pixels": dims.batch * prod(sizes),
            "depths": channels * prod(taps),
            "channels_inner": int(is_last(dy)),
            "channels": channels,
            **axes_of("size", sizes),
            **axes_of("taps", tuple(max(t, 1) for t in taps)),
            "w_at": sum(f * s for f, s in zip(first, w_axes, strict=True)),
            **{"w_group": channels * w_filter, "w_filter": w_channel, "w_channel": w_filter},
            **axes_of("w", tuple(a * s for a, s in zip(apart, w_axes, strict=True))),
            **{"x_image": dy_image, "x_group": channels * dy_channel, "x_channel": dy_channel},
            **axes_of("x", dy_axes),
            **axes_of("extent", three(dims.out_size, 1)),
            **axes_of("step", (1, 1, 1)),
            **axes_of("start", start),
            **axes_of("tap", step),
            "y_at": sum(p * s for p, s in zip(phases, dx_axes, strict=True)),
            **{"y_image": dx_image, "y_group": filters * dx_channel, "y_channel": dx_channel},
            **axes_of("y", tuple(s * t for s, t in zip(stride, dx_axes, strict=True))),
            "relu": 0,
        }
        run_windows(w, dy, b, dx, numbers, dims.groups, tile)
