"""The networks that `convnet train` knows. All take (N, 1, 28, 28) and give logits (N, classes)."""

from convnet import nn


def cnn(classes: int = 10) -> nn.Sequential:
    """Two convolutions and two linear layers; 3.3 million weights."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1024),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1024, classes),
    )


def mlp(classes: int = 10) -> nn.Sequential:
    """One hidden layer of 100; 80 thousand weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 100), nn.ReLU(), nn.Linear(100, classes))


def lenet(classes: int = 10) -> nn.Sequential:
    """LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998) with plain averages; 62 thousand weights."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


MODELS = {"cnn": cnn, "mlp": mlp, "lenet": lenet}
