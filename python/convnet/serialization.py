"""Weights as safetensors files: names and arrays, no code."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def save(
    state_dict: Mapping[str, Any], path: str | os.PathLike[str], *, metadata: Any = None
) -> None:
    """Write arrays by name, as Module.state_dict gives them, to a safetensors file.

    The file is written beside `path` and then takes its place: an interrupted save leaves the old
    file whole. metadata : texts by name, to be kept in the file. TypeError for what is no array.
    """
    from safetensors.numpy import save as encode

    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: expected a dict of arrays, got {type(state_dict).__name__}")
    arrays = {}
    for name, value in state_dict.items():
        if not isinstance(name, str):
            raise TypeError(f"state_dict: expected texts for names, got {name!r}")
        if name == "__metadata__":
            raise ValueError(
                "state_dict: the name '__metadata__' is the format's own; give metadata="
            )
        arrays[name] = _array(name, value)
    _replace(Path(path), encode(arrays, metadata=dict(metadata) if metadata else None))


def _array(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "_node"):  # a Tensor
        value = value.data
    if hasattr(value, "__cuda_array_interface__"):
        from convnet.gpu.foreign import wrap

        value = wrap(value, f"state_dict[{name!r}]").get()
    if not isinstance(value, (np.ndarray, np.generic)) and not hasattr(value, "__array__"):
        raise TypeError(f"state_dict[{name!r}]: expected an array, got {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"state_dict[{name!r}]: got a masked array; fill it first: a.filled(0)")
    a = np.asarray(value)
    if a.dtype.kind not in "fiub":
        raise TypeError(f"state_dict[{name!r}]: expected numbers, got {a.dtype}")
    return np.array(a, order="C", copy=None)


def _replace(path: Path, content: bytes) -> None:
    """Put a file with this content at path in one step, readable as a new file would be."""
    path = path.resolve()  # a link stays, and what it points to is replaced
    folder = path.parent
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str], *, with_metadata: bool = False) -> Any:
    """The arrays of a safetensors file by name; with_metadata: (arrays, metadata).

    Nothing in the file is run. ValueError that names the file if it is truncated, damaged, or not
    safetensors; FileNotFoundError if it is not there.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with path.open("rb") as file:
        start = file.read(9)
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[8:9] != b"{"):
        raise ValueError(
            f"{path}: a pickle, as torch.save writes it, not safetensors; pickles can run code. "
            f"Where it is trusted, convert it with safetensors.torch.save_file"
        )
    if len(start) < 9 or start[8:9] != b"{":
        raise ValueError(f"{path}: not a safetensors file")
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: truncated or damaged safetensors file: {error}") from error
    except (TypeError, AttributeError) as error:  # bfloat16, float8
        raise ValueError(f"{path}: holds a type that NumPy lacks: {error}") from error
    return (arrays, metadata) if with_metadata else arrays
