"""The search for a learning rate: one short run in which the rate grows until the loss explodes."""

import copy
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnet import nn, optim
from convnet.data.ahead import ahead
from convnet.extras import require
from convnet.nn.conversion import host
from convnet.random import get_rng_state, set_rng_state
from convnet.train.checkpoint import loader_state, set_loader_state
from convnet.train.loop import device_of, split


class RateSearch(NamedTuple):
    """rates, losses : of each step    smooth : the losses' running mean    suggestion : a rate"""

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray
    suggestion: float

    def plot(self, path: str | Path) -> None:
        """Draw loss over rate to a picture file; wants matplotlib."""
        require("RateSearch.plot", "matplotlib")
        from convnet.train import plots

        plots.rate_search(self, path)


def find_learning_rate(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: Any,
    criterion: Any = None,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
) -> RateSearch:
    """Train for `steps` steps while the rate grows from low to high by a constant factor.

    It ends early when the smoothed loss is four times its smallest value. The suggestion is the
    rate at which the smoothed loss fell most steeply (over the logarithm of the rate). Model,
    optimizer, random numbers and the loader's epoch are put back as they were. Smith 2017,
    "Cyclical learning rates for training neural networks", section 3.3.
    """
    if not isinstance(optimizer, optim.Optimizer):
        raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")
    if not 0 < low < high or steps < 10 or not 0 <= smoothing < 1:
        raise ValueError(
            f"expected 0 < low < high, at least 10 steps and a smoothing below 1, "
            f"got {low}, {high}, {steps}, {smoothing}"
        )
    criterion = criterion if criterion is not None else nn.CrossEntropyLoss()
    weights = {k: np.array(host(t)) for k, t in model.state_dict().items()}
    state, random = copy.deepcopy(optimizer.state_dict()), get_rng_state()
    place, was_training = loader_state(loader), model.training
    rates, losses, smooth, mean = [], [], [], 0.0
    model.train()
    try:
        for i, batch in zip(range(steps), _forever(loader, device_of(model)), strict=False):
            inputs, targets = split(batch)
            rate = low * (high / low) ** (i / (steps - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss = criterion(model(*inputs), targets)
            value = loss.item()
            if not math.isfinite(value):
                break
            loss.backward()
            optimizer.step()
            mean = smoothing * mean + (1 - smoothing) * value
            rates.append(rate)
            losses.append(value)
            smooth.append(mean / (1 - smoothing ** (i + 1)))
            if smooth[-1] > 4 * min(smooth):
                break
    finally:
        model.load_state_dict(weights)
        optimizer.load_state_dict(state)
        optimizer.zero_grad()
        model.train(was_training)
        set_rng_state(random)
        set_loader_state(loader, place)
    if len(rates) < 3:
        raise FloatingPointError(f"low: the loss is not finite after {len(rates)} steps from {low}")
    until = max(3, int(np.argmin(smooth)) + 1)
    slopes = np.gradient(smooth[:until], np.log(rates[:until]))
    noisy = min(10, until // 3)  # the running mean's first values
    suggestion = rates[noisy + int(np.argmin(slopes[noisy:]))]
    return RateSearch(np.array(rates), np.array(losses), np.array(smooth), suggestion)


def _forever(loader: Iterable[Any], device: str) -> Iterator[Any]:
    while True:
        batch = None
        for batch in ahead(loader, device):
            yield batch
        if batch is None:
            raise ValueError("loader: expected at least one batch, got none")
