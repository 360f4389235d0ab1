"""`activation=` of convolution and linear layers: what follows the sum before it is returned."""

from typing import Any

import numpy as np

from convnet import backend

# Done where the sum is stored; all others follow in place, with these parameters.
FUSED = "relu"
_AFTER: dict[str, tuple[Any, ...]] = {
    "sigmoid": (),
    "tanh": (),
    "silu": (),
    "leaky_relu": (0.01,),
    "gelu": ("none",),
}


def check_activation(activation: Any) -> None:
    """ValueError for what is neither None nor the name of an activation."""
    if activation is not None and activation != FUSED and activation not in _AFTER:
        names = ", ".join((FUSED, *_AFTER))
        raise ValueError(f"activation: expected None or one of {names}, got {activation!r}")


def activate(activation: str | None, y: np.ndarray) -> None:
    """Apply an activation that the backend does not fuse to y, in place."""
    if activation is not None and activation != FUSED and y.size:
        getattr(backend.active(y), activation)(y, y, *_AFTER[activation])
