"""784-128-64-10 with ReLU and cross-entropy on handwritten digits: Adam, RMSprop, SGD compared."""

import common
import convnet
from convnet import nn, optim
from convnet.data import DataLoader, TensorDataset
from convnet.train import fit

OPTIMIZERS = {
    "Adam": lambda p: optim.Adam(p, lr=1e-3),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-3),
    "SGD": lambda p: optim.SGD(p, lr=0.05),
    "SGD, momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
}


def network(nn=nn):
    """The layers, in convnet.nn's or torch.nn's words."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def main(arguments=None):
    """The test accuracy by optimizer."""
    options = common.options(__doc__, arguments)
    train, test = (TensorDataset(*part) for part in common.digits(options.quick))
    epochs = 2 if options.quick else 15
    figure, axes = common.panels(1, 2, width=4)
    results = {}
    colours = (common.BLUE, common.GREEN, common.GREY, common.RED)
    for (name, make), colour in zip(OPTIMIZERS.items(), colours, strict=True):
        convnet.manual_seed(options.seed)
        model = network()
        history = fit(
            model,
            DataLoader(train, 64, shuffle=True, generator=options.seed),
            optimizer=make(model.parameters()),
            epochs=epochs,
            validation=DataLoader(test, 250),
            progress=False,
        )
        results[name] = history[-1]["val_accuracy"]
        rate = sum(history["images_per_second"]) / epochs
        print(f"{name}: {100 * results[name]:.1f} % of {len(test):,} right, {rate:,.0f} images/s")
        axes[0, 0].plot(history["epoch"], history["train_loss"], color=colour, label=name)
        axes[0, 1].plot(history["epoch"], history["val_accuracy"], color=colour, label=name)
    axes[0, 0].set_yscale("log")
    for cell, title in zip(axes[0], ("training loss", "test accuracy"), strict=True):
        cell.set_title(title, fontsize=9)
        cell.set_xlabel("epoch")
        cell.legend(fontsize=8)
    common.write(figure, options.out, "mnist_mlp_adam.png")
    return results


if __name__ == "__main__":
    main()
