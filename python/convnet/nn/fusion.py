"""Batch norm and activations folded into the convolutions and linear layers before them."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from convnet import ops
from convnet.nn.activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from convnet.nn.batchnorm import _BatchNorm
from convnet.nn.container import Sequential
from convnet.nn.conv import Conv1d, Conv2d, Conv3d, _ConvNd
from convnet.nn.linear import Identity, Linear
from convnet.nn.module import Module
from convnet.nn.parameter import Parameter
from convnet.nn.tensor import Tensor, as_tensor, tracked

_CONV = {Conv1d: ops.conv1d, Conv2d: ops.conv2d, Conv3d: ops.conv3d}


def fuse(model: Module, chains: Iterable[Sequence[str]] = ()) -> Any:
    """A copy of a model for inference, in which neighbours in a Sequential are one layer.

    A convolution (or linear layer) and the batch norm after it become one convolution,
    w' = w g, b' = (b - mean) g + beta with g = weight / sqrt(var + eps); the activation after it
    rides in the convolution's store. What a layer became stays under its name; what went into it
    is an Identity. The model given must be in evaluation mode and stays as it is.

    chains : what follows what in a forward of your own, which nothing but that program tells:
    names of a layer, the batch norm and the activation after it, or one of both, as
    [("conv1", "bn1", "relu1"), ("block.conv2", "block.bn2")]. Each layer must run once a call, and
    its result go to the next one alone. ValueError for a chain that cannot be one layer.

    A layer that is used in several places is left alone. The copy gives no gradients.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    if any(m.training for m in model.modules()):
        raise ValueError("model: fuse is for inference; call model.eval() first")
    fused = copy.deepcopy(model).requires_grad_(False)
    uses: dict[Module, int] = {}
    for module in fused.modules():
        for child in module._modules.values():
            if child is not None:
                uses[child] = uses.get(child, 0) + 1
    for chain in chains:
        _fuse_chain(fused, chain, uses)
    for module in list(fused.modules()):
        if isinstance(module, Sequential):
            places = [(module, name) for name in module._modules]
            for i in range(len(places)):
                _fuse_first(places[i : i + 3], uses)
    return fused


Place = tuple[Module, str]  # a module and the name of one below it


def _fuse_chain(model: Module, chain: Sequence[str], uses: dict[Module, int]) -> None:
    if isinstance(chain, str) or not all(isinstance(name, str) for name in chain):
        raise TypeError(f"chains: expected sequences of layers' names, got {chain!r}")
    known = dict(model.named_modules())
    unknown = [name for name in chain if not name or name not in known]
    if unknown:
        raise ValueError(f"chains: the model has no layer {unknown[0]!r}")
    places = [(known[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in chain]
    if len(places) < 2 or _fuse_first(places, uses) < len(places):
        kinds = ", ".join(f"{name} ({type(known[name]).__name__})" for name in chain)
        raise ValueError(
            f"chains: expected a convolution or linear layer that is used once, then its batch "
            f"norm, its activation or both, got {kinds}"
        )


def _fuse_first(places: Sequence[Place], uses: dict[Module, int]) -> int:
    """Take into the first layer what it can of those that follow; how many are one layer then."""
    layer, *after = (holder._modules[name] for holder, name in places)
    if not isinstance(layer, (Linear, _ConvNd)) or uses[layer] > 1:
        return 0
    done = 1
    if after and _folds(after[0], layer):
        _fold(layer, after.pop(0))
        done = 2
    if after and (type(layer) in _CONV or isinstance(layer, Linear)):
        activation = _name(after[0])
        if activation is not None:
            holder, name = places[0]
            holder._modules[name] = FusedActivation(layer, activation)
            done += 1
    for holder, name in places[1:done]:
        holder._modules[name] = Identity()
    return done


def _folds(norm: Any, layer: Module) -> bool:
    channels = layer.out_features if isinstance(layer, Linear) else layer.out_channels
    return (
        isinstance(norm, _BatchNorm)
        and norm.running_mean is not None
        and norm.num_features == channels
    )


def _fold(layer: Any, norm: Any) -> None:
    """Batch norm by its running statistics, into the weights; computed in float64."""
    dtype = layer.weight.dtype
    mean, var = (t.data.astype(np.float64) for t in (norm.running_mean, norm.running_var))
    scale = 1 / np.sqrt(var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.data
    bias = 0.0 if layer.bias is None else layer.bias.data
    bias = (bias - mean) * scale + (0.0 if norm.bias is None else norm.bias.data)
    w = layer.weight.data.astype(np.float64)
    if getattr(layer, "transposed", False):
        by_group = w.reshape(layer.groups, -1, *w.shape[1:])
        by_filter = scale.reshape(layer.groups, 1, w.shape[1], *[1] * (w.ndim - 2))
        w = (by_group * by_filter).reshape(w.shape)
    else:
        w = w * scale.reshape(-1, *[1] * (w.ndim - 1))
    layer.weight = Parameter(w.astype(dtype), requires_grad=False)
    layer.bias = Parameter(bias.astype(dtype), requires_grad=False)


def _name(module: Any) -> str | None:
    """What ops calls an activation that it can do in a convolution's store."""
    plain = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh", SiLU: "silu"}
    if type(module) in plain:
        return plain[type(module)]
    if isinstance(module, LeakyReLU) and module.negative_slope == 0.01:
        return "leaky_relu"
    if isinstance(module, GELU) and module.approximate == "none":
        return "gelu"
    return None


class FusedActivation(Module):
    """A convolution or linear layer and the activation after it, in one call; for inference."""

    def __init__(self, layer: Any, activation: str) -> None:
        super().__init__()
        self.layer, self.activation = layer, activation
        self.training = False

    def forward(self, input: Any) -> Any:
        x, layer = as_tensor(input), self.layer
        if tracked(x):
            raise RuntimeError("a fused model gives no gradients; use the one it was made from")
        b = None if layer.bias is None else layer.bias._data
        w = layer.weight._data
        if isinstance(layer, Linear):
            return Tensor.of(ops.linear(x._data, w, b, activation=self.activation))
        single = x.ndim == layer.rank + 1
        y = _CONV[type(layer)](
            x._data[None] if single else x._data,
            w,
            b,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            activation=self.activation,
        )
        return Tensor.of(y[0] if single else y)

    def extra_repr(self) -> str:
        return f"activation={self.activation}"
