"""What load_state_dict checks before it changes anything."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from convnet.gpu.foreign import wrap


class StateMismatch(RuntimeError):  # noqa: N818 - says what it is
    """A state_dict does not fit the module: what is missing, unexpected, or of another shape."""


def array_of(value: Any) -> np.ndarray:
    """The values of a Tensor, an array, or anything with DLPack, torch's tensors among them.

    What is on a GPU is brought to the host.
    """
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "_node"):  # a Tensor
        value = value.data
    if hasattr(value, "__cuda_array_interface__"):
        return wrap(value, "value").get()
    if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (RuntimeError, BufferError):
            pass
    return np.asarray(value)


def check_state(
    module: str, own: Mapping[str, Any], state: Mapping[str, Any], strict: bool
) -> tuple[list[str], list[str]]:
    """(missing, unexpected); StateMismatch for values that do not fit, or for those when strict."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state_dict: expected a dict, got {type(state).__name__}")
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    wrong = [
        text
        for name, tensor in own.items()
        if name in state
        for text in _differences(name, tensor, state[name])
    ]
    problems = []
    if strict and missing:
        problems.append(f"missing: {', '.join(missing)}")
    if strict and unexpected:
        problems.append(f"unexpected: {', '.join(map(str, unexpected))}")
    problems += wrong
    if problems:
        raise StateMismatch(f"state_dict does not fit {module}:\n  " + "\n  ".join(problems))
    return missing, unexpected


def _differences(name: str, tensor: Any, value: Any) -> list[str]:
    a = array_of(value)
    if a.shape != tensor.shape:
        return [f"{name}: the module has shape {tensor.shape}, the state_dict {a.shape}"]
    if not np.can_cast(a.dtype, tensor.dtype, "same_kind"):
        return [f"{name}: the module has {tensor.dtype}, the state_dict {a.dtype}"]
    return []
