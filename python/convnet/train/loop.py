"""The training loop. Written by hand it is

    for epoch in range(epochs):
        model.train()
        for x, target in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), target)
            loss.backward()
            optimizer.step()

and fit adds what one wants to see and keep: means, validation, history, checkpoints.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnet import nn, optim
from convnet.data.ahead import ahead
from convnet.nn.conversion import host
from convnet.nn.utils import clip_grad_norm_
from convnet.shapes import integer
from convnet.train import progress as shows
from convnet.train.checkpoint import load_checkpoint, save_checkpoint
from convnet.train.history import History
from convnet.train.interrupt import Interrupt

Metrics = Mapping[str, Callable[[np.ndarray, np.ndarray], float]]


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The share of right answers.

    outputs : logits or probabilities (N, C, ...) for classes (N, ...), or logits of the shape of
    0/1 targets
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if outputs.shape == targets.shape:
        return float(((outputs > 0) == (targets > 0.5)).mean())
    return float((outputs.argmax(1) == targets).mean())


def _metrics_for(criterion: Any, metrics: Metrics | None) -> Metrics:
    if metrics is not None:
        return metrics
    named = type(criterion).__name__ in ("CrossEntropyLoss", "BCEWithLogitsLoss")
    return {"accuracy": accuracy} if named else {}


def split(batch: Any) -> tuple[Sequence[Any], Any]:
    """(inputs, target) of a batch; TypeError unless it is a list or tuple of both."""
    if not isinstance(batch, (list, tuple)) or len(batch) < 2:
        what = f"{len(batch)} entry" if isinstance(batch, (list, tuple)) else type(batch).__name__
        raise TypeError(
            f"loader: expected batches (inputs..., target), got {what}; an autoencoder's are "
            f"TensorDataset(x, x)"
        )
    return batch[:-1], batch[-1]


class _Means:
    """Running means of the loss and the metrics over items."""

    def __init__(self, metrics: Metrics) -> None:
        self.items, self._metrics = 0, metrics
        self._sums = dict.fromkeys(("loss", *metrics), 0.0)

    def add(self, loss: float, outputs: Any, targets: Any) -> None:
        n = len(targets)
        self.items += n
        self._sums["loss"] += loss * n
        for name, metric in self._metrics.items():
            self._sums[name] += metric(host(outputs), host(targets)) * n

    def under(self, prefix: str) -> dict[str, float]:
        return {f"{prefix}{k}": v / max(1, self.items) for k, v in self._sums.items()}


def device_of(model: nn.Module) -> str:
    """ "cpu" or "cuda": where a model's parameters are."""
    return str(next((p.device for p in model.parameters()), "cpu"))


def evaluate(
    model: nn.Module, loader: Iterable[Any], criterion: Any = None, metrics: Metrics | None = None
) -> dict[str, float]:
    """{"loss": ..., "accuracy": ...} over all batches, in evaluation mode; see fit."""
    criterion = criterion if criterion is not None else nn.CrossEntropyLoss()
    means = _Means(_metrics_for(criterion, metrics))
    was_training = model.training
    model.eval()
    with nn.no_grad():
        for batch in ahead(loader, device_of(model)):
            inputs, targets = split(batch)
            outputs = model(*inputs)
            means.add(criterion(outputs, targets).item(), outputs, targets)
    model.train(was_training)
    return means.under("")


def outputs_of(model: nn.Module, x: Any, batch_size: int = 250) -> np.ndarray:
    """model(x), computed batch by batch in evaluation mode, as one array."""
    x = np.asarray(x)
    was_training = model.training
    model.eval()
    with nn.no_grad():
        parts = [
            host(model(nn.Tensor(x[i : i + batch_size]).to(device_of(model))))
            for i in range(0, max(1, len(x)), batch_size)
        ]
    model.train(was_training)
    return np.concatenate(parts)


