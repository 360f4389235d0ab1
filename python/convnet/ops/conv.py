"""Convolution in one, two and three dimensions, and its gradients.

N images, C channels in, K filters; H W the image, R S the kernel, P Q the output; one dimension has
L and S and gives Q, three have D H W and T R S and give O P Q. Everything is a cross-correlation:
the kernel is not flipped.

padding : how much is added around the image, as zeros
    an int, or one for each spatial dimension, or a (low, high) pair for each
    "valid"   none
    "same"    so that the output is ceil(image / stride); an odd one goes to the end. TensorFlow's,
              and torch's for stride 1. (ops.convolve follows numpy's "same", which differs for
              even kernels.)
    "full"    dilation * (kernel - 1) on each side: wherever kernel and image touch
stride, dilation : an int, or one for each spatial dimension
groups : channels and filters fall into so many groups, and a filter sees the channels of its own
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from convnet import backend
from convnet.kernels.arrays import is_image_beside, is_vector, look_up, look_up_images
from convnet.memory import empty_as, empty_like
from convnet.ops._arrays import (
    as_array,
    check_out,
    check_same_dtype,
    check_shape,
    contiguous,
    dense,
    in_format,
    native,
)
from convnet.ops._fused import FUSED, activate, check_activation
from convnet.ops.gemm import ALL, check_needs
from convnet.shapes import ConvDims, Ints, Padding, conv_dims, integer, shape

Gradients = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]

# A checked convolution and its output's shape. Checking takes longer than a small convolution: they
# are kept.
Found: TypeAlias = tuple[ConvDims, tuple[int, ...]]
_kept: dict[Any, Found] = {}


def _convolution(*how: Any) -> Found:
    dims = conv_dims(*how)
    return dims, (dims.batch, dims.out_channels, *dims.out_size)


def checked_arguments(
    kept: dict[Any, Any], function: Any, x: Any, w: Any, b: Any, how: tuple[Any, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Any]:
    """x, w and b (or None) in a memory format, and function(x.shape, w.shape, *how), kept.

    function gives a tuple that ends in the output's shape.
    """
    x, w = as_array(x, "x"), as_array(w, "w")
    check_same_dtype("x", x, w=w)
    found = look_up(kept, function, (x.shape, w.shape, *how))
    if b is not None:
        b = as_array(b, "b")
        check_same_dtype("x", x, b=b)
        check_shape(b, "b", (found[-1][1],), "for the output's channels")
        b = contiguous(b)
    return dense(x), dense(w), b, found


def checked_gradient(
    kept: dict[Any, Any], function: Any, dy: Any, x: Any, w: Any, how: tuple[Any, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """dy in x's memory format, x and w; else as checked_arguments."""
    dy, x, w = as_array(dy, "dy"), as_array(x, "x"), as_array(w, "w")
    check_same_dtype("x", x, w=w, dy=dy)
    found = look_up(kept, function, (x.shape, w.shape, *how))
    check_shape(dy, "dy", found[-1], "like the output")
    x = dense(x)
    return in_format(dy, not x.flags.c_contiguous), x, dense(w), found


def _conv(
    rank: int,
    x: Any,
    w: Any,
    b: Any,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    activation: str | None,
    out: np.ndarray | None,
) -> np.ndarray:
    if activation is not None:
        check_activation(activation)
    given = x, w, b
    how = stride, padding, dilation, groups, rank
    found = look_up_images(_kept, _convolution, x, w, how)
    if found is None or not is_vector(b, x, found[0].out_channels):
        x, w, b, found = checked_arguments(_kept, _convolution, x, w, b, how)
    dims, shape = found
    y = empty_as(shape, x) if out is None else check_out(out, shape, x.dtype, *given, x, w, b)
    if dims.batch:
        fused = activation if activation == FUSED else None
        backend.active(x).conv(x, w, b, y, dims, fused)
        if activation is not fused:
            activate(activation, y)
    return y if type(y) is np.ndarray else native(y)


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    activation: str | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """2-D cross-correlation.

    y[n, k, p, q] = activation(b[k] + sum over c, r, s of
        x[n, c, p*stride + r*dilation - pad, q*stride + s*dilation - pad] * w[k, c, r, s])

    x : (N, C, H, W)    w : (K, C/groups, R, S)    b : (K,) or None    ->    y : (N, K, P, Q)
    P = floor((H + low + high - dilation*(R-1) - 1) / stride) + 1, Q likewise

    padding : an int, a pair, a pair of (low, high) pairs, "valid", "same" or "full" (see above)
    activation : None, "relu", "sigmoid", "tanh", "silu", "leaky_relu" (slope 0.01) or "gelu"
    out : where to write y; y otherwise has x's memory format

    An image's result does not depend on the rest of its batch; N may be 0. TypeError or ValueError
    for arguments that do not fit, an empty output among them.
    """
    return _conv(2, x, w, b, stride, padding, dilation, groups, activation, out)


def conv1d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    activation: str | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """1-D cross-correlation; arguments as conv2d's.

    y[n, k, q] = activation(b[k] + sum over c, s of
        x[n, c, q*stride + s*dilation - pad] * w[k, c, s])

    x : (N, C, L)    w : (K, C/groups, S)    b : (K,) or None    ->    y : (N, K, Q)
    """
    return _conv(1, x, w, b, stride, padding, dilation, groups, activation, out)


