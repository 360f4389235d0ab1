"""The one choice of backend and of instruction set."""

import os
import sys
from types import ModuleType
from typing import Any

from convnet.settings import Override, Setting

BACKENDS = ("cpu", "cuda", "reference")


def _checked(name: object, source: str) -> str | None:
    if name is None:
        return None
    if name not in BACKENDS:
        raise ValueError(f"{source}: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return str(name)


_override: Setting[str | None] = Setting(
    "backend", _checked(os.environ.get("CONVNET_BACKEND") or None, "CONVNET_BACKEND")
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
        raise NotImplementedError(f"backend {name!r} is not part of this version")

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
_wrapper: Setting[Any] = Setting("cross_check", _cross_check_from_environment())
_modules: dict[str, ModuleType] = {}


def active() -> Any:
    """The backend module that an op on NumPy arrays runs on here."""
    name = _override.get() or "cpu"
    module = _modules.get(name)
    if module is None:
        module = _modules[name] = _module(name)
    wrap = _wrapper.get()
    return module if wrap is None else wrap(name, module)


def present() -> tuple[str, ...]:
    """The backends that this installation can run on, beside the reference."""
    return ("cpu",)


def _cuda() -> str:
    """Whether the CUDA driver and a GPU are there; nothing is loaded but the driver's library."""
    import ctypes

    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return "no driver on this machine"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return "a driver without a usable GPU"
    return f"{count.value} GPU{'s' if count.value != 1 else ''}; this version runs on the CPU only"


def info() -> dict[str, Any]:
    """Version, backend, instruction set and why, threads, compiler, OpenMP: for a bug report."""
    import platform

    import numpy as np

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
