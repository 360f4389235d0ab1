"""3-D convolutions on volumes, dropout off: MultiStepLR, a loss weighted by hand."""

import numpy as np
import torch
from torch import nn


def make():
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(4, 8, (1, 3, 3)),
        nn.Softmax(dim=1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(8, 3),
    )


def train(model, dtype):
    rng = np.random.default_rng(8)
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[10, 20], gamma=0.3)
    criterion = nn.CrossEntropyLoss(reduction="none")
    losses = []
    for _ in range(30):
        x = torch.tensor(rng.standard_normal((5, 1, 6, 8, 8)), dtype=dtype)
        y = torch.tensor(rng.integers(0, 3, 5))
        loss = (criterion(model(x), y) * weights[y]).sum() / weights[y].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses
