"""A multilayer perceptron on vectors: DataLoader, Adam, cross-entropy, accuracy."""

import numpy as np
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def make():
    return nn.Sequential(
        nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 4)
    )


def train(model, dtype):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((150, 20)), dtype=dtype)
    y = torch.from_numpy(rng.integers(0, 4, 150))
    loader = DataLoader(TensorDataset(x, y), batch_size=25, shuffle=False)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for _ in range(5):
        model.train()
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        correct = (model(x).argmax(dim=1) == y).sum().item()
    losses.append(correct / len(y))
    return losses
