"""DataLoader: a data set in batches, made ahead of their use by threads.

    epoch's numbers = SeedSequence(seed, epoch)
                        |-- order of the items
                        `-- batch 0, batch 1, ...: one generator each, for the transforms

A batch's random numbers follow from (seed, epoch, number of the batch) alone, and batches are given
in their order: whoever makes them, and when, changes no bit.
"""

import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Condition
from typing import Any

import numpy as np

from convnet.data.ahead import ahead
from convnet.data.dataset import IterableDataset
from convnet.data.sampler import BatchSampler, Sampler
from convnet.nn.conversion import device_name
from convnet.nn.tensor import Tensor
from convnet.random import default_generator, generator_from
from convnet.shapes import integer

_ORDER, _BATCH = 0, 1  # the two kinds of random numbers in an epoch


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
    sampler : an iterable of indices that gives the order instead (convnet.data.RandomSampler, ...)
    batch_sampler : an iterable of lists of indices, one a batch; excludes the four options before
    num_workers : threads that make batches ahead of their use; 0: they are made when asked for.
    The batches are the same, bit for bit
    collate_fn : makes a batch of a list of items
    drop_last : leave out a last batch that is not full
    transform, target_transform : called as transform(array, rng) on the whole first and second
    entry of a batch (convnet.data.transforms); rng is the batch's own numpy Generator
    prefetch_factor : how many batches ahead, for each worker
    device : where batches go: None leaves them on the CPU; "cuda" copies each, through pinned
    memory and in a stream of its own, while the step before it runs
    pin_memory, persistent_workers, timeout, multiprocessing_context : accepted, without effect:
    device="cuda" uses pinned memory by itself, threads start at once and are waited for;
    worker_init_fn is refused
    generator : where the random numbers come from: None (convnet.manual_seed's), a seed, or a numpy
    Generator; the same seed gives the same batches in the same order. With a seed, `epoch` (the
    number of the next epoch) may be set, and all that follows is as if those before had been run
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        prefetch_factor: int | None = 2,
        persistent_workers: bool = False,
        device: Any = None,
    ) -> None:
        if worker_init_fn is not None:
            raise NotImplementedError(
                "worker_init_fn: there is nothing to seed in a worker; transforms get a generator "
                "that follows from the seed, the epoch and the batch"
            )
        self.dataset, self.collate_fn = dataset, collate_fn
        self.device = device_name(device)
        self.batch_size = integer(batch_size, "batch_size", 1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.num_workers = integer(num_workers, "num_workers", 0)
        ahead = 2 if prefetch_factor is None else prefetch_factor
        self.prefetch_factor = integer(ahead, "prefetch_factor", 1)
        self.transform, self.target_transform = transform, target_transform
        for name in ("transform", "target_transform"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"{name}: expected a function, got {type(value).__name__}")
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self._check_order()
        self.generator = None if generator is None else generator_from(generator)
        seeded = generator is not None and not isinstance(generator, np.random.Generator)
        self.seed = int(generator) if seeded else None
        self.epoch = 0

    def _check_order(self) -> None:
        if self.batch_sampler is not None and (
            self.batch_size != 1 or self.shuffle or self.sampler is not None or self.drop_last
        ):
            raise ValueError(
                "batch_sampler: leave out batch_size, shuffle, sampler and drop_last beside it"
            )
        if self.sampler is not None and self.shuffle:
            raise ValueError("sampler: leave out shuffle beside it; the sampler gives the order")
        orders = self.shuffle or self.sampler is not None or self.batch_sampler is not None
        if isinstance(self.dataset, IterableDataset) and orders:
            raise ValueError(
                "dataset: an IterableDataset comes in its own order; "
                "leave out shuffle, sampler and batch_sampler"
            )

    def __len__(self) -> int:
        """The number of batches; TypeError for an IterableDataset without a length."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        if isinstance(self.dataset, IterableDataset) and (
            type(self.dataset).__len__ is IterableDataset.__len__
        ):
            raise TypeError(f"{type(self.dataset).__name__} has no length")
        n = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        entropy, key = self._epoch_seed()
        if isinstance(self.dataset, IterableDataset):
            jobs = self._jobs_in_turn(entropy, key)
        else:
            rng = _generator(entropy, (*key, _ORDER))
            jobs = (
                lambda i=i, indices=indices: self._make(indices, entropy, (*key, _BATCH, i))
                for i, indices in enumerate(self._batches(rng))
            )
        if self.num_workers == 0:
            batches = _one_by_one(jobs)
        else:
            batches = _ahead(jobs, self.num_workers, self.num_workers * self.prefetch_factor)
        return batches if self.device == "cpu" else ahead(batches, self.device)

    def _epoch_seed(self) -> tuple[int, tuple[int, ...]]:
        """(entropy, key) of this epoch; counts the epochs."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        if self.seed is not None:
            return self.seed, (epoch,)
        samplers = (self.sampler, getattr(self.batch_sampler, "sampler", None))
        if not (self.shuffle or self.transform or self.target_transform) and not any(
            isinstance(s, Sampler) for s in samplers
        ):
            return 0, ()  # nothing is drawn
        return int((self.generator or default_generator()).integers(2**63)), ()

    def _batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        if self.batch_sampler is not None and not isinstance(self.batch_sampler, BatchSampler):
            yield from (np.asarray(b, np.int64) for b in self.batch_sampler)
            return
        of = self.batch_sampler if self.batch_sampler is not None else self
        if of.sampler is not None:
            order = _order(of.sampler, rng)
        else:
            n = len(self.dataset)
            order = rng.permutation(n) if self.shuffle else np.arange(n)
        size = of.batch_size
        for i in range(len(order) // size if of.drop_last else -(-len(order) // size)):
            yield order[i * size : (i + 1) * size]

    def _make(self, indices: np.ndarray, entropy: int, key: tuple[int, ...]) -> Any:
        fetch = getattr(self.dataset, "fetch", None) if self.collate_fn is None else None
        if fetch is not None:
            batch = fetch(indices)
        else:
            batch = (self.collate_fn or collate)([self.dataset[j] for j in indices.tolist()])
        return self._transformed(batch, entropy, key)

    def _transformed(self, batch: Any, entropy: int, key: tuple[int, ...]) -> Any:
        if self.transform is None and self.target_transform is None:
            return batch
        rng = _generator(entropy, key)
        if isinstance(batch, Tensor) and self.target_transform is None:
            return Tensor.of(self.transform(batch.data, rng))  # type: ignore[misc]
        if not isinstance(batch, (list, tuple)):
            raise TypeError(
                f"transform: expected batches that are lists of arrays, got "
                f"{type(batch).__name__}; transform these in collate_fn"
            )
        batch = list(batch)
        for i, transform in enumerate((self.transform, self.target_transform)):
            if transform is not None:
                batch[i] = Tensor.of(transform(np.asarray(batch[i]), rng))
        return batch

    def _jobs_in_turn(self, entropy: int, key: tuple[int, ...]) -> Iterator[Callable[[], Any]]:
        """Batches of an iterable data set: its items are taken in order, one job after the other.

        It may end within any of them: jobs go on forever, those past the end give _END.
        """
        items, turn = iter(self.dataset), Condition()
        state = {"next": 0, "ended": False}

        def job(i: int) -> Any:
            with turn:
                turn.wait_for(lambda: state["next"] == i)
                try:
                    taken = [] if state["ended"] else list(islice(items, self.batch_size))
                except BaseException:
                    state["ended"] = True
                    raise
                finally:
                    state["next"] += 1
                    turn.notify_all()
                state["ended"] |= len(taken) < self.batch_size
            if not taken or (self.drop_last and len(taken) < self.batch_size):
                return _END
            batch = (self.collate_fn or collate)(taken)
            return self._transformed(batch, entropy, (*key, _BATCH, i))

        i = 0
        while not state["ended"]:
            yield lambda i=i: job(i)
            i += 1


_END = object()


def _generator(entropy: int, key: tuple[int, ...]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=key)))


