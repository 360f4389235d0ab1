"""torch.nn's layers on convnet's kernels: Tensors with gradients, modules, losses.

tensor.py is the Tensor, tape.py the way back; functional.py joins ops and tape, one function an op;
the layers hold parameters and call it.
"""

from convnet.nn import functional, init, utils
from convnet.nn.activation import Dropout, ReLU, Sigmoid, Tanh
from convnet.nn.batchnorm import BatchNorm2d
from convnet.nn.container import Sequential
from convnet.nn.conv import Conv2d
from convnet.nn.linear import Flatten, Linear
from convnet.nn.loss import CrossEntropyLoss, MSELoss
from convnet.nn.module import Module
from convnet.nn.parameter import Parameter
from convnet.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from convnet.nn.state import StateMismatch
from convnet.nn.tape import enable_grad, is_grad_enabled, no_grad
from convnet.nn.tensor import Tensor, cat, concatenate, stack, tensor

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "StateMismatch",
    "Tanh",
    "Tensor",
    "cat",
    "concatenate",
    "enable_grad",
    "functional",
    "init",
    "is_grad_enabled",
    "no_grad",
    "stack",
    "tensor",
    "utils",
]
