"""Which algorithm a convolution runs on the CPU: one function, by rules that were measured.

The rules look at channels, filters, kernel and image size, never at the batch: an image's bits must
not depend on its neighbours. Only a weight gradient, which sums over the batch, asks for its size.
"""

from math import prod

import numpy as np

from convnet.precision import get_precision
from convnet.shapes import ConvDims

_F32 = np.dtype(np.float32)

# Winograd's algorithms: outputs of a tile along an axis, for the kernel of the name.
WINOGRAD_TILES = {
    "winograd_4x4_3x3": 4,
    "winograd_5x5_3x3": 5,
    "winograd_6x6_3x3": 6,
    "winograd_5x5_3x3_stride2": 5,
    "winograd_2x2_5x5": 2,
    "winograd_4x4_5x5": 4,
}
_TILES = {(3, 3): (4, 5, 6), (5, 5): (2, 4)}

# Products in a sum from which on the weight gradient keeps its bound with room to spare, with
# the first of the tiles, with larger ones. The transforms' error does not shrink with the sum: 49
# products came to 1.3 times the bound.
_LONG_SUM = {(3, 3): (128, 512), (5, 5): (512, 1024)}
# Channels in a sum from which on larger tiles do; and an input gradient's at stride 2, where each
# has 4 taps at most (16: 1.5 times the bound, 32: 1.0, 64: 0.75).
_MANY_CHANNELS = 32
_MANY_STRIDED = 64


def _is_depthwise(dims: ConvDims, channels_last: bool, gradient: str | None) -> bool:
    """One input channel a group leaves a product with one row of its tile filled.

    Channels-last, and every input gradient, the direct kernel wants one output channel too.
    """
    if dims.groups == 1 or dims.in_channels != dims.groups:
        return False
    return dims.out_channels == dims.groups or not (channels_last or gradient == "input")


# Elements of a row of pixels up to which the direct kernels' strips stay small.
_ROW = 1 << 14


def _is_direct(dims: ConvDims, channels_last: bool, gradient: str | None) -> bool:
    """Few channels: im2col of them costs as much to copy as to multiply.

    bench/algorithms.py, 14 to 112 wide, 1 to 8 channels, times implicit GEMM: channels-last forward
    1.0 to 2.6, input gradients 1.1 to 9, at stride 2 up to 16 channels too (1.0 to 2.0, 0.9 to 3).
    NCHW forward along rows 1.0 to 2.3; short rows are turned into pixels and back, which pays from
    4 channels on (1.0 to 2.6; 0.8 from 17 to 24 wide with many filters). NCHW input gradients 1.4
    to 8 at stride 1 from 17 pixels a row on, else from twice as many filters on or at a stride (1.0
    to 14). Weight gradients, channels-last, up to 32 filters: 1.5 to 1.9.
    """
    if gradient == "weight" and (
        not channels_last or dims.out_channels > 32 or prod(dims.out_size) < 64
    ):
        return False
    most = 16 if channels_last and max(dims.stride) > 1 and gradient != "weight" else 8
    if dims.in_channels > most or len(dims.kernel_size) > 2:
        return False
    if prod(dims.kernel_size) == 1 or max(dims.dilation) > 1:
        return False
    if dims.in_channels * dims.in_size[-1] > _ROW:
        return False
    if channels_last:
        return True
    width = dims.out_size[-1]
    if gradient == "input":
        strided = max(dims.stride) > 1 and width <= 32
        rows = max(dims.stride) == 1 and dims.in_size[-1] > 16
        return rows or strided or dims.out_channels >= 2 * dims.in_channels
    if width <= 16:
        return dims.in_channels >= 4
    return width > 24 or dims.in_channels >= 6 or dims.out_channels <= 32


def _pays_winograd(dims: ConvDims) -> bool:
    """bench/algorithms.py, 4 to 56 wide: 1.1 to 5 times implicit GEMM from 8 x 16 channels on.

    Below that the transforms, whose vectors run along channels, cost more than they save.
    """
    few, many = sorted((dims.in_channels, dims.out_channels))
    return few >= 8 and many >= 16 and min(dims.out_size) >= 4 and min(dims.in_size) >= 4


def _pays_strided_winograd(dims: ConvDims, channels_last: bool, gradient: str | None) -> bool:
    """3x3 at stride 2: 121 products for 25 outputs instead of 225, the last tiles whole.

    bench/algorithms.py --strides 2, 10 to 112 wide, where a third or more is saved: 1.0 to 4
    times implicit GEMM from 16 x 16 channels on, channels-last from 32 x 16 on (0.8 to 1.2 with
    16); input gradients, padded by 1, 1.3 to 4 and 1.1 to 1.5 (and direct with 16, 1.5 to 2).
    """
    tiles = prod(-(-n // 5) for n in dims.out_size)
    if gradient == "input":
        if dims.pad_low != (1, 1) or dims.out_channels < _MANY_STRIDED:
            return False
        tiles = prod(-(-n // 10) for n in dims.in_size)
    elif gradient == "weight":
        return False
    if 121 * tiles > 0.67 * 9 * prod(dims.out_size) or min(dims.in_size) < 4:
        return False
    return dims.in_channels >= (32 if channels_last else 16) and dims.out_channels >= 16


def _winograd_tile(dims: ConvDims, gradient: str | None) -> int:
    """The tile with the fewest multiplications; 0 where a weight gradient's sum is too short.

    The last tile of a row is a whole one, so that 14 = 3 * 5 - 1 wants tiles of 5, and 7 of 4. A
    larger tile must save 15 %: its transforms take longer and its weights more memory (C256 56x56,
    C512 28x28: a tenth fewer with 6x6, and equal or slower). A weight gradient has no such
    weights, and gains from 8 % on where there are channels. (bench/algorithms.py)
    """
    first, *larger = _TILES[dims.kernel_size]
    side = dims.kernel_size[0] - 1

    def multiplications(tile: int) -> int:
        return (tile + side) ** 2 * prod(-(-n // tile) for n in size)

    size, enough = dims.out_size, 0.85
    terms, few = dims.in_channels, _MANY_CHANNELS
    if gradient == "input":
        size, terms = dims.in_size, dims.out_channels
    elif gradient == "weight":
        terms, (shortest, few) = dims.batch * prod(size), _LONG_SUM[dims.kernel_size]
        if terms < shortest:
            return 0
        if min(dims.in_channels, dims.out_channels) >= 128:
            enough = 0.92
    best = min(larger, key=multiplications)
    if terms >= few and multiplications(best) <= enough * multiplications(first):
        return best
    return first


def conv_algorithm(
    dims: ConvDims, channels_last: bool, gradient: str | None = None, dtype: np.dtype = _F32
) -> str:
    """The algorithm of a convolution, or of one of its gradients ("input", "weight").

    "depthwise", "direct" (few channels), one of WINOGRAD_TILES (float32 only, and not at
    set_precision("highest")), else "implicit_gemm".
    """
    if dims.groups > 1:
        return "depthwise" if _is_depthwise(dims, channels_last, gradient) else "implicit_gemm"
    if (
        dims.kernel_size in _TILES
        and dtype == _F32
        and dims.stride == (1, 1)
        and dims.dilation == (1, 1)
        and _pays_winograd(dims)
        and get_precision() != "highest"
        and (tile := _winograd_tile(dims, gradient))
    ):
        return f"winograd_{tile}x{tile}_{dims.kernel_size[0]}x{dims.kernel_size[1]}"
    if (
        dims.kernel_size == (3, 3)
        and dtype == _F32
        and dims.stride == (2, 2)
        and dims.dilation == (1, 1)
        and _pays_strided_winograd(dims, channels_last, gradient)
        and get_precision() != "highest"
    ):
        return "winograd_5x5_3x3_stride2"
    if _is_direct(dims, channels_last, gradient):
        return "direct"
    return "implicit_gemm"
