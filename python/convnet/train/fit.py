"""The training loop, as one would write it by hand on convnet.nn."""

import signal
import threading
import time
from typing import Any, Protocol

import numpy as np

from convnet import nn, ops
from convnet.data import DataLoader, TensorDataset
from convnet.train.digits import Digits, as_input

EVALUATION_BATCH = 250


class Watcher(Protocol):
    """What is told how the training goes."""

    def batch(self, epoch: int, done: int, total: int, entry: dict[str, Any]) -> None:
        """A batch is done: the `done`th image of `total`; entry as in fit, so far."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """An epoch is done."""


class Interrupt:
    """Turns the first Ctrl-C within its block into a flag, so that a step is never cut in two.

    The second one raises KeyboardInterrupt. Outside the main thread signals are left alone.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "Interrupt":
        self._former: Any = None
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *exception: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)


def fit(
    model: nn.Module,
    optimizer: Any,
    digits: Digits,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    watcher: Watcher,
    stop: Interrupt,
) -> list[dict[str, Any]]:
    """Train until the epochs are over or stop.requested; returns an entry an epoch.

    An entry holds epoch, train_loss and train_accuracy (means over the epoch's batches as they were
    met, dropout on), test_loss and test_accuracy (after the epoch), seconds and images_per_second
    (of training alone), complete. The same seed gives the same weights, bit for bit, whatever the
    number of threads.
    """
    dataset = TensorDataset(as_input(digits.train_images), digits.train_labels)
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, generator=seed)
    criterion = nn.CrossEntropyLoss()
    entries = []
    for epoch in range(1, epochs + 1):
        model.train()
        done, correct, loss_sum, start = 0, 0, 0.0, time.perf_counter()
        entry: dict[str, Any] = {"epoch": epoch}
        for x, target in loader:
            optimizer.zero_grad()
            logits = model(x)
            loss = criterion(logits, target)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(target)
            correct += int((logits.numpy().argmax(1) == target.numpy()).sum())
            done += len(target)
            seconds = time.perf_counter() - start
            entry["train_loss"] = loss_sum / done
            entry["train_accuracy"] = correct / done
            entry["seconds"] = seconds
            entry["images_per_second"] = done / seconds
            watcher.batch(epoch, done, len(dataset), entry)
            if stop.requested:
                break
        entry["complete"] = done == len(dataset)
        test_loss, probabilities = evaluate(model, digits.test_images, digits.test_labels)
        entry["test_loss"] = test_loss
        entry["test_accuracy"] = accuracy(probabilities, digits.test_labels)
        entries.append(entry)
        watcher.epoch(entry)
        if stop.requested:
            break
    return entries


def probabilities_of(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """(N, 28, 28) uint8 -> (N, classes) float32, in evaluation mode."""
    return ops.softmax(_logits(model, images))


def evaluate(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy and the probabilities (N, classes), in evaluation mode."""
    logits = _logits(model, images)
    return float(ops.cross_entropy(logits, labels)), ops.softmax(logits)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose most probable class is the true one."""
    return float((probabilities.argmax(1) == labels).mean())


def _logits(model: nn.Module, images: np.ndarray) -> np.ndarray:
    model.eval()
    with nn.no_grad():
        return np.concatenate(
            [
                model(nn.Tensor(as_input(images[i : i + EVALUATION_BATCH]))).numpy()
                for i in range(0, len(images), EVALUATION_BATCH)
            ]
        )
