"""Convolution in 1-D and 2-D by loops, against convnet, NumPy and SciPy.

    y[i] = sum over j of x[j] w[i - j]          the kernel is flipped; "cross-correlation" without

With n inputs, m taps, padding p at each end and stride s there are floor((n + 2p - m)/s) + 1
outputs. "full" pads by m - 1, "same" so that n outputs remain, "valid" not at all.
"""

import common
import numpy as np
from convnet import ops
from convnet.extras import require

PADDING = {"full": lambda m: m - 1, "same": lambda m: m // 2, "valid": lambda m: 0}


def output_size(n, m, padding, stride):
    """floor((n + 2p - m)/s) + 1."""
    return (n + 2 * padding - m) // stride + 1


def convolve_1d(x, w, padding=0, stride=1):
    """By the definition: flip the kernel, slide it, multiply and add."""
    flipped, padded = w[::-1], np.pad(x, padding)
    size = output_size(len(x), len(w), padding, stride)
    return np.array([padded[i * stride : i * stride + len(w)] @ flipped for i in range(size)])


def convolve_2d(x, w, padding=0, stride=1):
    """The same along two axes."""
    flipped, padded = w[::-1, ::-1], np.pad(x, padding)
    rows, columns = (
        output_size(n, m, padding, stride) for n, m in zip(x.shape, w.shape, strict=True)
    )
    y = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            y[i, j] = (padded[top : top + w.shape[0], left : left + w.shape[1]] * flipped).sum()
    return y


def picture(size):
    """A disc and a bar, 0 to 1."""
    i, j = np.mgrid[:size, :size] / size
    disc = np.hypot(i - 0.4, j - 0.4) < 0.25
    return (disc | ((i > 0.75) & (i < 0.85))).astype(np.float64)


def main(arguments=None):
    """The largest difference between the loops and all the others."""
    options = common.options(__doc__, arguments)
    require("this example", "scipy", extra="examples")
    from scipy.signal import convolve2d

    rng = np.random.default_rng(options.seed)
    x, w = rng.standard_normal(9), rng.standard_normal(3)
    image, kernel = rng.standard_normal((8, 7)), rng.standard_normal((3, 3))
    worst = 0.0
    for mode, padding in PADDING.items():
        by_hand = convolve_1d(x, w, padding(3))
        others = [np.convolve(x, w, mode), ops.convolve(x, w, mode)]
        by_hand_2d = convolve_2d(image, kernel, padding(3))
        others_2d = [convolve2d(image, kernel, mode), ops.convolve(image, kernel, mode)]
        # a layer is a cross-correlation of batches of channels: flipped by hand it is the same
        flipped = np.ascontiguousarray(kernel[::-1, ::-1])[None, None]
        others_2d.append(ops.conv2d(image[None, None], flipped, padding=mode)[0, 0])
        difference = max(
            *(abs(by_hand - y).max() for y in others),
            *(abs(by_hand_2d - y).max() for y in others_2d),
        )
        worst = max(worst, difference)
        print(
            f"{mode:5}: 9 * 3 -> {len(by_hand)}, {image.shape} * (3, 3) -> {by_hand_2d.shape}, "
            f"largest difference {difference:.1e}"
        )
    for stride in (1, 2, 3):
        strided = convolve_2d(image, kernel, 1, stride)
        y = ops.conv2d(image[None, None], flipped, padding=1, stride=stride)[0, 0]
        worst = max(worst, abs(strided - y).max())
        print(f"stride {stride}: {strided.shape}, largest difference {abs(strided - y).max():.1e}")
    drawn = picture(32 if options.quick else 64)
    edges = {
        "vertical edges": np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]),
        "horizontal edges": np.array([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]),
        "blur": np.full((7, 7), 1 / 49),
    }
    figure, axes = common.panels(1, 4, width=2.4, height=2.6)
    common.show(axes[0, 0], drawn, "picture")
    for cell, (name, filter) in zip(axes[0, 1:], edges.items(), strict=True):
        y = ops.convolve(drawn, filter, "same")
        limit = abs(y).max()
        how = {"cmap": "RdBu", "vmin": -limit, "vmax": limit} if "edges" in name else {}
        common.show(cell, y, f"{name}, {filter.shape[0]}x{filter.shape[1]}", **how)
    common.write(figure, options.out, "convolution_by_hand.png")
    return worst


if __name__ == "__main__":
    main()
