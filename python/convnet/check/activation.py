"""Activations: cases and bounds."""

import numpy as np

from convnet.check.case import Array, Case, ErrorCase
from convnet.check.spec import OpSpec, exact

SPECS = {
    "relu": OpSpec(("y",), exact("y")),
    "relu_backward": OpSpec(("dx",), exact("dx")),
}

_SHAPES = ((7,), (2, 3, 5, 7), (1, 1, 1, 1), (3, 33), (40, 1000), (0, 3, 4, 4))

CASES = [
    *(Case("relu", f"{s}", {"x": Array(s)}) for s in _SHAPES),
    *(Case("relu_backward", f"{s}", {"dy": Array(s), "y": Array(s)}) for s in _SHAPES),
]

ERROR_CASES = [
    ErrorCase("relu", "list", lambda: {"x": [1.0]}, TypeError, "x: expected a numpy.ndarray"),
    ErrorCase(
        "relu", "int", lambda: {"x": np.arange(3)}, TypeError, "float32 or float64, got int64"
    ),
]
