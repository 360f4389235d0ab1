"""Adagrad."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from convnet import backend
from convnet.optim.optimizer import Group, Optimizer, check_number, gradient, refuse


class Adagrad(Optimizer):
    """Steps scaled by the sum of all squared gradients, as torch.optim.Adagrad.

    d = grad + weight_decay * p    total = total + d^2
    p -= lr / (1 + (t - 1) * lr_decay) * d / (sqrt(total) + eps)    in step t

    total begins with initial_accumulator_value. Duchi, Hazan, Singer 2011. foreach and fused are
    accepted and have no effect.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        refuse(differentiable=differentiable)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            check_number(name, group[name], 0)

    def update(
        self, param: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Group
    ) -> None:
        if not state:
            state["step"] = 0
            state["sum"] = np.full_like(param, group["initial_accumulator_value"])
        rate = float(group["lr"]) / (1 + state["step"] * group["lr_decay"])
        state["step"] += 1
        backend.active(param).adagrad(
            param, gradient(grad, group), state["sum"], rate, group["eps"], group["weight_decay"]
        )
