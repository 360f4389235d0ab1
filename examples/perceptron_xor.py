"""The perceptron rule learns OR and cannot learn XOR; two layers can.

A perceptron says 1 where w.x + b > 0, and after each example moves by the error:

    w += eta * (target - answer) * x        b += eta * (target - answer)

No line separates XOR's four points, so that the rule never comes to rest. With a hidden layer of
four units between, gradient descent finds an answer. Rosenblatt 1958; Minsky, Papert 1969.
"""

import common
import convnet
import numpy as np
from convnet import nn, optim

POINTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
TARGETS = {"OR": np.array([0, 1, 1, 1]), "XOR": np.array([0, 1, 1, 0])}


def perceptron(targets, epochs, eta=0.1):
    """Weights, bias, and the number of mistakes in each epoch."""
    w, b, mistakes = np.zeros(2, np.float32), 0.0, []
    for _ in range(epochs):
        mistakes.append(0)
        for x, target in zip(POINTS, targets, strict=True):
            error = target - int(w @ x + b > 0)
            w, b = w + eta * error * x, b + eta * error
            mistakes[-1] += abs(int(error))
        if not mistakes[-1]:
            break
    return w, b, mistakes


def two_layers(targets, steps):
    """A function from points (N, 2) to numbers above 0 where the answer is 1."""
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer, criterion = optim.Adam(model.parameters(), lr=0.05), nn.MSELoss()
    wanted = nn.Tensor((2.0 * targets - 1).astype(np.float32)[:, None])  # -1 and 1
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(model(nn.Tensor(POINTS)), wanted).backward()
        optimizer.step()
    return lambda x: model(nn.Tensor(x)).numpy()[:, 0]


def draw(axes, decide, targets, title):
    grid = np.linspace(-0.5, 1.5, 101, dtype=np.float32)
    xy = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    axes.contourf(grid, grid, (decide(xy) > 0).reshape(101, 101), cmap="coolwarm", alpha=0.3)
    for answer, colour, marker in ((0, common.BLUE, "o"), (1, common.RED, "s")):
        axes.scatter(*POINTS[targets == answer].T, color=colour, marker=marker, s=70)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")


def main(arguments=None):
    """Right answers of XOR's four: (one layer, two layers)."""
    options = common.options(__doc__, arguments)
    convnet.manual_seed(options.seed)
    figure, axes = common.panels(1, 3)
    right = {}
    for cell, (name, targets) in zip(axes.flat, TARGETS.items(), strict=False):
        w, b, mistakes = perceptron(targets, 20)
        right[name] = int(((POINTS @ w + b > 0) == targets).sum())
        end = "at rest" if not mistakes[-1] else "never at rest"
        print(f"{name}, one layer: {right[name]} of 4 after {len(mistakes)} epochs, {end}")
        title = f"{name}, one layer: {right[name]} of 4\n{len(mistakes)} epochs, {end}"
        draw(cell, lambda x, w=w, b=b: x @ w + b, targets, title)
    decide = two_layers(TARGETS["XOR"], 300)
    both = int(((decide(POINTS) > 0) == TARGETS["XOR"]).sum())
    print(f"XOR, two layers: {both} of 4")
    draw(axes[0, 2], decide, TARGETS["XOR"], f"XOR, two layers: {both} of 4\n2-4-1, tanh")
    common.write(figure, options.out, "perceptron_xor.png")
    return right["XOR"], both


if __name__ == "__main__":
    main()
