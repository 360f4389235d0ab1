"""Learning curves, and a confusion matrix beside the digits that were mistaken, as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np

_TRAIN, _TEST = "#4c78a8", "#e45756"
SHOWN = 30  # mistaken digits in the picture


def _figure(width: float, height: float) -> Any:
    """A figure that never asks for a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def learning_curves(epochs: list[dict[str, Any]], path: str | Path, title: str) -> None:
    """Loss and accuracy by epoch, of training and test, from the history's entries."""
    figure = _figure(10, 4.2)
    figure.suptitle(title)
    loss, accuracy = figure.subplots(1, 2)
    x = [e["epoch"] for e in epochs]
    for axes, name, scale, digits in ((loss, "loss", 1, ".4f"), (accuracy, "accuracy", 100, ".1f")):
        for part, colour in (("train", _TRAIN), ("test", _TEST)):
            y = [scale * e[f"{part}_{name}"] for e in epochs]
            axes.plot(
                x, y, "o-", color=colour, markersize=4, label=f"{part}, last {y[-1]:{digits}}"
            )
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.set_ylabel("cross-entropy (nats)")
    loss.set_ylim(bottom=0)
    lowest = min(min(e["train_accuracy"], e["test_accuracy"]) for e in epochs)
    start = 10 * int(10 * lowest)
    accuracy.set_ylabel("accuracy (%)" + (f", axis starts at {start}" if start else ""))
    accuracy.set_ylim(start, 100)
    loss.set_title("Loss (training: mean over the epoch, dropout on)", fontsize=10)
    accuracy.set_title("Accuracy", fontsize=10)
    figure.savefig(path)


def confusion(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, path: str | Path, title: str
) -> None:
    """The confusion matrix, and the mistaken images, the most confident mistakes first.

    images : (N, 28, 28)    labels : (N,)    probabilities : (N, classes)
    """
    from matplotlib.colors import LogNorm

    predicted = probabilities.argmax(1)
    classes = probabilities.shape[1]
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    figure = _figure(13, 6.2)
    figure.suptitle(title)
    left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    axes = left.subplots()
    shown = np.ma.masked_equal(counts, 0)
    axes.imshow(shown, cmap="Blues", norm=LogNorm(0.5, max(1, 1.5 * counts.max())))
    if classes <= 12:
        for (i, j), n in np.ndenumerate(counts):
            if n:
                colour = "white" if n > 0.15 * counts.max() else "black"
                axes.text(j, i, str(n), ha="center", va="center", fontsize=9, color=colour)
        axes.set_xticks(range(classes))
        axes.set_yticks(range(classes))
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("Number of test images (colour: logarithm)", fontsize=10)
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    wrong = wrong[np.argsort(-confidence, kind="stable")]
    grid = right.subplots(5, SHOWN // 5)
    for cell in grid.flat:
        cell.axis("off")
    for cell, i in zip(grid.flat, wrong, strict=False):
        cell.imshow(images[i], cmap="gray_r", vmin=0, vmax=255)
        share = 100 * probabilities[i, predicted[i]]
        cell.set_title(f"{labels[i]} as {predicted[i]}\n{share:.0f} %", fontsize=8)
    shown_text = f"the {SHOWN} most confident" if len(wrong) > SHOWN else "all"
    right.suptitle(f"{len(wrong)} of {len(labels)} mistaken, {shown_text} here", fontsize=10)
    figure.savefig(path)
