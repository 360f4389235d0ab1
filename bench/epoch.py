"""An epoch of the network that `convnet train` trains, here and in torch, each in its own process.

    python bench/epoch.py [--threads 1,2] [--model cnn] [--epochs 5]

The processes take turns, epoch by epoch, on the same 4,000 random images: forward, backward, Adam;
batch 64, no dropout for equal losses. Prints the median times and their ratio, and fails when the
losses disagree. torch is the peer (`pip install ".[peers]"`).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

BATCH = 64
IMAGES = 4000


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((IMAGES, 1, 28, 28), dtype=np.float32),
        rng.integers(0, 10, IMAGES),
    )


def network(nn, model: str):
    """The same layers in torch.nn's or convnet.nn's words."""
    if model == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 1024),
        nn.ReLU(),
        nn.Linear(1024, 10),
    )


def weights(model: str) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {
        "cnn": [(32, 1, 5, 5), (64, 32, 5, 5), (1024, 3136), (10, 1024)],
        "mlp": [(100, 784), (10, 100)],
    }[model]
    arrays = []
    for shape in shapes:
        scale = np.float32(np.prod(shape[1:]) ** -0.5)
        arrays += [rng.standard_normal(shape, dtype=np.float32) * scale, np.zeros(shape[0], "f4")]
    return arrays


def worker(library: str, model: str, threads: int) -> None:
    """Run an epoch for every line on standard input; answer with its time and last loss."""
    x, t = data()
    if library == "torch":
        import torch
        from torch import nn, optim

        torch.set_num_threads(threads)
        inputs, targets = torch.from_numpy(x), torch.from_numpy(t)
        net = network(nn, model)
        with torch.no_grad():
            for p, w in zip(net.parameters(), weights(model), strict=True):
                p.copy_(torch.from_numpy(w))
    else:
        import convnet
        from convnet import nn, optim

        convnet.set_num_threads(threads)
        inputs, targets = nn.Tensor(x), nn.Tensor(t)
        net = network(nn, model)
        for p, w in zip(net.parameters(), weights(model), strict=True):
            p.data[...] = w
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    for _ in sys.stdin:
        start = time.perf_counter()
        for i in range(0, IMAGES, BATCH):
            optimizer.zero_grad()
            loss = criterion(net(inputs[i : i + BATCH]), targets[i : i + BATCH])
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "loss": float(loss.item())}), flush=True)


def compare(model: str, threads: int, epochs: int) -> None:
    processes = {
        name: subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--worker",
                name,
                "--model",
                model,
                "--threads",
                str(threads),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("convnet", "torch")
    }
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    losses: dict[str, list[float]] = {name: [] for name in processes}
    for epoch in range(epochs + 1):
        for name, process in processes.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            losses[name].append(answer["loss"])
            if epoch:  # the first one warms up
                seconds[name].append(answer["seconds"])
    for process in processes.values():
        process.stdin.close()
        process.wait()
    first = {name: values[0] for name, values in losses.items()}
    if not np.isclose(first["convnet"], first["torch"], rtol=2e-2):
        sys.exit(f"after the first epoch the losses are {first}: not the same training")
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    spread = ", ".join(f"{n} {min(s):.2f} to {max(s):.2f} s" for n, s in seconds.items())
    print(
        f"{model}, {threads} threads: convnet {medians['convnet']:.2f} s, "
        f"torch {medians['torch']:.2f} s an epoch, ratio "
        f"{medians['torch'] / medians['convnet']:.2f} ({spread})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", default="1,2", help="numbers of threads to try")
    parser.add_argument("--model", choices=("cnn", "mlp"), default="cnn")
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs of each")
    parser.add_argument("--worker", choices=("convnet", "torch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    threads = [int(n) for n in args.threads.split(",")]
    if args.worker:
        worker(args.worker, args.model, threads[0])
        return
    for n in threads:
        compare(args.model, n, args.epochs)


if __name__ == "__main__":
    main()
