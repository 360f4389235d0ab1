"""How a training shows itself: rich's bar on a terminal, a line an epoch elsewhere."""

import sys
from typing import Any


def watcher(images: int, epochs: int) -> "Bars | Lines":
    """A bar where stdout is a terminal and rich is installed, else lines. Use as a with block."""
    if sys.stdout.isatty():
        try:
            return Bars(images, epochs)
        except ImportError:
            pass
    return Lines(epochs)


def _numbers(entry: dict[str, Any]) -> str:
    text = (
        f"loss {entry['train_loss']:.4f}  accuracy {100 * entry['train_accuracy']:5.1f} %  "
        f"{entry['images_per_second']:,.0f} images/s"
    )
    if "test_accuracy" in entry:
        text += f"  test {100 * entry['test_accuracy']:.1f} %"
    return text


class Lines:
    """One line an epoch."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def batch(self, epoch: int, done: int, total: int, entry: dict[str, Any]) -> None:
        pass

    def epoch(self, entry: dict[str, Any]) -> None:
        part = "" if entry["complete"] else "  (stopped within)"
        print(f"epoch {entry['epoch']}/{self._epochs}  {_numbers(entry)}{part}", flush=True)


class Bars:
    """A bar an epoch; the finished ones stay."""

    def __init__(self, images: int, epochs: int) -> None:
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

    def batch(self, epoch: int, done: int, total: int, entry: dict[str, Any]) -> None:
        self._update(entry, done)

    def epoch(self, entry: dict[str, Any]) -> None:
        self._update(entry, None)
        self._progress.stop_task(self._task)
        self._task = None