def _order(sampler: Any, rng: np.random.Generator) -> np.ndarray:
    """The sampler's indices: drawn from its own generator if it has one, else from rng."""
    drawn = isinstance(sampler, Sampler) and type(sampler).__iter__ is Sampler.__iter__
    if drawn and sampler.generator is None:
        return sampler.draw(rng)
    return np.fromiter(sampler, np.int64)


def _one_by_one(jobs: Iterator[Callable[[], Any]]) -> Iterator[Any]:
    for job in jobs:
        batch = job()
        if batch is not _END:
            yield batch


def _ahead(jobs: Iterator[Callable[[], Any]], workers: int, depth: int) -> Iterator[Any]:
    """The jobs' results in order, up to `depth` of them begun ahead.

    A worker's error is raised where its batch would have come. Whoever stops early waits for no
    more than the batches in work.
    """
    context = contextvars.copy_context()  # use_backend, set_num_threads of the caller
    pool = ThreadPoolExecutor(workers, thread_name_prefix="convnet-loader")
    pending: deque[Future[Any]] = deque()
    try:
        while True:
            for job in islice(jobs, depth - len(pending)):
                pending.append(pool.submit(context.copy().run, job))
            if not pending:
                return
            batch = pending.popleft().result()
            if batch is not _END:
                yield batch
    finally:
        pool.shutdown(cancel_futures=True)
