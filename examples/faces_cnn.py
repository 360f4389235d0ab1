"""Smiling or not: four convolutions with pooling, global average pooling, one logit.

The loss is binary cross-entropy from logits; each epoch sees other crops, flips and contrasts.

    python examples/faces_cnn.py                     faces drawn on the spot (Pillow)
    python examples/faces_cnn.py --data celeba/      CelebA: img_align_celeba/, list_attr_celeba.txt
"""

from pathlib import Path

import common
import convnet
import numpy as np
from convnet import nn, optim
from convnet.data import DataLoader, Dataset, ImageFiles, Subset, TensorDataset
from convnet.data.transforms import Compose, Contrast, RandomCrop, RandomHorizontalFlip, ToFloat
from convnet.extras import require
from convnet.train import fit, outputs_of

SIZE = 64
CROP = 56


def draw_face(rng, smiling):
    """(3, 64, 64) uint8: a face of random colours, place and size, its mouth up or down."""
    from PIL import Image, ImageDraw

    def colour(low, high):
        return tuple(int(v) for v in rng.integers(low, high, 3))

    big = 4 * SIZE  # drawn large and made smaller: smooth edges
    picture = Image.new("RGB", (big, big), colour(60, 255))
    pen = ImageDraw.Draw(picture)
    cx, cy = big / 2 + rng.uniform(-20, 20, 2)
    w, h = rng.uniform(70, 95), rng.uniform(85, 110)
    pen.ellipse((cx - w, cy - h - 14, cx + w, cy + h - 20), fill=colour(10, 120))  # hair
    skin = np.array([225, 180, 150]) + rng.integers(-70, 30, 3)
    pen.ellipse((cx - 0.9 * w, cy - 0.8 * h, cx + 0.9 * w, cy + h), fill=tuple(map(int, skin)))
    for side in (-1, 1):
        x, y, r = cx + side * 0.4 * w, cy - 0.15 * h, rng.uniform(6, 12)
        pen.ellipse((x - 1.5 * r, y - r, x + 1.5 * r, y + r), fill="white")
        pen.ellipse((x - 0.6 * r, y - 0.6 * r, x + 0.6 * r, y + 0.6 * r), fill=colour(0, 120))
    pen.line((cx, cy, cx - 6, cy + 0.3 * h, cx + 6, cy + 0.3 * h), fill=colour(60, 140), width=5)
    bend, half, y = rng.uniform(14, 34), rng.uniform(34, 52), cy + 0.55 * h
    x = np.linspace(-1, 1, 30)
    curve = (1 - x**2 - 0.5) * bend * (1 if smiling else -1)
    points = [(cx + half * a, y + b) for a, b in zip(x, curve, strict=True)]
    pen.line(points, fill=(170, 40, 50), width=int(rng.integers(7, 13)), joint="curve")
    pixels = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS), np.float32)
    pixels = pixels + rng.normal(0, 8, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def drawn_faces(count, seed):
    """Faces (count, 3, 64, 64) and labels (count, 1) of 0 and 1 in turn."""
    require("this example", "PIL", extra="examples")
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = np.stack([draw_face(rng, bool(smiling)) for smiling in labels])
    return TensorDataset(images, labels.astype(np.float32)[:, None])


def celeba(folder: Path) -> Dataset:
    """The aligned faces and their attribute "Smiling"."""
    lines = (folder / "list_attr_celeba.txt").read_text().splitlines()
    column = lines[1].split().index("Smiling") + 1
    rows = [line.split() for line in lines[2:]]
    paths = [folder / "img_align_celeba" / row[0] for row in rows]
    labels = [np.float32([row[column] == "1"]) for row in rows]
    return ImageFiles(paths, labels, size=(SIZE, SIZE))


def centred(x, rng=None):
    """The middle of each image: what is evaluated on."""
    edge = (SIZE - CROP) // 2
    return ToFloat()(x[..., edge : edge + CROP, edge : edge + CROP])


def network(nn=nn):
    """The layers, in convnet.nn's or torch.nn's words: (N, 3, 56, 56) -> (N, 1)."""
    layers = []
    for before, after in ((3, 16), (16, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 1))


def main(arguments=None):
    """The test accuracy."""
    options = common.options(__doc__, arguments)
    if options.data:
        faces = celeba(options.data)
        train, test = Subset(faces, range(16000)), Subset(faces, range(16000, 18000))
    else:
        train = drawn_faces(128 if options.quick else 1500, options.seed)
        test = drawn_faces(64 if options.quick else 500, options.seed + 1)
    convnet.manual_seed(options.seed)
    model = network()
    loader = DataLoader(
        train,
        batch_size=32,
        shuffle=True,
        num_workers=1,
        transform=Compose([ToFloat(), RandomCrop(CROP), RandomHorizontalFlip(), Contrast(0.3)]),
        generator=options.seed,
    )
    history = fit(
        model,
        loader,
        optimizer=optim.Adam(model.parameters(), lr=1e-3),
        criterion=nn.BCEWithLogitsLoss(),
        epochs=1 if options.quick else 6,
        validation=DataLoader(test, 100, transform=centred),
        validation_name="test",
    )
    result = history[-1]["test_accuracy"]
    print(f"{100 * result:.1f} % of {len(test):,} test faces right")
    faces, labels = next(iter(DataLoader(test, 16)))
    logits = outputs_of(model, centred(faces.data))[:, 0]
    figure, axes = common.panels(2, 8, width=1.1, height=1.35)
    for cell, face, label, logit in zip(
        axes.flat, faces.data, labels.data[:, 0], logits, strict=False
    ):
        share = 100 / (1 + np.exp(-float(logit)))
        common.show(cell, face.transpose(1, 2, 0))
        right = (logit > 0) == (label > 0.5)
        colour = "black" if right else common.RED
        cell.set_title(f"smiles: {share:.0f} %", fontsize=8, color=colour)
    common.write(figure, options.out, "faces_cnn.png")
    return result


if __name__ == "__main__":
    main()
