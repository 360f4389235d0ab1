"""Readers of .npz files and of folders of pictures."""

import sys

import numpy as np
import pytest
from convnet.data import DataLoader, ImageFiles, ImageFolder, read_npz
from convnet.data.transforms import ToFloat


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(6).reshape(2, 3), y=np.float32([1, 2]))
    x, y = read_npz(path, "x", "y")
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert y.dtype == np.float32
    assert set(read_npz(path)) == {"x", "y"}
    with pytest.raises(KeyError, match="holds no z; it has x, y"):
        read_npz(path, "x", "z")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_npz_that_is_none(tmp_path):
    objects = tmp_path / "objects.npz"
    np.savez(objects, x=np.array([{}, 1], object))
    single = tmp_path / "single.npy"
    np.save(single, np.zeros(3))
    whole = tmp_path / "whole.npz"
    np.savez(whole, x=np.arange(1000))
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[:-200])
    text = tmp_path / "text.npz"
    text.write_text("no arrays")
    empty = tmp_path / "empty.npz"
    empty.touch()
    for path in (objects, single, cut, text, empty):
        with pytest.raises(ValueError, match=f"{path.name}: not an .npz file of plain arrays"):
            read_npz(path, "x")


@pytest.fixture
def folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, colour, count in (("dog", (255, 0, 0), 2), ("cat", (0, 0, 255), 3)):
        inner = tmp_path / "pictures" / name / "inner"
        inner.mkdir(parents=True)
        for i in range(count):
            image.new("RGB", (8 + i, 6), colour).save(inner / f"{i}.PNG")
        (inner / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def test_image_folder(folder):
    data = ImageFolder(folder, size=(4, 5))
    assert data.classes == ["cat", "dog"]
    assert data.class_to_idx == {"cat": 0, "dog": 1}
    assert len(data) == 5
    image, label = data[3]
    assert (image.shape, image.dtype, label) == ((3, 4, 5), np.uint8, 1)
    assert (image[0] == 255).all()
    assert (image[1:] == 0).all()
    (x, y), *_ = DataLoader(data, 5, num_workers=2, transform=ToFloat())
    assert x.shape == (5, 3, 4, 5)
    assert y.tolist() == [0, 0, 0, 1, 1]
    grey = ImageFolder(folder, mode="L")
    assert grey[1][0].shape == (1, 6, 9)


def test_bad_folders(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ImageFolder(tmp_path / "nowhere")
    (folder / "bird").mkdir()
    with pytest.raises(ValueError, match="bird: holds no picture"):
        ImageFolder(folder)
    (folder / "bird" / "a.png").write_text("text")
    with pytest.raises(ValueError, match=r"a\.png: not a picture"):
        ImageFolder(folder)[0]
    with pytest.raises(ValueError, match="a folder for each class"):
        ImageFolder(folder / "bird")
    with pytest.raises(ValueError, match="labels: expected 1"):
        ImageFiles(["a.png"], [])
    with pytest.raises(ValueError, match="mode: expected one of RGB, L"):
        ImageFiles(["a.png"], [1], mode="CMYK")


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr("convnet.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs Pillow: pip install "convnet-kernels\[demo\]"'):
        ImageFiles([], [])
