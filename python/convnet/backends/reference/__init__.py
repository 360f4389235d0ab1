"""The definition of every op in pure NumPy: short, obviously right, never tuned.

Works in any floating-point type; the cross-check runs it in float64. Signatures are those of every
backend: inputs, then the arrays that are written, then parameters.
"""

from convnet.backends.reference.activation import relu, relu_backward
from convnet.backends.reference.conv import (
    col2im,
    conv,
    conv_input_grad,
    conv_weight_grad,
    im2col,
)
from convnet.backends.reference.conv import conv_algorithm as conv_algorithm
from convnet.backends.reference.gemm import gemm, sum_rows
from convnet.backends.reference.pool import (
    adaptive_avg_pool,
    adaptive_avg_pool_backward,
    avg_pool,
    avg_pool_backward,
    max_pool,
    max_pool_backward,
)

__all__ = [
    "adaptive_avg_pool",
    "adaptive_avg_pool_backward",
    "avg_pool",
    "avg_pool_backward",
    "col2im",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "gemm",
    "im2col",
    "max_pool",
    "max_pool_backward",
    "relu",
    "relu_backward",
    "sum_rows",
]
