"""Samplers: in which order the indices of a data set come.

A sampler is an iterable of indices with a length. One of this module draws from the generator it
was given; without one, from the loader's random numbers of the epoch, so that an order follows
from (seed, epoch).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from convnet.random import default_generator, generator_from
from convnet.shapes import integer


class Sampler:
    """The base: a subclass defines __len__, and draw(rng) or __iter__."""

    generator: np.random.Generator | None = None

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The indices of one epoch, by the random numbers of rng."""
        raise NotImplementedError(f"{type(self).__name__} has neither draw nor __iter__")

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw(self.generator or default_generator()).tolist())

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return np.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """All indices in random order; with replacement, num_samples of them, some more than once."""

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source, self.replacement = data_source, bool(replacement)
        self._count = None if num_samples is None else integer(num_samples, "num_samples", 1)
        self.generator = None if generator is None else generator_from(generator)
        if not replacement and self._count is not None and self._count > len(data_source):
            raise ValueError(
                f"num_samples: expected at most {len(data_source)} without replacement, "
                f"got {self._count}"
            )

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        n = len(self.data_source)
        if self.replacement:
            return rng.integers(0, n, len(self))
        return rng.permutation(n)[: len(self)]

    def __len__(self) -> int:
        return len(self.data_source) if self._count is None else self._count


class SubsetRandomSampler(Sampler):
    """These indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = np.asarray(indices, np.int64)
        self.generator = None if generator is None else generator_from(generator)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """num_samples indices, index i with a probability proportional to weights[i].

    For classes of unequal sizes: give each item one over the number of its class.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        w = np.asarray(weights, np.float64)
        if w.ndim != 1 or not w.size or not np.isfinite(w).all() or (w < 0).any() or not w.any():
            raise ValueError("weights: expected one finite number of at least 0 an item, not all 0")
        self.weights = w / w.sum()
        self.num_samples = integer(num_samples, "num_samples", 1)
        self.replacement = bool(replacement)
        self.generator = None if generator is None else generator_from(generator)
        if not replacement and self.num_samples > np.count_nonzero(w):
            raise ValueError(
                f"num_samples: expected at most {np.count_nonzero(w)} (weights above 0) without "
                f"replacement, got {num_samples}"
            )

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(len(self.weights), self.num_samples, self.replacement, self.weights)

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """The indices of another sampler in lists of batch_size."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        self.sampler, self.drop_last = sampler, bool(drop_last)
        self.batch_size = integer(batch_size, "batch_size", 1)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        for i in range(len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size]

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
