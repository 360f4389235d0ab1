"""Pooling: calls that must be refused."""

from typing import Any

import numpy as np

from convnet.check.case import ErrorCase


def _x(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def _error(op: str, id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    return ErrorCase(op, id, lambda: args, exception, match)


_IMAGE = _x(2, 3, 6, 7)
_DY, _AT = _x(2, 3, 3, 3), np.zeros((2, 3, 3, 3), np.int32)
_BACK = {"dy": _DY, "x_shape": (2, 3, 6, 7), "kernel_size": 2}

ERROR_CASES = [
    _error("max_pool2d", "list", TypeError, "x: ", x=[1.0], kernel_size=2),
    _error("max_pool2d", "int", TypeError, "float32 or float64", x=_AT, kernel_size=2),
    _error("max_pool2d", "rank", ValueError, "x: expected 4 dim", x=_x(3, 6, 7), kernel_size=2),
    _error("max_pool1d", "rank", ValueError, "x: expected 3 dim", x=_IMAGE, kernel_size=2),
    _error("max_pool3d", "rank", ValueError, "x: expected 5 dim", x=_IMAGE, kernel_size=2),
    _error("max_pool2d", "no channels", ValueError, "x", x=_x(2, 0, 6, 7), kernel_size=2),
    _error("max_pool2d", "no rows", ValueError, "x", x=_x(2, 3, 0, 7), kernel_size=2),
    _error("max_pool2d", "kernel 0", ValueError, "kernel_size", x=_IMAGE, kernel_size=0),
    _error("max_pool2d", "kernel float", TypeError, "kernel_size", x=_IMAGE, kernel_size=2.0),
    _error("max_pool2d", "kernel of 3", ValueError, "kernel_size", x=_IMAGE, kernel_size=(2, 2, 2)),
    _error("max_pool2d", "kernel too large", ValueError, "kernel_size", x=_IMAGE, kernel_size=8),
    _error("max_pool2d", "stride 0", ValueError, "stride", x=_IMAGE, kernel_size=2, stride=0),
    _error("max_pool2d", "dilation 0", ValueError, "dilation", x=_IMAGE, kernel_size=2, dilation=0),
    _error("max_pool2d", "padding < 0", ValueError, "padding", x=_IMAGE, kernel_size=2, padding=-1),
    _error(
        "max_pool2d", "padding = kernel", ValueError, "padding", x=_IMAGE, kernel_size=2, padding=2
    ),
    _error(
        "max_pool2d", "mode full", ValueError, "padding", x=_IMAGE, kernel_size=2, padding="full"
    ),
    _error(
        "max_pool2d",
        "same and ceil",
        ValueError,
        "ceil_mode",
        x=_IMAGE,
        kernel_size=2,
        padding="same",
        ceil_mode=True,
    ),
    _error(
        "max_pool2d",
        "only padding",
        ValueError,
        "padding only",
        x=_x(1, 1, 1, 1),
        kernel_size=2,
        stride=1,
        padding=2,
        dilation=3,
    ),
    _error("avg_pool2d", "int", TypeError, "float32 or float64", x=_AT, kernel_size=2),
    _error("avg_pool2d", "rank", ValueError, "x: expected 4 dim", x=_x(6, 7), kernel_size=2),
    _error(
        "avg_pool2d",
        "divisor 0",
        ValueError,
        "divisor_override",
        x=_IMAGE,
        kernel_size=2,
        divisor_override=0,
    ),
    _error(
        "max_pool2d_backward",
        "dy shape",
        ValueError,
        "dy: expected shape",
        **{**_BACK, "dy": _x(2, 3, 3, 4)},
        indices=_AT,
    ),
    _error(
        "max_pool2d_backward",
        "indices shape",
        ValueError,
        "indices: expected shape",
        **_BACK,
        indices=_AT[:1],
    ),
    _error(
        "max_pool2d_backward",
        "indices float",
        TypeError,
        "indices: expected integers",
        **_BACK,
        indices=_DY,
    ),
    _error(
        "max_pool2d_backward",
        "indices list",
        TypeError,
        "indices: expected a numpy",
        **_BACK,
        indices=[0],
    ),
    _error(
        "max_pool2d_backward",
        "index high",
        ValueError,
        "indices: .* 0 to 41 .* got 42",
        **_BACK,
        indices=_AT + 42,
    ),
    _error(
        "max_pool2d_backward",
        "index low",
        ValueError,
        "indices: .* got -1",
        **_BACK,
        indices=_AT - 1,
    ),
    _error(
        "max_pool2d_backward",
        "x_shape",
        ValueError,
        "x_shape",
        **{**_BACK, "x_shape": (2, 3, 6)},
        indices=_AT,
    ),
    _error(
        "avg_pool2d_backward",
        "dy shape",
        ValueError,
        "dy: expected shape",
        **{**_BACK, "dy": _x(2, 3, 3, 4)},
    ),
    _error(
        "avg_pool2d_backward",
        "x_shape float",
        TypeError,
        "x_shape",
        **{**_BACK, "x_shape": (2, 3, 6.0, 7)},
    ),
    _error("adaptive_avg_pool2d", "size 0", ValueError, "output_size", x=_IMAGE, output_size=0),
    _error(
        "adaptive_avg_pool2d", "size float", TypeError, "output_size", x=_IMAGE, output_size=1.5
    ),
    _error(
        "adaptive_avg_pool2d", "sizes", TypeError, "output_size", x=_IMAGE, output_size=(1, 2, 3)
    ),
    _error("adaptive_avg_pool2d", "no rows", ValueError, "x", x=_x(2, 3, 0, 7), output_size=1),
    _error(
        "adaptive_avg_pool2d_backward",
        "channels",
        ValueError,
        "dy: expected shape",
        dy=_DY,
        x_shape=(2, 4, 6, 7),
    ),
    _error("global_avg_pool2d", "rank", ValueError, "x: expected 4 dim", x=_x(2, 3)),
    _error(
        "global_avg_pool2d_backward",
        "dy shape",
        ValueError,
        "dy: expected shape",
        dy=_DY,
        x_shape=(2, 3, 6, 7),
    ),
]
