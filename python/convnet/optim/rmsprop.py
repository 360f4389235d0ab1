"""RMSprop."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from convnet import backend
from convnet.optim.optimizer import Group, Optimizer, check_number, gradient, refuse


class RMSprop(Optimizer):
    """Steps scaled by a running mean of the squared gradient, as torch.optim.RMSprop.

    d = grad + weight_decay * p
    v = alpha * v + (1 - alpha) * d^2
    u = d / (sqrt(v) + eps); with momentum buf = momentum * buf + u takes u's place
    p -= lr * u

    With centered, the square of a running mean of d is taken from v under the root (never below
    0). Hinton 2012, lecture 6e; centered: Graves 2013. foreach is accepted and has no effect.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse(capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        for name in ("lr", "eps", "momentum", "weight_decay", "alpha"):
            check_number(name, group[name], 0)

    def update(
        self, param: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Group
    ) -> None:
        if not state:
            state["step"] = 0
            state["square_avg"] = np.zeros_like(param)
            if group["momentum"] > 0:
                state["momentum_buffer"] = np.zeros_like(param)
            if group["centered"]:
                state["grad_avg"] = np.zeros_like(param)
        state["step"] += 1
        backend.active(param).rmsprop(
            param,
            gradient(grad, group),
            state["square_avg"],
            state["momentum_buffer"] if group["momentum"] > 0 else None,
            state["grad_avg"] if group["centered"] else None,
            float(group["lr"]),
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
        )
