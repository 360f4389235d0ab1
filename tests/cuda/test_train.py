"""`convnet train --device cuda` and `convnet predict --device cuda` on the simulator."""

import json
import struct
import sys
from types import ModuleType

import numpy as np
import pytest
from convnet import cli, extras, nn

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    """MNIST's files, with 6 and 4 images of three classes."""
    for part, n in (("train", 6), ("t10k", 4)):
        images = RNG.integers(0, 256, (n, 28, 28), np.uint8)
        header = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(n) % 3).astype(np.uint8)
        header = struct.pack(">4BI", 0, 0, 8, 1, n)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return tmp_path


@pytest.fixture
def without_pictures(monkeypatch):
    """No matplotlib: what is tested here draws nothing."""
    plots = ModuleType("convnet.train.plots")
    plots.confusion = plots.learning_curves = lambda *args: None
    monkeypatch.setitem(sys.modules, "convnet.train.plots", plots)
    monkeypatch.setattr(extras, "require", lambda *names: None)
    import convnet.train

    monkeypatch.setattr(convnet.train, "plots", plots, raising=False)


@pytest.mark.usefixtures("without_pictures")
def test_train(folder, monkeypatch, capsys):
    """An epoch gives the CPU's losses; weights and history are written from the GPU."""
    from convnet.train import history, models

    def small(classes):
        return nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), nn.Linear(16, classes))

    monkeypatch.setitem(models.MODELS, "mlp", small)
    monkeypatch.setattr(history.History, "plot", lambda *args: None)
    entries = {}
    for device in ("cpu", "cuda"):
        out = folder / device
        words = ["train", "--data", str(folder), "--model", "mlp", "--epochs", "1"]
        words += ["--batch-size", "3", "--device", device, "--out", str(out)]
        assert cli.main(words) == 0
        assert f"on {device}" in capsys.readouterr().out
        facts = json.loads((out / "history.json").read_text())
        assert facts["device"] == device
        entries[device] = facts["epochs"][0]
        assert (out / "weights.safetensors").exists()
    for name in ("train_loss", "test_loss"):
        assert entries["cuda"][name] == pytest.approx(entries["cpu"][name], rel=1e-5)
