"""From arrays to batches: joining, shuffling, batching, repeating, transforming, loading ahead.

The same batches come out for any number of workers; a batch's random numbers follow from (seed,
epoch, number of the batch).
"""

from itertools import islice

import common
import numpy as np
from convnet.data import DataLoader, TensorDataset, random_split
from convnet.data.transforms import (
    Brightness,
    Compose,
    GaussianNoise,
    RandomAffine,
    RandomCrop,
)

AUGMENT = Compose(
    [
        RandomCrop(28, padding=2),
        RandomAffine(degrees=15, scale=(0.9, 1.1)),
        Brightness(0.1),
        GaussianNoise(0.02),
    ]
)


def main(arguments=None):
    """Whether 0 and 2 workers gave the same bits."""
    options = common.options(__doc__, arguments)
    (images, labels), _ = common.digits(options.quick)
    joint = TensorDataset(images[:, None], labels)  # item i is (images[i], labels[i])
    train, valid = random_split(joint, [0.9, 0.1], generator=options.seed)
    print(f"{len(joint):,} joint items: {len(train):,} to train, {len(valid):,} to validate")

    def loader(workers):
        return DataLoader(
            train,
            batch_size=64,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            transform=AUGMENT,
            generator=options.seed,
        )

    alone, ahead = loader(0), loader(2)
    same = True
    for epoch in range(2):  # repeat: each pass is another order with other random numbers
        for (x, t), (x2, t2) in zip(alone, ahead, strict=True):
            same &= bool((x.data == x2.data).all() and (t.data == t2.data).all())
        print(f"epoch {epoch}: {len(alone)} batches of {tuple(x.shape)}, last labels {t[:6].data}")
    print(f"0 and 2 workers: {'the same bits' if same else 'different'}")

    def forever(batches):
        while True:
            yield from batches

    count = sum(1 for _ in islice(forever(ahead), 2 * len(ahead) + 3))
    print(f"repeated: {count} batches of an endless stream")
    figure, axes = common.panels(3, 8, width=1, height=1.1)
    picture = np.repeat(images[1:2, None], 16, 0)
    augmented = AUGMENT(picture, np.random.default_rng(options.seed))
    for i, cell in enumerate(axes[0]):
        common.show(cell, images[i], "original" if i == 0 else "")
    for i, cell in enumerate(axes[1:].flat):
        common.show(cell, augmented[i, 0], "of the second" if i == 0 else "", vmin=0, vmax=1)
    common.write(figure, options.out, "input_pipeline.png")
    return same


if __name__ == "__main__":
    main()
