"""Fast kernels for convolutional networks on NumPy arrays.

`convnet.ops` holds the operations on arrays, `convnet.nn`, `convnet.optim` and `convnet.data` the
layer library with torch.nn's names, `convnet.check` the cases that prove the kernels right.
"""

__version__ = "0.1.0"

from typing import Any

from convnet import ops
from convnet.backend import get_backend, info, use_backend
from convnet.precision import get_precision, set_precision
from convnet.threads import get_num_threads, set_num_threads

__all__ = [
    "CrossCheckError",
    "Tensor",
    "cross_check",
    "get_backend",
    "get_num_threads",
    "get_precision",
    "get_rng_state",
    "info",
    "load",
    "manual_seed",
    "no_grad",
    "ops",
    "save",
    "set_num_threads",
    "set_precision",
    "set_rng_state",
    "tensor",
    "use_backend",
]

# Names whose modules are imported at first use, so that `import convnet` stays light.
_LAZY = {
    "CrossCheckError": "convnet.check.cross",
    "Tensor": "convnet.nn.tensor",
    "cross_check": "convnet.check.cross",
    "get_rng_state": "convnet.random",
    "load": "convnet.serialization",
    "manual_seed": "convnet.random",
    "no_grad": "convnet.nn.tape",
    "save": "convnet.serialization",
    "set_rng_state": "convnet.random",
    "tensor": "convnet.nn.tensor",
}
_SUBMODULES = ("check", "data", "nn", "optim", "train")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value
    if name in _SUBMODULES:
        import importlib

        return importlib.import_module(f"convnet.{name}")
    raise AttributeError(f"module 'convnet' has no attribute {name!r}")
