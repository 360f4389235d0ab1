"""Element-wise functions and their gradients, softmax: the definition."""

import numpy as np


def relu(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = np.where(x < 0, 0, x)


def relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = np.where(y <= 0, 0, dy)
