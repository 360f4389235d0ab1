"""Initial values, in place, drawn from the generator that convnet.manual_seed starts.

Names are torch.nn.init's. fan_in is the number of inputs that an output sums over.
"""

import math
from typing import Any

import numpy as np

from convnet.nn.tensor import Tensor
from convnet.random import default_generator, generator_from


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform on [a, b)."""
    rng = default_generator() if generator is None else generator_from(generator)
    data = tensor.data
    dtype = np.float64 if data.dtype == np.float64 else np.float32
    data[...] = a + (b - a) * rng.random(data.shape, dtype)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with a mean and a standard deviation."""
    rng = default_generator() if generator is None else generator_from(generator)
    data = tensor.data
    dtype = np.float64 if data.dtype == np.float64 else np.float32
    data[...] = mean + std * rng.standard_normal(data.shape, dtype)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element val."""
    tensor.data.fill(val)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def fan_in(tensor: Tensor) -> int:
    """Inputs that an output sums over: of a weight (out, in, ...), the product of all but out."""
    if tensor.ndim < 2:
        raise ValueError(f"tensor: expected at least 2 axes (out, in, ...), got {tensor.shape}")
    return math.prod(tensor.shape[1:])


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, generator: Any = None) -> Tensor:
    """Uniform on [-bound, bound), bound = sqrt(6 / ((1 + a^2) fan_in)).

    a : slope of the leaky ReLU that follows; layers use sqrt(5), which makes it 1/sqrt(fan_in).
    He, Zhang, Ren, Sun 2015.
    """
    bound = math.sqrt(6 / ((1 + a * a) * fan_in(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def reset_affine(weight: Tensor, bias: Tensor | None) -> None:
    """What torch's linear and convolution layers begin with."""
    kaiming_uniform_(weight, math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(fan_in(weight))
        uniform_(bias, -bound, bound)
