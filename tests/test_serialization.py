"""Weights files: round trips, exchange with torch, interruptions, damaged and foreign files."""

import os
import pickle

import convnet
import numpy as np
import pytest
from convnet import nn, serialization

STATE = {
    "a.weight": np.arange(6.0).reshape(2, 3),
    "a.count": np.array(7),
    "b": np.array([True, False]),
    "c": np.zeros((0, 3), np.float32),
}


def model():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("metadata", [None, {"note": "text"}])
def test_round_trip(tmp_path, metadata):
    path = tmp_path / "w.safetensors"
    convnet.save(STATE, path, metadata=metadata)
    loaded = convnet.load(str(path))
    same(dict(sorted(loaded.items())), dict(sorted(STATE.items())))
    assert all(type(a) is np.ndarray and a.flags.writeable for a in loaded.values())
    assert convnet.load(path, with_metadata=True)[1] == (metadata or {})
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_arrays_of_any_memory_order(tmp_path):
    a = np.arange(24.0).reshape(2, 3, 4)
    views = {"t": a.T, "r": a[::-1], "s": a[..., ::2], "l": np.moveaxis(a.copy(), -1, 1)}
    convnet.save(views, tmp_path / "w")
    for name, loaded in convnet.load(tmp_path / "w").items():
        np.testing.assert_array_equal(loaded, views[name])


def test_exchange_with_torch(tmp_path):
    torch = pytest.importorskip("torch")
    st = pytest.importorskip("safetensors.torch")
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(),
        torch.nn.Linear(12, 2),
    )  # fmt: skip
    ours = model()
    x = np.random.default_rng(0).standard_normal((5, 1, 4, 4)).astype(np.float32)
    theirs(torch.from_numpy(x))  # moves the running statistics
    st.save_file(theirs.state_dict(), tmp_path / "theirs")
    ours.load_state_dict(convnet.load(tmp_path / "theirs"))
    assert ours[1].num_batches_tracked.item() == 1
    assert ours[1].num_batches_tracked.dtype == np.int64
    np.testing.assert_allclose(
        ours.eval()(x), theirs.eval()(torch.from_numpy(x)).detach(), atol=1e-6
    )
    ours.train()(x)
    convnet.save(ours.state_dict(), tmp_path / "ours")
    theirs.load_state_dict(st.load_file(tmp_path / "ours"))
    assert theirs[1].num_batches_tracked == 2
    np.testing.assert_allclose(
        ours.eval()(x), theirs.eval()(torch.from_numpy(x)).detach(), atol=1e-6
    )


@pytest.mark.parametrize("broken", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_interrupted_save_leaves_the_old_file_whole(tmp_path, monkeypatch, broken, error):
    path = tmp_path / "w"
    convnet.save(STATE, path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(error):
        convnet.save({"x": np.ones(1000)}, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file_and_are_kept(tmp_path):
    plain, path = tmp_path / "plain", tmp_path / "w"
    plain.write_text("")
    convnet.save(STATE, path)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    convnet.save(STATE, path)
    assert path.stat().st_mode & 0o777 == 0o640


class Evil:
    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_are_refused_and_not_run(tmp_path, protocol):
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"a": Evil()}, protocol))
    with pytest.raises(ValueError, match=r"w\.pt: a pickle, .* pickles can run code"):
        convnet.load(path)


def test_files_of_torch_save_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.pt"
    for new in (True, False):
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=new)
        with pytest.raises(ValueError, match=r"a pickle, as torch\.save writes it"):
            convnet.load(path)


def test_truncated_anywhere(tmp_path):
    path = tmp_path / "w"
    convnet.save(STATE, path)
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 20, len(content) - 40, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"w: (not a|truncated or damaged) safetensors file"):
            convnet.load(path)
    path.write_bytes(content + b"more")
    with pytest.raises(ValueError, match="truncated or damaged"):
        convnet.load(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n12345", b"text, not weights", b"\0" * 50])
def test_foreign_files(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match="w: not a safetensors file"):
        convnet.load(tmp_path / "w")


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "w"
    with pytest.raises(TypeError, match="state_dict: expected a dict of arrays, got list"):
        convnet.save([np.ones(2)], path)
    with pytest.raises(TypeError, match=r"state_dict\['a'\]: expected an array, got str"):
        convnet.save({"a": "text"}, path)
    with pytest.raises(TypeError, match=r"state_dict\['a'\]: expected numbers, got complex128"):
        convnet.save({"a": np.ones(2, complex)}, path)
    with pytest.raises(TypeError, match="expected texts for names, got 3"):
        convnet.save({3: np.ones(2)}, path)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        convnet.load(path)
    with pytest.raises(FileNotFoundError):
        convnet.save(STATE, tmp_path / "nowhere" / "w")
    assert serialization.load is convnet.load


def test_names_and_arrays_that_no_file_can_hold(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ValueError, match="'__metadata__' is the format's own"):
        convnet.save({"__metadata__": np.ones(2)}, path)
    with pytest.raises(TypeError, match=r"state_dict\['w'\]: got a masked array; fill it first"):
        convnet.save({"w": np.ma.array([1.0, 2.0], mask=[0, 1])}, path)
    assert not path.exists()


def test_link_stays_and_its_file_is_replaced(tmp_path):
    file, link = tmp_path / "file.safetensors", tmp_path / "link.safetensors"
    convnet.save({"w": np.ones(2)}, file)
    link.symlink_to(file)
    convnet.save({"w": np.zeros(2)}, link)
    assert link.is_symlink()
    np.testing.assert_array_equal(convnet.load(file)["w"], [0, 0])
