"""Draws every picture of the site into docs/pictures: python docs/pictures.py [name ...]

The examples' pictures at full size (some minutes), the padding modes, the search for a rate.
"""

import runpy
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import common  # noqa: E402

X, ZERO, FIRST, LAST = "#c6dbef", "#f0f0f0", common.BLUE, common.RED


def cells(axes, y, first, count, colour, texts):
    """A row of squares from `first` on, with their texts."""
    from matplotlib.patches import Rectangle

    for i in range(count):
        axes.add_patch(Rectangle((first + i, y), 1, 1, facecolor=colour, edgecolor="white", lw=2))
        axes.text(first + i + 0.5, y + 0.5, texts[i], ha="center", va="center", fontsize=9)


def windows(axes, y, places, taps, dilation):
    """The first and the last window, as brackets whose dots are the taps."""
    for place, colour, level in ((places[0], FIRST, 0), (places[-1], LAST, 1)):
        row = y - 0.35 - 0.45 * level
        at = [place + 0.5 + t * dilation for t in range(taps)]
        axes.plot(at, [row] * taps, "o-", color=colour, markersize=5, lw=1.5)


def padding_row(axes, n, taps, mode, stride, dilation, y):
    """One line: inputs a, b, ... with their zeros, and two windows below."""
    from convnet.shapes import conv_dims

    how = {"stride": stride, "padding": mode, "dilation": dilation, "groups": 1, "rank": 1}
    dims = conv_dims((1, 1, n), (1, 1, taps), **how)
    low, high, out = dims.pad_low[0], max(0, dims.pad_high[0]), dims.out_size[0]
    cells(axes, y, -low, low, ZERO, ["0"] * low)
    cells(axes, y, 0, n, X, [chr(ord("a") + i) for i in range(n)])
    cells(axes, y, n, high, ZERO, ["0"] * high)
    windows(axes, y, [-low + i * stride for i in range(out)], taps, dilation)
    axes.text(-4.3, y + 0.5, f'"{mode}"', ha="right", va="center", fontsize=10)
    text = f"{low} + {high} zeros, {out} output{'s' if out > 1 else ''}"
    axes.text(n + 4.3, y + 0.5, text, va="center", fontsize=9)


def padding():
    """Three pictures: stride 1, stride 2, dilation 2."""
    for name, n, taps, stride, dilation in (
        ("padding_stride_1", 5, 4, 1, 1),
        ("padding_stride_2", 6, 3, 2, 1),
        ("padding_dilation_2", 6, 3, 1, 2),
    ):
        figure, axes = common.panels(1, 1, width=7, height=2.6)
        axes = axes[0, 0]
        for y, mode in zip((4.4, 2.2, 0), ("valid", "same", "full"), strict=True):
            padding_row(axes, n, taps, mode, stride, dilation, y)
        axes.set_xlim(-6.5, n + 10)
        axes.set_ylim(-1.2, 5.6)
        axes.set_aspect("equal")
        axes.axis("off")
        common.write(figure, DOCS / "pictures", f"{name}.png")


def rate_search():
    """The search of the digits' MLP."""
    import convnet
    from convnet import optim
    from convnet.data import DataLoader, TensorDataset
    from convnet.train import find_learning_rate

    convnet.manual_seed(0)
    model = runpy.run_path(str(EXAMPLES / "mnist_mlp_adam.py"))["network"]()
    loader = DataLoader(TensorDataset(*common.digits()[0]), 64, shuffle=True, generator=0)
    search = find_learning_rate(model, loader, optim.Adam(model.parameters()))
    search.plot(DOCS / "pictures" / "rate_search.png")


def small(source, target):
    """The picture in 96 colours: a quarter of the bytes."""
    from PIL import Image

    with Image.open(source) as picture:
        picture.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(target, optimize=True)


def main(names):
    """Draw all, or those named."""
    own = {"padding": padding, "rate_search": rate_search}
    (DOCS / "pictures").mkdir(exist_ok=True)
    examples = sorted(p.stem for p in EXAMPLES.glob("*.py") if p.stem != "common")
    for name in names or [*own, *examples]:
        print(f"== {name}", flush=True)
        if name in own:
            own[name]()
            continue
        with tempfile.TemporaryDirectory() as folder:  # beside the picture some leave other files
            runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](["--out", folder])
            small(Path(folder) / f"{name}.png", DOCS / "pictures" / f"{name}.png")
    for picture in sorted((DOCS / "pictures").glob("*.png")):
        if picture.stat().st_size > 80_000:
            sys.exit(f"{picture}: {picture.stat().st_size} bytes, at most 80,000 are wanted")


if __name__ == "__main__":
    main(sys.argv[1:])