def conv3d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    activation: str | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """3-D cross-correlation; arguments as conv2d's.

    y[n, k, o, p, q] = activation(b[k] + sum over c, t, r, s of
        x[n, c, o*stride + t*dilation - pad, ..., ...] * w[k, c, t, r, s])

    x : (N, C, D, H, W)    w : (K, C/groups, T, R, S)    b : (K,) or None
    ->    y : (N, K, O, P, Q)
    """
    return _conv(3, x, w, b, stride, padding, dilation, groups, activation, out)


def _conv_backward(
    rank: int,
    dy: Any,
    x: Any,
    w: Any,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    needs: Sequence[bool],
) -> Gradients:
    need_dx, need_dw, need_db = check_needs(needs)
    how = stride, padding, dilation, groups, rank
    found = look_up_images(_kept, _convolution, x, w, how)
    if found is None or not is_image_beside(dy, x, found[1]):
        dy, x, w, found = checked_gradient(_kept, _convolution, dy, x, w, how)
    dims = found[0]
    dx = empty_like(x) if need_dx else None
    dw = empty_like(w) if need_dw else None
    db = empty_as((dims.out_channels,), x) if need_db else None
    if dims.batch == 0:
        for gradient in (dw, db):
            if gradient is not None:
                gradient.fill(0)
        return native(dx), native(dw), native(db)
    run = backend.active(x)
    if dx is not None:
        run.conv_input_grad(dy, w, None, dx, dims)
    if dw is not None or db is not None:
        run.conv_weight_grad(dy, x, dw, db, dims)
    if type(x) is np.ndarray:
        return dx, dw, db
    return native(dx), native(dw), native(db)


def conv2d_backward(
    dy: Any,
    x: Any,
    w: Any,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = ALL,
) -> Gradients:
    """The gradients of conv2d (without an activation): (dx, dw, db), None where not needed.

    dx[n, c, i, j] = sum over the k, p, q, r, s whose product reads x[n, c, i, j] of
        dy[n, k, p, q] * w[k, c, r, s]
    dw[k, c, r, s] = sum over n, p, q of
        dy[n, k, p, q] * x[n, c, p*stride + r*dilation - pad, q*stride + s*dilation - pad]
    db[k] = sum over n, p, q of dy[n, k, p, q]

    dy : (N, K, P, Q)    x : (N, C, H, W)    w : (K, C/groups, R, S)
    ->    dx : like x    dw : like w    db : (K,)

    needs : which of dx, dw and db to compute. Other arguments as conv2d's.
    """
    return _conv_backward(2, dy, x, w, stride, padding, dilation, groups, needs)


def conv1d_backward(
    dy: Any,
    x: Any,
    w: Any,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = ALL,
) -> Gradients:
    """The gradients of conv1d: (dx, dw, db), None where not needed; arguments as conv2d_backward's.

    dy : (N, K, Q)    x : (N, C, L)    w : (K, C/groups, S)
    ->    dx : like x    dw : like w    db : (K,)
    """
    return _conv_backward(1, dy, x, w, stride, padding, dilation, groups, needs)


def conv3d_backward(
    dy: Any,
    x: Any,
    w: Any,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = ALL,
) -> Gradients:
    """The gradients of conv3d: (dx, dw, db), None where not needed; arguments as conv2d_backward's.

    dy : (N, K, O, P, Q)    x : (N, C, D, H, W)    w : (K, C/groups, T, R, S)
    ->    dx : like x    dw : like w    db : (K,)
    """
    return _conv_backward(3, dy, x, w, stride, padding, dilation, groups, needs)


def conv2d_algorithm(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    channels_last: bool = False,
    gradient: str | None = None,
    dtype: Any = np.float32,
) -> str:
    """Which algorithm conv2d would run on arrays of these shapes; nothing is computed.

    x_shape : (N, C, H, W)    w_shape : (K, C/groups, R, S)
    channels_last : whether x lies in that memory format
    gradient : None for conv2d itself, "input" or "weight" for conv2d_backward's dx or dw
    dtype : float32 or float64
    -> "implicit_gemm", "depthwise", "direct", or Winograd's with the outputs of a tile and the
    kernel: "winograd_4x4_3x3", "winograd_5x5_3x3", "winograd_6x6_3x3", "winograd_2x2_5x5",
    "winograd_4x4_5x5", "winograd_5x5_3x3_stride2"; the reference has only "reference". It depends
    on N only for a weight gradient, which sums over the batch; the precision in force decides on
    Winograd.
    """
    if gradient not in (None, "input", "weight"):
        raise ValueError(f'gradient: expected None, "input" or "weight", got {gradient!r}')
    x_shape = shape(x_shape, "x_shape", 2)
    w_shape = tuple([integer(n, "w_shape", 0) for n in w_shape])
    how = x_shape, w_shape, stride, padding, dilation, groups, 2
    dims, _ = look_up(_kept, _convolution, how)
    return backend.active().conv_algorithm(dims, bool(channels_last), gradient, np.dtype(dtype))
