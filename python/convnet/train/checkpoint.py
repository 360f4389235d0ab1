"""A training on the disk: all that decides how it goes on, in one safetensors file.

Arrays (weights, the optimizer's state, the best weights) are entries of the file, the rest is JSON
in its metadata. Nothing in it is run when it is read.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convnet.nn.conversion import ARRAYS, host
from convnet.random import get_rng_state, set_rng_state
from convnet.serialization import load, save

_KEY = "convnet.checkpoint"


def save_checkpoint(
    path: str | Path,
    model: Any,
    optimizer: Any,
    *,
    scheduler: Any = None,
    loader: Any = None,
    **extra: Any,
) -> None:
    """Write weights, optimizer, scheduler, random numbers and the loader's epoch.

    extra : numbers, texts, arrays, and lists and dicts of them, given back by load_checkpoint. The
    file takes the place of an older one in one step. TypeError for what is none of these.
    """
    arrays: dict[str, np.ndarray] = {}
    facts = {
        "model": _plain(dict(model.state_dict()), "model", arrays),
        "optimizer": _plain(optimizer.state_dict(), "optimizer", arrays),
        "scheduler": _plain(scheduler and scheduler.state_dict(), "scheduler", arrays),
        "random": _plain(get_rng_state(), "random", arrays),
        "loader": _plain(loader_state(loader), "loader", arrays),
        "extra": _plain(extra, "extra", arrays),
    }
    save(arrays, path, metadata={_KEY: json.dumps(facts)})


def load_checkpoint(
    path: str | Path,
    model: Any,
    optimizer: Any = None,
    *,
    scheduler: Any = None,
    loader: Any = None,
) -> dict[str, Any]:
    """Put everything back as save_checkpoint found it; returns its extra.

    Without an optimizer only the weights are read, and the random numbers are left alone.
    ValueError for a file that is no checkpoint, or has no scheduler where one is given.
    """
    arrays, metadata = load(path, with_metadata=True)
    if _KEY not in metadata:
        raise ValueError(f"{path}: no checkpoint; expected a file that save_checkpoint wrote")
    facts = {k: _restored(v, arrays) for k, v in json.loads(metadata[_KEY]).items()}
    if (scheduler is None) != (facts["scheduler"] is None) and optimizer is not None:
        there = "has none" if facts["scheduler"] is None else "has one"
        raise ValueError(f"scheduler: {path} {there}; give the one it was saved with, or none")
    model.load_state_dict(facts["model"])
    if optimizer is not None:
        optimizer.load_state_dict(facts["optimizer"])
        set_rng_state(facts["random"])
    if scheduler is not None:
        scheduler.load_state_dict(facts["scheduler"])
    if loader is not None and facts["loader"] is not None:
        set_loader_state(loader, facts["loader"])
    return facts["extra"]


def _generators(loader: Any) -> list[np.random.Generator]:
    """The generators that a loader and its samplers draw from, but for the default one."""
    batches = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    found = (getattr(owner, "generator", None) for owner in owners)
    return [g for g in found if isinstance(g, np.random.Generator)]


def loader_state(loader: Any) -> Any:
    """Where a loader stands: its epoch, and the generators that it draws from."""
    if loader is None:
        return None
    state: dict[str, Any] = {"generators": [g.bit_generator.state for g in _generators(loader)]}
    if hasattr(loader, "epoch"):
        state["epoch"] = loader.epoch
    return state


def set_loader_state(loader: Any, state: dict[str, Any]) -> None:
    """Put a loader back to where loader_state found it."""
    if "epoch" in state:
        loader.epoch = state["epoch"]
    for g, numbers in zip(_generators(loader), state["generators"], strict=True):
        g.bit_generator.state = numbers


def _plain(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """value as JSON; arrays go to `arrays` under their names, dicts become lists of pairs."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, ARRAYS) or hasattr(value, "detach"):
        arrays[name] = host(value)
        return {"array": name}
    if isinstance(value, Mapping):
        kind = "counter" if isinstance(value, Counter) else "dict"
        return {kind: [[k, _plain(v, f"{name}.{k}", arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_plain(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]}
    raise TypeError(f"{name}: a checkpoint cannot hold {type(value).__name__}")


def _restored(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind in ("dict", "counter"):
        pairs = {k: _restored(v, arrays) for k, v in content}
        return Counter(pairs) if kind == "counter" else pairs
    items = [_restored(v, arrays) for v in content]
    return tuple(items) if kind == "tuple" else items
