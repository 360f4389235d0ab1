"""Two convolutions, two pools, dropout and augmentation on handwritten digits.

Each batch is turned, moved and scaled at random by the loader's workers while the network trains on
the batch before. One-cycle learning rate (Smith, Topin 2018).
"""

import common
import convnet
from convnet import nn, optim
from convnet.data import DataLoader, TensorDataset
from convnet.data.transforms import RandomAffine
from convnet.optim.lr_scheduler import OneCycleLR
from convnet.train import fit, outputs_of


def network(nn=nn):
    """The layers, in convnet.nn's or torch.nn's words."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, 10),
    )


def main(arguments=None):
    """The test accuracy."""
    options = common.options(__doc__, arguments)
    (images, labels), (test_images, test_labels) = common.digits(options.quick)
    epochs = 1 if options.quick else 12
    convnet.manual_seed(options.seed)
    model = network()
    loader = DataLoader(
        TensorDataset(images[:, None], labels),
        batch_size=64,
        shuffle=True,
        num_workers=1,
        transform=RandomAffine(degrees=10, translate=(0.08, 0.08), scale=(0.9, 1.1)),
        generator=options.seed,
    )
    optimizer = optim.Adam(model.parameters())
    history = fit(
        model,
        loader,
        optimizer=optimizer,
        epochs=epochs,
        scheduler=OneCycleLR(optimizer, 3e-3, total_steps=epochs * len(loader)),
        scheduler_each="batch",
        validation=DataLoader(TensorDataset(test_images[:, None], test_labels), 250),
        validation_name="test",
    )
    result = history[-1]["test_accuracy"]
    print(f"{100 * result:.1f} % of {len(test_labels):,} test images right")
    figure, axes = common.panels(1, 3)
    axes[0, 0].plot(history["epoch"], history["train_loss"], color=common.BLUE, label="train")
    axes[0, 0].plot(history["epoch"], history["test_loss"], color=common.RED, label="test")
    axes[0, 0].set_title("loss (train: augmented, dropout on)", fontsize=9)
    for part, colour in (("train", common.BLUE), ("test", common.RED)):
        axes[0, 1].plot(history["epoch"], history[f"{part}_accuracy"], color=colour, label=part)
    axes[0, 1].set_title(f"accuracy, {100 * result:.1f} % at the end", fontsize=9)
    for cell in axes[0, :2]:
        cell.set_xlabel("epoch")
        cell.xaxis.get_major_locator().set_params(integer=True)
        cell.legend(fontsize=8)
    predicted = outputs_of(model, test_images[:, None]).argmax(1)
    title = f"{(predicted != test_labels).sum()} mistaken"
    common.mistakes(axes[0, 2], test_images, test_labels, predicted, title)
    common.write(figure, options.out, "mnist_cnn.png")
    return result


if __name__ == "__main__":
    main()
