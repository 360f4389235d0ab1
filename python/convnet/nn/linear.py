"""Fully connected layers, and the step from images to vectors."""

from typing import Any

import numpy as np

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn import init
from convnet.nn.conversion import as_dtype, check_device
from convnet.nn.module import Module
from convnet.nn.parameter import Parameter
from convnet.nn.tensor import as_tensor
from convnet.shapes import integer


class Linear(Module):
    """y = x w^T + b: (..., in_features) -> (..., out_features). As torch.nn.Linear.

    weight : (out_features, in_features)    bias : (out_features,) or None
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_device(device)
        self.in_features = integer(in_features, "in_features", 1)
        self.out_features = integer(out_features, "out_features", 1)
        dtype = np.float32 if dtype is None else as_dtype(dtype)
        self.weight = Parameter(np.empty((self.out_features, self.in_features), dtype))
        self.register_parameter(
            "bias", Parameter(np.empty(self.out_features, dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights and bias uniform within 1/sqrt(in_features)."""
        init.reset_affine(self.weight, self.bias)

    def forward(self, input: Any) -> Any:
        p = self._parameters
        return F.linear(input, p["weight"], p["bias"])

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Flatten(Module):
    """The axes start_dim to end_dim as one: (N, C, H, W) -> (N, C*H*W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Any:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis dim as several of unflattened_size: Unflatten(1, (C, H, W)) undoes Flatten()."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Any) -> Any:
        return as_tensor(input).unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Identity(Module):
    """The input itself, whatever the constructor was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return as_tensor(input)
