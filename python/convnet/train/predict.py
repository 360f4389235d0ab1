"""`convnet predict`: the classes of images, by weights that `convnet train` wrote."""

import argparse
import json
from pathlib import Path

import numpy as np

import convnet
from convnet import nn, ops
from convnet.data.idx import read_idx
from convnet.extras import require
from convnet.train.command import METADATA
from convnet.train.digits import SIZE, as_input
from convnet.train.loop import outputs_of
from convnet.train.models import MODELS

BRIGHT = 127.5  # a mean brightness at the edge above this is paper, not ink


def main(options: argparse.Namespace) -> int:
    """Print a line an image: its name, the most probable class and the next one."""
    model = load_model(options.weights).to(options.device)
    for path in options.images:
        names, images, note = read_images(path)
        probabilities = ops.softmax(outputs_of(model, as_input(images)))
        for name, row in zip(names, probabilities, strict=True):
            first, second = np.argsort(-row, kind="stable")[:2]
            print(
                f"{name}: {first} ({100 * row[first]:.1f} %), "
                f"next {second} ({100 * row[second]:.1f} %){note}"
            )
    return 0


def load_model(path: str | Path) -> nn.Module:
    """The model that a weights file of `convnet train` holds.

    Raises ValueError when the file is damaged or names no model of convnet.train.
    """
    state, metadata = convnet.load(path, with_metadata=True)
    try:
        facts = json.loads(metadata[METADATA])
        build, classes = MODELS[facts["model"]], int(facts["classes"])
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: names none of the models {', '.join(MODELS)}; "
            f"expected a file that convnet train wrote"
        ) from error
    model = build(classes)
    model.load_state_dict(state)
    return model


def read_images(path: str | Path) -> tuple[list[str], np.ndarray, str]:
    """(names, images (N, 28, 28) uint8 white on black, a note) of an IDX file or a picture.

    Any name without a picture's ending is taken for an IDX file. Raises ValueError for what is
    neither, OSError for what cannot be read.
    """
    if Path(path).suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif"):
        image, note = read_picture(path)
        return [str(path)], image[None], note
    images = read_idx(path)
    if images.ndim != 3 or images.shape[1:] != (SIZE, SIZE) or images.dtype != np.uint8:
        raise ValueError(
            f"{path}: expected uint8 images of shape (N, {SIZE}, {SIZE}), "
            f"got {images.dtype} of {images.shape}"
        )
    return [f"{path}[{i}]" for i in range(len(images))], images, ""


def read_picture(path: str | Path) -> tuple[np.ndarray, str]:
    """A picture as (28, 28) uint8, white on black, and what was done to it.

    Transparency is put on white, colours become grey, the short side is filled with the edge's
    mean; a picture with a bright edge is taken for ink on paper and inverted.
    """
    require("convnet predict", "PIL")
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGBA")
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a picture that Pillow can read") from error
    paper = Image.new("RGBA", picture.size, "white")
    grey = Image.alpha_composite(paper, picture).convert("L")
    pixels = np.asarray(grey)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean()
    if grey.width != grey.height:
        side = max(grey.size)
        square = Image.new("L", (side, side), round(edge))
        square.paste(grey, ((side - grey.width) // 2, (side - grey.height) // 2))
        grey = square
    if grey.size != (SIZE, SIZE):
        grey = grey.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    image = np.asarray(grey)
    if edge > BRIGHT:
        return 255 - image, "  (bright edge: inverted)"
    return image, ""
