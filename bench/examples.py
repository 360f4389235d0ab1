"""Training steps of the examples' networks, here and in torch, in turn on the same batches.

    OMP_NUM_THREADS=1 python bench/examples.py [name ...]

One thread. The networks are the examples' own, built from either library's layers with the same
initial weights (dropout off for equal losses); forward, backward, Adam. Prints the median times
of a step and their ratio, and fails when the losses disagree. torch is the peer.
"""

import runpy
import statistics
import sys
import time
from pathlib import Path

import convnet
import numpy as np
import torch
from convnet import nn, optim

EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = 8  # in a turn
TURNS = 7
# example: shape of a batch, classes (0: logits for 0/1 targets)
BATCHES = {
    "mnist_mlp_adam": ((64, 1, 28, 28), 10),
    "mnist_cnn": ((64, 1, 28, 28), 10),
    "faces_cnn": ((32, 3, 56, 56), 0),
    "conv3d_volumes": ((20, 1, 16, 16, 16), 3),
    "mlp_from_scratch": ((50, 784), 10),
}


def network(example, library):
    """The example's layers; mlp_from_scratch has none, its network is 784-100-10 with sigmoid."""
    if example == "mlp_from_scratch":
        return library.Sequential(
            library.Linear(784, 100), library.Sigmoid(), library.Linear(100, 10)
        )
    model = runpy.run_path(str(EXAMPLES / f"{example}.py"))["network"](library)
    for module in model.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    return model


def by_hand(x, t, weights):
    """Steps of mlp_from_scratch's estimator on one batch, with SGD as it has it."""
    net = runpy.run_path(str(EXAMPLES / "mlp_from_scratch.py"))["NeuralNet"](l2=0.0, eta=0.5)
    net.w1, net.b1, net.w2, net.b2 = (w.copy() for w in weights)
    onehot = np.eye(10, dtype=np.float32)[t]
    return lambda: net._step(x, onehot)


def stepper(library, example, x, t, classes, weights):
    """A function that takes one step and returns the loss."""
    if library is nn and example == "mlp_from_scratch":
        return by_hand(x, t, weights)
    own = library is nn
    model = network(example, library)
    for p, w in zip(model.parameters(), weights, strict=True):
        p.data[...] = w if own else torch.from_numpy(w)
    wrap = nn.Tensor if own else torch.from_numpy
    inputs, targets = wrap(x), wrap(t)
    optimizers = optim if own else torch.optim
    if example == "mlp_from_scratch":
        onehot = torch.eye(10)[targets]

        def criterion(logits, _):
            loss = torch.nn.functional.binary_cross_entropy_with_logits
            return loss(logits, onehot, reduction="sum") / len(onehot)

        optimizer = optimizers.SGD(model.parameters(), lr=0.5)
    else:
        criterion = library.CrossEntropyLoss() if classes else library.BCEWithLogitsLoss()
        optimizer = optimizers.Adam(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def compare(example):
    shape, classes = BATCHES[example]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, dtype=np.float32)
    t = (
        rng.integers(0, classes, shape[0])
        if classes
        else rng.integers(0, 2, (shape[0], 1)).astype("f4")
    )
    convnet.manual_seed(0)
    weights = [p.data.copy() for p in network(example, nn).parameters()]
    steps = {
        name: stepper(library, example, x, t, classes, weights)
        for name, library in (("convnet", nn), ("torch", torch.nn))
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses = {}
    for turn in range(TURNS + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                losses[name] = step()
            if turn:  # the first one warms up
                seconds[name].append((time.perf_counter() - start) / STEPS)
            elif name == "torch" and not np.isclose(losses["convnet"], losses["torch"], rtol=2e-2):
                sys.exit(f"{example}: the losses are {losses}: not the same training")
    ms = {name: 1e3 * statistics.median(s) for name, s in seconds.items()}
    ratio = ms["torch"] / ms["convnet"]
    print(
        f"| `{example}` | {ms['convnet']:.2f} | {ms['torch']:.2f} | {ratio:.2f} |",
        flush=True,
    )


def main() -> None:
    torch.set_num_threads(1)
    convnet.set_num_threads(1)
    sys.path.insert(0, str(EXAMPLES))
    print("| example | convnet, ms a step | torch | ratio |\n|---|---|---|---|")
    for example in sys.argv[1:] or BATCHES:
        compare(example)


if __name__ == "__main__":
    main()
