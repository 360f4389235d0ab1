"""fit and what surrounds it: history, early stopping, checkpoints, bits, the search for a rate."""

import json
import math

import convnet
import numpy as np
import pytest
from convnet import nn, optim
from convnet.data import DataLoader, IterableDataset, RandomSampler, TensorDataset
from convnet.data.transforms import GaussianNoise
from convnet.optim import lr_scheduler
from convnet.train import (
    History,
    Interrupt,
    accuracy,
    evaluate,
    find_learning_rate,
    fit,
    load_checkpoint,
    outputs_of,
    save_checkpoint,
)
from convnet.train.progress import Silence


def blobs(count=90, seed=0):
    """Three clouds of points as 1x4x4 images, and which one each is of."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.random.default_rng(7).standard_normal((3, 1, 4, 4))
    images = centres[labels] + 0.3 * rng.standard_normal((count, 1, 4, 4))
    return TensorDataset(images.astype(np.float32), labels)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, 3),
    )


def loader(**how):
    return DataLoader(blobs(), 16, shuffle=True, **how)


def weights(model):
    return {k: t.data.copy() for k, t in model.state_dict().items()}


def test_learns_and_keeps_a_history(tmp_path, capsys):
    convnet.manual_seed(0)
    model = network()
    test = DataLoader(blobs(seed=1), 50)
    history = fit(model, loader(generator=0), epochs=6, validation=test)
    assert len(history) == 6
    assert history["epoch"] == [1, 2, 3, 4, 5, 6]
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert history[-1]["val_accuracy"] == history["val_accuracy"][-1] > 0.9
    assert set(history[0]) == {
        *("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
        *("seconds", "images_per_second", "complete"),
    }
    assert all(history["complete"])
    results = evaluate(model, test)
    assert results == {k: history[-1][f"val_{k}"] for k in ("loss", "accuracy")}
    assert model.training
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[5].startswith("epoch 6/6  loss ")
    assert lines[5].endswith(f"val accuracy {100 * results['accuracy']:5.1f} %")
    history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text()) == history.entries
    with pytest.raises(KeyError, match="expected one of epoch, lr, train_loss"):
        history["loss"]
    assert "6 epochs" in repr(history)


def test_a_loader_of_unknown_length(capsys, monkeypatch):
    pytest.importorskip("rich")

    class Endless(IterableDataset):
        def __iter__(self):
            yield from (blobs()[i] for i in range(40))

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    history = fit(network(), DataLoader(Endless(), 16, num_workers=1), epochs=2)
    assert history["complete"] == [True, True]
    assert "images/s" in capsys.readouterr().out
    plain = [(x, t) for x, t in loader()]
    assert len(fit(network(), plain, epochs=1, progress=False)) == 1


def test_is_the_loop_by_hand():
    results = []
    for by_hand in (False, True):
        convnet.manual_seed(3)
        model, batches = network(), loader(generator=1)
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        if by_hand:
            criterion = nn.CrossEntropyLoss()
            for _ in range(3):
                model.train()
                for x, target in batches:
                    optimizer.zero_grad()
                    loss = criterion(model(x), target)
                    loss.backward()
                    optimizer.step()
        else:
            fit(model, batches, optimizer=optimizer, epochs=3, progress=False)
        results.append(weights(model))
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)


def schedulers():
    plateau = lr_scheduler.ReduceLROnPlateau
    return [
        (None, "epoch"),
        (lambda o: lr_scheduler.MultiStepLR(o, [2, 3], 0.5), "epoch"),
        (lambda o: plateau(o, patience=0, threshold=0.5), "epoch"),
        (lambda o: lr_scheduler.OneCycleLR(o, 0.05, total_steps=24), "batch"),
    ]


@pytest.mark.parametrize(
    "how", [{"generator": 5}, {}, {"generator": np.random.PCG64(4)}, "sampler"]
)
@pytest.mark.parametrize(("scheduler", "each"), schedulers())
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(tmp_path, how, scheduler, each):
    path = tmp_path / "run.safetensors"

    def run(epochs, checkpoint):
        model = network()
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        options = dict(how) if isinstance(how, dict) else {}
        if isinstance(options.get("generator"), np.random.PCG64):
            options["generator"] = np.random.default_rng(4)
        if how == "sampler":
            batches = DataLoader(blobs(), 16, sampler=RandomSampler(range(90), generator=3))
        else:
            batches = loader(transform=GaussianNoise(0.1), num_workers=2, **options)
        history = fit(
            model,
            batches,
            optimizer=optimizer,
            scheduler=scheduler and scheduler(optimizer),
            scheduler_each=each,
            epochs=epochs,
            validation=DataLoader(blobs(seed=1), 50),
            patience=5,
            clip_norm=1.0,
            checkpoint=checkpoint,
            progress=False,
        )
        return weights(model), history

    convnet.manual_seed(11)
    unbroken, history = run(4, None)
    convnet.manual_seed(11)
    run(2, path)
    convnet.manual_seed(99)
    resumed, second = run(4, path)
    for name, value in unbroken.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)
    for name in ("epoch", "lr", "train_loss", "val_loss", "val_accuracy"):
        assert history[name] == second[name]
    assert len(run(4, path)[1]) == 4  # nothing is left to do


def test_patience_puts_the_best_weights_back():
    class Values(Silence):
        seen = ()

        def epoch(self, entry):
            self.seen = (*self.seen, weights(model))

    losses = iter([3.0, 2.0, 2.5, 2.0, 2.2, 0.0])
    convnet.manual_seed(0)
    model, watch = network(), Values()
    history = fit(
        model,
        loader(),
        epochs=9,
        validation=DataLoader(blobs(), 90),
        metrics={"made_up_loss": lambda outputs, targets: next(losses) if len(targets) > 16 else 0},
        monitor="val_made_up_loss",
        patience=2,
        progress=watch,
    )
    assert history["val_made_up_loss"] == [3, 2, 2.5, 2, 2.2]
    for name, value in weights(model).items():
        np.testing.assert_array_equal(value, watch.seen[1][name])
        assert name.endswith("tracked") or (value != watch.seen[4][name]).any()


def test_larger_accuracies_are_better():
    convnet.manual_seed(0)
    model = network()
    batches, test = loader(generator=0), DataLoader(blobs(seed=1), 50)
    history = fit(
        model,
        batches,
        epochs=30,
        validation=test,
        patience=1,
        monitor="val_accuracy",
        progress=False,
    )
    assert len(history) < 30
    assert evaluate(model, test)["accuracy"] == max(history["val_accuracy"])


def test_other_losses_inputs_and_shapes():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, a, b):
            return self.layer(a + b)

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 64, 2), dtype=np.float32)
    target = (a + b).sum(1, keepdims=True)
    convnet.manual_seed(0)
    model = Sum()
    history = fit(
        model,
        DataLoader(TensorDataset(a, b, target), 16),
        optimizer=optim.SGD(model.parameters(), lr=0.05),
        criterion=nn.MSELoss(),
        epochs=20,
        progress=False,
    )
    assert history[-1]["train_loss"] < 0.01
    assert not any(name.endswith("accuracy") for name in history[0])


def test_accuracy():
    assert accuracy(np.array([[1, 2], [3, 0], [0, 1]]), np.array([1, 1, 1])) == pytest.approx(2 / 3)
    assert accuracy(np.array([-1.0, 2, 3, -4]), np.array([0.0, 1, 0, 0])) == 0.75
    assert accuracy(np.zeros((2, 3, 4)), np.zeros((2, 4), int)) == 1


def test_outputs_of_any_number_of_images():
    model = network().eval()
    x = blobs().tensors[0].data
    whole = model(nn.Tensor(x)).numpy()
    np.testing.assert_array_equal(outputs_of(model, x, 7), whole)
    assert outputs_of(model, x[:0]).shape == (0, 3)
    assert not model.training


def test_stop_ends_after_the_batch(tmp_path):
    stop = Interrupt()

    class Stopper(Silence):
        count = 0

        def batch(self, *args):
            self.count += 1
            stop.requested = self.count == 8

    path = tmp_path / "c.safetensors"
    history = fit(network(), loader(), epochs=4, progress=Stopper(), stop=stop, checkpoint=path)
    assert history["complete"] == [True, False]
    model = network()
    assert len(load_checkpoint(path, model, optim.Adam(model.parameters()))["history"]) == 1


def test_checkpoint_errors(tmp_path):
    path, model = tmp_path / "c.safetensors", network()
    optimizer = optim.Adam(model.parameters())
    convnet.save(model.state_dict(), path)
    with pytest.raises(ValueError, match="no checkpoint; expected a file that save_checkpoint"):
        load_checkpoint(path, model, optimizer)
    with pytest.raises(TypeError, match=r"extra\.what: a checkpoint cannot hold object"):
        save_checkpoint(path, model, optimizer, what=object())
    save_checkpoint(path, model, optimizer, note=("a", 1.5, {3: np.arange(2)}, None))
    extra = load_checkpoint(path, model, optimizer)
    assert extra["note"][:2] == ("a", 1.5)
    assert extra["note"][2][3].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"scheduler: .* has none"):
        load_checkpoint(path, model, optimizer, scheduler=lr_scheduler.StepLR(optimizer, 1))
    with pytest.raises(nn.StateMismatch):
        load_checkpoint(path, nn.Linear(2, 2))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="truncated or damaged"):
        load_checkpoint(path, model, optimizer)


def test_weights_alone(tmp_path):
    path, model, other = tmp_path / "c.safetensors", network(), network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    save_checkpoint(path, model, optimizer, scheduler=scheduler)
    state = convnet.get_rng_state()
    load_checkpoint(path, other)
    assert convnet.get_rng_state() == state
    np.testing.assert_array_equal(weights(model)["0.weight"], weights(other)["0.weight"])


def test_search_for_a_rate():
    convnet.manual_seed(2)
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.123, momentum=0.9)
    batches = loader(generator=2)
    fit(model, batches, optimizer=optimizer, epochs=1, progress=False)
    kept, state = weights(model), convnet.get_rng_state()
    buffers = [e["momentum_buffer"].copy() for e in optimizer.state.values()]
    search = find_learning_rate(model, batches, optimizer, steps=60)
    assert len(search.rates) == len(search.losses) == len(search.smooth) <= 60
    assert (np.diff(np.log(search.rates)) > 0).all()
    assert search.rates[0] == pytest.approx(1e-6)
    assert 1e-6 < search.suggestion < 10
    for name, value in kept.items():
        np.testing.assert_array_equal(value, weights(model)[name])
    assert convnet.get_rng_state() == state
    assert batches.epoch == 1
    assert optimizer.param_groups[0]["lr"] == 0.123
    for entry, buffer in zip(optimizer.state.values(), buffers, strict=True):
        np.testing.assert_array_equal(entry["momentum_buffer"], buffer)


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    convnet.manual_seed(0)
    model, batches = network(), loader(generator=0)
    fit(model, batches, epochs=2, progress=False).plot(tmp_path / "a.png", "title")
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    find_learning_rate(model, batches, optimizer, steps=12).plot(tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setattr("convnet.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs matplotlib: pip install "convnet-kernels\[demo'):
        History([{"epoch": 1, "train_loss": 1.0}]).plot(tmp_path / "a.png")


EMPTY = DataLoader(TensorDataset(np.zeros((0, 1, 4, 4), np.float32), np.zeros(0, int)), 4)

ONLY = TensorDataset(np.zeros((4, 1, 4, 4), np.float32))


def search(**how):
    model = network()
    return find_learning_rate(model, loader(), optim.SGD(model.parameters(), lr=0.1), **how)


@pytest.mark.parametrize(
    ("call", "exception", "match"),
    [
        (lambda: fit(network(), loader(), scheduler_each="step"), ValueError, "scheduler_each"),
        (lambda: fit(network(), loader(), epochs=-1), ValueError, "epochs: expected at least 0"),
        (lambda: fit(network(), loader(), epochs=1.5), TypeError, "epochs: expected an integer"),
        (lambda: fit(network(), loader(), patience="x"), TypeError, "patience: expected an int"),
        (lambda: fit(network(), loader(), monitor="val_loss"), ValueError, "got 'val_loss'"),
        (
            lambda: fit(network(), DataLoader(ONLY)),
            TypeError,
            r"\(inputs..., target\), got 1 entry",
        ),
        (lambda: fit(network(), [nn.Tensor([1.0])]), TypeError, "got Tensor; an autoencoder"),
        (lambda: fit(network(), EMPTY), ValueError, "at least one batch"),
        (lambda: search(low=1, high=0.1), ValueError, "0 < low < high"),
        (lambda: search(steps=3), ValueError, "at least 10 steps"),
    ],
)
def test_errors(call, exception, match):
    with pytest.raises(exception, match=match):
        call()


def test_a_loss_that_is_not_finite_ends_it():
    x = np.full((8, 1, 4, 4), math.inf, np.float32)
    batches = DataLoader(TensorDataset(x, np.zeros(8, int)), 4)
    with pytest.raises(FloatingPointError, match="the loss is nan after 0 items of epoch 1"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), batches, progress=False)


def test_what_is_no_model_or_optimizer_is_named():
    with pytest.raises(TypeError, match="model: expected a Module, got int"):
        fit(3, [])
    with pytest.raises(TypeError, match="optimizer: expected an Optimizer, got NoneType"):
        find_learning_rate(nn.Linear(2, 2), [], None)
