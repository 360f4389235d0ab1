"""Transposed convolution: the input gradient of a convolution, as an operation of its own.

N images, C channels in, K out; H W the image, R S the kernel, P Q the result.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from convnet import backend
from convnet.kernels.arrays import is_image_beside, is_vector, look_up_images
from convnet.memory import empty_as, empty_like
from convnet.ops._arrays import native
from convnet.ops.conv import Gradients, checked_arguments, checked_gradient
from convnet.ops.gemm import ALL, check_needs
from convnet.shapes import ConvDims, Ints, Padding, conv_transpose_dims

# The convolution whose gradient this is, the one whose db is this one's, and the result's shape.
Found: TypeAlias = tuple[ConvDims, ConvDims, tuple[int, ...]]
_kept: dict[Any, Found] = {}  # as conv2d's


def _convolution(*how: Any) -> Found:
    dims = conv_transpose_dims(*how)
    k, size = dims.in_channels, dims.in_size
    one, none = (1,) * len(size), (0,) * len(size)
    pointwise = ConvDims(dims.batch, k, k, 1, size, one, size, one, none, none, one)
    return dims, pointwise, (dims.batch, k, *size)


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
    how = stride, padding, output_padding, dilation, groups, rank
    found = look_up_images(_kept, _convolution, x, w, how)
    if found is None or not is_vector(b, x, found[0].in_channels):
        x, w, b, found = checked_arguments(_kept, _convolution, x, w, b, how)
    dims, _, shape = found
    y = empty_as(shape, x)
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
    need_dx, need_dw, need_db = check_needs(needs)
    how = stride, padding, output_padding, dilation, groups, rank
    found = look_up_images(_kept, _convolution, x, w, how)
    if found is None or not is_image_beside(dy, x, found[2]):
        dy, x, w, found = checked_gradient(_kept, _convolution, dy, x, w, how)
    dims, pointwise, _ = found
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
        run.conv_weight_grad(dy, dy, None, db, pointwise)
    if type(x) is np.ndarray:
        return dx, dw, db
    return native(dx), native(dw), native(db)


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
    needs: Sequence[bool] = ALL,
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
    needs: Sequence[bool] = ALL,
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
    needs: Sequence[bool] = ALL,
) -> Gradients:
    """The gradients of conv_transpose3d: (dx, dw, db); see conv_transpose2d_backward.

    dy : (N, K, O, P, Q)    x : (N, C, D, H, W)    w : (C, K/groups, T, R, S)
    ->    dx : like x    dw : like w    db : (K,)
    """
    return _transposed_backward(
        3, dy, x, w, stride, padding, output_padding, dilation, groups, needs
    )
