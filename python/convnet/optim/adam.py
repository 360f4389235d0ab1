"""Adam and AdamW."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from convnet import backend
from convnet.optim.optimizer import Group, Optimizer, check_number, gradient, refuse


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square, as torch.optim.Adam.

    d = grad + weight_decay * p
    m = beta1 * m + (1 - beta1) * d    v = beta2 * v + (1 - beta2) * d^2
    p -= lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)    in step t

    With decoupled_weight_decay, d = grad and p is multiplied by 1 - lr * weight_decay instead
    (AdamW). With amsgrad the largest v so far takes v's place in the last line.
    Kingma, Ba 2015; Loshchilov, Hutter 2019; Reddi, Kale, Kumar 2018.

    foreach and fused are accepted for torch's sake: a step is one pass over a parameter always.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        refuse(capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        for name in ("lr", "eps", "weight_decay"):
            check_number(name, group[name], 0)
        if len(group["betas"]) != 2:
            raise ValueError(f"betas: expected two numbers, got {group['betas']!r}")
        for beta in group["betas"]:
            check_number("betas", beta, 0, 1)

    def update(
        self, param: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Group
    ) -> None:
        if not state:
            state["step"] = 0
            state["exp_avg"] = np.zeros_like(param)
            state["exp_avg_sq"] = np.zeros_like(param)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = np.zeros_like(param)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        backend.active(param).adam(
            param,
            gradient(grad, group),
            state["exp_avg"],
            state["exp_avg_sq"],
            state["max_exp_avg_sq"] if group["amsgrad"] else None,
            state["step"],
            float(group["lr"]),
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["decoupled_weight_decay"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay, as torch.optim.AdamW: p *= 1 - lr * weight_decay first.

    Loshchilov, Hutter 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            decoupled_weight_decay=True,
        )
