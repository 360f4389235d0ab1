"""How a training shows itself: rich's bar on a terminal, a line an epoch elsewhere."""

import sys
from typing import Any


def watcher(images: int | None, epochs: int) -> "Bars | Lines":
    """A bar where stdout is a terminal and rich is installed, else lines. Use as a with block.

    images : how many an epoch has, None if that is not known
    """
    if sys.stdout.isatty():
        try:
            return Bars(images, epochs)
        except ImportError:
            pass
    return Lines(epochs)


def _numbers(entry: dict[str, Any]) -> str:
    """train_loss and its kind in order, then the throughput, then those of the validation."""
    known = ("epoch", "lr", "seconds", "images_per_second", "complete")
    names = [k for k in entry if k not in known]
    train = [_number(k.removeprefix("train_"), entry[k]) for k in names if k.startswith("train_")]
    rest = [_number(k.replace("_", " "), entry[k]) for k in names if not k.startswith("train_")]
    return "  ".join([*train, f"{entry['images_per_second']:,.0f} images/s", *rest])


def _number(name: str, value: float) -> str:
    return f"{name} {100 * value:5.1f} %" if name.endswith("accuracy") else f"{name} {value:.4f}"


class Silence:
    """Says nothing."""

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def batch(self, epoch: int, done: int, total: int | None, entry: dict[str, Any]) -> None:
        """A batch is done: the `done`th item of `total`; entry as in fit, so far."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """An epoch is done."""


class Lines(Silence):
    """One line an epoch."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def epoch(self, entry: dict[str, Any]) -> None:
        part = "" if entry["complete"] else "  (stopped within)"
        print(f"epoch {entry['epoch']}/{self._epochs}  {_numbers(entry)}{part}", flush=True)


class Bars(Silence):
    """A bar an epoch; the finished ones stay."""

    def __init__(self, images: int | None, epochs: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._images, self._epochs = images, epochs
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._task: Any = None

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def _update(self, entry: dict[str, Any], done: int | None) -> None:
        if self._task is None:
            self._task = self._progress.add_task(
                "", total=self._images, epoch=f"{entry['epoch']}/{self._epochs}", numbers=""
            )
        self._progress.update(self._task, completed=done, numbers=_numbers(entry))

    def batch(self, epoch: int, done: int, total: int | None, entry: dict[str, Any]) -> None:
        self._update(entry, done)

    def epoch(self, entry: dict[str, Any]) -> None:
        self._update(entry, None)
        self._progress.stop_task(self._task)
        self._task = None
