"""Batch normalisation, dropout and their gradients.

N images, C channels; x is (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), and every result has
its memory format. Statistics of a channel are over all axes but C, M elements.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from convnet import backend
from convnet.gpu import foreign
from convnet.gpu.array import DeviceArray
from convnet.kernels.arrays import (
    are_alike,
    are_trainable,
    have_channels,
    is_mask_of,
    result,
    update_running,
)
from convnet.memory import empty_as, empty_like
from convnet.ops._arrays import (
    as_array,
    check_device,
    check_same_dtype,
    check_shape,
    contiguous,
    dense,
    native,
    overlap,
    same_format,
)
from convnet.ops.gemm import ALL, check_needs

_LAYOUT = "(N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W)"
_WORD = 2**64
_BOOL = np.dtype(bool)
_ARRAYS = (np.ndarray, DeviceArray)


def _number(value: Any, name: str) -> float:
    if type(value) is float:
        return value
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return float(value)


def _eps(value: Any) -> float:
    eps = _number(value, "eps")
    if not eps >= 0:
        raise ValueError(f"eps: expected at least 0, got {value!r}")
    return eps


def _input(x: Any) -> np.ndarray:
    x = as_array(x, "x")
    if not 2 <= x.ndim <= 5 or x.shape[1] == 0:
        raise ValueError(f"x: expected {_LAYOUT} with at least one channel, got shape {x.shape}")
    return dense(x)


def _channel_array(a: Any, name: str, x: np.ndarray) -> np.ndarray | None:
    """A value for each channel, contiguous; None stays None."""
    if a is None:
        return None
    a = as_array(a, name)
    _check_channels(a, name, x)
    return a if a.flags.c_contiguous else contiguous(a)


def _check_channels(a: np.ndarray, name: str, x: np.ndarray) -> None:
    if a.dtype is not x.dtype or type(a) is not type(x):
        check_same_dtype("x", x, **{name: a})
    if a.shape != (x.shape[1],):
        check_shape(a, name, (x.shape[1],), "for the channels of x")


def _running(a: Any, name: str, x: np.ndarray) -> np.ndarray:
    """A running statistic that can be written: the very array, of any strides."""
    if type(a) is not np.ndarray:
        if not hasattr(a, "__cuda_array_interface__"):
            raise TypeError(f"{name}: expected a numpy.ndarray, got {type(a).__name__}")
        a = foreign.wrap(a, name)
    _check_channels(a, name, x)
    if not a.flags.writeable:
        raise ValueError(f"{name}: the array is read-only, and training updates it")
    return a


def _check_apart(written: dict[str, Any], read: dict[str, Any]) -> None:
    """ValueError for a running statistic that overlaps the other one or an input."""
    for name, a in written.items():
        for other, b in (*written.items(), *read.items()):
            if other == name or type(a) not in _ARRAYS or type(b) not in _ARRAYS:
                continue
            if overlap(a, b):
                raise ValueError(f"{name}: overlaps {other}; training writes it: give it memory")


def batch_norm_stats(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """mean[c] = sum over n, h, w of x[n,c,h,w] / M;  var[c] = sum of (x[n,c,h,w] - mean[c])^2 / M.

    x : (N, C, ...)    ->    mean, var : (C,), the biased variance. ValueError for M = 0.
    Accurate for any mean: what is squared is the distance to it. The bits do not depend on threads.
    """
    if not have_channels(x):
        x = _input(x)
    if x.size == 0:
        raise ValueError(f"x: expected at least one value per channel, got shape {x.shape}")
    mean = empty_as((x.shape[1],), x)
    var = empty_like(mean)
    backend.active(x).batch_norm_stats(x, mean, var)
    return native(mean), native(var)


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> np.ndarray:
    """y = (x - mean) / sqrt(var + eps) * weight + bias, by channel.

    x : (N, C, ...)    running_mean, running_var, weight, bias : (C,) or None    ->    y : like x

    In training mean and var (biased) are x's own, and the running statistics, unless None, are
    updated in place: running = (1 - momentum) running + momentum new, where new is the mean, or
    the variance times M / (M - 1). Otherwise mean and var are the running statistics. None for
    weight is 1, for bias 0. An empty x gives an empty y and leaves the running statistics alone.

    ValueError for one value per channel in training, for missing running statistics otherwise.
    Ioffe, Szegedy 2015.
    """
    if training:
        return _train(x, running_mean, running_var, weight, bias, momentum, eps)[0]
    return batch_norm_and_stats(x, running_mean, running_var, weight, bias, False, momentum, eps)[0]


def batch_norm_and_stats(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, mean, var): batch_norm's result and what it was normalised with, for the gradient."""
    if training:
        return _train(x, running_mean, running_var, weight, bias, momentum, eps)
    if not have_channels(x, running_mean, running_var, weight, bias):
        x = _input(x)
        weight, bias = _channel_array(weight, "weight", x), _channel_array(bias, "bias", x)
        running_mean = _channel_array(running_mean, "running_mean", x)
        running_var = _channel_array(running_var, "running_var", x)
    if running_mean is None or running_var is None:
        raise ValueError(
            "running_mean and running_var: expected arrays when training=False, got None"
        )
    eps = _eps(eps)
    y = empty_like(x)
    if x.size:
        backend.active(x).batch_norm(x, running_mean, running_var, weight, bias, y, eps)
    if type(y) is np.ndarray:
        return y, running_mean, running_var
    return native(y), native(running_mean), native(running_var)


