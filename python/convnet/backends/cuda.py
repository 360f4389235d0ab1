"""The kernels for NVIDIA GPUs: DeviceArrays, validated by ops, go to the file of their family.

Functions and signatures are the reference's; what a family does not have yet is lacking here.
Importing this imports numba: backend.py does at the first array on a GPU.
"""

import importlib
import importlib.util

from convnet.backends.reference import __all__ as _functions

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
