"""Transposed convolution: the input gradient of a convolution, as an operation of its own.

N images, C channels in, K out; H W the image, R S the kernel, P Q the result.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet import backend
from convnet.kernels.arrays import look_up
from convnet.memory import empty_as, empty_like
from convnet.ops._arrays import (
    as_array,
    check_same_dtype,
    check_shape,
    dense,
    in_format,
    native,
)
from convnet.ops.conv import Gradients, check_bias
from convnet.ops.gemm import check_needs
from convnet.shapes import ConvDims, Ints, Padding, conv_transpose_dims

_kept: dict[Any, ConvDims] = {}  # as conv2d's


def _transposed(
    rank: int,
    x: Any,
    w: Any,
    b: Any,
    stride: Ints,
    padding: Padding,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
) -> np.ndarray:
    x, w = as_array(x, "x"), as_array(w, "w")
    check_same_dtype("x", x, w=w)
    how = x.shape, w.shape, stride, padding, output_padding, dilation, groups, rank
    dims: ConvDims = look_up(_kept, conv_transpose_dims, how)
    x, w = dense(x), dense(w)
    if b is not None:
        b = check_bias(b, x, dims.in_channels)
    y = empty_as((dims.batch, dims.in_channels, *dims.in_size), x)
    if dims.batch:
        backend.active(x).conv_input_grad(x, w, b, y, dims)
    return y if type(y) is np.ndarray else native(y)


def _transposed_backward(
    rank: int,
    dy: Any,
    x: Any,
    w: Any,
    stride: Ints,
    padding: Padding,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
    needs: Sequence[bool],
) -> Gradients:
    dy, x, w = as_array(dy, "dy"), as_array(x, "x"), as_array(w, "w")
    check_same_dtype("x", x, w=w, dy=dy)
    how = x.shape, w.shape, stride, padding, output_padding, dilation, groups, rank
    dims: ConvDims = look_up(_kept, conv_transpose_dims, how)
    check_shape(dy, "dy", (dims.batch, dims.in_channels, *dims.in_size), "like the output")
    need_dx, need_dw, need_db = check_needs(needs)
    x, w = dense(x), dense(w)
    dy = in_format(dy, not x.flags.c_contiguous)
    dx = empty_like(x) if need_dx else None
    dw = empty_like(w) if need_dw else None
    db = empty_as((dims.in_channels,), x) if need_db else None
    if dims.batch == 0:
        for gradient in (dw, db):
            if gradient is not None:
                gradient.fill(0)
        return native(dx), native(dw), native(db)
    run = backend.active(x)
    if dx is not None:
        run.conv(dy, w, None, dx, dims, None)
    if dw is not None:
        run.conv_weight_grad(x, dy, dw, None, dims)
    if db is not None:
        run.conv_weight_grad(dy, dy, None, db, _pointwise(dims))
    return native(dx), native(dw), native(db)


def _pointwise(dims: ConvDims) -> ConvDims:
    """The 1x1 convolution on images like dims' input: its db sums over their pixels."""
    one = (1,) * len(dims.in_size)
    none = (0,) * len(dims.in_size)
    k = dims.in_channels
    size = dims.in_size
    return ConvDims(dims.batch, k, k, 1, size, one, size, one, none, none, one)


def conv_transpose2d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> np.ndarray:
    """2-D transposed convolution.

    y[n, k, i, j] = b[k] + sum over c, p, q, r, s with
        i = p*stride + r*dilation - pad and j = q*stride + s*dilation - pad of
        x[n, c, p, q] * w[c, k, r, s]

    x : (N, C, H, W)    w : (C, K/groups, R, S)    b : (K,) or None    ->    y : (N, K, P, Q)
    P = (H - 1)*stride - low - high + dilation*(R - 1) + output_padding + 1, Q likewise

    padding : an int, a pair, or a pair of (low, high) pairs: what is cut off the result
    output_padding : rows and columns more at the end, fewer than the stride or the dilation

    TypeError or ValueError for arguments that do not fit. (Dumoulin and Visin, "A guide to
    convolution arithmetic for deep learning", 2016, chapter 4.)
    """
    return _transposed(2, x, w, b, stride, padding, output_padding, dilation, groups)


def conv_transpose2d_backward(
    dy: Any,
    x: Any,
    w: Any,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = (True, True, True),
) -> Gradients:
    """The gradients of conv_transpose2d: (dx, dw, db), None where not needed.

    dx = conv2d(dy, w)
    dw[c, k, r, s] = sum over n, p, q of
        x[n, c, p, q] * dy[n, k, p*stride + r*dilation - pad, q*stride + s*dilation - pad]
    db[k] = sum over n, i, j of dy[n, k, i, j]

    dy : (N, K, P, Q)    x : (N, C, H, W)    w : (C, K/groups, R, S)
    ->    dx : like x    dw : like w    db : (K,)
    """
    return _transposed_backward(
        2, dy, x, w, stride, padding, output_padding, dilation, groups, needs
    )


def conv_transpose1d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> np.ndarray:
    """1-D transposed convolution; arguments, formula and errors as conv_transpose2d's.

    x : (N, C, L)    w : (C, K/groups, S)    b : (K,) or None    ->    y : (N, K, Q)
    """
    return _transposed(1, x, w, b, stride, padding, output_padding, dilation, groups)


def conv_transpose1d_backward(
    dy: Any,
    x: Any,
    w: Any,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = (True, True, True),
) -> Gradients:
    """The gradients of conv_transpose1d: (dx, dw, db); see conv_transpose2d_backward.

    dy : (N, K, Q)    x : (N, C, L)    w : (C, K/groups, S)
    ->    dx : like x    dw : like w    db : (K,)
    """
    return _transposed_backward(
        1, dy, x, w, stride, padding, output_padding, dilation, groups, needs
    )


def conv_transpose3d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> np.ndarray:
    """3-D transposed convolution; arguments, formula and errors as conv_transpose2d's.

    x : (N, C, D, H, W)    w : (C, K/groups, T, R, S)    b : (K,) or None
    ->    y : (N, K, O, P, Q)
    """
    return _transposed(3, x, w, b, stride, padding, output_padding, dilation, groups)


def conv_transpose3d_backward(
    dy: Any,
    x: Any,
    w: Any,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    needs: Sequence[bool] = (True, True, True),
) -> Gradients:
    """The gradients of conv_transpose3d: (dx, dw, db); see conv_transpose2d_backward.

    dy : (N, K, O, P, Q)    x : (N, C, D, H, W)    w : (C, K/groups, T, R, S)
    ->    dx : like x    dw : like w    db : (K,)
    """
    return _transposed_backward(
        3, dy, x, w, stride, padding, output_padding, dilation, groups, needs
    )
