"""Losses as modules."""

from typing import Any

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn.functional.loss import check_reduction, no_weight, refuse_old
from convnet.nn.module import Module


class _Loss(Module):
    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        refuse_old(size_average, reduce)
        check_reduction(reduction)
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
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
        super().__init__(size_average, reduce, reduction)
        no_weight(weight, "CrossEntropyLoss")
        if label_smoothing != 0.0:
            raise NotImplementedError(
                "label_smoothing: CrossEntropyLoss of this version has none; use "
                "functional.log_softmax, and multiply it by the smoothed targets"
            )
        self.ignore_index, self.label_smoothing = ignore_index, 0.0

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(
            input, target, ignore_index=self.ignore_index, reduction=self.reduction
        )


class NLLLoss(_Loss):
    """-x[target] for log-probabilities x (N, C, ...) and classes (N, ...). See ops.nll_loss."""

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        no_weight(weight, "NLLLoss")
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Any:
        return F.nll_loss(input, target, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(_Loss):
    """(x - target)^2, reduced by "mean", "sum" or "none". See ops.mse_loss."""

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|x - target|, reduced by "mean", "sum" or "none". See ops.l1_loss."""

    def forward(self, input: Any, target: Any) -> Any:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """d^2 / (2 beta) where d = |x - target| < beta, else d - beta/2. See ops.smooth_l1_loss."""

    def __init__(
        self,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if not beta >= 0:
            raise ValueError(f"beta: expected a number of at least 0, got {beta!r}")
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class BCELoss(_Loss):
    """-(t log(x) + (1 - t) log(1 - x)) for probabilities x, t the target. See ops.bce."""

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        no_weight(weight, "BCELoss")

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy(input, target, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """BCELoss of sigmoid(x), fused and without overflow. See ops.bce_with_logits."""

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        no_weight(weight, "BCEWithLogitsLoss")
        no_weight(pos_weight, "BCEWithLogitsLoss")

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(input, target, reduction=self.reduction)
