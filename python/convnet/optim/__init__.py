"""Optimizers with torch.optim's names and defaults; each step is one pass of a kernel."""

from typing import Any

from convnet.optim import lr_scheduler
from convnet.optim.adagrad import Adagrad
from convnet.optim.adam import Adam, AdamW
from convnet.optim.optimizer import Optimizer
from convnet.optim.rmsprop import RMSprop
from convnet.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]


def __getattr__(name: str) -> Any:
    from convnet.absent import missing

    raise missing("convnet.optim", name)
