"""Convolution layers."""

from typing import Any

import numpy as np

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn import init
from convnet.nn.conversion import as_dtype, check_device
from convnet.nn.module import Module
from convnet.nn.parameter import Parameter
from convnet.nn.tensor import as_tensor
from convnet.shapes import check_padding, conv_transpose_dims, integer, sizes


class _ConvNd(Module):
    """What convolutions of all ranks share; `rank` and forward are the subclass's."""

    rank: int
    transposed = False

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
        check_padding(padding, self.rank, not self.transposed)
        if self.transposed and isinstance(padding, str):
            raise ValueError(f"padding: expected numbers, got {padding!r}")
        self.padding = (padding,) * self.rank if isinstance(padding, int) else padding
        self.padding_mode = padding_mode
        front = (self.out_channels, self.in_channels // self.groups)
        if self.transposed:
            front = (self.in_channels, self.out_channels // self.groups)
        dtype = np.float32 if dtype is None else as_dtype(dtype)
        self.weight = Parameter(np.empty((*front, *self.kernel_size), dtype))
        bias_or_none = Parameter(np.empty(self.out_channels, dtype)) if bias else None
        self.register_parameter("bias", bias_or_none)
        self.output_padding = (0,) * self.rank
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights and bias uniform within 1/sqrt(weight.shape[1] * kernel size)."""
        init.reset_affine(self.weight, self.bias)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        one, none = (1,) * self.rank, (0,) * self.rank
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != one:
            text += f", dilation={self.dilation}"
        if self.output_padding != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else f"{text}, bias=False"


class Conv1d(_ConvNd):
    """1-D cross-correlation: (N, in_channels, L) -> (N, out_channels, Q).

    Arguments, defaults and initial values are torch.nn.Conv1d's; padding may also be "full", "same"
    with a stride, or (low, high) pairs. See ops.conv1d for the formula.

    weight : (out_channels, in_channels/groups, S)    bias : (out_channels,) or None
    """

    rank = 1

    def forward(self, input: Any) -> Any:
        p = self._parameters
        how = self.stride, self.padding, self.dilation, self.groups
        return F.conv1d(input, p["weight"], p["bias"], *how)


class Conv2d(_ConvNd):
    """2-D cross-correlation: (N, in_channels, H, W) -> (N, out_channels, P, Q).

    Arguments, defaults and initial values are torch.nn.Conv2d's; padding may also be "full", "same"
    with a stride, or (low, high) pairs. See ops.conv2d for the formula.

    weight : (out_channels, in_channels/groups, R, S)    bias : (out_channels,) or None
    """

    rank = 2

    def forward(self, input: Any) -> Any:
        p = self._parameters
        how = self.stride, self.padding, self.dilation, self.groups
        return F.conv2d(input, p["weight"], p["bias"], *how)


class Conv3d(_ConvNd):
    """3-D cross-correlation: (N, in_channels, D, H, W) -> (N, out_channels, O, P, Q).

    Arguments, defaults and initial values are torch.nn.Conv3d's; padding may also be "full", "same"
    with a stride, or (low, high) pairs. See ops.conv3d for the formula.

    weight : (out_channels, in_channels/groups, T, R, S)    bias : (out_channels,) or None
    """

    rank = 3

    def forward(self, input: Any) -> Any:
        p = self._parameters
        how = self.stride, self.padding, self.dilation, self.groups
        return F.conv3d(input, p["weight"], p["bias"], *how)


class _ConvTransposeNd(_ConvNd):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self.output_padding = sizes(output_padding, "output_padding", self.rank, 0)

    def _how(self, input: Any, output_size: Any) -> tuple[Any, ...]:
        more = self.output_padding
        if output_size is not None:
            given = tuple(output_size)[-self.rank :]
            shape = as_tensor(input).shape[-self.rank :]
            least = conv_transpose_dims(
                (1, self.in_channels, *shape),
                self.weight.shape,
                self.stride,
                self.padding,
                0,
                self.dilation,
                self.groups,
                self.rank,
            ).in_size
            more = tuple(q - n for q, n in zip(given, least, strict=True))
            if min(more) < 0:
                raise ValueError(f"output_size: expected at least {least}, got {given}")
        return self.stride, self.padding, more, self.groups, self.dilation


class ConvTranspose1d(_ConvTransposeNd):
    """1-D transposed convolution: (N, in_channels, L) -> (N, out_channels, Q).

    Arguments, defaults and initial values are torch.nn.ConvTranspose1d's; padding may also be
    (low, high) pairs. See ops.conv_transpose1d for the formula.

    weight : (in_channels, out_channels/groups, S)    bias : (out_channels,) or None
    """

    rank = 1

    def forward(self, input: Any, output_size: Any = None) -> Any:
        p = self._parameters
        return F.conv_transpose1d(input, p["weight"], p["bias"], *self._how(input, output_size))


class ConvTranspose2d(_ConvTransposeNd):
    """2-D transposed convolution: (N, in_channels, H, W) -> (N, out_channels, P, Q).

    Arguments, defaults and initial values are torch.nn.ConvTranspose2d's; padding may also be
    (low, high) pairs. See ops.conv_transpose2d for the formula.

    weight : (in_channels, out_channels/groups, R, S)    bias : (out_channels,) or None
    """

    rank = 2

    def forward(self, input: Any, output_size: Any = None) -> Any:
        p = self._parameters
        return F.conv_transpose2d(input, p["weight"], p["bias"], *self._how(input, output_size))


class ConvTranspose3d(_ConvTransposeNd):
    """3-D transposed convolution: (N, in_channels, D, H, W) -> (N, out_channels, O, P, Q).

    Arguments, defaults and initial values are torch.nn.ConvTranspose3d's; padding may also be
    (low, high) pairs. See ops.conv_transpose3d for the formula.

    weight : (in_channels, out_channels/groups, T, R, S)    bias : (out_channels,) or None
    """

    rank = 3

    def forward(self, input: Any, output_size: Any = None) -> Any:
        p = self._parameters
        return F.conv_transpose3d(input, p["weight"], p["bias"], *self._how(input, output_size))
