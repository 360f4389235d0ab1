"""Optimizers with torch.optim's names and defaults; each step is one pass of a kernel."""

from convnet.optim.adam import Adam
from convnet.optim.optimizer import Optimizer
from convnet.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
