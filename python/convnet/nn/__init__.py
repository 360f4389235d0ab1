"""torch.nn's layers on convnet's kernels: Tensors with gradients, modules, losses.

tensor.py is the Tensor, tape.py the way back; functional/ joins ops and tape, one function an op;
the layers hold parameters and call it.
"""

from typing import Any

from convnet.nn import functional, init, utils
from convnet.nn.activation import (
    GELU,
    Dropout,
    Dropout2d,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from convnet.nn.batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from convnet.nn.container import ModuleDict, ModuleList, Sequential
from convnet.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from convnet.nn.fusion import fuse
from convnet.nn.linear import Flatten, Identity, Linear, Unflatten
from convnet.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from convnet.nn.module import Module
from convnet.nn.parameter import Parameter
from convnet.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from convnet.nn.state import StateMismatch
from convnet.nn.tape import enable_grad, is_grad_enabled, no_grad
from convnet.nn.tensor import Tensor, cat, concatenate, stack, tensor
from convnet.nn.upsample import Upsample

__all__ = [
    "GELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "Identity",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "StateMismatch",
    "Tanh",
    "Tensor",
    "Unflatten",
    "Upsample",
    "cat",
    "concatenate",
    "enable_grad",
    "functional",
    "fuse",
    "init",
    "is_grad_enabled",
    "no_grad",
    "stack",
    "tensor",
    "utils",
]


def __getattr__(name: str) -> Any:
    from convnet.absent import missing

    raise missing("convnet.nn", name)
