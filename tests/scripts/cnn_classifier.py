"""Convolution, batch norm and pooling on images: SGD with Nesterov momentum, StepLR."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812
import torch.optim as optim


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3, stride=2)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc = nn.Linear(16 * 2 * 2, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = F.leaky_relu(self.conv2(x), 0.1)
        x = F.max_pool2d(x, 2, stride=1)
        x = torch.flatten(x, 1)
        return F.log_softmax(self.fc(x), dim=1)


def make():
    return Net()


def train(model, dtype):
    rng = np.random.default_rng(1)
    optimizer = optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
    losses = []
    for _ in range(30):
        x = torch.tensor(rng.standard_normal((16, 1, 14, 14)), dtype=dtype)
        y = torch.tensor(rng.integers(0, 10, 16))
        optimizer.zero_grad()
        loss = F.nll_loss(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses
