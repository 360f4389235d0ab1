"""A 784-h-10 network written on convnet.ops alone: forward, backward and update by hand.

    h = sigmoid(x W1' + b1)        y = sigmoid(h W2' + b2)        x (N, 784)  h (N, h)  y (N, 10)
    delta_out = dcost/dz_out       delta_h = (delta_out W2) h (1 - h)
    dW2 = delta_out' h             dW1 = delta_h' x

Targets are one-hot. The cost of an image is the squared error, whose delta_out is 2 (y - t) y (1 -
y), or the logistic cost, whose delta_out is y - t; both with l2/2 * (|W1|^2 + |W2|^2) beside the
mean. NeuralNet is an estimator as scikit-learn's are: fit, predict, score.
"""

import common
import numpy as np
from convnet import ops
from convnet.data import DataLoader, TensorDataset
from convnet.data.transforms import OneHot


class NeuralNet:
    """hidden : units    cost : "logistic" or "mse"    l2 : strength of the penalty of weights"""

    def __init__(
        self, hidden=100, cost="logistic", l2=1e-4, eta=0.5, epochs=30, batch_size=50, seed=0
    ):
        if cost not in ("logistic", "mse"):
            raise ValueError(f'cost: expected "logistic" or "mse", got {cost!r}')
        self.hidden, self.cost, self.l2, self.eta = hidden, cost, l2, eta
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed

    def _forward(self, x):
        h = ops.sigmoid(ops.linear(x, self.w1, self.b1))
        z = ops.linear(h, self.w2, self.b2)
        return h, z, ops.sigmoid(z)

    def _cost(self, z, y, t):
        """The mean over images of the sum over classes, with the penalty."""
        if self.cost == "mse":
            loss = ops.mse_loss(y, t, reduction="sum")
        else:
            loss = ops.bce_with_logits(z, t, reduction="sum")
        penalty = 0.5 * self.l2 * (float((self.w1**2).sum()) + float((self.w2**2).sum()))
        return float(loss) / len(t) + penalty

    def _step(self, x, t):
        """Backpropagation and one step of gradient descent; returns the cost before it."""
        h, z, y = self._forward(x)
        delta_out = y - t if self.cost == "logistic" else 2 * (y - t) * y * (1 - y)
        delta_out /= np.float32(len(x))
        delta_h = ops.matmul(delta_out, self.w2) * h * (1 - h)
        gradients = (
            ops.matmul(delta_h.T, x) + self.l2 * self.w1,
            delta_h.sum(0),
            ops.matmul(delta_out.T, h) + self.l2 * self.w2,
            delta_out.sum(0),
        )
        cost = self._cost(z, y, t)
        for p, g in zip((self.w1, self.b1, self.w2, self.b2), gradients, strict=True):
            p -= self.eta * g
        return cost

    def fit(self, x, labels, validation=None):
        """Train on images (N, pixels) in 0..1; history has cost, train and valid accuracy."""
        rng = np.random.default_rng(self.seed)
        classes = int(labels.max()) + 1
        self.w1 = rng.normal(0, 0.1, (self.hidden, x.shape[1])).astype(np.float32)
        self.w2 = rng.normal(0, 0.1, (classes, self.hidden)).astype(np.float32)
        self.b1, self.b2 = np.zeros(self.hidden, np.float32), np.zeros(classes, np.float32)
        loader = DataLoader(
            TensorDataset(x, labels),
            self.batch_size,
            shuffle=True,
            generator=self.seed,
            target_transform=OneHot(classes),
        )
        self.history = {"cost": [], "train": [], "valid": []}
        for _ in range(self.epochs):
            costs = [self._step(some.data, t.data) for some, t in loader]
            self.history["cost"].append(float(np.mean(costs)))
            self.history["train"].append(self.score(x, labels))
            if validation is not None:
                self.history["valid"].append(self.score(*validation))
        return self

    def predict(self, x):
        """The most probable class of each image."""
        return self._forward(x)[2].argmax(1)

    def score(self, x, labels):
        """The share of right answers."""
        return float((self.predict(x) == labels).mean())


def main(arguments=None):
    """The accuracy on the test images by each cost."""
    options = common.options(__doc__, arguments)
    (x, labels), (test_x, test_labels) = common.digits(options.quick)
    x, test_x = (images.reshape(len(images), -1) for images in (x, test_x))
    epochs = 4 if options.quick else 40
    nets = {}
    for cost, eta in (("logistic", 0.5), ("mse", 2.0)):
        net = NeuralNet(cost=cost, eta=eta, epochs=epochs, seed=options.seed)
        nets[cost] = net.fit(x, labels, validation=(test_x, test_labels))
        print(f"{cost} cost: {100 * net.score(test_x, test_labels):.1f} % of {len(test_x):,} right")
    figure, axes = common.panels(1, 3)
    for net, colour in zip(nets.values(), (common.BLUE, common.RED), strict=True):
        epoch = range(1, epochs + 1)
        axes[0, 0].plot(epoch, net.history["cost"], color=colour, label=net.cost)
        axes[0, 1].plot(epoch, net.history["train"], "--", color=colour, label=f"{net.cost}, train")
        axes[0, 1].plot(epoch, net.history["valid"], color=colour, label=f"{net.cost}, test")
    axes[0, 0].set_yscale("log")
    for cell, title in zip(axes[0], ("cost", "accuracy"), strict=False):
        cell.set_title(title, fontsize=9)
        cell.set_xlabel("epoch")
        cell.legend(fontsize=8)
    predicted = nets["logistic"].predict(test_x)
    count = int((predicted != test_labels).sum())
    title = f"logistic: {count} mistaken, some of them"
    common.mistakes(axes[0, 2], test_x, test_labels, predicted, title)
    common.write(figure, options.out, "mlp_from_scratch.png")
    return {cost: net.history["valid"][-1] for cost, net in nets.items()}


if __name__ == "__main__":
    main()
