"""Data sets and loaders: batches, orders, seeds, errors."""

import threading

import convnet
import numpy as np
import pytest
from convnet import nn
from convnet.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    collate,
    random_split,
)

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)


class Squares(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return np.full(3, index, np.float32), index * index


class Stream(IterableDataset):
    """0, 1, ..., count - 1, and 10 times each."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return ((i, 10 * i) for i in range(self.count))


def labels(loader):
    return [y.tolist() for _, y in loader]


def test_tensor_dataset():
    data = TensorDataset(X, nn.Tensor(Y))
    assert len(data) == 10
    x, y = data[3]
    assert x.tolist() == [6, 7]
    assert y.item() == 3
    assert [t.shape for t in data[2:5]] == [(3, 2), (3,)]
    with pytest.raises(ValueError, match=r"the same length, got \[10, 9\]"):
        TensorDataset(X, Y[1:])
    with pytest.raises(ValueError, match="at least one array"):
        TensorDataset()
    with pytest.raises(ValueError, match="got a number"):
        TensorDataset(np.float32(3))


@pytest.mark.parametrize("dataset", [TensorDataset(X, Y), Subset(TensorDataset(X, Y), range(10))])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 10, 11])
def test_batches_in_order(dataset, size, drop_last):
    loader = DataLoader(dataset, batch_size=size, drop_last=drop_last)
    expected = [Y[i : i + size].tolist() for i in range(0, 10, size)]
    if drop_last:
        expected = [b for b in expected if len(b) == size]
    assert labels(loader) == expected
    assert len(loader) == len(expected)
    for x, y in loader:
        np.testing.assert_array_equal(x, X[y.data])
        assert type(x) is nn.Tensor
        assert not np.shares_memory(x.data, X)


def test_items_of_any_dataset_are_stacked():
    batches = list(DataLoader(Squares(), batch_size=4))
    assert [x.shape for x, _ in batches] == [(4, 3), (3, 3)]
    assert batches[1][1].tolist() == [16, 25, 36]
    assert batches[0][0].dtype == np.float32
    batch = collate([{"a": 1.5, "b": "x"}, {"a": 2.5, "b": "y"}])
    assert batch["a"].tolist() == [1.5, 2.5]
    assert batch["b"] == ["x", "y"]
    assert list(DataLoader(Squares(), 7, collate_fn=len)) == [7]


def test_shuffled_epochs_differ_and_a_seed_repeats_them():
    data = TensorDataset(X, Y)
    loader = DataLoader(data, batch_size=4, shuffle=True, generator=5)
    first, second = labels(loader), labels(loader)
    assert sorted(i for batch in first for i in batch) == list(range(10))
    assert first != second
    again = DataLoader(data, batch_size=4, shuffle=True, generator=5)
    assert [labels(again), labels(again)] == [first, second]
    other = DataLoader(data, 4, True, generator=np.random.default_rng(6))
    assert labels(other) != first


def test_without_a_generator_manual_seed_rules():
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)
    convnet.manual_seed(1)
    first = labels(loader)
    convnet.manual_seed(1)
    assert labels(loader) == first


@pytest.mark.parametrize("lengths", [[7, 3], [0.7, 0.3], (5, 5, 0)])
def test_random_split(lengths):
    parts = random_split(TensorDataset(X, Y), lengths, generator=0)
    wanted = [7, 3] if len(lengths) == 2 else [5, 5, 0]
    assert [len(p) for p in parts] == wanted
    items = [part[i][1].item() for part in parts for i in range(len(part))]
    assert sorted(items) == list(range(10))
    assert items != list(range(10))
    again = random_split(TensorDataset(X, Y), lengths, generator=0)
    assert [p.indices.tolist() for p in parts] == [p.indices.tolist() for p in again]
    inner = Subset(parts[0], [2, 0])
    assert labels(DataLoader(inner, 2)) == [[items[2], items[0]]]


def test_shares_that_leave_a_remainder():
    assert [len(p) for p in random_split(Squares(), [0.5, 0.5])] == [4, 3]


@pytest.mark.parametrize(
    ("call", "exception", "match"),
    [
        (lambda: random_split(Squares(), [3, 3]), ValueError, "add up to 7.* got \\[3, 3\\]"),
        (lambda: random_split(Squares(), [8, -1]), ValueError, "add up to 7"),
        (lambda: DataLoader(Squares(), 0), ValueError, "batch_size: expected at least 1"),
        (lambda: DataLoader(Squares(), 1.5), TypeError, "batch_size: expected an integer"),
        (lambda: DataLoader(Squares(), generator="x"), TypeError, "generator: expected None"),
        (lambda: DataLoader(Squares(), num_workers=-1), ValueError, "num_workers: expected at le"),
        (lambda: DataLoader(Squares(), shuffle=True, sampler=[1]), ValueError, "leave out shuffle"),
        (lambda: DataLoader(Squares(), 2, batch_sampler=[[1]]), ValueError, "leave out batch_size"),
        (lambda: DataLoader(Stream(3), shuffle=True), ValueError, "comes in its own order"),
        (lambda: DataLoader(Squares(), transform=[]), TypeError, "transform: expected a function"),
        (lambda: len(DataLoader(Stream(3))), TypeError, "Stream has no length"),
        (lambda: ConcatDataset([]), ValueError, "at least one"),
        (lambda: ConcatDataset([Stream(3)]), TypeError, "IterableDataset"),
        (lambda: ConcatDataset([Squares()])[7], IndexError, "from -7 to 6, got 7"),
        (lambda: iter(IterableDataset()), NotImplementedError, "has no __iter__"),
        (lambda: RandomSampler(Squares(), num_samples=8), ValueError, "at most 7"),
        (lambda: WeightedRandomSampler([0, 0], 2), ValueError, "not all 0"),
        (lambda: WeightedRandomSampler([1, np.nan], 2), ValueError, "finite"),
        (lambda: WeightedRandomSampler([1, 0], 2, False), ValueError, r"at most 1 \(weights"),
        (lambda: Dataset()[0], NotImplementedError, "Dataset has no __getitem__"),
        (lambda: len(Dataset()), NotImplementedError, "Dataset has no __len__"),
        (lambda: Subset(Squares(), [0]).nothing, AttributeError, "nothing"),
    ],
)
def test_errors(call, exception, match):
    with pytest.raises(exception, match=match):
        call()


def test_concatenated():
    data = ConcatDataset([TensorDataset(X[:4], Y[:4]), TensorDataset(X[4:], Y[4:])])
    assert len(data) == 10
    assert [data[i][1].item() for i in (0, 3, 4, 9, -1, -10)] == [0, 3, 4, 9, 9, 0]
    assert labels(DataLoader(data, 6)) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (lambda: SequentialSampler(Y), lambda o: o == list(range(10))),
        (lambda: RandomSampler(Y), lambda o: sorted(o) == list(range(10)) != o),
        (lambda: RandomSampler(Y, num_samples=4), lambda o: len(set(o)) == 4),
        (lambda: RandomSampler(Y, True, 50), lambda o: len(o) == 50 and set(o) <= set(range(10))),
        (lambda: SubsetRandomSampler([7, 8, 9]), lambda o: sorted(o) == [7, 8, 9]),
        (lambda: WeightedRandomSampler([0, 1, 0, 3], 40), lambda o: set(o) == {1, 3}),
        (lambda: WeightedRandomSampler([1, 2, 0], 2, False), lambda o: sorted(o) == [0, 1]),
    ],
)
def test_samplers(make, check):
    convnet.manual_seed(4)
    assert check(list(make()))
    loader = DataLoader(TensorDataset(X, Y), 3, sampler=make(), generator=4)
    assert len(loader) == -(-len(make()) // 3)
    first, second = labels(loader), labels(loader)
    assert check([i for batch in first for i in batch])
    if not isinstance(make(), SequentialSampler):
        assert first != second or len(make()) < 4
    again = DataLoader(TensorDataset(X, Y), 3, sampler=make(), generator=4)
    again.epoch = 1
    assert labels(again) == second


def test_batch_samplers():
    data = TensorDataset(X, Y)
    own = [[3, 1], [2], [9, 9, 0]]
    loader = DataLoader(data, batch_sampler=own)
    assert labels(loader) == own
    assert len(loader) == 3
    sampler = BatchSampler(SequentialSampler(Y), 4, drop_last=True)
    assert list(sampler) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert labels(DataLoader(data, batch_sampler=sampler)) == list(sampler)


def noisy(x, rng):
    return x + rng.standard_normal(x.shape)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("generator", [3, None])
def test_workers_change_no_bit(workers, generator):
    results = []
    for n in (0, workers):
        convnet.manual_seed(1)
        loader = DataLoader(
            TensorDataset(X, Y),
            2,
            shuffle=True,
            num_workers=n,
            generator=generator,
            transform=noisy,
            target_transform=lambda y, rng: y + rng.integers(0, 100, y.shape),
        )
        results.append([(x.tolist(), y.tolist()) for _ in range(3) for x, y in loader])
    assert results[0] == results[1]
    first, second = results[0][:5], results[0][5:10]
    assert first != second
    assert len({str(x) for x, _ in results[0]}) == 15


def test_an_epoch_can_be_set():
    def loader():
        return DataLoader(TensorDataset(X, Y), 4, True, generator=9, transform=noisy)

    one = loader()
    epochs = [[x.tolist() for x, _ in one] for _ in range(3)]
    other = loader()
    other.epoch = 2
    assert [x.tolist() for x, _ in other] == epochs[2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("count", [0, 1, 6, 7])
@pytest.mark.parametrize("drop_last", [False, True])
def test_iterable(workers, count, drop_last):
    loader = DataLoader(Stream(count), 3, num_workers=workers, drop_last=drop_last)
    expected = [list(range(i, min(i + 3, count))) for i in range(0, count, 3)]
    if drop_last:
        expected = [b for b in expected if len(b) == 3]
    assert [x.tolist() for x, _ in loader] == expected
    assert [(y / 10).tolist() for _, y in loader] == expected


class Broken(Squares):
    def __getitem__(self, index):
        if index == 4:
            raise RuntimeError("item 4 is broken")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_where_its_batch_would(workers):
    batches = iter(DataLoader(Broken(), 2, num_workers=workers))
    assert next(batches)[1].tolist() == [0, 1]
    assert next(batches)[1].tolist() == [4, 9]
    with pytest.raises(RuntimeError, match="item 4"):
        next(batches)


class BrokenStream(IterableDataset):
    def __iter__(self):
        yield from (1, 2, 3)
        raise RuntimeError("the stream broke")


def test_an_error_in_a_stream():
    batches = iter(DataLoader(BrokenStream(), 2, num_workers=2))
    assert next(batches).tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="broke"):
        next(batches)


def test_batches_are_made_ahead_and_threads_end():
    made, go = [], threading.Event()

    def transform(x, rng):
        made.append(threading.current_thread().name)
        go.set()
        return x

    before = threading.active_count()
    batches = iter(DataLoader(TensorDataset(X), 1, num_workers=2, transform=transform))
    next(batches)
    go.clear()
    next(batches)
    assert go.wait(10)  # one that nobody has asked for yet
    assert all(name.startswith("convnet-loader") for name in made)
    batches.close()
    assert threading.active_count() == before
    assert len(made) < 10


def test_the_caller_of_a_loader_chooses_the_backend():
    seen = []

    def transform(x, rng):
        seen.append(convnet.get_backend())
        return x

    with convnet.use_backend("reference"):
        list(DataLoader(TensorDataset(X), 5, num_workers=2, transform=transform))
    assert seen == ["reference", "reference"]


def test_an_array_larger_than_memory(tmp_path):
    rows = 2**22  # of 64 KB: 256 GB, almost all of it a hole in the file
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 128, 128)}
        np.lib.format.write_array_header_2_0(file, header)
        start = file.tell()
        for i in (5, rows - 1):
            file.seek(start + i * 65536)
            file.write(np.full(16384, i, "<f4").tobytes())
    data = TensorDataset(np.load(path, mmap_mode="r"), np.arange(rows))
    batches = iter(DataLoader(data, batch_sampler=[[rows - 1, 5], [0, 5]], num_workers=2))
    x, y = next(batches)
    assert x.shape == (2, 128, 128)
    assert (x.data == y.data[:, None, None]).all()
    x, _ = next(batches)
    assert [x.data[0].max(), x.data[1].min()] == [0, 5]
    size = DataLoader(data, 64, True, generator=0)
    assert next(iter(size))[0].shape == (64, 128, 128)


def test_torchs_options_without_effect():
    data = TensorDataset(X, Y)
    loader = DataLoader(
        data,
        3,
        False,
        None,
        None,
        2,
        None,
        True,
        True,
        prefetch_factor=None,
        persistent_workers=True,
    )
    assert labels(loader) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_transforms_of_other_batches():
    one = DataLoader(Subset(X, range(4)), 2, transform=lambda x, rng: -x)
    assert [b.tolist() for b in one] == (-X[:4]).reshape(2, 2, 2).tolist()
    many = DataLoader([{"a": 1.0}], transform=lambda x, rng: x)
    with pytest.raises(TypeError, match="lists of arrays, got dict"):
        list(many)


def test_options_that_torch_has_are_taken_or_refused():
    data = TensorDataset(np.arange(4))
    assert len(DataLoader(data, 2, False, None, None, 0, None, False, False, 0, None, None, 3)) == 2
    with pytest.raises(NotImplementedError, match="worker_init_fn: there is nothing to seed"):
        DataLoader(data, worker_init_fn=print)
