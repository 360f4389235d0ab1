"""Activation functions and their gradients: one pass over flat arrays in memory order.

The formulas are those of the CPU's kernels: nothing overflows on the way, nothing cancels, and at
infinity the functions take their limits. Where a factor becomes 0, the other is brought to where it
stays finite.
"""

from collections.abc import Iterator
from typing import Any

from convnet.kernels.cuda import maps
from convnet.kernels.cuda.intrinsics import LANES
from convnet.kernels.cuda.launch import Kernel
from convnet.kernels.cuda.normal import density, tail_double, tail_single
from convnet.kernels.cuda.scalar import clamp, exp, inline, logistic
from convnet.kernels.cuda.scalar import tanh as tanh_of


@inline
def _relu(x, p):
    return type(x)(0) if x < type(x)(0) else x


@inline
def _relu_backward(dy, y, p):
    return type(y)(0) if y <= type(y)(0) else dy


@inline
def _leaky_relu(x, slope):
    return x * slope if x < type(x)(0) else x


@inline
def _leaky_relu_backward(dy, x, slope):
    return dy * slope if x <= type(x)(0) else dy


@inline
def _sigmoid(x, p):
    return logistic(x)


@inline
def _sigmoid_backward(dy, y, p):
    return dy * ((type(y)(1) - y) * y)


@inline
def _tanh(x, p):
    return type(x)(tanh_of(x))


@inline
def _tanh_backward(dy, y, p):
    one = type(y)(1)
    return dy * ((one - y) * (one + y))


@inline
def _silu(x, p):
    bounded = type(x)(-1000) if x < type(x)(-1000) else x
    return bounded * logistic(x)


@inline
def _silu_backward(dy, x, p):
    """s + x s (1 - s), s = sigmoid(x); both s and 1 - s without cancellation."""
    one = type(x)(1)
    z = exp(-abs(x))
    large = one / (one + z)
    small = z * large
    slope = small if x < type(x)(0) else large
    return dy * (slope + clamp(x, type(x)(1000)) * (small * large))


# gelu: exactly, x times the normal distribution at x; the form with tanh is x sigmoid(2u),
# 2u = sqrt(8/pi) (x + 0.044715 x^3).


@inline
def _gelu_single(x, p):
    bounded = clamp(x, type(x)(15))
    product = (bounded * tail_single(abs(bounded))) * density(bounded)
    return product if x < type(x)(0) else x - product


@inline
def _gelu_double(x, p):
    bounded = clamp(x, type(x)(40))
    product = (bounded * tail_double(abs(bounded))) * density(bounded)
    return product if x < type(x)(0) else x - product


@inline
def _gelu_backward_single(dy, x, p):
    """The distribution at x plus x times the density."""
    bounded = clamp(x, type(x)(15))
    ratio, e = tail_single(abs(bounded)), density(bounded)
    rise = bounded * type(x)(0.398942280401432677939946)
    one = type(x)(1)
    return dy * ((ratio + rise) * e if x < type(x)(0) else one + (rise - ratio) * e)


@inline
def _gelu_backward_double(dy, x, p):
    bounded = clamp(x, type(x)(40))
    ratio, e = tail_double(abs(bounded)), density(bounded)
    rise = bounded * type(x)(0.398942280401432677939946)
    one = type(x)(1)
    return dy * ((ratio + rise) * e if x < type(x)(0) else one + (rise - ratio) * e)


@inline
def _gelu_tanh_rate(square):
    """2u / x at x^2."""
    real = type(square)
    return real(0.0713548162726002527) * square + real(1.5957691216057307117)


@inline
def _gelu_tanh(x, p):
    bounded = clamp(x, type(x)(24))
    z = exp(-abs(bounded) * _gelu_tanh_rate(bounded * bounded))
    return (bounded * z if x < type(x)(0) else x) / (type(x)(1) + z)


@inline
def _gelu_tanh_backward(dy, x, p):
    """s + x s (1 - s) (2u)', s = sigmoid(2u)."""
    real = type(x)
    bounded = clamp(x, real(24))
    square = bounded * bounded
    z = exp(-abs(bounded) * _gelu_tanh_rate(square))
    large = real(1) / (real(1) + z)
    small = z * large
    inner = real(0.2140644488178007581) * square + real(1.5957691216057307117)
    slope = small if x < real(0) else large
    return dy * (slope + (bounded * inner) * (small * large))


def relu(x: Any, y: Any) -> None:
    maps.apply(_relu, (x,), y)


def relu_backward(dy: Any, y: Any, dx: Any) -> None:
    maps.apply(_relu_backward, (dy, y), dx)


def leaky_relu(x: Any, y: Any, negative_slope: float) -> None:
    maps.apply(_leaky_relu, (x,), y, negative_slope)


def leaky_relu_backward(dy: Any, x: Any, dx: Any, negative_slope: float) -> None:
    maps.apply(_leaky_relu_backward, (dy, x), dx, negative_slope)


def sigmoid(x: Any, y: Any) -> None:
    maps.apply(_sigmoid, (x,), y)


def sigmoid_backward(dy: Any, y: Any, dx: Any) -> None:
    maps.apply(_sigmoid_backward, (dy, y), dx)


def tanh(x: Any, y: Any) -> None:
    maps.apply(_tanh, (x,), y)


def tanh_backward(dy: Any, y: Any, dx: Any) -> None:
    maps.apply(_tanh_backward, (dy, y), dx)


def silu(x: Any, y: Any) -> None:
    maps.apply(_silu, (x,), y)


def silu_backward(dy: Any, x: Any, dx: Any) -> None:
    maps.apply(_silu_backward, (dy, x), dx)


def _gelu(dtype: Any, approximate: str) -> Any:
    if approximate == "tanh":
        return _gelu_tanh
    return _gelu_single if dtype.itemsize == 4 else _gelu_double


def _gelu_backward(dtype: Any, approximate: str) -> Any:
    if approximate == "tanh":
        return _gelu_tanh_backward
    return _gelu_backward_single if dtype.itemsize == 4 else _gelu_backward_double


def gelu(x: Any, y: Any, approximate: str) -> None:
    maps.apply(_gelu(x.dtype, approximate), (x,), y)


def gelu_backward(dy: Any, x: Any, dx: Any, approximate: str) -> None:
    maps.apply(_gelu_backward(x.dtype, approximate), (dy, x), dx)


_UNARY = (_relu, _leaky_relu, _sigmoid, _tanh, _silu, _gelu_tanh)
_BINARY = (
    _relu_backward,
    _leaky_relu_backward,
    _sigmoid_backward,
    _tanh_backward,
    _silu_backward,
    _gelu_tanh_backward,
)


def programs() -> Iterator[Kernel]:
    for dtype in LANES:
        yield from maps.programs_of((*_UNARY, _gelu(dtype, "none")), dtype, 1)
        yield from maps.programs_of((*_BINARY, _gelu_backward(dtype, "none")), dtype, 2)
    # One element at a time, where an array begins off 16 bytes: the largest speaks for all.
    for function, inputs in ((_gelu_double, 1), (_gelu_backward_double, 2)):
        yield maps.make_map(function, dtype, inputs, None, 1, maps.THREADS, maps.UNROLL)
