"""Picture files as data sets; Pillow reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnet.data.dataset import Dataset
from convnet.extras import require

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MODES = {"RGB": 3, "L": 1}


class ImageFiles(Dataset):
    """Picture files and a label each: item i is (image (C, H, W) uint8, labels[i]).

    size : (H, W) to resize to, or None to keep each picture's (they must then agree in a batch)
    mode : "RGB" or "L" (grey)
    ImportError without Pillow; ValueError when a file is no picture, OSError when it is not there.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        labels: Sequence[Any],
        size: tuple[int, int] | None = None,
        mode: str = "RGB",
    ) -> None:
        require("reading pictures", "PIL")
        if len(paths) != len(labels):
            raise ValueError(f"labels: expected {len(paths)}, one a path, got {len(labels)}")
        if mode not in _MODES:
            raise ValueError(f"mode: expected one of {', '.join(_MODES)}, got {mode!r}")
        self.paths = [Path(p) for p in paths]
        self.labels, self.size, self.mode = list(labels), size, mode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        from PIL import Image, UnidentifiedImageError

        path = self.paths[index]
        try:
            with Image.open(path) as opened:
                picture = opened.convert(self.mode)
        except UnidentifiedImageError as error:
            raise ValueError(f"{path}: not a picture that Pillow can read") from error
        if self.size is not None:
            picture = picture.resize(self.size[::-1], Image.Resampling.BILINEAR)
        pixels = np.array(picture)
        return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), self.labels[index]


class ImageFolder(ImageFiles):
    """Pictures in a folder for each class: root/<class>/.../<picture>.

    classes : the folders' names, sorted; a label is a class's place in it (class_to_idx)
    ValueError when root holds no such folders, or one of them no picture.
    """

    def __init__(
        self, root: str | Path, size: tuple[int, int] | None = None, mode: str = "RGB"
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder")
        self.classes = sorted(p.name for p in root.iterdir() if p.is_dir())
        if not self.classes:
            raise ValueError(f"{root}: expected a folder for each class, found none")
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        paths: list[Path] = []
        labels: list[int] = []
        for name, i in self.class_to_idx.items():
            found = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in ENDINGS)
            if not found:
                raise ValueError(f"{root / name}: holds no picture ({', '.join(ENDINGS)})")
            paths += found
            labels += [i] * len(found)
        super().__init__(paths, labels, size, mode)
