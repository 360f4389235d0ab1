"""Initial values, in place, drawn from the generator that convnet.manual_seed starts.

Names and distributions are torch.nn.init's. fan_in is the number of inputs that an output sums
over, fan_out of outputs that an input goes to; fan is that of `mode`.
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
    return _set(tensor, a + (b - a) * rng.random(data.shape, dtype))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with a mean and a standard deviation."""
    rng = default_generator() if generator is None else generator_from(generator)
    data = tensor.data
    dtype = np.float64 if data.dtype == np.float64 else np.float32
    return _set(tensor, mean + std * rng.standard_normal(data.shape, dtype))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element val."""
    return _set(tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Normal, drawn again where it is outside [a, b]."""
    if not (a < b and mean - 8 * std < b and mean + 8 * std > a):
        raise ValueError(f"a, b: expected an interval near the mean {mean}, got [{a}, {b}]")
    normal_(tensor, mean, std, generator)
    outside = (tensor.data < a) | (tensor.data > b)
    rng = default_generator() if generator is None else generator_from(generator)
    while outside.any():
        tensor.data[outside] = mean + std * rng.standard_normal(int(outside.sum()))
        outside = (tensor.data < a) | (tensor.data > b)
    return tensor


def eye_(tensor: Tensor) -> Tensor:
    """A matrix of 1 on the diagonal, else 0."""
    if tensor.ndim != 2:
        raise ValueError(f"tensor: expected 2 axes, got shape {tensor.shape}")
    return _set(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution's weight (out, in, ...) that hands its input on, in each of its groups.

    1 where in = out (counted within the group) at the kernel's centre, else 0.
    """
    if not 3 <= tensor.ndim <= 5:
        raise ValueError(f"tensor: expected 3 to 5 axes, got shape {tensor.shape}")
    if groups < 1 or tensor.shape[0] % groups:
        raise ValueError(f"groups: expected a divisor of {tensor.shape[0]} filters, got {groups}")
    filters = tensor.shape[0] // groups
    channels = np.arange(min(filters, tensor.shape[1]))
    value = np.zeros(tensor.shape, tensor.data.dtype)
    for first in range(0, tensor.shape[0], filters):
        value[(first + channels, channels, *(n // 2 for n in tensor.shape[2:]))] = 1
    return _set(tensor, value)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal, mean 0, but for a share of zeros in each column, at random places. Martens 2010.

    The number of zeros is sparsity times the rows, rounded up.
    """
    if tensor.ndim != 2:
        raise ValueError(f"tensor: expected 2 axes, got shape {tensor.shape}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity: expected a share from 0 to 1, got {sparsity}")
    rng = default_generator() if generator is None else generator_from(generator)
    normal_(tensor, 0.0, std, rng)
    places = rng.permuted(np.tile(np.arange(tensor.shape[0])[:, None], tensor.shape[1]), axis=0)
    zeros = places[: math.ceil(sparsity * tensor.shape[0])]
    np.put_along_axis(tensor.data, zeros, 0, axis=0)
    return tensor


def _set(tensor: Tensor, value: Any) -> Tensor:
    tensor.data[...] = value
    tensor._version[0] += 1
    return tensor


def _fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"tensor: expected at least 2 axes (out, in, ...), got {tensor.shape}")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What keeps a signal's size through an activation, by torch's table; param : leaky slope."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"relu": math.sqrt(2), "tanh": 5 / 3, "selu": 3 / 4, "linear": 1.0, "sigmoid": 1.0}
    name = "linear" if nonlinearity.startswith("conv") else nonlinearity
    if name not in gains:
        raise ValueError(
            f"nonlinearity: expected leaky_relu or one of {', '.join(gains)}, got {nonlinearity!r}"
        )
    return gains[name]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform within gain sqrt(6 / (fan_in + fan_out)). Glorot, Bengio 2010."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal, standard deviation gain sqrt(2 / (fan_in + fan_out)). Glorot, Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """The standard deviation."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode: expected "fan_in" or "fan_out", got {mode!r}')
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(tensor)[mode == "fan_out"])


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Uniform within gain sqrt(3 / fan), gain sqrt(2 / (1 + a^2)) for leaky_relu.

    a : slope of the leaky ReLU that follows; layers use sqrt(5), which makes it 1/sqrt(fan_in).
    He, Zhang, Ren, Sun 2015.
    """
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Normal, standard deviation gain / sqrt(fan). See kaiming_uniform_."""
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """gain times a random matrix (out, all else) of orthonormal rows or columns.

    Saxe, McClelland, Ganguli 2014.
    """
    if tensor.ndim < 2:
        raise ValueError(f"tensor: expected at least 2 axes (out, in, ...), got {tensor.shape}")
    rng = default_generator() if generator is None else generator_from(generator)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diag(r) < 0, -1, 1)  # makes it uniform over all such matrices
    return _set(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))


def reset_affine(weight: Tensor, bias: Tensor | None) -> None:
    """What torch's linear and convolution layers begin with."""
    kaiming_uniform_(weight, math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(_fans(weight)[0])
        uniform_(bias, -bound, bound)


def __getattr__(name: str) -> Any:
    from convnet.absent import missing

    raise missing("convnet.nn.init", name)
