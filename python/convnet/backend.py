"""The one choice of backend and of instruction set."""

import os
import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from convnet.settings import Override, Setting

BACKENDS = ("cpu", "cuda", "reference")


def _checked(name: object, source: str) -> str | None:
    if name is None:
        return None
    if name not in BACKENDS:
        raise ValueError(f"{source}: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return str(name)


# The module of NumPy arrays, once it is loaded and as long as nobody has chosen anything.
_settled: ModuleType | None = None
_chosen_before = False


def _unsettle() -> None:
    global _settled, _chosen_before
    _chosen_before = True  # first: _chosen, in another thread, asks for it last
    _settled = None


_override: Setting[str | None] = Setting(
    "backend", _checked(os.environ.get("CONVNET_BACKEND") or None, "CONVNET_BACKEND"), _unsettle
)


def use_backend(name: str | None) -> Override[str | None]:
    """Run every op on one backend: "cpu", "cuda" or "reference"; None lets the arrays choose.

    Sets it for the process; as a with block, for the context. Raises ValueError for another name.
    """
    return _override.set(_checked(name, "name"))


def get_backend() -> str:
    """The backend that NumPy arrays run on here."""
    return _override.get() or "cpu"


def _module(name: str) -> ModuleType:
    if name == "cpu":
        from convnet.backends import cpu as module
    elif name == "reference":
        from convnet.backends import reference as module
    else:
        from convnet.gpu import driver

        driver.ensure()
        from convnet.backends import cuda as module

    def lacking(function: str) -> Any:
        """The module's __getattr__ (PEP 562): asked only for what the module does not hold."""
        from convnet.backends import reference

        if function in reference.__all__:
            raise NotImplementedError(f"backend {name!r} has no {function}")
        raise AttributeError(f"module {module.__name__!r} has no attribute {function!r}")

    module.__getattr__ = lacking  # type: ignore[method-assign]
    return module


def _cross_checked(name: str, module: ModuleType) -> Any:
    """What CONVNET_CROSS_CHECK=1 wraps backends in; convnet.check is imported at the first call."""
    from convnet.check import cross

    return cross.environment.wrap(name, module)


def _cross_check_from_environment() -> Any:
    text = os.environ.get("CONVNET_CROSS_CHECK", "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"CONVNET_CROSS_CHECK: expected 0 or 1, got {text!r}")
    return _cross_checked if text == "1" else None


# What wraps the chosen backend while a cross-check is on; convnet.check.cross sets it.
_wrapper: Setting[Any] = Setting("cross_check", _cross_check_from_environment(), _unsettle)
_modules: dict[str, ModuleType] = {}


def active(a: Any = None) -> Any:
    """The backend module that an op on an array like this runs on here; None: NumPy's.

    TypeError for a backend that is told to run and cannot take such an array. This is part of every
    op's call: while nobody has chosen anything, nothing is looked up.
    """
    settled = _settled  # another thread may choose now
    if settled is not None and type(a) is ndarray:
        return settled
    return _chosen(a)


def _chosen(a: Any) -> Any:
    global _settled
    name = _override.get()
    if type(a) is np.ndarray or a is None:
        if name is None:
            name = "cpu"
        elif name == "cuda" and a is not None:
            raise TypeError(
                "backend 'cuda' takes arrays on a GPU, got a numpy.ndarray; bring it there with "
                "convnet.to_device"
            )
    elif name is None:
        name = "cuda"
    elif name != "cuda":
        raise TypeError(
            f"backend {name!r} takes NumPy arrays; bring this one to the CPU with .get()"
        )
    module = _modules.get(name)
    if module is None:
        module = _modules[name] = _module(name)
    wrap = _wrapper.get()
    if wrap is not None:
        return wrap(name, module)
    if name == "cpu" and not _chosen_before and _override.get() is None:
        _settled = module
        if _chosen_before:  # by another thread since the line before last
            _settled = None
    return module


def present() -> tuple[str, ...]:
    """The backends that this installation can run on, beside the reference."""
    from convnet.gpu import driver

    return ("cpu", "cuda") if driver.count() and driver.extra_is_installed() else ("cpu",)


def _cuda() -> str:
    """What there is of CUDA; nothing is loaded but the driver's library."""
    from convnet.gpu import driver

    extra = (
        "numba-cuda is installed"
        if driver.extra_is_installed()
        else 'numba-cuda is not installed (pip install "convnet-kernels[cuda]")'
    )
    if driver.SIMULATED:
        return f"Numba's simulator; {extra}"
    return f"{driver.state()}; {extra}"


def info() -> dict[str, Any]:
    """Version, backend, instruction set and why, threads, compiler, OpenMP: for a bug report."""
    import platform

    import convnet
    from convnet import threads
    from convnet.backends import cpu
    from convnet.precision import get_precision

    build = cpu.info()
    count, source = threads.get_num_threads(), threads.why()
    if not build["openmp"]:
        count, source = 1, "this build is without OpenMP"
    return {
        "version": convnet.__version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "machine": f"{platform.machine()} {platform.system()}",
        "backend": get_backend(),
        "backends": [*present(), "reference"],
        **build,
        "cuda": _cuda(),
        "threads": count,
        "threads_from": source,
        "precision": get_precision(),
        "cross_check": _wrapper.get() is not None,
    }
