"""IDX files, the format of MNIST and Fashion-MNIST, plain or compressed with gzip.

    00 00 | type | number of sizes | sizes, uint32 | elements, last index fastest     (big-endian)

Source: "The IDX file format" at the end of LeCun, Cortes, Burges, "The MNIST database".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file, in native byte order; gzip is recognised by its content.

    Raises FileNotFoundError, and ValueError naming the file when its magic number is wrong or it
    holds fewer or more bytes than its header says.
    """
    path = Path(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _read(file, path)
        try:
            with gzip.open(file) as unzipped:
                return _read(unzipped, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip data ({error})") from error


def _read(file: BinaryIO, path: Path) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 8:
        raise ValueError(
            f"{path}: not an IDX file: bad magic number {magic.hex(' ') or '(empty file)'}, "
            f"expected 00 00, a type from 08 to 0e, a number of dimensions"
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise ValueError(f"{path}: truncated: it ends within its header")
    shape = struct.unpack(f">{magic[3]}I", header)
    dtype = np.dtype(_TYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    data = file.read()
    if len(data) != size:
        what = "truncated" if len(data) < size else "too long"
        raise ValueError(
            f"{path}: {what}: its header promises {size} bytes for shape {shape}, "
            f"it holds {len(data)}"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def read_images_and_labels(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W) and labels (N,), both uint8, of one part of a data set in a folder.

    part : "train" or "t10k", the beginning of the files' names as MNIST has them. Raises
    FileNotFoundError for a missing file, and ValueError when images and labels do not fit.
    """
    folder = Path(folder)
    images_path = _find(folder, f"{part}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels", "idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, ndim in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.ndim != ndim or array.dtype != np.uint8:
            raise ValueError(
                f"{path}: expected {ndim} dimensions of uint8, got {array.ndim} of {array.dtype}"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels: "
            f"they do not belong together"
        )
    return images, labels


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{dot}{kind}{end}" for end in ("", ".gz") for dot in ("-", ".")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    raise FileNotFoundError(f"{folder}: holds no {stem}-{kind}, plain or .gz")
