"""Which algorithm a convolution runs on the CPU: one function, by rules that were measured.

The rules look at channels, filters, kernel and image size, never at the batch: an image's bits must
not depend on its neighbours.
"""

import numpy as np

from convnet.precision import get_precision
from convnet.shapes import ConvDims

_F32 = np.dtype(np.float32)
_WINOGRAD = {(3, 3): "winograd_4x4_3x3", (5, 5): "winograd_2x2_5x5"}


def _is_depthwise(dims: ConvDims, channels_last: bool, gradient: str | None) -> bool:
    """One input channel a group leaves a product with one row of its tile filled.

    Channels-last, and every input gradient, the direct kernel wants one output channel too.
    """
    if dims.groups == 1 or dims.in_channels != dims.groups:
        return False
    return dims.out_channels == dims.groups or not (channels_last or gradient == "input")


def _pays_winograd(dims: ConvDims) -> bool:
    """Measured on 4 to 56 wide images: 1.2 to 3 times implicit GEMM from 8 x 16 channels on.

    Below that the transforms, whose vectors run along channels, cost more than they save.
    """
    few, many = sorted((dims.in_channels, dims.out_channels))
    return few >= 8 and many >= 16 and min(dims.out_size) >= 4 and min(dims.in_size) >= 4


def conv_algorithm(
    dims: ConvDims, channels_last: bool, gradient: str | None = None, dtype: np.dtype = _F32
) -> str:
    """The algorithm of a convolution, or of one of its gradients ("input", "weight").

    "depthwise", "winograd_4x4_3x3" or "winograd_2x2_5x5" (float32 only, and not at
    set_precision("highest")), else "implicit_gemm".
    """
    if dims.groups > 1:
        return "depthwise" if _is_depthwise(dims, channels_last, gradient) else "implicit_gemm"
    if (
        dims.kernel_size in _WINOGRAD
        and dtype == _F32
        and dims.stride == (1, 1)
        and dims.dilation == (1, 1)
        and _pays_winograd(dims)
        and get_precision() != "highest"
    ):
        return _WINOGRAD[dims.kernel_size]
    return "implicit_gemm"