def _train(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, momentum: Any, eps: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """batch_norm_and_stats in training."""
    given = x
    if type(eps) is not float or not eps >= 0:
        eps = _eps(eps)
    if type(momentum) is not float:
        momentum = _number(momentum, "momentum")
    if not are_trainable(x, running_mean, running_var, weight, bias):
        x = _input(x)
        weight, bias = _channel_array(weight, "weight", x), _channel_array(bias, "bias", x)
        if running_mean is not None:
            running_mean = _running(running_mean, "running_mean", x)
        if running_var is not None:
            running_var = _running(running_var, "running_var", x)
        _check_apart(
            {"running_mean": running_mean, "running_var": running_var},
            {"x": given, "weight": weight, "bias": bias},
        )
    channels = x.shape[1]
    count = x.size // channels
    if count == 1:
        raise ValueError(
            f"x: expected more than one value per channel when training, got shape {x.shape}"
        )
    y, mean = empty_like(x), empty_as((channels,), x)
    var = empty_like(mean)
    if count == 0:
        mean.fill(0)
        var.fill(1)
        return native(y), native(mean), native(var)
    backend.active(x).batch_norm_training(x, weight, bias, mean, var, y, eps)
    if type(y) is np.ndarray:
        update_running(running_mean, running_var, mean, var, momentum, count)
        return y, mean, var
    if running_mean is not None:
        running_mean *= 1 - momentum
        running_mean += momentum * mean
    if running_var is not None:
        running_var *= 1 - momentum
        running_var += momentum * count / (count - 1) * var
    return native(y), native(mean), native(var)


def batch_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    training: bool = False,
    eps: float = 1e-5,
    needs: Sequence[bool] = ALL,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The gradients of batch_norm: (dx, dweight, dbias), None where not needed.

    x^ = (x - mean) / sqrt(var + eps)    dbias[c] = sum(dy)    dweight[c] = sum(dy x^)
    dx = weight / sqrt(var + eps) * (dy - dbias / M - x^ dweight / M)    in training
    dx = weight / sqrt(var + eps) * dy                                   otherwise

    dy, x : (N, C, ...)    mean, var : (C,), in training batch_norm_stats(x), else the running
    statistics    weight : (C,) or None    ->    dx : like x    dweight, dbias : (C,)
    """
    if not have_channels(x, mean, var, weight) or not are_alike(x, dy):
        x, dy = _input(x), as_array(dy, "dy")
        check_same_dtype("x", x, dy=dy)
        check_shape(dy, "dy", x.shape, "like x")
        mean, var = _channel_array(mean, "mean", x), _channel_array(var, "var", x)
        weight = _channel_array(weight, "weight", x)
        dy = same_format(dy, x)
    if mean is None or var is None:
        raise TypeError("mean and var: expected arrays, got None; see ops.batch_norm_stats")
    eps = _eps(eps)
    need_dx, need_dweight, need_dbias = check_needs(needs)
    dx = empty_like(x) if need_dx else None
    dweight = empty_like(mean) if need_dweight else None
    dbias = empty_like(mean) if need_dbias else None
    if x.size == 0:
        for gradient in (dweight, dbias):
            if gradient is not None:
                gradient.fill(0)
    elif need_dx or need_dweight or need_dbias:
        backend.active(x).batch_norm_backward(
            dy, x, mean, var, weight, dx, dweight, dbias, eps, bool(training)
        )
    if type(x) is np.ndarray:
        return dx, dweight, dbias
    return native(dx), native(dweight), native(dbias)


def _probability(p: Any) -> float:
    p = _number(p, "p")
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability from 0 to 1, got {p!r}")
    return p


def _word(value: Any, name: str) -> int:
    if type(value) is not int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name}: expected an integer, got {value!r}")
        value = value.__index__()
    if not 0 <= value < _WORD:
        raise ValueError(f"{name}: expected an integer from 0 to 2^64 - 1, got {value}")
    return value


def dropout(x: Any, p: float, *, seed: int, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """y = x / (1 - p) where mask, else 0; mask is False with probability p.

    x : any shape    ->    y : like x    mask : bool, like x

    Counter-based: element i, counted in logical (C) order, is kept if word i % 4 of Philox4x32-10
    under the key `seed` at counter offset + i // 4 is at least p 2^32. So the same seed and offset
    give the same mask on every backend, for any number of threads and any memory format; a second
    call takes offset + ceil(size / 4). seed, offset : 0 to 2^64 - 1. p = 1 gives zeros.
    Salmon, Moraes, Dror, Shaw 2011.
    """
    y = result(None, x)
    if y is None:
        x = dense(as_array(x, "x"))
        y = empty_like(x)
    p, seed, offset = _probability(p), _word(seed, "seed"), _word(offset, "offset")
    mask = empty_like(x, _BOOL)
    if x.size:
        backend.active(x).dropout(x, y, mask, p, seed, offset)
    return (y, mask) if type(y) is np.ndarray else (native(y), native(mask))


def dropout_backward(dy: Any, mask: Any, p: float) -> np.ndarray:
    """dx = dy / (1 - p) where mask, else 0.

    dy : any shape    mask : bool, like dy, as dropout gave it    ->    dx : like mask
    """
    p = _probability(p)
    if not is_mask_of(mask, dy):
        dy, mask = _checked_mask(dy, mask)
    dx = empty_like(mask, dy.dtype)
    if dy.size:
        backend.active(dy).dropout_backward(same_format(dy, dx), mask, dx, p)
    return dx if type(dx) is np.ndarray else native(dx)


def _checked_mask(dy: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    """dy, and its mask in either memory format."""
    dy = as_array(dy, "dy")
    if type(mask) is not np.ndarray and hasattr(mask, "__cuda_array_interface__"):
        mask = foreign.wrap(mask, "mask")
    if type(mask) not in _ARRAYS or mask.dtype != bool:
        kind = mask.dtype if type(mask) in _ARRAYS else type(mask).__name__
        raise TypeError(f"mask: expected a numpy.ndarray of bool, got {kind}")
    check_shape(mask, "mask", dy.shape, "like dy")
    check_device("dy", dy, mask=mask)
    return dy, dense(mask)
