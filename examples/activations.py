"""Sigmoid, tanh, ReLU and softmax with their derivatives, and what they do to deep gradients.

The gradient of a layer is that of the next one times the weights and the activation's derivative.
Sigmoid's is at most 1/4, so that a gradient shrinks with every layer on its way back; ReLU's is 1
or 0. Weights by Glorot and Bengio 2010 (sigmoid, tanh) and He and others 2015 (ReLU).
"""

import common
import numpy as np
from convnet import ops

CURVES = {
    "sigmoid": (ops.sigmoid, ops.sigmoid_backward, common.BLUE),
    "tanh": (ops.tanh, ops.tanh_backward, common.GREEN),
    "relu": (ops.relu, ops.relu_backward, common.RED),
}


def gradients(name, layers, width, rng):
    """The mean size of the gradient at each layer's input, for a gradient of 1 at the end."""
    forward, backward, _ = CURVES[name]
    scale = np.sqrt((2 if name == "relu" else 1) / width)
    weights = [rng.normal(0, scale, (width, width)) for _ in range(layers)]
    x = rng.standard_normal((64, width))
    outputs = [x := forward(ops.linear(x, w)) for w in weights]
    dx, sizes = rng.standard_normal(x.shape), []
    for w, y in zip(reversed(weights), reversed(outputs), strict=True):
        dx = ops.matmul(backward(dx, y), w)
        sizes.append(float(abs(dx).mean()))
    return sizes[::-1]


def main(arguments=None):
    """The gradient at the first layer over that at the last, by activation."""
    options = common.options(__doc__, arguments)
    layers, width = (6, 32) if options.quick else (20, 128)
    z = np.linspace(-5, 5, 201)
    figure, axes = common.panels(1, 4, width=2.9)
    ratios = {}
    for name, (forward, backward, colour) in CURVES.items():
        y = forward(z)
        axes[0, 0].plot(z, y, color=colour, label=name)
        axes[0, 1].plot(z, backward(np.ones_like(z), y), color=colour, label=name)
        sizes = gradients(name, layers, width, np.random.default_rng(options.seed))
        axes[0, 3].plot(range(1, layers + 1), sizes, ".-", color=colour, label=name)
        ratios[name] = sizes[0] / sizes[-1]
        print(f"{name}: the gradient at layer 1 of {layers} is {ratios[name]:.1e} of the last's")
    logits = np.stack([z, np.zeros_like(z), np.full_like(z, 1.0)], 1)
    for k, label in enumerate(("z", "0", "1")):
        style = ("-", "--", ":")[k]
        axes[0, 2].plot(z, ops.softmax(logits)[:, k], style, color=common.BLUE, label=label)
    axes[0, 2].legend(title="logit", fontsize=7, title_fontsize=7)
    titles = ("activation", "derivative", "softmax of (z, 0, 1)", "gradient on the way back")
    for cell, title in zip(axes.flat, titles, strict=True):
        cell.set_title(title, fontsize=9)
        cell.set_xlabel("z")
        cell.grid(alpha=0.3)
    axes[0, 0].set_ylim(-1.2, 2)
    axes[0, 3].set_yscale("log")
    axes[0, 3].set_xlabel("layer")
    for cell in axes.flat[:2], axes.flat[3:]:
        for one in cell:
            one.legend(fontsize=7)
    common.write(figure, options.out, "activations.png")
    return ratios


if __name__ == "__main__":
    main()
