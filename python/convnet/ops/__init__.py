"""Every operation on arrays, forward and backward: signatures, checks, allocation of results."""

from convnet.ops.activation import relu, relu_backward

__all__ = ["relu", "relu_backward"]
