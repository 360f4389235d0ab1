"""Adaline: one linear unit, trained by full-batch, online and mini-batch gradient descent.

    cost = mean (w.x + b - target)^2        w -= eta * dcost/dw        b -= eta * dcost/db

on two of the flowers in scikit-learn's iris, targets -1 and 1, features standardised. The gradient
is taken over all flowers, over one, or over ten at a time. Widrow, Hoff 1960.
"""

import common
import numpy as np
from convnet import ops
from convnet.data import DataLoader, TensorDataset
from convnet.extras import require

WAYS = {  # name: flowers in a step, learning rate
    "full batch": (100, 0.1),
    "mini-batches of 10": (10, 0.05),
    "online": (1, 0.01),
}


def flowers():
    """(100, 2) sepal and petal length, standardised, and -1 (setosa) or 1 (versicolor)."""
    require("this example", "sklearn", extra="examples")
    from sklearn.datasets import load_iris

    iris = load_iris()
    x = iris.data[:100, [0, 2]]
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    return x, np.where(iris.target[:100] == 0, -1, 1).astype(np.float32)[:, None]


def train(x, target, batch, eta, epochs, seed):
    """Weights, bias and the cost over all flowers after each epoch."""
    w, b = np.zeros((1, 2), np.float32), np.zeros(1, np.float32)
    loader = DataLoader(TensorDataset(x, target), batch, shuffle=True, generator=seed)
    costs = []
    for _ in range(epochs):
        for some, wanted in loader:
            answer = ops.linear(some.data, w, b)
            dy = ops.mse_loss_backward(answer, wanted.data)
            _, dw, db = ops.linear_backward(dy, some.data, w, needs=(False, True, True))
            w -= np.float32(eta) * dw
            b -= np.float32(eta) * db
        costs.append(float(ops.mse_loss(ops.linear(x, w, b), target)))
    return w, b, costs


def main(arguments=None):
    """The last cost by each way."""
    options = common.options(__doc__, arguments)
    x, target = flowers()
    epochs = 5 if options.quick else 25
    figure, axes = common.panels(1, 2, width=4)
    last = {}
    colours = (common.BLUE, common.GREEN, common.RED)
    for (name, (batch, eta)), colour in zip(WAYS.items(), colours, strict=True):
        w, b, costs = train(x, target, batch, eta, epochs, options.seed)
        right = float(((ops.linear(x, w, b) > 0) == (target > 0)).mean())
        print(f"{name}: cost {costs[-1]:.4f} after {epochs} epochs, {100 * right:.0f} % right")
        label = f"{name}, $\\eta$ = {eta}"
        axes[0, 0].plot(range(1, epochs + 1), costs, color=colour, label=label)
        last[name] = costs[-1]
    axes[0, 0].set_xlabel("epoch")
    axes[0, 0].set_ylabel("mean squared error")
    axes[0, 0].set_yscale("log")
    axes[0, 0].legend(fontsize=8)
    for answer, colour, label in ((-1, common.BLUE, "setosa"), (1, common.RED, "versicolor")):
        axes[0, 1].scatter(*x[target[:, 0] == answer].T, s=12, color=colour, label=label)
    line = np.array([-2, 2.5])
    axes[0, 1].plot(line, -(b[0] + w[0, 0] * line) / w[0, 1], color=common.GREY, label="boundary")
    axes[0, 1].set_xlabel("sepal length (standardised)")
    axes[0, 1].set_ylabel("petal length (standardised)")
    axes[0, 1].legend(fontsize=8)
    common.write(figure, options.out, "adaline.png")
    return last


if __name__ == "__main__":
    main()
