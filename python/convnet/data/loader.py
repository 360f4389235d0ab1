"""DataLoader: a data set in batches."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from convnet.nn.tensor import Tensor
from convnet.random import default_generator, generator_from
from convnet.shapes import integer


def collate(items: list[Any]) -> Any:
    """A batch of items: arrays, Tensors and numbers stacked; tuples and dicts entry by entry."""
    first = items[0]
    if isinstance(first, Mapping):
        return {key: collate([item[key] for item in items]) for key in first}
    if isinstance(first, (tuple, list)):
        return [collate(list(entries)) for entries in zip(*items, strict=True)]
    if isinstance(first, str):
        return items
    return Tensor.of(np.stack([np.asarray(item) for item in items]))


class DataLoader:
    """Batches of a data set, as torch.utils.data.DataLoader gives them.

    A batch is a list with a Tensor for each entry of an item: batch_size items stacked.

    shuffle : another order in each epoch
    drop_last : leave out a last batch that is not full
    generator : where the orders come from: None (convnet.manual_seed's), a seed, or a numpy
    Generator; the same seed gives the same batches in the same order
    collate_fn : makes a batch of a list of items
    num_workers : 0; NotImplementedError for more
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        generator: Any = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
    ) -> None:
        if num_workers:
            raise NotImplementedError(
                f"num_workers: this version loads in the calling thread; "
                f"expected 0, got {num_workers!r}"
            )
        self.dataset = dataset
        self.batch_size = integer(batch_size, "batch_size", 1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.collate_fn = collate_fn
        self.generator = None if generator is None else generator_from(generator)

    def __len__(self) -> int:
        """The number of batches."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.dataset)
        if self.shuffle:
            order = (self.generator or default_generator()).permutation(n)
        else:
            order = np.arange(n)
        fetch = getattr(self.dataset, "fetch", None) if self.collate_fn is None else None
        make = self.collate_fn or collate
        for i in range(len(self)):
            indices = order[i * self.batch_size : (i + 1) * self.batch_size]
            if fetch is not None:
                yield fetch(indices)
            else:
                yield make([self.dataset[j] for j in indices.tolist()])
