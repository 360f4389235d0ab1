"""The definition of every op in pure NumPy: short, obviously right, never tuned.

Works in any floating-point type; the cross-check runs it in float64. Signatures are those of every
backend: inputs, then the arrays that are written, then parameters.
"""

from convnet.backends.reference.activation import (
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    log_softmax,
    log_softmax_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from convnet.backends.reference.conv import (
    col2im,
    conv,
    conv_input_grad,
    conv_weight_grad,
    im2col,
)
from convnet.backends.reference.conv import (
    conv_algorithm as conv_algorithm,
)
from convnet.backends.reference.gemm import (
    gemm,
    sum_rows,
)
from convnet.backends.reference.interpolate import (
    interpolate,
    interpolate_backward,
)
from convnet.backends.reference.loss import (
    bce,
    bce_backward,
    bce_with_logits,
    bce_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
    nll_loss_backward,
    smooth_l1_loss,
    smooth_l1_loss_backward,
    sum_all,
)
from convnet.backends.reference.norm import (
    batch_norm,
    batch_norm_backward,
    batch_norm_stats,
    batch_norm_training,
    dropout,
    dropout_backward,
)
from convnet.backends.reference.optim import (
    adagrad,
    adam,
    rmsprop,
    sgd,
    sum_squares,
)
from convnet.backends.reference.pool import (
    adaptive_avg_pool,
    adaptive_avg_pool_backward,
    avg_pool,
    avg_pool_backward,
    max_pool,
    max_pool_backward,
)

__all__ = [
    "adagrad",
    "adam",
    "adaptive_avg_pool",
    "adaptive_avg_pool_backward",
    "avg_pool",
    "avg_pool_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_stats",
    "batch_norm_training",
    "bce",
    "bce_backward",
    "bce_with_logits",
    "bce_with_logits_backward",
    "col2im",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_backward",
    "gelu",
    "gelu_backward",
    "gemm",
    "im2col",
    "interpolate",
    "interpolate_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool",
    "max_pool_backward",
    "mse_loss",
    "mse_loss_backward",
    "nll_loss",
    "nll_loss_backward",
    "relu",
    "relu_backward",
    "rmsprop",
    "sgd",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "softmax",
    "softmax_backward",
    "sum_all",
    "sum_rows",
    "sum_squares",
    "tanh",
    "tanh_backward",
]
