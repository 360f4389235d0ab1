"""Data sets: things with a length and an item for each index."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from convnet.nn.tensor import Tensor
from convnet.random import generator_from


class Dataset:
    """The base of data sets: a subclass defines __getitem__(index) and __len__.

    It may define fetch(indices) too: the batch of these items at once, as the loader gives it.
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")


class IterableDataset(Dataset):
    """The base of data sets without an order of their own: a subclass defines __iter__.

    The loader takes its items as they come; it neither shuffles nor counts them.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")


class TensorDataset(Dataset):
    """Arrays of the same length, joined: item i is (first[i], second[i], ...).

    tensors : Tensors or arrays; ValueError if their lengths differ. A memory-mapped array
    (numpy.load(path, mmap_mode="r")) stays on the disk: a batch reads its rows alone.
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("tensors: expected at least one array, got none")
        self.tensors = tuple(t if isinstance(t, Tensor) else Tensor(t) for t in tensors)
        if any(t.ndim == 0 for t in self.tensors):
            raise ValueError("tensors: expected arrays with at least one axis, got a number")
        lengths = [len(t) for t in self.tensors]
        if len(set(lengths)) > 1:
            raise ValueError(f"tensors: expected arrays of the same length, got {lengths}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(Tensor.of(t.data[index]) for t in self.tensors)

    def fetch(self, indices: np.ndarray) -> list[Tensor]:
        """A batch: a copy of the rows `indices` of each array."""
        return [Tensor.of(t.data.take(indices, axis=0)) for t in self.tensors]


class ConcatDataset(Dataset):
    """Data sets one after the other; negative indices count from the end."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("datasets: expected at least one, got none")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise TypeError("datasets: expected ones with a length, got an IterableDataset")
        self.ends = np.cumsum([len(d) for d in self.datasets])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        i = index.__index__()
        if not -n <= i < n:
            raise IndexError(f"index: expected one from {-n} to {n - 1}, got {i}")
        i %= n
        part = int(np.searchsorted(self.ends, i, side="right"))
        return self.datasets[part][i - (int(self.ends[part - 1]) if part else 0)]


class Subset(Dataset):
    """Some items of a data set, in the order of indices."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __getattr__(self, name: str) -> Any:
        """fetch, if the data set has it."""
        if name == "fetch":
            fetch = self.dataset.fetch
            return lambda indices: fetch(self.indices[indices])
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """The items of a data set, drawn at random, in parts of these lengths.

    lengths : numbers of items that add up to len(dataset), or shares that add up to 1 (what
    rounding leaves over goes to the first parts, one each)
    generator : None (convnet.manual_seed's), a seed, or a numpy Generator
    """
    total = len(dataset)
    if lengths and all(0 <= n <= 1 for n in lengths) and math.isclose(sum(lengths), 1):
        counts = [math.floor(n * total) for n in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(n) for n in lengths]
    if sum(counts) != total or any(n < 0 for n in counts):
        raise ValueError(
            f"lengths: expected numbers that add up to {total}, or shares that add up to 1, "
            f"got {list(lengths)}"
        )
    order = generator_from(generator).permutation(total)
    ends = np.cumsum(counts)
    return [Subset(dataset, order[end - n : end]) for n, end in zip(counts, ends, strict=True)]
