"""Convolution layers."""

from typing import Any

import numpy as np

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn import init
from convnet.nn.conversion import check_device
from convnet.nn.module import Module
from convnet.nn.parameter import Parameter
from convnet.shapes import integer, sizes


class _ConvNd(Module):
    """What convolutions of all ranks share; `rank` and forward are the subclass's."""

    rank: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_device(device)
        if padding_mode != "zeros":
            raise NotImplementedError(
                f'padding_mode: this version pads with "zeros" only, got {padding_mode!r}'
            )
        self.in_channels = integer(in_channels, "in_channels", 1)
        self.out_channels = integer(out_channels, "out_channels", 1)
        self.groups = integer(groups, "groups", 1)
        for name, n in (("in_channels", in_channels), ("out_channels", out_channels)):
            if n % groups:
                raise ValueError(f"{name}: expected a multiple of groups ({groups}), got {n}")
        self.kernel_size = sizes(kernel_size, "kernel_size", self.rank)
        self.stride = sizes(stride, "stride", self.rank)
        self.dilation = sizes(dilation, "dilation", self.rank)
        self.padding = (padding,) * self.rank if isinstance(padding, int) else padding
        if isinstance(padding, str) and padding not in ("full", "same", "valid"):
            raise ValueError(
                f'padding: expected a number, numbers, "full", "same" or "valid", got {padding!r}'
            )
        self.padding_mode = padding_mode
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        dtype = dtype or np.float32
        self.weight = Parameter(np.empty(shape, dtype))
        self.register_parameter("bias", Parameter(np.empty(shape[0], dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights and bias uniform within 1/sqrt(in_channels/groups * kernel size)."""
        init.reset_affine(self.weight, self.bias)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        one, none = (1,) * self.rank, (0,) * self.rank
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != one:
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else f"{text}, bias=False"


class Conv2d(_ConvNd):
    """2-D cross-correlation: (N, in_channels, H, W) -> (N, out_channels, P, Q).

    Arguments, defaults and initial values are torch.nn.Conv2d's; padding may also be "full", "same"
    with a stride, or (low, high) pairs. See ops.conv2d for the formula.

    weight : (out_channels, in_channels/groups, R, S)    bias : (out_channels,) or None
    """

    rank = 2

    def forward(self, input: Any) -> Any:
        return F.conv2d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
