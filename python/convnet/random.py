"""The random numbers of the layer library: one seed, from which all else follows.

Weights and the order of batches are drawn from one numpy Generator, in the order of the calls.
Dropout takes counters of its own (convnet.ops.dropout): every call the next ones, so that its masks
depend on the seed and the calls before it, never on threads.
"""

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

_WORD = 2**64


class _State:
    """generator: for weights and orders; key and counter: for dropout."""

    def __init__(self, sequence: np.random.SeedSequence) -> None:
        weights, masks = sequence.spawn(2)
        self.generator = np.random.Generator(np.random.PCG64(weights))
        self.key = int(masks.generate_state(1, np.uint64)[0])
        self.counter = 0


_state = _State(np.random.SeedSequence())
_lock = threading.Lock()


def _after_fork() -> None:
    """A child must not wait for a thread of its parent's."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def manual_seed(seed: int) -> np.random.Generator:
    """Start all random numbers of the process anew from a seed; returns the generator of weights.

    The same seed and the same calls give the same weights, batches and dropout masks, on any
    number of threads. Raises TypeError or ValueError unless seed is an integer of at least 0.
    """
    global _state
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed: expected an integer, got {type(seed).__name__}")
    seed = seed.__index__()
    if seed < 0:
        raise ValueError(f"seed: expected at least 0, got {seed}")
    _state = _State(np.random.SeedSequence(seed))
    return _state.generator


def default_generator() -> np.random.Generator:
    """The generator that weights and orders are drawn from."""
    return _state.generator


def generator_from(value: "int | np.random.Generator | None") -> np.random.Generator:
    """A generator: the default one for None, a new one for a seed, or the one that is given."""
    if value is None:
        return default_generator()
    if isinstance(value, np.random.Generator):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"generator: expected None, a seed or a numpy.random.Generator, "
            f"got {type(value).__name__}"
        )
    return np.random.default_rng(value.__index__())


def take_counters(count: int) -> tuple[int, int]:
    """(seed, offset) for ops.dropout, whose next `count` counters are then taken."""
    with _lock:
        state = _state
        offset = state.counter
        state.counter = (offset + count) % _WORD
    return state.key, offset


def get_rng_state() -> dict[str, Any]:
    """Where the random numbers stand: plain numbers and texts, for set_rng_state."""
    state = _state
    return {
        "generator": state.generator.bit_generator.state,
        "key": state.key,
        "counter": state.counter,
    }


def set_rng_state(new_state: Mapping[str, Any]) -> None:
    """Go on with the random numbers from where get_rng_state found them."""
    global _state
    state = _State(np.random.SeedSequence(0))
    state.generator.bit_generator.state = new_state["generator"]
    state.key, state.counter = int(new_state["key"]), int(new_state["counter"])
    _state = state
