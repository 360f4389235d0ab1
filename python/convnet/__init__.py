"""Fast kernels for convolutional networks on NumPy arrays.

`convnet.ops` holds the operations on arrays, `convnet.nn`, `convnet.optim` and `convnet.data` the
layer library with torch.nn's names, `convnet.check` the cases that prove the kernels right.
"""

__version__ = "0.1.0"

from typing import Any

from convnet import ops
from convnet.backend import get_backend, info, use_backend
from convnet.memory import empty_cache, get_cache_limit, set_cache_limit
from convnet.precision import get_precision, set_precision
from convnet.threads import get_num_threads, set_num_threads

# Names whose modules are imported at first use, so that `import convnet` stays light.
_LAZY_NAMES = {
    "convnet.check.cross": ("CrossCheckError", "cross_check"),
    "convnet.gpu": ("DeviceArray", "GPUError", "to_device"),
    "convnet.random": ("get_rng_state", "manual_seed", "set_rng_state"),
    "convnet.serialization": ("load", "save"),
    "convnet.nn.summary": ("summary",),
    "convnet.nn.tape": ("enable_grad", "is_grad_enabled", "no_grad"),
    "convnet.nn.tensor": ("Tensor", "as_tensor", "cat", "concat", "concatenate", "stack", "tensor"),
    "convnet.nn.conversion": (
        *("bool", "device", "double", "float", "float32", "float64"),
        *("int", "int32", "int64", "long", "uint8"),
    ),
    "convnet.nn.creation": (
        *("arange", "asarray", "empty", "eye", "from_numpy", "full", "full_like", "is_tensor"),
        *("linspace", "ones", "ones_like", "rand", "rand_like", "randint", "randn", "randn_like"),
        *("randperm", "zeros", "zeros_like"),
    ),
    "convnet.nn.functions": (
        *("abs", "allclose", "argmax", "argmin", "clamp", "eq", "exp", "flatten", "isfinite"),
        *("isnan", "log", "log_softmax", "matmul", "max", "mean", "min", "mm", "numel", "permute"),
        *("pow", "relu", "reshape", "sigmoid", "softmax", "sqrt", "square", "squeeze", "std"),
        *("sum", "tanh", "transpose", "unsqueeze", "var", "where"),
    ),
}
_LAZY = {name: module for module, names in _LAZY_NAMES.items() for name in names}
_SUBMODULES = ("check", "cuda", "data", "gpu", "nn", "optim", "train")

__all__ = [
    "empty_cache",
    "get_backend",
    "get_cache_limit",
    "get_num_threads",
    "get_precision",
    "info",
    "ops",
    "set_cache_limit",
    "set_num_threads",
    "set_precision",
    "use_backend",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"convnet.{name}")
    from convnet.absent import missing

    raise missing("convnet", name)
