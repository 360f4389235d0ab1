"""What a model consists of: layers, shapes, parameters, multiply-adds, algorithms."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from convnet import backend
from convnet.nn.conv import _ConvNd
from convnet.nn.fusion import FusedActivation
from convnet.nn.linear import Linear
from convnet.nn.module import Module
from convnet.nn.tape import no_grad
from convnet.nn.tensor import FLOATS, Tensor
from convnet.shapes import conv_dims, conv_transpose_dims


class Layer(NamedTuple):
    """A line of the summary; parameters are the layer's own, shared ones counted at first sight."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    algorithm: str


class Summary(list[Layer]):
    """The layers in the order in which they ran; printed as a table."""

    parameters: int
    trainable: int
    multiply_adds: int

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "multiply-adds", "algorithm")
        rows = [
            (
                layer.name,
                layer.kind,
                " x ".join(map(str, layer.output_shape)),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
                layer.algorithm,
            )
            for layer in self
        ]
        width = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = []
        for row in (head, *rows):
            cells = [
                text.rjust(w) if i in (3, 4) else text.ljust(w)
                for i, (text, w) in enumerate(zip(row, width, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        lines.append(
            f"{self.parameters:,} parameters, {self.trainable:,} of them trained; "
            f"{self.multiply_adds:,} multiply-adds"
        )
        return "\n".join(lines)

    __repr__ = __str__


def summary(model: Module, input_size: Any, dtype: Any = None) -> Summary:
    """Run the model on zeros, in evaluation mode, and note every layer that has none below it.

    input_size : the input's shape with its batch, or a list of shapes for several inputs
    dtype : the inputs'; that of the parameters unless given
    -> a list of (name, kind, output_shape, parameters, multiply_adds, algorithm) with the totals
    parameters, trainable and multiply_adds; str() of it is a table.

    The multiply-adds are the direct algorithm's, of convolutions and linear layers; algorithm is
    what ops.conv2d_algorithm says of the forward pass.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    shapes = list(input_size)
    shapes = [tuple(s) for s in shapes] if isinstance(shapes[0], (tuple, list)) else [tuple(shapes)]
    if dtype is None:
        dtype = next((p.dtype for p in model.parameters() if p.dtype in FLOATS), np.float32)
    names = {
        m: name
        for name, m in model.named_modules()
        if not m._modules or isinstance(m, FusedActivation)
    }
    found, seen = Summary(), set()
    modes = {m: m.training for m in model.modules()}

    def note(module: Module, inputs: tuple[Any, ...], output: Any) -> None:
        own = [p for p in module.parameters() if p not in seen]
        seen.update(own)
        y = output[0] if isinstance(output, tuple) else output
        work, algorithm = _work(module, inputs[0], y)
        count = sum(p.numel() for p in own)
        name, kind = names[module], type(module).__name__
        found.append(Layer(name, kind, tuple(y.shape), count, work, algorithm))

    try:
        model.eval()
        for module in names:
            object.__setattr__(module, "forward", _noting(module, note))
        with no_grad():
            model(*(Tensor(np.zeros(s, dtype)) for s in shapes))
    finally:
        for module in names:
            module.__dict__.pop("forward", None)
        for module, mode in modes.items():
            module.training = mode
    parameters = list(model.parameters())
    found.parameters = sum(p.numel() for p in parameters)
    found.trainable = sum(p.numel() for p in parameters if p.requires_grad)
    found.multiply_adds = sum(layer.multiply_adds for layer in found)
    return found


def _noting(module: Module, note: Any) -> Any:
    forward = module.forward

    def noting(*args: Any, **kwargs: Any) -> Any:
        y = forward(*args, **kwargs)
        note(module, args, y)
        return y

    return noting


def _work(module: Module, x: Any, y: Any) -> tuple[int, str]:
    """(multiply-adds, algorithm)."""
    if isinstance(module, FusedActivation):
        module = module.layer
    if isinstance(module, Linear):
        return y.numel() * module.in_features, "gemm"
    if not isinstance(module, _ConvNd):
        return 0, ""
    shape = x.shape if x.ndim == module.rank + 2 else (1, *x.shape)
    w = module.weight.shape
    if module.transposed:
        dims = conv_transpose_dims(
            shape,
            w,
            module.stride,
            module.padding,
            module.output_padding,
            module.dilation,
            module.groups,
            module.rank,
        )
    else:
        dims = conv_dims(
            shape, w, module.stride, module.padding, module.dilation, module.groups, module.rank
        )
    gradient = "input" if module.transposed else None
    algorithm = backend.active().conv_algorithm(dims, False, gradient, module.weight.dtype)
    images = shape if module.transposed else y.shape if y.ndim == module.rank + 2 else (1, *y.shape)
    return prod(images) * prod(w[1:]), algorithm
