"""im2col and col2im as operations of their own. (The convolutions never form this matrix.)

N images, C channels; H W the image, R S the kernel, P Q its positions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet import backend
from convnet.kernels.arrays import is_shape, look_up
from convnet.memory import empty
from convnet.ops._arrays import as_array, check_shape, contiguous, dense, native
from convnet.shapes import ConvDims, Ints, Padding, im2col_dims, shape

_kept: dict[Any, tuple[ConvDims, tuple[int, ...], tuple[int, ...]]] = {}  # as conv2d's


def _windows(*how: Any) -> tuple[ConvDims, tuple[int, ...], tuple[int, ...]]:
    """The windows, the shape of x and that of cols."""
    dims = im2col_dims(*how)
    (r, s), (p, q) = dims.kernel_size, dims.out_size
    cols_shape = dims.batch, dims.in_channels * r * s, p * q
    return dims, (dims.batch, dims.in_channels, *dims.in_size), cols_shape


def im2col(
    x: Any, kernel_size: Ints, *, stride: Ints = 1, padding: Padding = 0, dilation: Ints = 1
) -> np.ndarray:
    """The windows of an image as columns: torch's unfold.

    cols[n, (c*R + r)*S + s, p*Q + q] =
        x[n, c, p*stride + r*dilation - pad, q*stride + s*dilation - pad], 0 outside

    x : (N, C, H, W)    ->    cols : (N, C*R*S, P*Q)

    stride, padding and dilation as conv2d's. conv2d is then w.reshape(K, -1) @ cols. (Chellapilla,
    Puri, Simard, "High performance convolutional neural networks for document processing", 2006.)
    """
    x = as_array(x, "x")
    how = x.shape, kernel_size, stride, padding, dilation
    dims, _, cols_shape = look_up(_kept, _windows, how)
    cols = empty(cols_shape, x.dtype, False, x)
    if cols.size:
        backend.active(x).im2col(dense(x), cols, dims)
    return cols if type(cols) is np.ndarray else native(cols)


def col2im(
    cols: Any,
    x_shape: Sequence[int],
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> np.ndarray:
    """Columns summed back into an image: torch's fold, the adjoint of im2col.

    x[n, c, i, j] = sum of all elements of cols that im2col would have read there

    cols : (N, C*R*S, P*Q)    x_shape : (N, C, H, W)    ->    x : (N, C, H, W)
    """
    cols = as_array(cols, "cols")
    if not is_shape(x_shape, 4):
        x_shape = shape(x_shape, "x_shape", 2)
    how = x_shape, kernel_size, stride, padding, dilation
    dims, x_shape, cols_shape = look_up(_kept, _windows, how)
    if cols.shape != cols_shape:
        check_shape(cols, "cols", cols_shape, "(N, C*R*S, P*Q)")
    x = empty(x_shape, cols.dtype, False, cols)
    if x.size:
        backend.active(x).col2im(contiguous(cols), x, dims)
    return x if type(x) is np.ndarray else native(x)
