"""Arrays from .npz and .npy files, without pickles."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def read_npz(path: str | Path, *names: str) -> Any:
    """The arrays of these names in an .npz file, as a tuple; all of them as a dict without names.

    One array, say of Keras's mnist.npz: x, y = read_npz("mnist.npz", "x_train", "y_train"). Raises
    FileNotFoundError, KeyError that lists what is there, and ValueError for a file that is damaged
    or holds Python objects (their pickles could run code). For an array that is larger than memory
    keep it as .npy and use numpy.load(path, mmap_mode="r").
    """
    path = Path(path)
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise KeyError(
                    f"{path}: holds no {', '.join(missing)}; it has {', '.join(file.files)}"
                )
            if names:
                return tuple(file[name] for name in names)
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not an .npz file of plain arrays ({error})") from error
