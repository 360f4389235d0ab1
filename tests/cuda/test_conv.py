"""Convolution and its gradients on the simulator, with tiles small enough to cross every edge."""

from math import prod

import numpy as np
import pytest
from convnet.backends import reference
from convnet.kernels.cuda import conv, conv_input_grad, conv_weight_grad, sums
from convnet.kernels.cuda.engine import Tile
from convnet.precision import set_precision
from convnet.shapes import conv_dims

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
TILE = Tile(8, 8, 4, 4, 4, 4)  # 4 threads; filters x pixels, or filters x taps
DTYPES = pytest.mark.parametrize("dtype", [F32, F64], ids=str)


class Small:
    """The backend's functions by implicit GEMM, with tiles and parts of one's own."""

    def __init__(self, splits=1, tile=TILE):
        self.splits, self.tile = splits, tile

    def conv(self, x, w, b, y, dims, activation):
        conv.implicit_gemm(x, w, b, y, dims, activation, TILE)

    def conv_input_grad(self, dy, w, b, dx, dims):
        conv_input_grad.implicit_gemm(dy, w, b, dx, dims, TILE)

    def conv_weight_grad(self, dy, x, dw, db, dims):
        if dw is not None:
            conv_weight_grad.implicit_gemm(dy, x, dw, dims, self.tile, self.splits)
        if db is not None:
            sums.bias_grad(dy, db, (2, 2), 1)


def lies(a, last):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if last else a


def run(checked, x_shape, w_shape, *, stride=1, padding=0, dilation=1, groups=1, last=(0, 0, 0),
        dtype=F32, bias=True, activation=None, module=None, only=None):  # fmt: skip
    """Forward and both gradients; last: which of x, w and y lie channels-last."""
    rank, rng = len(x_shape) - 2, np.random.default_rng(len(x_shape))
    dims = conv_dims(x_shape, w_shape, stride, padding, dilation, groups, rank)
    y_shape = (dims.batch, dims.out_channels, *dims.out_size)
    x, w, dy = (
        lies(rng.standard_normal(s).astype(dtype), in_last)
        for s, in_last in zip((x_shape, w_shape, y_shape), last, strict=True)
    )
    b = rng.standard_normal(dims.out_channels).astype(dtype) if bias else None
    c = rng.standard_normal(dims.in_channels).astype(dtype) if bias else None
    backend = checked(module or Small())
    if only in (None, "conv"):
        backend.conv(x, w, b, np.empty_like(dy), dims, activation)
    if only in (None, "input"):
        backend.conv_input_grad(dy, w, c, np.empty_like(x), dims)
    if only in (None, "weight"):
        db = np.empty(dims.out_channels, dtype) if bias else None
        backend.conv_weight_grad(dy, x, np.empty_like(w), db, dims)


@DTYPES
@pytest.mark.parametrize("last", [0, 1], ids=["nchw", "channels_last"])
def test_extents(checked, last, dtype):
    """Filters, pixels, channels and taps around a tile of 8 and steps of 4."""
    for filters, channels, width in (
        (1, 1, 1), (7, 4, 3), (8, 5, 4), (9, 3, 9), (17, 1, 2), (2, 8, 5), (3, 9, 3), (4, 17, 2)
    ):  # fmt: skip
        run(checked, (2, channels, 2, width), (filters, channels, 2, 1), padding=(1, 0),
            last=(last,) * 3, dtype=dtype)  # fmt: skip


GEOMETRIES = {
    "3x3": ((2, 3, 4, 5), (5, 3, 3, 3), {"padding": 1}),
    "stride": ((2, 3, 5, 6), (4, 3, 3, 2), {"stride": (2, 3), "padding": ((0, 1), (2, 0))}),
    "dilation": ((1, 2, 6, 7), (3, 2, 3, 2), {"dilation": (2, 3), "padding": 2}),
    "stride over dilation": ((1, 2, 9, 8), (3, 2, 3, 3), {"stride": (4, 2), "dilation": (2, 4),
                                                          "padding": 4}),
    "stride over kernel": ((1, 3, 7, 7), (2, 3, 2, 1), {"stride": 3}),
    "1x1": ((2, 5, 2, 4), (6, 5, 1, 1), {}),
    "1x1 stride": ((2, 5, 3, 5), (6, 5, 1, 1), {"stride": 2}),
    "groups": ((2, 6, 4, 4), (4, 3, 3, 3), {"padding": 1, "groups": 2}),
    "depthwise": ((1, 3, 4, 5), (6, 1, 3, 3), {"padding": 1, "groups": 3}),
    "1-D": ((2, 3, 9), (5, 3, 4), {"stride": 2, "padding": "full"}),
    "3-D": ((1, 2, 3, 4, 3), (3, 2, 2, 3, 2), {"stride": (2, 1, 1), "padding": 1}),
    "3-D dilation": ((1, 2, 4, 3, 3), (3, 2, 2, 1, 2), {"dilation": (3, 1, 2)}),
}  # fmt: skip


