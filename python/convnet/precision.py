"""How much rounding an algorithm may add for speed."""

import os

from convnet.settings import Override, Setting

LEVELS = ("highest", "high", "medium")


def _checked(value: object, source: str) -> str:
    if value not in LEVELS:
        raise ValueError(f"{source}: expected one of {', '.join(LEVELS)}, got {value!r}")
    return str(value)


_precision: Setting[str] = Setting(
    "precision", _checked(os.environ.get("CONVNET_PRECISION") or "high", "CONVNET_PRECISION")
)


def set_precision(precision: str) -> Override[str]:
    """Allow or forbid algorithms that round more than direct summation.

    "highest": never Winograd. "high" (the default): Winograd in float32. "medium": TF32 on GPUs
    too. Sets it for the process; as a with block, for the context. CONVNET_PRECISION sets it at
    the start. Raises ValueError for any other word.
    """
    return _precision.set(_checked(precision, "precision"))


def get_precision() -> str:
    """The precision in force here: "highest", "high" or "medium"."""
    return _precision.get()
