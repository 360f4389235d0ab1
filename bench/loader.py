"""Images a second of the augmented digits' CNN by the number of the loader's workers.

    python bench/loader.py [--workers 0,1,2] [--epochs 3]

examples/mnist_cnn.py's network, Adam, batches of 64 with a random affine map, a crop and noise;
the ways take turns, epoch by epoch, on the same images. Prints the medians, how fast the transforms
and the training are alone, and fails when the weights are not the same bits for every way.
"""

import argparse
import runpy
import statistics
import sys
import time
from pathlib import Path

import convnet
import numpy as np
from convnet import optim
from convnet.data import DataLoader, TensorDataset
from convnet.data.transforms import Compose, GaussianNoise, RandomAffine, RandomCrop
from convnet.train import fit

IMAGES = 1280
EXAMPLES = Path(__file__).parents[1] / "examples"
AUGMENT = Compose([RandomCrop(28, padding=2), RandomAffine(15, (0.1, 0.1)), GaussianNoise(0.05)])


class Run:
    """A model and its loader; epoch() trains one more and returns its seconds."""

    def __init__(self, network, data, workers, transform=AUGMENT):
        convnet.manual_seed(0)
        self.model = network()
        self.optimizer = optim.Adam(self.model.parameters())
        self.loader = DataLoader(
            data, 64, True, num_workers=workers, transform=transform, generator=0
        )

    def epoch(self):
        convnet.manual_seed(self.loader.epoch)  # dropout's masks: the same for every way
        start = time.perf_counter()
        fit(self.model, self.loader, optimizer=self.optimizer, epochs=1, progress=False)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of each")
    args = parser.parse_args()
    sys.path.insert(0, str(EXAMPLES))
    network = runpy.run_path(str(EXAMPLES / "mnist_cnn.py"))["network"]
    rng = np.random.default_rng(0)
    images = rng.random((IMAGES, 1, 28, 28), dtype=np.float32)
    data = TensorDataset(images, rng.integers(0, 10, IMAGES))
    ways = [int(n) for n in args.workers.split(",")]
    runs = {f"{n} workers": Run(network, data, n) for n in ways}
    runs["no transforms"] = Run(network, data, 0, None)
    seconds: dict[str, list[float]] = {name: [] for name in [*runs, "transforms alone"]}
    for epoch in range(args.epochs + 1):
        for name, run in runs.items():
            taken = run.epoch()
            if epoch:  # the first one warms up
                seconds[name].append(taken)
        start = time.perf_counter()
        for _ in DataLoader(data, 64, True, transform=AUGMENT, generator=0):
            pass
        seconds["transforms alone"].append(time.perf_counter() - start)
    first, *others = (runs[f"{n} workers"].model.state_dict() for n in ways)
    for other in others:
        for name, value in first.items():
            if not np.array_equal(value, other[name]):
                sys.exit(f"{name} differs between the numbers of workers")
    print(f"{convnet.get_num_threads()} threads")
    for name, s in seconds.items():
        m = statistics.median(s)
        print(
            f"{name:17} {IMAGES / m:6,.0f} images/s ({IMAGES / max(s):,.0f} to "
            f"{IMAGES / min(s):,.0f})"
        )


if __name__ == "__main__":
    main()