@pytest.mark.parametrize("last", [0, 1], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometries(checked, name, last):
    x, w, options = GEOMETRIES[name]
    run(checked, x, w, last=(last,) * 3, **options)


@pytest.mark.parametrize("name", ["3x3", "stride", "groups"])
def test_geometries_of_doubles(checked, name):
    x, w, options = GEOMETRIES[name]
    run(checked, x, w, dtype=F64, **options)


@pytest.mark.parametrize("last", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (0, 1, 1)], ids=str)
def test_formats_that_differ(checked, last):
    run(checked, (2, 4, 3, 4), (8, 4, 2, 2), padding=1, last=last)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_bias_and_relu(checked, activation):
    for last in (0, 1):
        run(checked, (1, 4, 3, 4), (9, 4, 1, 1), bias=not last, activation=activation,
            last=(last,) * 3, only="conv")  # fmt: skip


def test_parts_of_a_weight_gradient(checked, monkeypatch):
    """24 pixels in parts of 16, in two groups."""
    module, parts = Small(splits=2, tile=Tile(8, 8, 2, 4, 4, 4)), []
    scratch = conv_weight_grad.scratch
    monkeypatch.setattr(conv_weight_grad, "scratch", lambda *a: parts.append(a[1]) or scratch(*a))
    for last in (0, 1):
        run(checked, (4, 6, 3, 4), (8, 3, 2, 2), groups=2, last=(last,) * 3, only="weight",
            bias=False, module=module)  # fmt: skip
    assert parts == [(2 * 2 * 4 * 12,)] * 2


WARP_TILE = Tile(32, 16, 8, 2, 4, 4)  # 32 threads: one warp


@pytest.mark.parametrize("last", [0, 1], ids=["nchw", "channels_last"])
def test_tf32(last):
    """docs/cuda.md: 2^-10 of sum |x||w| beside float32's bound, and only where it is allowed."""
    rng = np.random.default_rng(8)
    x_shape, w_shape = (2, 3, 5, 6), (33, 3, 3, 2)
    dims = conv_dims(x_shape, w_shape, (1, 2), 1, 1, 1, 2)
    dy_shape = (2, 33, *dims.out_size)
    x, w, dy = (
        lies(rng.standard_normal(s).astype(F32), last) for s in (x_shape, w_shape, dy_shape)
    )
    tile = conv.turn(WARP_TILE) if last else WARP_TILE

    def all_three(x, w, dy, tile):
        y, dx, dw = np.empty_like(dy), np.empty_like(x), np.empty_like(w)
        conv.implicit_gemm(x, w, None, y, dims, None, tile)
        conv_input_grad.implicit_gemm(dy, w, None, dx, dims, tile)
        conv_weight_grad.implicit_gemm(dy, x, dw, dims, WARP_TILE, 1)
        return y, dx, dw

    def exactly(x, w, dy):
        y, dx, dw = (np.empty(s) for s in (dy_shape, x_shape, w_shape))
        reference.conv(x, w, None, y, dims, None)
        reference.conv_input_grad(dy, w, None, dx, dims)
        reference.conv_weight_grad(dy, x, dw, None, dims)
        return y, dx, dw

    wide = [a.astype(F64) for a in (x, w, dy)]
    exact, magnitude = exactly(*wide), exactly(*map(np.abs, wide))
    lengths = 3 * 6, 33 * 6, 2 * prod(dims.out_size)
    for precision, rounded in (("high", 0), ("medium", 2**-10)):
        with set_precision(precision):
            results = all_three(x, w, dy, tile)
        for result, right, size, k in zip(results, exact, magnitude, lengths, strict=True):
            error = np.abs(result - right) / np.maximum(size, 1e-30)
            assert error.max() <= rounded + (8 + 2 * np.sqrt(k)) * 2**-23
            assert (error.max() > 2**-14) == bool(rounded)


def test_special_values(checked):
    """Infinities and NaN reach what reads them alone; padding reads nothing."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 3, 4, 5)).astype(F32), rng.standard_normal((5, 3, 3, 3))
    dims = conv_dims(x.shape, w.shape, 1, 1, 1, 1, 2)
    x[0, 1, 0, 0], x[0, 2, 3, 4] = np.nan, np.inf
    y = np.empty((1, 5, 4, 5), F32)
    checked(Small()).conv(x, w.astype(F32), None, y, dims, "relu")
    checked(Small()).conv_input_grad(y, w.astype(F32), None, np.empty_like(x), dims)


def test_tiles_that_ship(checked):
    run(checked, (1, 3, 6, 7), (33, 3, 3, 3), padding=1, module=None, only="conv")
