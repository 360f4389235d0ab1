"""3-D convolution: balls, shells and rods in noisy volumes told apart.

A slice of a ball and of a shell's cap look alike, a rod's cross-section is a small disc: the shape
is in all three dimensions.
"""

import common
import convnet
import numpy as np
from convnet import nn, optim
from convnet.data import DataLoader, TensorDataset
from convnet.train import fit

NAMES = ("ball", "shell", "rod")
SIZE = 16


def volume(kind, rng):
    """(1, 16, 16, 16) float32: one body at a random place, size and direction, in noise."""
    grid = np.stack(np.mgrid[:SIZE, :SIZE, :SIZE], -1) - (SIZE - 1) / 2 - rng.uniform(-2, 2, 3)
    distance = np.linalg.norm(grid, axis=-1)
    radius = rng.uniform(4, 6)
    if kind == 0:
        body = distance < radius * 0.8
    elif kind == 1:
        body = abs(distance - radius) < 0.8
    else:
        direction = rng.standard_normal(3)
        along = grid @ (direction / np.linalg.norm(direction))
        body = (np.sqrt(np.maximum(distance**2 - along**2, 0)) < 1.6) & (abs(along) < radius + 1)
    return (body + rng.normal(0, 0.6, body.shape)).astype(np.float32)[None]


def volumes(count, seed):
    """A data set of so many volumes, each kind in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return TensorDataset(np.stack([volume(kind, rng) for kind in labels]), labels)


def network(nn=nn):
    """The layers, in convnet.nn's or torch.nn's words: (N, 1, 16, 16, 16) -> (N, 3)."""
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4 * 4, 3),
    )


def main(arguments=None):
    """The test accuracy."""
    options = common.options(__doc__, arguments)
    train = volumes(60 if options.quick else 600, options.seed)
    test = volumes(30 if options.quick else 300, options.seed + 1)
    convnet.manual_seed(options.seed)
    model = network()
    history = fit(
        model,
        DataLoader(train, 20, shuffle=True, generator=options.seed),
        optimizer=optim.Adam(model.parameters(), lr=2e-3),
        epochs=2 if options.quick else 10,
        validation=DataLoader(test, 50),
        validation_name="test",
    )
    result = history[-1]["test_accuracy"]
    print(f"{100 * result:.1f} % of {len(test)} test volumes right")
    figure, axes = common.panels(3, 8, width=1.1, height=1.2)
    for kind, row in enumerate(axes):
        body = test.tensors[0].data[kind, 0]
        for cell, depth in zip(row, range(1, SIZE, 2), strict=True):
            common.show(cell, body[depth], f"{NAMES[kind]}, slice {depth}", vmin=-1, vmax=2)
    common.write(figure, options.out, "conv3d_volumes.png")
    return result


if __name__ == "__main__":
    main()
