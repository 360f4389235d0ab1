"""Batch normalisation layers."""

from typing import Any

import numpy as np

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn import init
from convnet.nn.conversion import as_dtype, check_device
from convnet.nn.module import Module
from convnet.nn.parameter import Parameter
from convnet.nn.tensor import Tensor, as_tensor
from convnet.shapes import integer


class _BatchNorm(Module):
    """What batch norm layers of all ranks share; `layouts` are the inputs' that one takes."""

    layouts: dict[int, str]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_device(device)
        self.num_features = integer(num_features, "num_features", 1)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        dtype = np.float32 if dtype is None else as_dtype(dtype)
        shape = (self.num_features,)
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(np.empty(shape, dtype)) if wanted else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, Tensor(np.empty(shape, dtype)) if self.tracks else None)
        count = Tensor(np.zeros((), np.int64)) if self.tracks else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    @property
    def tracks(self) -> bool:
        """Whether running statistics are kept."""
        return self.track_running_stats

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.tracks:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, running statistics as at the start."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        x = as_tensor(input)
        if x.ndim not in self.layouts:
            wanted = " or ".join(self.layouts.values())
            raise ValueError(f"{type(self).__name__}: expected {wanted}, got shape {x.shape}")
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: expected {self.num_features} channels, got shape {x.shape}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.tracks:
            self.num_batches_tracked.data += 1
            if self.momentum is None:  # the plain mean over all batches so far
                momentum = 1.0 / self.num_batches_tracked.item()
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """(N, C) or (N, C, L) normalised by channel; see ops.batch_norm.

    In training by the batch's own statistics, which also move the running ones; in evaluation by
    the running ones. momentum=None makes these the plain mean over all batches.

    weight, bias, running_mean, running_var : (C,)    num_batches_tracked : int64
    """

    layouts = {2: "(N, C)", 3: "(N, C, L)"}  # noqa: RUF012


class BatchNorm2d(_BatchNorm):
    """Images normalised by channel: (N, C, H, W) -> the same; see ops.batch_norm.

    In training by the batch's own statistics, which also move the running ones; in evaluation by
    the running ones. momentum=None makes these the plain mean over all batches.

    weight, bias, running_mean, running_var : (C,)    num_batches_tracked : int64
    """

    layouts = {4: "(N, C, H, W)"}  # noqa: RUF012


class BatchNorm3d(_BatchNorm):
    """Volumes normalised by channel: (N, C, D, H, W) -> the same; see ops.batch_norm.

    In training by the batch's own statistics, which also move the running ones; in evaluation by
    the running ones. momentum=None makes these the plain mean over all batches.

    weight, bias, running_mean, running_var : (C,)    num_batches_tracked : int64
    """

    layouts = {5: "(N, C, D, H, W)"}  # noqa: RUF012
