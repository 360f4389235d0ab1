"""Binary classification from one logit: BCEWithLogitsLoss, Adagrad, and BCELoss of the sigmoid."""

import numpy as np
import torch
from torch import nn, optim


def make():
    return nn.Sequential(
        nn.Linear(6, 12, bias=False), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 1)
    )


def train(model, dtype):
    rng = np.random.default_rng(6)
    x = torch.tensor(rng.standard_normal((80, 6)), dtype=dtype)
    y = (x[:, 0] * x[:, 1] > 0).to(dtype)
    optimizer = optim.Adagrad(model.parameters(), lr=0.1, lr_decay=0.01)
    fused, plain = nn.BCEWithLogitsLoss(), nn.BCELoss()
    losses = []
    for epoch in range(10):
        order = torch.tensor(rng.permutation(80))
        for begin in range(0, 80, 32):
            at = order[begin : begin + 32]
            logits = model(x[at]).view(-1)
            loss = plain(torch.sigmoid(logits), y[at]) if epoch % 2 else fused(logits, y[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model.eval()
    accuracy = ((model(x).squeeze() > 0).float() == y.float()).float().mean()
    return [*losses, accuracy.item()]
