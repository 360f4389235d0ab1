"""An autoencoder: strided convolutions down, transposed convolution and upsampling back."""

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, 2, 1), nn.Tanh()
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(6, 4, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.AvgPool2d(2),
            nn.Conv2d(4, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def make():
    return Autoencoder()


def train(model, dtype):
    rng = np.random.default_rng(4)
    optimizer = optim.Adam(model.parameters(), lr=3e-3, betas=(0.8, 0.99), amsgrad=True)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    losses = []
    for _ in range(30):
        x = torch.tensor(rng.random((10, 1, 12, 12)), dtype=dtype)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), x)
        loss.backward()
        optimizer.step()
        plateau.step(loss.item())
        losses.append(loss.item())
    with torch.no_grad():
        code = model.encoder(x)
    assert code.shape == (10, 4, 3, 3)
    return losses
