"""Training: the loop with what usually surrounds it, and `convnet train` and `convnet predict`.

loop.py is the loop, history.py and plots.py what it leaves, checkpoint.py how it goes on, rates.py
the search for a learning rate, progress.py shows it. digits.py reads the commands' data, models.py
holds their networks, command.py and predict.py are the commands.
"""

from convnet.train.checkpoint import load_checkpoint, save_checkpoint
from convnet.train.history import History
from convnet.train.interrupt import Interrupt
from convnet.train.loop import accuracy, evaluate, fit, outputs_of
from convnet.train.rates import RateSearch, find_learning_rate

__all__ = [
    "History",
    "Interrupt",
    "RateSearch",
    "accuracy",
    "evaluate",
    "find_learning_rate",
    "fit",
    "load_checkpoint",
    "outputs_of",
    "save_checkpoint",
]
