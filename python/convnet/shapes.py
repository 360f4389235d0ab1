"""Output sizes and paddings: plain integers, written once.

n input, m kernel, s stride, d dilation, all per spatial dimension. A kernel of m elements covers
d(m-1)+1 inputs.
"""

from typing import NamedTuple

Sizes = tuple[int, ...]


class ConvDims(NamedTuple):
    """A convolution whose arguments have been checked. Tuples have an entry per spatial dimension."""

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    in_size: Sizes
    kernel_size: Sizes
    out_size: Sizes
    stride: Sizes
    pad_low: Sizes
    pad_high: Sizes  # negative where the last inputs are not reached
    dilation: Sizes


class PoolDims(NamedTuple):
    """A pooling whose arguments have been checked. Tuples have an entry per spatial dimension."""

    batch: int
    channels: int
    in_size: Sizes
    kernel_size: Sizes
    out_size: Sizes
    stride: Sizes
    pad_low: Sizes
    pad_high: Sizes  # beyond the input's end as the windows reach (ceil_mode); may be negative
    dilation: Sizes
    count_include_pad: bool = True
    divisor_override: int | None = None
