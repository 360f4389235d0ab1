"""IDX files: what is read, and what is refused with the file's name."""

import gzip
import struct

import numpy as np
import pytest
from convnet.data.idx import read_idx, read_images_and_labels


def idx_bytes(array, kind=0x08, dtype=">u1"):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.astype(dtype).tobytes()


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")],
)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gz"])
def test_round_trip(tmp_path, kind, dtype, compress):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = idx_bytes(array, kind, ">" + dtype)
    path = tmp_path / "file"  # compressed or not shows in the content, not in the name
    path.write_bytes(gzip.compress(content) if compress else content)
    read = read_idx(path)
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


GOOD = idx_bytes(np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"bad magic number \(empty file\)"),
        (b"\x89PNG\r\n", "not an IDX file: bad magic number 89 50 4e 47"),
        (b"\0\0\x07\x01" + GOOD[4:], "bad magic number 00 00 07 01"),
        (b"\0\0\x08\x00" + GOOD[4:], "bad magic number 00 00 08 00"),
        (GOOD[:10], "truncated: it ends within its header"),
        (GOOD[:-1], r"truncated: its header promises 24 bytes for shape \(2, 3, 4\), it holds 23"),
        (GOOD + b"\0", "too long: its header promises 24 bytes"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated: its header promises 79228162458924105385300"),
        (gzip.compress(GOOD)[:-9], "damaged gzip data"),
        (gzip.compress(GOOD)[:20] + b"\xff" * 30, "damaged gzip data"),
        (gzip.compress(GOOD[:-1]), "truncated: its header promises 24 bytes"),
    ],
)
def test_bad_file(tmp_path, content, match):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_parts_of_a_data_set(tmp_path):
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    labels = np.array([2, 0, 1], np.uint8)
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    got_images, got_labels = read_images_and_labels(tmp_path, "t10k")
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)
    with pytest.raises(FileNotFoundError, match="holds no train-images-idx3-ubyte, plain"):
        read_images_and_labels(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        read_images_and_labels(tmp_path / "nowhere", "train")


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (np.zeros((3, 2, 2)), np.zeros(4), "holds 3 images, .* 4 labels"),
        (np.zeros((3, 4)), np.zeros(3), "expected 3 dimensions of uint8, got 2"),
        (np.zeros((3, 2, 2)), np.zeros((3, 1)), "expected 1 dimensions of uint8, got 2"),
    ],
)
def test_parts_that_do_not_fit(tmp_path, images, labels, match):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(ValueError, match=match):
        read_images_and_labels(tmp_path, "train")
