"""A shared trunk with two heads and two losses: parameter groups, OneCycleLR, weight sharing."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812
from torch.optim.lr_scheduler import OneCycleLR


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(10, 10)
        self.heads = nn.ModuleDict({"kind": nn.Linear(20, 4), "size": nn.Linear(20, 2)})
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        y = torch.tanh(self.trunk(x))
        y = torch.tanh(self.trunk(y)) * self.scale
        y = torch.cat([x, y], dim=1)
        return self.heads["kind"](y), self.heads["size"](y)


def make():
    torch.manual_seed(0)
    model = TwoHeads()
    for head in model.heads.values():
        nn.init.xavier_uniform_(head.weight)
        nn.init.normal_(head.bias, std=0.1)
    return model


def train(model, dtype):
    rng = np.random.default_rng(7)
    optimizer = torch.optim.SGD(
        [
            {"params": model.trunk.parameters(), "lr": 0.01},
            {"params": [*model.heads.parameters(), model.scale], "weight_decay": 0.01},
        ],
        lr=0.1,
        momentum=0.9,
    )
    scheduler = OneCycleLR(optimizer, max_lr=[0.02, 0.2], total_steps=30)
    losses = []
    for _ in range(30):
        x = torch.tensor(rng.standard_normal((24, 10)), dtype=dtype)
        kind = torch.tensor(rng.integers(0, 4, 24))
        size = torch.stack([x.sum(1), x.max(dim=1)[0]], dim=1).detach()
        logits, sizes = model(x)
        loss = F.cross_entropy(logits, kind) + 0.5 * F.l1_loss(sizes, size)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses
