"""Data sets, the loader that makes batches of them, readers of files, and batch transforms."""

from typing import Any

from convnet.data import transforms
from convnet.data.dataset import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from convnet.data.idx import read_idx, read_images_and_labels
from convnet.data.loader import DataLoader, collate
from convnet.data.npz import read_npz
from convnet.data.pictures import ImageFiles, ImageFolder
from convnet.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "ImageFiles",
    "ImageFolder",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "collate",
    "random_split",
    "read_idx",
    "read_images_and_labels",
    "read_npz",
    "transforms",
]


def __getattr__(name: str) -> Any:
    from convnet.absent import missing

    raise missing("convnet.data", name)
