"""Parameter: a Tensor that a Module registers as its own."""

from typing import Any

from convnet.nn.tensor import Tensor


class Parameter(Tensor):
    """A Tensor that is trained: requires_grad is set, and a Module registers it."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
