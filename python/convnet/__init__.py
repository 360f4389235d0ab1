"""Fast kernels for convolutional networks on NumPy arrays.

`convnet.ops` holds the operations on arrays, `convnet.nn`, `convnet.optim` and `convnet.data` the
layer library with torch.nn's names, `convnet.check` the cases that prove the kernels right.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers see; a name `as` itself is meant for others
    from convnet import ops as ops
    from convnet.backend import get_backend as get_backend
    from convnet.backend import info as info
    from convnet.backend import use_backend as use_backend
    from convnet.memory import empty_cache as empty_cache
    from convnet.memory import get_cache_limit as get_cache_limit
    from convnet.memory import set_cache_limit as set_cache_limit
    from convnet.precision import get_precision as get_precision
    from convnet.precision import set_precision as set_precision
    from convnet.threads import get_num_threads as get_num_threads
    from convnet.threads import set_num_threads as set_num_threads

# Names whose modules are imported at first use: `import convnet` stays light, and the command line
# can answer a wrong CONVNET_ variable, which these modules read, with a line, not a traceback.
_LAZY_NAMES = {
    "convnet.backend": ("get_backend", "info", "use_backend"),
    "convnet.memory": ("empty_cache", "get_cache_limit", "set_cache_limit"),
    "convnet.precision": ("get_precision", "set_precision"),
    "convnet.threads": ("get_num_threads", "set_num_threads"),
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
_SUBMODULES = (
    *("backend", "backends", "check", "cuda", "data", "gpu", "memory", "nn", "ops", "optim"),
    *("precision", "random", "serialization", "shapes", "threads", "train"),
)

__all__ = ["ops", *_LAZY]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"convnet.{name}")
    from convnet.absent import missing

    raise missing("convnet", name)