def fit(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    optimizer: optim.Optimizer | None = None,
    criterion: Any = None,
    epochs: int = 10,
    validation: Iterable[Any] | None = None,
    metrics: Metrics | None = None,
    scheduler: Any = None,
    scheduler_each: str = "epoch",
    clip_norm: float | None = None,
    patience: int | None = None,
    monitor: str | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = True,
    progress: Any = True,
    stop: Interrupt | None = None,
    validation_name: str = "val",
) -> History:
    """Train model on the loader's batches (inputs..., target); returns an entry for each epoch.

    A model on a GPU gets its batches there, copied while the step before runs.

    optimizer, criterion : Adam with its defaults and CrossEntropyLoss if left out
    epochs : how many in all, those before a checkpoint counted; 0 gives an empty History
    validation : a loader to evaluate on after each epoch
    metrics : functions (outputs, targets) -> a batch's mean, by name; if left out, accuracy where
    the criterion is about classes
    scheduler : stepped after each "epoch" (with the monitored value, if it is ReduceLROnPlateau) or
    "batch" (scheduler_each); clip_norm : gradients are scaled down to this norm
    patience : end when `monitor` has not improved for more than so many epochs, and put the best
    weights back. monitor : a name in the history ("val_loss", or "train_loss" without validation);
    smaller is better if it ends with "loss", larger otherwise
    checkpoint : a file written after each epoch; if it is there and `resume` is set, the training
    goes on where it stood, with the same bits as if it had never ended
    progress : True for a bar or a line an epoch, False for silence, or an object with batch() and
    epoch() as in convnet.train.progress
    stop : fit ends after the batch in which stop.requested is set

    An entry holds epoch, lr, train_loss and metrics (means over the batches as they were met),
    the same of the validation, seconds, images_per_second (training alone) and complete. The same
    seeds give the same weights, bit for bit, whatever the number of threads and workers.
    FloatingPointError if the loss is infinite or NaN; ValueError for wrong options.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    if scheduler_each not in ("epoch", "batch"):
        raise ValueError(f'scheduler_each: expected "epoch" or "batch", got {scheduler_each!r}')
    integer(epochs, "epochs", 0)
    if patience is not None:
        integer(patience, "patience", 0)
    optimizer = optimizer if optimizer is not None else optim.Adam(model.parameters())
    criterion = criterion if criterion is not None else nn.CrossEntropyLoss()
    metrics = _metrics_for(criterion, metrics)
    monitor = monitor or (f"{validation_name}_loss" if validation is not None else "train_loss")
    best = _Best(monitor, patience)
    history = History()
    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    if checkpoint is not None and resume and Path(checkpoint).exists():
        extra = load_checkpoint(checkpoint, **state)
        history.entries, best.state = extra["history"], extra["best"]
    with _watching(progress, loader, epochs) as watch:
        while len(history) < epochs and not best.over():
            entry = _epoch(
                model,
                loader,
                optimizer,
                criterion,
                len(history) + 1,
                means=_Means(metrics),
                scheduler=scheduler if scheduler_each == "batch" else None,
                clip_norm=clip_norm,
                watch=watch,
                stop=stop,
            )
            if validation is not None:
                results = evaluate(model, validation, criterion, metrics)
                entry.update({f"{validation_name}_{k}": v for k, v in results.items()})
            if monitor not in entry:
                raise ValueError(f"monitor: expected one of {', '.join(entry)}, got {monitor!r}")
            history.append(entry)
            watch.epoch(entry)
            if not entry["complete"]:
                break
            best.see(entry[monitor], model)
            if scheduler is not None and scheduler_each == "epoch":
                plateau = isinstance(scheduler, optim.lr_scheduler.ReduceLROnPlateau)
                scheduler.step(*([entry[monitor]] if plateau else []))
            if checkpoint is not None:
                save_checkpoint(checkpoint, **state, history=history.entries, best=best.state)
    if best.state["weights"] is not None and (not history or history[-1]["complete"]):
        model.load_state_dict(best.state["weights"])
    return history


class _Best:
    """The best value of what is monitored, the weights of that epoch, and how long ago it was."""

    def __init__(self, monitor: str, patience: int | None) -> None:
        self._sign, self._patience = (1 if monitor.endswith("loss") else -1), patience
        self.state: dict[str, Any] = {"value": math.inf, "waited": 0, "weights": None}

    def see(self, value: float, model: nn.Module) -> None:
        if self._patience is None:
            return
        if self._sign * value < self.state["value"]:
            weights = {k: np.array(host(t)) for k, t in model.state_dict().items()}
            self.state = {"value": self._sign * value, "waited": 0, "weights": weights}
        else:
            self.state["waited"] += 1

    def over(self) -> bool:
        return self._patience is not None and self.state["waited"] > self._patience


def _epoch(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: optim.Optimizer,
    criterion: Any,
    epoch: int,
    *,
    means: _Means,
    scheduler: Any,
    clip_norm: float | None,
    watch: Any,
    stop: Interrupt | None,
) -> dict[str, Any]:
    """One pass over the loader; the entry without validation."""
    model.train()
    entry: dict[str, Any] = {"epoch": epoch, "lr": float(optimizer.param_groups[0]["lr"])}
    total, start = _items(loader), time.perf_counter()
    stopped = False
    for batch in ahead(loader, device_of(model)):
        inputs, targets = split(batch)
        optimizer.zero_grad()
        outputs = model(*inputs)
        loss = criterion(outputs, targets)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} after {means.items} items of epoch {epoch}; a smaller "
                f"learning rate or clip_norm may help"
            )
        loss.backward()
        if clip_norm is not None:
            clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        means.add(value, outputs, targets)
        seconds = time.perf_counter() - start
        entry.update(means.under("train_"))
        entry.update(seconds=seconds, images_per_second=means.items / seconds)
        watch.batch(epoch, means.items, total, entry)
        if stop is not None and stop.requested:
            stopped = total is None or means.items < total
            break
    if not means.items:
        raise ValueError("loader: expected at least one batch, got none")
    entry["complete"] = not stopped
    return entry


def _items(loader: Any) -> int | None:
    """How many items an epoch has, if that is known before its end."""
    with contextlib.suppress(TypeError, AttributeError, NotImplementedError):
        if loader.batch_sampler is None and loader.sampler is None:
            n = len(loader.dataset)
            return len(loader) * loader.batch_size if loader.drop_last else n
    return None


def _watching(progress: Any, loader: Any, epochs: int) -> Any:
    if progress is True:
        return shows.watcher(_items(loader), epochs)
    if not progress:
        return shows.Silence()
    return progress if hasattr(progress, "__enter__") else contextlib.nullcontext(progress)
