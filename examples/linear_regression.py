"""Linear regression: by hand on ops, then with nn and optim; the model saved and loaded.

y = w x + b        cost = mean (y - target)^2        dw = mean 2 (y - target) x, db likewise
"""

import common
import convnet
import numpy as np
from convnet import nn, ops, optim
from convnet.data import DataLoader, TensorDataset
from convnet.train import fit

SLOPE, OFFSET = 1.7, 0.4


def by_hand(x, target, epochs, eta=0.1):
    """(w, b, costs) of full-batch gradient descent on ops alone."""
    w, b, costs = np.zeros((1, 1), np.float32), np.zeros(1, np.float32), []
    for _ in range(epochs):
        y = ops.linear(x, w, b)
        costs.append(float(ops.mse_loss(y, target)))
        _, dw, db = ops.linear_backward(ops.mse_loss_backward(y, target), x, w)
        w, b = w - eta * dw, b - eta * db
    return w.item(), b.item(), costs


def with_layers(x, target, epochs, seed):
    """(model, costs) of the same by torch's names."""
    convnet.manual_seed(seed)
    model = nn.Linear(1, 1)
    history = fit(
        model,
        DataLoader(TensorDataset(x, target), 10, shuffle=True, generator=seed),
        optimizer=optim.SGD(model.parameters(), lr=0.05),
        criterion=nn.MSELoss(),
        epochs=epochs,
        progress=False,
    )
    return model, history["train_loss"]


def main(arguments=None):
    """The slopes by hand and with layers."""
    options = common.options(__doc__, arguments)
    rng = np.random.default_rng(options.seed)
    x = rng.uniform(-2, 2, (100, 1)).astype(np.float32)
    target = (SLOPE * x + OFFSET + rng.normal(0, 0.3, x.shape)).astype(np.float32)
    epochs = 20 if options.quick else 50
    w, b, costs = by_hand(x, target, epochs)
    print(f"by hand: y = {w:.3f} x + {b:.3f}, cost {costs[-1]:.4f}")
    model, losses = with_layers(x, target, epochs, options.seed)
    w2, b2 = model.weight.item(), model.bias.item()
    print(f"nn and optim: y = {w2:.3f} x + {b2:.3f}, cost {losses[-1]:.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "linear_regression.safetensors"
    convnet.save(model.state_dict(), path)
    loaded = nn.Linear(1, 1)
    loaded.load_state_dict(convnet.load(path))
    same = bool((loaded(nn.Tensor(x)).data == model(nn.Tensor(x)).data).all())
    print(f"saved to {path} and loaded: {'the same answers' if same else 'other answers'}")
    figure, axes = common.panels(1, 2, width=4)
    axes[0, 0].scatter(x, target, s=9, color=common.GREY, label="data")
    line = np.array([-2, 2])
    axes[0, 0].plot(line, w * line + b, color=common.BLUE, label="by hand")
    axes[0, 0].plot(line, w2 * line + b2, "--", color=common.RED, label="nn and optim")
    axes[0, 0].set_xlabel("x")
    axes[0, 0].set_ylabel("y")
    axes[0, 1].plot(costs, color=common.BLUE, label="by hand, full batch")
    axes[0, 1].plot(losses, "--", color=common.RED, label="nn and optim, batches of 10")
    axes[0, 1].set_xlabel("epoch")
    axes[0, 1].set_ylabel("mean squared error")
    axes[0, 1].set_yscale("log")
    for cell in axes.flat:
        cell.legend(fontsize=8)
    common.write(figure, options.out, "linear_regression.png")
    return w, w2, same


if __name__ == "__main__":
    main()
