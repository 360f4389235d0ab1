"""The product's own proof: cases, bounds, cross_check() and what `convnet check` runs.

A family module holds SPECS (backend function -> OpSpec: what it writes, how far it may be off),
CASES and ERROR_CASES. Nothing here is imported by `import convnet`.
"""

import importlib
import importlib.util
from functools import cache
from types import ModuleType

from convnet.check.spec import OpSpec

FAMILIES = ("gemm", "conv", "pool", "interpolate", "activation", "norm", "loss", "optim")


@cache
def families() -> dict[str, ModuleType]:
    """The family modules by name."""
    return {
        name: importlib.import_module(f"convnet.check.{name}")
        for name in FAMILIES
        if importlib.util.find_spec(f"convnet.check.{name}") is not None
    }


@cache
def specs() -> dict[str, OpSpec]:
    """The OpSpec of every backend function."""
    return {name: spec for module in families().values() for name, spec in module.SPECS.items()}
