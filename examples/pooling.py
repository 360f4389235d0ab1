"""Max and mean pooling, apart and overlapping, and how much a small shift changes their result."""

import common
import numpy as np
from convnet import ops

POOLS = {
    "max 4x4": lambda x: ops.max_pool2d(x, 4),
    "max 4x4, stride 2": lambda x: ops.max_pool2d(x, 4, stride=2),
    "mean 4x4": lambda x: ops.avg_pool2d(x, 4),
    "mean 4x4, stride 2": lambda x: ops.avg_pool2d(x, 4, stride=2),
}


def by_hand(x, size, stride, of):
    """Pooling of one plane by loops."""
    rows, columns = ((n - size) // stride + 1 for n in x.shape)
    windows = [
        [x[i * stride : i * stride + size, j * stride : j * stride + size] for j in range(columns)]
        for i in range(rows)
    ]
    return np.array([[of(window) for window in row] for row in windows])


def main(arguments=None):
    """The relative change under a shift by one pixel: of the images, and after each pool."""
    options = common.options(__doc__, arguments)
    (images, _), _ = common.digits(options.quick)
    x = images[:200, None]
    first = images[0]
    worst = max(
        abs(by_hand(first, 4, stride, of) - pool(first[None, None])[0, 0]).max()
        for pool, stride, of in zip(
            POOLS.values(), (4, 2, 4, 2), (np.max, np.max, np.mean, np.mean), strict=True
        )
    )
    print(f"loops and convnet: largest difference {worst:.1e}")
    shifted = np.zeros_like(x)
    shifted[..., 1:] = x[..., :-1]

    def change(a, b):
        return float(np.linalg.norm(a - b) / np.linalg.norm(a))

    changes = {"none": change(x, shifted)}
    figure, axes = common.panels(1, 6, width=1.75, height=2.3)
    common.show(axes[0, 0], first, "28x28")
    for cell, (name, pool) in zip(axes[0, 1:5], POOLS.items(), strict=True):
        y = pool(x)
        changes[name] = change(y, pool(shifted))
        common.show(cell, y[0, 0], f"{name}\n{y.shape[2]}x{y.shape[3]}")
    for name, value in changes.items():
        print(f"pooling {name}: a shift by one pixel changes {100 * value:.0f} %")
    bars = axes[0, 5]
    names = [name.replace(", stride 2", "/2").replace(" 4x4", "") for name in changes]
    bars.barh(names[::-1], [100 * v for v in list(changes.values())[::-1]], color=common.BLUE)
    bars.set_title("change by a shift (%)", fontsize=9)
    bars.tick_params(labelsize=8)
    common.write(figure, options.out, "pooling.png")
    return changes


if __name__ == "__main__":
    main()
