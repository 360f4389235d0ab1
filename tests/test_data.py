"""Data sets and loaders: batches, orders, seeds, errors."""

import convnet
import numpy as np
import pytest
from convnet import nn
from convnet.data import DataLoader, Dataset, Subset, TensorDataset, collate, random_split

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)


class Squares(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return np.full(3, index, np.float32), index * index


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
        (lambda: DataLoader(Squares(), num_workers=2), NotImplementedError, "num_workers"),
        (lambda: Dataset()[0], NotImplementedError, "Dataset has no __getitem__"),
        (lambda: len(Dataset()), NotImplementedError, "Dataset has no __len__"),
        (lambda: Subset(Squares(), [0]).nothing, AttributeError, "nothing"),
    ],
)
def test_errors(call, exception, match):
    with pytest.raises(exception, match=match):
        call()
