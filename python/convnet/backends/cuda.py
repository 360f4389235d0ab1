"""The kernels for NVIDIA GPUs: DeviceArrays, validated by ops, go to the file of their family.

Functions and signatures are the reference's; what a family does not have yet is lacking here.
Importing this imports numba: backend.py does at the first array on a GPU.
"""

import importlib
import importlib.util
from typing import Any

from convnet.backends.reference import __all__ as _functions
from convnet.shapes import ConvDims

FAMILIES = (
    "activation",
    "adaptive_pool",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "depthwise",
    "dropout",
    "gemm",
    "im2col",
    "interpolate",
    "loss",
    "norm",
    "optim",
    "pool",
    "softmax",
)

for _family in FAMILIES:
    if importlib.util.find_spec(f"convnet.kernels.cuda.{_family}") is not None:
        _module = importlib.import_module(f"convnet.kernels.cuda.{_family}")
        for _name in _functions:
            if getattr(vars(_module).get(_name), "__module__", "") == _module.__name__:
                globals().setdefault(_name, vars(_module)[_name])


def conv_algorithm(dims: ConvDims, channels_last: bool, gradient: str | None, dtype: Any) -> str:
    """Which kernels a convolution runs on; neither format, gradient nor type changes that."""
    from convnet.kernels.cuda import depthwise

    return "depthwise" if depthwise.suits(dims) else "implicit_gemm"
