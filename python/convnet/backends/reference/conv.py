"""Convolution of any spatial rank, its gradients, im2col: the definition, tap by tap.

Padding is what no tap reads: it adds nothing to a sum, not even 0 times an infinite weight.
"""

from collections.abc import Iterator

import numpy as np

from convnet.shapes import ConvDims

_F32 = np.dtype(np.float32)


def _taps(dims: ConvDims) -> Iterator[tuple[tuple[int, ...], tuple, tuple]]:
    """Every tap as (tap, outputs, inputs): which outputs read an input there, and which they read.

    Output p reads input p * stride + tap * dilation - pad_low, if there is one.
    """
    for tap in np.ndindex(*dims.kernel_size):
        outputs, inputs = [], []
        for i, t in enumerate(tap):
            reads = np.arange(dims.out_size[i]) * dims.stride[i]
            reads += t * dims.dilation[i] - dims.pad_low[i]
            inside = np.flatnonzero((reads >= 0) & (reads < dims.in_size[i]))
            outputs.append(inside)
            inputs.append(reads[inside])
        yield tap, (..., *np.ix_(*outputs)), (..., *np.ix_(*inputs))


def _by_group(a: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, spatial...) as (N, G, C/G, spatial...)."""
    return a.reshape(len(a), groups, -1, *a.shape[2:])


def _matrices(a: np.ndarray) -> np.ndarray:
    """(N, G, C/G, spatial...) as (N, G, C/G, pixels)."""
    return a.reshape(*a.shape[:3], -1)


def _weights(w: np.ndarray, dims: ConvDims, tap: tuple[int, ...]) -> np.ndarray:
    """The (G, K/G, C/G) weights at a tap."""
    return w[..., *tap].reshape(dims.groups, -1, w.shape[1])


def _channels(b: np.ndarray, dims: ConvDims) -> np.ndarray:
    """(C,), to be added to (N, C, spatial...)."""
    return b.reshape(-1, *[1] * len(dims.in_size))


def conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    dims: ConvDims,
    activation: str | None,
) -> None:
    x = _by_group(x, dims.groups)
    total = np.zeros(y.shape, y.dtype)
    sums = _by_group(total, dims.groups)
    for tap, outputs, inputs in _taps(dims):
        products = _weights(w, dims, tap) @ _matrices(x[inputs])
        sums[outputs] += products.reshape(sums[outputs].shape)
    if b is not None:
        total += _channels(b, dims)
    y[...] = total if activation is None else np.where(total < 0, 0, total)


def conv_input_grad(
    dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, dx: np.ndarray, dims: ConvDims
) -> None:
    dy = _by_group(dy, dims.groups)
    total = np.zeros(dx.shape, dx.dtype)
    sums = _by_group(total, dims.groups)
    for tap, outputs, inputs in _taps(dims):
        products = _weights(w, dims, tap).swapaxes(1, 2) @ _matrices(dy[outputs])
        sums[inputs] += products.reshape(sums[inputs].shape)
    if b is not None:
        total += _channels(b, dims)
    dx[...] = total


def conv_weight_grad(
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    dims: ConvDims,
) -> None:
    if db is not None:
        db[...] = dy.swapaxes(0, 1).reshape(len(db), -1).sum(axis=1)
    if dw is None:
        return
    dy, x = _by_group(dy, dims.groups), _by_group(x, dims.groups)
    for tap, outputs, inputs in _taps(dims):
        products = _matrices(dy[outputs]) @ _matrices(x[inputs]).swapaxes(2, 3)
        dw[..., *tap] = products.sum(axis=0).reshape(dw.shape[:2])


def im2col(x: np.ndarray, cols: np.ndarray, dims: ConvDims) -> None:
    total = np.zeros((*x.shape[:2], *dims.kernel_size, *dims.out_size), x.dtype)
    for tap, outputs, inputs in _taps(dims):
        total[:, :, *tap][outputs] = x[inputs]
    cols[...] = total.reshape(cols.shape)


def col2im(cols: np.ndarray, x: np.ndarray, dims: ConvDims) -> None:
    cols = cols.reshape(*x.shape[:2], *dims.kernel_size, *dims.out_size)
    x[...] = 0
    for tap, outputs, inputs in _taps(dims):
        x[inputs] += cols[:, :, *tap][outputs]


def conv_algorithm(
    dims: ConvDims,
    channels_last: bool,
    gradient: str | None = None,
    dtype: np.dtype = _F32,
) -> str:
    """What ops.conv2d_algorithm answers here: there is one algorithm."""
    return "reference"
