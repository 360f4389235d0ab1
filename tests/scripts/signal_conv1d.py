"""1-D convolutions on a noisy wave whose frequency is the class: RMSprop, NLLLoss."""

import numpy as np
import torch
from torch import nn


def make():
    return nn.Sequential(
        nn.Conv1d(1, 8, 7, stride=2, padding=3),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(8, 16, 5, padding=2),
        nn.SiLU(),
        nn.AvgPool1d(2),
        nn.Conv1d(16, 16, 3, padding="same", groups=4),
        nn.GELU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
        nn.LogSoftmax(dim=1),
    )


def train(model, dtype):
    rng = np.random.default_rng(3)
    t = torch.linspace(0, 6.0, 64, dtype=torch.float64).numpy()
    criterion = nn.NLLLoss()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.5)
    losses = []
    for _ in range(30):
        y = rng.integers(0, 3, 20)
        wave = np.sin(t * (y[:, None] + 1) + rng.random((20, 1))) + 0.3 * rng.standard_normal(
            (20, 64)
        )
        x = torch.from_numpy(wave).to(dtype).unsqueeze(1)
        loss = criterion(model(x), torch.from_numpy(y))
        model.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses
