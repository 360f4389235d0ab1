"""Losses as modules."""

from typing import Any

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn.module import Module


class CrossEntropyLoss(Module):
    """log(sum(exp(logits))) - logits[target], from logits (N, C, ...) and classes (N, ...).

    reduction : "mean" over the targets that are not ignore_index, "sum" or "none"
    weight and label_smoothing raise NotImplementedError. See ops.cross_entropy.
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        _refuse_old(size_average, reduce)
        if weight is not None:
            raise NotImplementedError(
                "weight: CrossEntropyLoss of this version has no class weights; use "
                'reduction="none" and multiply the losses'
            )
        if label_smoothing != 0.0:
            raise NotImplementedError(
                "label_smoothing: CrossEntropyLoss of this version has none; use "
                "functional.log_softmax, and multiply it by the smoothed targets"
            )
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(
            input, target, ignore_index=self.ignore_index, reduction=self.reduction
        )


class MSELoss(Module):
    """(x - target)^2, reduced by "mean", "sum" or "none". See ops.mse_loss."""

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        _refuse_old(size_average, reduce)
        self.reduction = reduction

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, self.reduction)


def _refuse_old(size_average: Any, reduce: Any) -> None:
    if size_average is not None or reduce is not None:
        raise NotImplementedError("size_average and reduce: use reduction instead")
