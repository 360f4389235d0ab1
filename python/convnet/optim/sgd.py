"""Gradient descent."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from convnet import backend
from convnet.optim.optimizer import Group, Optimizer, check_number, gradient, refuse


class SGD(Optimizer):
    """Gradient descent with momentum, as torch.optim.SGD.

    d = grad + weight_decay * p
    buf = d in the first step, then momentum * buf + (1 - dampening) * d
    p -= lr * (buf, or d + momentum * buf with nesterov, or d without momentum)

    foreach and fused are accepted for torch's sake: a step is one pass over a parameter always.
    Sutskever, Martens, Dahl, Hinton 2013 (momentum), with lr outside the buffer as torch has it.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        refuse(differentiable=differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            check_number(name, group[name], 0)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("nesterov: expected a momentum above 0 and no dampening")

    def update(
        self, param: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Group
    ) -> None:
        momentum = group["momentum"]
        buf, first = None, False
        if momentum:
            buf = state.get("momentum_buffer")
            if buf is None:
                first = True
                buf = state["momentum_buffer"] = np.empty_like(param)
        backend.active(param).sgd(
            param,
            gradient(grad, group),
            buf,
            float(group["lr"]),
            momentum,
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            first,
        )
