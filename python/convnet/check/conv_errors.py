"""Convolution: calls that must be refused."""

from typing import Any

import numpy as np

from convnet.check.case import ErrorCase


def _z(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def _error(op: str, id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    return ErrorCase(op, id, lambda: args, exception, match)


_X, _W = _z(2, 4, 6, 7), _z(6, 4, 3, 3)


def _conv(id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    return _error("conv2d", id, exception, match, **{"x": _X, "w": _W, **args})


def _backward(id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    given = {"dy": _z(2, 6, 4, 5), "x": _X, "w": _W, **args}
    return _error("conv2d_backward", id, exception, match, **given)


def _transposed(id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    given = {"x": _X, "w": _z(4, 6, 3, 3), **args}
    return _error("conv_transpose2d", id, exception, match, **given)


def _overlapping() -> dict[str, Any]:
    x = _z(2, 4, 6, 7)
    return {"x": x, "w": _z(4, 4, 1, 1), "out": x}


def _read_only() -> dict[str, Any]:
    out = _z(2, 6, 4, 5)
    out.flags.writeable = False
    return {"x": _X, "w": _W, "out": out}


_MASKED = np.ma.masked_array(_X, _X > 0)
_DOUBLE = {"dtype": np.float64}

ERROR_CASES = [
    _conv("list", TypeError, "x: expected a numpy.ndarray", x=[[1.0]]),
    _conv("integer", TypeError, "x: expected float32 or float64, got int64", x=_X.astype("i8")),
    _conv("object", TypeError, "w: expected float32 or float64, got object", w=_W.astype(object)),
    _conv("half", TypeError, "x: .*got float16", x=_X.astype("f2")),
    _conv("byte order", TypeError, "x: expected float32 or float64", x=_X.astype(">f4")),
    _conv("masked", TypeError, "x: expected a plain numpy.ndarray", x=_MASKED),
    _conv("mixed", TypeError, "w: expected float32 like x, got float64", w=_W.astype("f8")),
    _conv("b mixed", TypeError, "b: expected float32 like x, got float64", b=_z(6, **_DOUBLE)),
    _conv("b shape", ValueError, r"b: expected shape \(6,\).* got \(4,\)", b=_z(4)),
    _conv("b ndim", ValueError, r"b: expected shape \(6,\)", b=_z(6, 1)),
    _conv("x ndim", ValueError, r"x: expected 4 dimensions \(N, C, H, W\), got 3", x=_z(4, 6, 7)),
    _conv("w ndim", ValueError, r"w: expected 4 dimensions \(K, C/groups, R, S\)", w=_z(4, 3, 3)),
    _conv("channels", ValueError, "w: expected 4 input channels", w=_z(6, 3, 3, 3)),
    _conv("no channels", ValueError, "x: expected channels and", x=_z(2, 0, 6, 7)),
    _conv("no rows", ValueError, "x: .*at least 1", x=_z(2, 4, 0, 7)),
    _conv("no filters", ValueError, "w: expected extents of at least 1", w=_z(0, 4, 3, 3)),
    _conv("no taps", ValueError, "w: expected extents of at least 1", w=_z(6, 4, 3, 0)),
    _conv("groups of channels", ValueError, "groups: .*x's 4 channels, got 3", groups=3),
    _conv("groups mismatch", ValueError, "w: expected 2 input channels .*2 groups", groups=2),
    _conv(
        "groups of filters",
        ValueError,
        "groups: expected a divisor of w's 3 filters, got 2",
        w=_z(3, 2, 3, 3),
        groups=2,
    ),
    _conv("groups 0", ValueError, "groups: expected at least 1, got 0", groups=0),
    _conv("groups negative", ValueError, "groups: expected at least 1, got -1", groups=-1),
    _conv("groups float", TypeError, "groups: expected an integer, got 1.0", groups=1.0),
    _conv("groups bool", TypeError, "groups: expected an integer, got True", groups=True),
    _conv("stride 0", ValueError, "stride: expected at least 1, got 0", stride=0),
    _conv("stride negative", ValueError, "stride: expected at least 1, got -2", stride=(1, -2)),
    _conv("stride float", TypeError, "stride: expected an integer, got 1.5", stride=1.5),
    _conv("stride of 3", ValueError, r"stride: .*2 of them, got \(1, 1, 1\)", stride=(1, 1, 1)),
    _conv("stride string", TypeError, "stride: expected an integer, got 'two'", stride="two"),
    _conv("dilation 0", ValueError, "dilation: expected at least 1, got 0", dilation=0),
    _conv("dilation bool", TypeError, "dilation: expected an integer, got True", dilation=True),
    _conv("padding negative", ValueError, "padding: expected at least 0, got -1", padding=-1),
    _conv("padding mode", ValueError, "padding: .*'smae'", padding="smae"),
    _conv("padding float", TypeError, "padding: .*0.5", padding=0.5),
    _conv("padding None", TypeError, "padding: .*None", padding=None),
    _conv("padding of 3", ValueError, r"padding: .*\(1, 1, 1\)", padding=(1, 1, 1)),
    _conv("padding mixed", ValueError, r"padding: expected 2 pairs", padding=((1, 1), 1)),
    _conv("padding pair float", TypeError, r"padding: .*1.0", padding=((1, 1.0), (1, 1))),
    _conv("empty output", ValueError, "w: the output would be empty: 8 elements", w=_z(6, 4, 8, 3)),
    _conv("dilated too far", ValueError, "w: .* dilation 3 span 7", dilation=3),
    _conv("activation", ValueError, "activation: .*'softmax'", activation="softmax"),
    _conv("out shape", ValueError, r"out: expected shape \(2, 6, 4, 5\)", out=_z(2, 6, 4, 4)),
    _conv(
        "out dtype", TypeError, "out: expected float32, got float64", out=_z(2, 6, 4, 5, **_DOUBLE)
    ),
    _conv("out strided", ValueError, "out: expected an aligned", out=_z(2, 6, 4, 10)[..., ::2]),
    _conv("out list", TypeError, "out: expected a numpy.ndarray, got list", out=[]),
    ErrorCase("conv2d", "out overlaps", _overlapping, ValueError, "out: overlaps an input"),
    ErrorCase("conv2d", "out read-only", _read_only, ValueError, "out: .*read-only"),
    _error("conv1d", "ndim", ValueError, r"x: expected 3 dimensions \(N, C, L\)", x=_X, w=_W),
    _error("conv1d", "pair", ValueError, "stride: ", x=_z(2, 4, 9), w=_z(6, 4, 3), stride=(1, 1)),
    _error("conv3d", "ndim", ValueError, "x: expected 5 dimensions", x=_X, w=_W),
    _error("conv3d", "w ndim", ValueError, "w: expected 5 dimensions", x=_z(1, 4, 6, 6, 6), w=_W),
    _backward("dy shape", ValueError, r"dy: expected shape \(2, 6, 4, 5\)", dy=_z(2, 6, 6, 7)),
    _backward("dy batch", ValueError, r"dy: expected shape \(2, 6, 4, 5\)", dy=_z(1, 6, 4, 5)),
    _backward("dy mixed", TypeError, "dy: .*float64", dy=_z(2, 6, 4, 5, **_DOUBLE)),
    _backward("dy list", TypeError, "dy: expected a numpy.ndarray", dy=[]),
    _backward("needs of 2", ValueError, "needs: expected three", needs=(True, True)),
    _backward("needs bool", ValueError, "needs: expected three", needs=True),
    _backward("stride 0", ValueError, "stride: ", stride=0),
    _transposed("ndim", ValueError, "x: expected 4 dimensions", x=_z(4, 6, 7)),
    _transposed("channels", ValueError, "w: expected 4 in front", w=_z(6, 4, 3, 3)),
    _transposed("mode", ValueError, "padding: .*'same'", padding="same"),
    _transposed("groups", ValueError, "groups: expected a divisor", groups=3),
    _transposed(
        "output_padding", ValueError, "output_padding: .*got 2", stride=2, output_padding=2
    ),
    _transposed("output_padding < 0", ValueError, "output_padding: .*-1", output_padding=-1),
    _transposed("empty output", ValueError, "padding: the output would be empty", padding=5),
    _transposed("b shape", ValueError, r"b: expected shape \(6,\)", b=_z(4)),
    _transposed("mixed", TypeError, "w: .*float64", w=_z(4, 6, 3, 3, **_DOUBLE)),
    _error(
        "conv_transpose2d_backward",
        "dy shape",
        ValueError,
        r"dy: expected shape \(2, 6, 8, 9\)",
        dy=_z(2, 6, 6, 7),
        x=_X,
        w=_z(4, 6, 3, 3),
    ),
    _error("convolve", "ndim", ValueError, "x: expected 1 or 2", x=_X, w=_W),
    _error("convolve", "ndims", ValueError, "w: expected 1 dim", x=_z(4), w=_z(2, 2)),
    _error("convolve", "empty", ValueError, "w: expected at least 1 element", x=_z(4), w=_z(0)),
    _error("convolve", "mode", ValueError, "mode: .*'fill'", x=_z(4), w=_z(2), mode="fill"),
    _error("convolve", "mixed", TypeError, "w: .*float64", x=_z(4), w=_z(2, **_DOUBLE)),
    _error("convolve", "across", ValueError, "w: .*within", x=_z(4, 2), w=_z(2, 4), mode="valid"),
    _error("im2col", "kernel 0", ValueError, "kernel_size: .*0", x=_X, kernel_size=0),
    _error("im2col", "too large", ValueError, "kernel_size: .*empty", x=_X, kernel_size=9),
    _error("im2col", "ndim", ValueError, "x: expected 4", x=_z(4, 6, 7), kernel_size=2),
    _error(
        "col2im",
        "shape",
        ValueError,
        r"cols: expected shape \(2, 36, 20\)",
        cols=_z(2, 36, 19),
        x_shape=(2, 4, 6, 7),
        kernel_size=3,
    ),
    _error(
        "col2im",
        "x_shape",
        ValueError,
        "x_shape: ",
        cols=_z(2, 9, 4),
        x_shape=(4, 4),
        kernel_size=3,
    ),
    _error(
        "col2im",
        "float",
        TypeError,
        "x_shape: ",
        cols=_z(2, 9, 4),
        x_shape=(2, 1.0, 4, 4),
        kernel_size=3,
    ),
    _error(
        "conv2d_algorithm", "ndim", ValueError, "x_shape: ", x_shape=(4, 4), w_shape=(4, 4, 3, 3)
    ),
    _error(
        "conv2d_algorithm",
        "gradient",
        ValueError,
        "gradient: ",
        x_shape=(1, 4, 5, 5),
        w_shape=(4, 4, 3, 3),
        gradient="both",
    ),
]
