"""Pooling layers: torch.nn's arguments and defaults, checked at construction."""

from typing import Any

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn.module import Module
from convnet.shapes import check_padding, integer, sizes


class _Pool(Module):
    """Windows: what the pools of all ranks share."""

    rank: int

    def __init__(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool) -> None:
        super().__init__()
        sizes(kernel_size, "kernel_size", self.rank)
        if stride is not None:
            sizes(stride, "stride", self.rank)
        check_padding(padding, self.rank, full=False)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        sizes(dilation, "dilation", self.rank)
        self.dilation, self.return_indices = dilation, return_indices

    def _windows(self) -> tuple[Any, ...]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The maximum of each window: (N, C, L) -> (N, C, Q); see ops.max_pool1d.

    stride defaults to kernel_size; padding may also be "same" or "valid".
    """

    rank = 1

    def forward(self, input: Any) -> Any:
        return F.max_pool1d(input, *self._windows())


class MaxPool2d(_MaxPool):
    """The maximum of each window: (N, C, H, W) -> (N, C, P, Q); see ops.max_pool2d.

    stride defaults to kernel_size; padding may also be "same" or "valid".
    """

    rank = 2

    def forward(self, input: Any) -> Any:
        return F.max_pool2d(input, *self._windows())


class MaxPool3d(_MaxPool):
    """The maximum of each window: (N, C, D, H, W) -> (N, C, O, P, Q); see ops.max_pool3d.

    stride defaults to kernel_size; padding may also be "same" or "valid".
    """

    rank = 3

    def forward(self, input: Any) -> Any:
        return F.max_pool3d(input, *self._windows())


class _AvgPool(_Pool):
    divisor_override: int | None = None

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def _windows(self) -> tuple[Any, ...]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window: (N, C, L) -> (N, C, Q); see ops.avg_pool1d."""

    rank = 1

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.kernel_size = sizes(kernel_size, "kernel_size", 1)  # torch keeps tuples here
        self.stride = sizes(self.stride, "stride", 1)
        if not isinstance(padding, str):
            self.padding = (padding,) if isinstance(padding, int) else padding

    def forward(self, input: Any) -> Any:
        return F.avg_pool1d(input, *self._windows())


class _AvgPoolNd(_AvgPool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        if divisor_override is not None:
            integer(divisor_override, "divisor_override", 1)
        self.divisor_override = divisor_override


class AvgPool2d(_AvgPoolNd):
    """The mean of each window: (N, C, H, W) -> (N, C, P, Q); see ops.avg_pool2d."""

    rank = 2

    def forward(self, input: Any) -> Any:
        return F.avg_pool2d(input, *self._windows(), self.divisor_override)


class AvgPool3d(_AvgPoolNd):
    """The mean of each window: (N, C, D, H, W) -> (N, C, O, P, Q); see ops.avg_pool3d."""

    rank = 3

    def forward(self, input: Any) -> Any:
        return F.avg_pool3d(input, *self._windows(), self.divisor_override)


class _AdaptiveAvgPool(Module):
    rank: int

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        given = output_size if isinstance(output_size, (tuple, list)) else [output_size] * self.rank
        sizes([1 if n is None else n for n in given], "output_size", self.rank)
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means over cells: (N, C, L) -> (N, C, *output_size); None keeps an extent.

    See ops.adaptive_avg_pool1d.
    """

    rank = 1

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means over cells: (N, C, H, W) -> (N, C, *output_size); None keeps an extent.

    See ops.adaptive_avg_pool2d.
    """

    rank = 2

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means over cells: (N, C, D, H, W) -> (N, C, *output_size); None keeps an extent.

    See ops.adaptive_avg_pool3d.
    """

    rank = 3

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool3d(input, self.output_size)
