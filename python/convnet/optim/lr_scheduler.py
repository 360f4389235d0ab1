"""Learning rates that change with the epochs or steps: torch.optim.lr_scheduler's names.

    scheduler = lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    for epoch in range(90):
        train(...)
        scheduler.step()

A scheduler sets "lr" in the optimizer's param_groups; the first rate stands there as "initial_lr".
Most schedulers make the next rate from the present one, so that several may act on one optimizer.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from convnet.optim.optimizer import Group, Optimizer


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")


class _Saved:
    """What schedulers save: all they hold but the optimizer and functions."""

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions, for load_state_dict."""
        return {k: v for k, v in vars(self).items() if k != "optimizer" and not k.startswith("_fn")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the scheduler of this state_dict stood; the optimizer has its own."""
        vars(self).update(state_dict)

    def get_last_lr(self) -> list[float]:
        """The rate of each group that the last step set."""
        return self._last_lr

    _last_lr: list[float]


class LRScheduler(_Saved):
    """The base: step() sets the rates that get_lr() gives for the next epoch.

    optimizer : whose rates to set    last_epoch : -1 to start, or the epoch that was reached (the
    groups then hold "initial_lr", as a loaded optimizer's do)
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group["initial_lr"] = group["lr"]
            elif "initial_lr" not in group:
                raise KeyError(
                    f"last_epoch: going on at epoch {last_epoch} needs initial_lr in group {i}; "
                    f"load the optimizer's state_dict first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group in epoch last_epoch; every subclass has its own."""
        return [self._rate(group, b) for group, b in zip(self._groups, self.base_lrs, strict=True)]

    def _rate(self, group: Group, base: float) -> float:
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    @property
    def _groups(self) -> list[Group]:
        return self.optimizer.param_groups

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch. Giving the epoch raises NotImplementedError."""
        if epoch is not None:
            raise NotImplementedError("epoch: call step() once an epoch, without it")
        self._step_count += 1
        self.last_epoch += 1
        for group, lr in zip(self._groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self._groups]


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(epoch); a list has a function for each group.

    Functions are not in the state_dict.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        _check_optimizer(optimizer)
        n = len(optimizer.param_groups)
        self._fn = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(self._fn) != n:
            raise ValueError(f"lr_lambda: expected {n} functions, got {len(self._fn)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [b * f(self.last_epoch) for b, f in zip(self.base_lrs, self._fn, strict=True)]


class StepLR(LRScheduler):
    """The rate times gamma every step_size epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise ValueError(f"step_size: expected at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, group: Group, base: float) -> float:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return group["lr"] * self.gamma if due else group["lr"]


class MultiStepLR(LRScheduler):
    """The rate times gamma at each of the epochs in milestones."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, group: Group, base: float) -> float:
        times = self.milestones.get(self.last_epoch, 0)
        return group["lr"] * self.gamma**times if times else group["lr"]


class ExponentialLR(LRScheduler):
    """The rate times gamma every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, group: Group, base: float) -> float:
        return group["lr"] * self.gamma if self.last_epoch > 0 else group["lr"]


class CosineAnnealingLR(LRScheduler):
    """lr(t) = eta_min + (initial - eta_min) (1 + cos(pi t / T_max)) / 2, made from lr(t - 1).

    Loshchilov, Hutter 2017 (SGDR), without its restarts.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_max < 1:
            raise ValueError(f"T_max: expected at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _rate(self, group: Group, base: float) -> float:
        t, period = self.last_epoch, self.T_max
        if t == 0:
            return group["lr"]
        if self._step_count == 1:  # going on from last_epoch
            return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / period)) / 2
        if (t - 1 - period) % (2 * period) == 0:  # from the minimum, which has no ratio, upwards
            rise = (base - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
            return group["lr"] + rise
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return ratio * (group["lr"] - self.eta_min) + self.eta_min


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


def _linear(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


class OneCycleLR(LRScheduler):
    """From max_lr / div_factor up to max_lr and down to a final_div_factor-th of the start.

    The way up takes pct_start of total_steps (or epochs * steps_per_epoch); with three_phase the
    way back to the start as much, and the rest goes on down. With cycle_momentum the momentum (or
    beta1) goes the other way, between max_momentum and base_momentum. step() is called after every
    batch; ValueError beyond total_steps. max_lr may be a list, one for each group.
    Smith, Topin 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        _check_optimizer(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("total_steps: give it, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1:
            raise ValueError(f"total_steps: expected at least 1, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start: expected a part from 0 to 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f'anneal_strategy: expected "cos" or "linear", got {anneal_strategy!r}'
            )
        self.total_steps = total_steps
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        up = float(pct_start * total_steps) - 1
        # (last step, rates and momenta that a phase goes from and to)
        top = ("max_lr", "base_momentum")
        self._phases = [(up, ("initial_lr", "max_momentum"), top)]
        if three_phase:
            self._phases.append((2.0 * up, top, ("initial_lr", "max_momentum")))
            top = ("initial_lr", "max_momentum")
        self._phases.append((total_steps - 1.0, top, ("min_lr", "max_momentum")))
        if last_epoch == -1:
            self._start(optimizer, max_lr, div_factor, final_div_factor)
        if cycle_momentum:
            defaults = optimizer.defaults
            if "momentum" not in defaults and "betas" not in defaults:
                raise ValueError(
                    f"cycle_momentum: {type(optimizer).__name__} has no momentum; set it to False"
                )
            if last_epoch == -1:
                for name, value in (
                    ("base_momentum", base_momentum),
                    ("max_momentum", max_momentum),
                ):
                    values = _each(value, name, optimizer)
                    for group, m in zip(optimizer.param_groups, values, strict=True):
                        group[name] = m
                for group in optimizer.param_groups:
                    _set_momentum(group, group["max_momentum"])
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _start(optimizer: Optimizer, max_lr: Any, div_factor: float, final_div: float) -> None:
        rates = _each(max_lr, "max_lr", optimizer)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["max_lr"] = rate
            group["initial_lr"] = rate / div_factor
            group["lr"] = group["initial_lr"]
            group["min_lr"] = group["initial_lr"] / final_div

    def get_lr(self) -> list[float]:
        at = self.last_epoch
        if at > self.total_steps:
            raise ValueError(
                f"step: this OneCycleLR has total_steps={self.total_steps}, this is step {at}"
            )
        start = max((p[0] for p in self._phases[:-1] if p[0] < at), default=0.0)
        end, before, after = next((p for p in self._phases if at <= p[0]), self._phases[-1])
        part = (at - start) / (end - start) if end != start else 1.0
        blend = _cosine if self.anneal_strategy == "cos" else _linear
        rates = []
        for group in self._groups:
            rates.append(blend(group[before[0]], group[after[0]], part))
            if self.cycle_momentum:
                _set_momentum(group, blend(group[before[1]], group[after[1]], part))
        return rates


def _each(value: Any, name: str, optimizer: Optimizer) -> list[float]:
    """One number for each group."""
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(f"{name}: expected {n} numbers, one for each group, got {len(value)}")
    return list(value)


def _set_momentum(group: Group, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


class ReduceLROnPlateau(_Saved):
    """The rate times factor when a metric has not improved for more than patience epochs.

    step(metric) is called once an epoch. mode : "min" or "max", which way is better;
    threshold_mode : better means by threshold times the best ("rel") or by threshold ("abs");
    cooldown : epochs after a change in which none is counted; min_lr : the least rate, or one for
    each group; eps : smaller changes are not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        _check_optimizer(optimizer)
        if not factor < 1:
            raise ValueError(f"factor: expected a number below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f'mode: expected "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'threshold_mode: expected "rel" or "abs", got {threshold_mode!r}')
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = _each(min_lr, "min_lr", optimizer)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def _better(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            wanted = self.best * (1 + sign * self.threshold)
        else:
            wanted = self.best + sign * self.threshold
        return value < wanted if self.mode == "min" else value > wanted

    def step(self, metrics: Any, epoch: int | None = None) -> None:
        """Take in the metric of an epoch; a number, or a Tensor of one element."""
        if epoch is not None:
            raise NotImplementedError("epoch: call step(metrics) once an epoch, without it")
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                new = max(group["lr"] * self.factor, least)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def __getattr__(name: str) -> Any:
    from convnet.absent import missing

    raise missing("convnet.optim.lr_scheduler", name)
