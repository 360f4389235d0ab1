"""Learning curves, and a confusion matrix beside the digits that were mistaken, as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np

_TRAIN, _TEST = "#4c78a8", "#e45756"
SHOWN = 30  # mistaken digits in the picture


def figure_of(width: float, height: float) -> Any:
    """A figure that never asks for a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def learning_curves(entries: list[dict[str, Any]], path: str | Path, title: str = "") -> None:
    """A panel for the loss and for each metric, training and validation by epoch."""
    names = [k.removeprefix("train_") for k in entries[0] if k.startswith("train_")]
    others = [k[: -len("_loss")] for k in entries[0] if k.endswith("_loss") and k != "train_loss"]
    figure = figure_of(5 * len(names), 4.2)
    figure.suptitle(title)
    x = [e["epoch"] for e in entries]
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        percent = name.endswith("accuracy")
        scale, digits = (100, ".1f") if percent else (1, ".4f")
        lines = {}
        for part, colour in zip(("train", *others), (_TRAIN, _TEST), strict=False):
            y = lines[part] = [scale * e[f"{part}_{name}"] for e in entries]
            label = f"{part}, last {y[-1]:{digits}}"
            axes.plot(x, y, "o-", color=colour, markersize=4, label=label)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
        if percent:
            start = 10 * int(min(min(y) for y in lines.values()) / 10)
            axes.set_ylabel(f"{name} (%)" + (f", axis starts at {start}" if start else ""))
            axes.set_ylim(start, 100)
        else:
            axes.set_ylabel(name)
            axes.set_ylim(bottom=0)
        heading = "loss (training: mean over the epoch)" if name == "loss" else name
        axes.set_title(heading.capitalize(), fontsize=10)
    figure.savefig(path)


def rate_search(search: Any, path: str | Path) -> None:
    """Loss over learning rate, with the suggestion."""
    figure = figure_of(6.5, 4.2)
    axes = figure.subplots()
    axes.plot(search.rates, search.losses, ".", color=_TRAIN, alpha=0.4, label="each step")
    axes.plot(search.rates, search.smooth, color=_TRAIN, label="smoothed")
    label = f"suggestion {search.suggestion:.2g}"
    axes.axvline(search.suggestion, color=_TEST, linestyle="--", label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.5 * float(search.smooth[: max(3, len(search.smooth) // 3)].max()))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
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
    figure = figure_of(13, 6.2)
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
