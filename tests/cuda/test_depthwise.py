"""Direct depthwise convolution on the simulator: strips, multipliers, strides, both formats."""

import numpy as np
import pytest
from convnet.kernels.cuda import conv, conv_input_grad, conv_weight_grad, depthwise
from convnet.shapes import conv_dims

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


class Direct:
    """The backend's functions, the weight gradient with small blocks."""

    conv = staticmethod(conv.conv)
    conv_input_grad = staticmethod(conv_input_grad.conv_input_grad)

    @staticmethod
    def conv_weight_grad(dy, x, dw, db, dims):
        depthwise.weight_grad(dy, x, dw, dims, 4, 2)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Strips of 3 rows, blocks of 8 threads."""
    for name, value in (("STRIP", 3), ("THREADS", 8)):
        monkeypatch.setattr(depthwise, name, value)


def lies(a, last):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if last else a


def run(checked, x_shape, multiplier, kernel, *, last=(0, 0), dtype=F32, bias=True,
        activation=None, **options):  # fmt: skip
    channels, rng = x_shape[1], np.random.default_rng(sum(x_shape))
    w_shape = (channels * multiplier, 1, *kernel)
    defaults = {"stride": 1, "padding": 0, "dilation": 1, **options}
    dims = conv_dims(x_shape, w_shape, *defaults.values(), channels, len(kernel))
    assert depthwise.suits(dims)
    assert conv.conv_algorithm(dims, False) == "depthwise"
    x = lies(rng.standard_normal(x_shape).astype(dtype), last[0])
    w = rng.standard_normal(w_shape).astype(dtype)
    y_shape = dims.batch, dims.out_channels, *dims.out_size
    dy = lies(rng.standard_normal(y_shape).astype(dtype), last[1])
    b, c = (rng.standard_normal(n).astype(dtype) if bias else None for n in (y_shape[1], channels))
    backend = checked(Direct)
    backend.conv(x, w, b, np.empty_like(dy), dims, activation)
    backend.conv_input_grad(dy, w, c, np.empty_like(x), dims)
    backend.conv_weight_grad(dy, x, np.empty_like(w), None, dims)


CASES = {
    "3x3": ((2, 3, 7, 4), 1, (3, 3), {"padding": 1}),
    "3x3 strips": ((1, 2, 6, 3), 1, (3, 3), {"padding": 1}),
    "3x3 stride 2": ((2, 3, 7, 6), 1, (3, 3), {"padding": 1, "stride": 2}),
    "3x3 stride 3": ((1, 2, 8, 7), 1, (3, 3), {"stride": 3}),
    "stride over kernel": ((1, 2, 8, 7), 1, (2, 2), {"stride": 3}),
    "dilation": ((1, 2, 8, 7), 1, (3, 2), {"padding": 2, "dilation": (2, 3)}),
    "stride and dilation": ((1, 2, 9, 8), 1, (3, 3), {"padding": 2, "stride": (2, 3),
                                                      "dilation": (2, 2)}),
    "multiplier": ((2, 2, 4, 5), 3, (3, 3), {"padding": ((0, 1), (2, 1))}),
    "5x5": ((1, 2, 6, 5), 1, (5, 5), {"padding": 2}),
    "1-D": ((2, 3, 9), 1, (4,), {"padding": "full", "stride": 2}),
    "1x1": ((1, 3, 2, 2), 1, (1, 1), {}),
}  # fmt: skip


@pytest.mark.parametrize("last", [0, 1], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", CASES)
def test_cases(checked, name, last):
    x, multiplier, kernel, options = CASES[name]
    run(checked, x, multiplier, kernel, last=(last, last), **options)


def test_doubles_relu_and_formats_that_differ(checked):
    run(checked, (2, 3, 5, 4), 1, (3, 3), padding=1, dtype=F64, activation="relu")
    run(checked, (2, 3, 5, 4), 2, (3, 3), padding=1, last=(0, 1), activation="relu", bias=False)
    run(checked, (2, 3, 5, 4), 1, (3, 3), padding=1, stride=2, last=(1, 0), bias=False)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_special_values_stay_where_they_are_read(checked, stride):
    """A thread's window holds NaN while it reads padding: that is 0 all the same."""
    x = np.random.default_rng(0).standard_normal((1, 2, 7, 4)).astype(F32)
    x[0, 0, 1, 0], x[0, 1, 0, 1], x[0, 1, 5, 3] = np.nan, np.inf, -np.inf
    w = np.ones((2, 1, 3, 3), F32)
    dims = conv_dims(x.shape, w.shape, stride, 1, 1, 2, 2)
    y = np.empty((1, 2, *dims.out_size), F32)
    checked(conv).conv(x, w, None, y, dims, None)
    dx = np.empty_like(x)
    checked(conv_input_grad).conv_input_grad(y, w, None, dx, dims)


def test_the_backend_s_weight_gradient_is_the_same(checked, monkeypatch):
    """Through conv_weight_grad, with the threads of a block that ships."""
    dims = conv_dims((1, 2, 4, 5), (2, 1, 3, 3), 1, 1, 1, 2, 2)
    rng = np.random.default_rng(0)
    dy, x = (rng.standard_normal((1, 2, 4, 5)).astype(F32) for _ in range(2))
    monkeypatch.setattr(depthwise, "THREADS", 32)
    checked(conv_weight_grad).conv_weight_grad(
        dy, x, np.empty((2, 1, 3, 3), F32), np.empty(2, F32), dims
    )
