"""Linear and quadratic regression without nn.Module's layers or optim: w -= lr * w.grad."""

import numpy as np
import torch
import torch.nn as nn


class Quadratic(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, 1))
        self.q = nn.Parameter(torch.full((3,), 0.1))
        self.b = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return torch.matmul(x, self.w).squeeze(1) + (x**2 * self.q).sum(dim=1) + self.b


def make():
    return Quadratic()


def train(model, dtype):
    rng = np.random.default_rng(5)
    x = torch.tensor(rng.standard_normal((60, 3)), dtype=dtype)
    y = x[:, 0] * 2 - x[:, 1].abs() + torch.exp(x[:, 2] / 3) - 0.5
    y = (y - y.mean()) / y.std()
    lr, losses = 0.05, []
    for step in range(30):
        at = torch.arange(step, step + 20) % 60
        prediction = model(x[at])
        error = prediction - y[at]
        if step % 3 == 0:
            loss = torch.mean(error**2)
        elif step % 3 == 1:
            loss = torch.where(error.abs() < 1, 0.5 * error * error, error.abs() - 0.5).mean()
        else:
            loss = nn.SmoothL1Loss(beta=0.5)(prediction, y[at])
        loss = loss + 1e-3 * sum(p.pow(2).sum() for p in model.parameters())
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= lr * p.grad
                p.grad.zero_()
        losses.append(loss.detach().item())
    return losses
