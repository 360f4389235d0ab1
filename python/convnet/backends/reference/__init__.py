"""The definition of every op in pure NumPy: short, obviously right, never tuned.

Works in any floating-point type; the cross-check runs it in float64. Signatures are those of every
backend: inputs, then the arrays that are written, then parameters.
"""

from convnet.backends.reference.activation import relu, relu_backward

__all__ = ["relu", "relu_backward"]
