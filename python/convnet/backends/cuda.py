"""The kernels for NVIDIA GPUs: DeviceArrays, validated by ops, go to the file of their family.

Functions and signatures are the reference's. Importing this imports numba: backend.py does at the
first array on a GPU.
"""

# ruff: noqa: F401 - the names are what the module is for

from typing import Any

from convnet.kernels.cuda import depthwise
from convnet.kernels.cuda.activation import (
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    tanh,
    tanh_backward,
)
from convnet.kernels.cuda.adaptive_pool import (
    adaptive_avg_pool,
    adaptive_avg_pool_backward,
)
from convnet.kernels.cuda.conv import conv
from convnet.kernels.cuda.conv_input_grad import conv_input_grad
from convnet.kernels.cuda.conv_weight_grad import conv_weight_grad
from convnet.kernels.cuda.cross_entropy import (
    cross_entropy,
    cross_entropy_backward,
)
from convnet.kernels.cuda.dropout import (
    dropout,
    dropout_backward,
)
from convnet.kernels.cuda.gemm import gemm
from convnet.kernels.cuda.im2col import (
    col2im,
    im2col,
)
from convnet.kernels.cuda.interpolate import (
    interpolate,
    interpolate_backward,
)
from convnet.kernels.cuda.loss import (
    bce,
    bce_backward,
    bce_with_logits,
    bce_with_logits_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
    nll_loss_backward,
    smooth_l1_loss,
    smooth_l1_loss_backward,
    sum_all,
)
from convnet.kernels.cuda.norm import (
    batch_norm,
    batch_norm_backward,
    batch_norm_stats,
    batch_norm_training,
)
from convnet.kernels.cuda.optim import (
    adagrad,
    adam,
    rmsprop,
    sgd,
    sum_squares,
)
from convnet.kernels.cuda.pool import (
    avg_pool,
    avg_pool_backward,
    max_pool,
    max_pool_backward,
)
from convnet.kernels.cuda.softmax import (
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)
from convnet.kernels.cuda.sums import sum_rows
from convnet.shapes import ConvDims


def conv_algorithm(dims: ConvDims, channels_last: bool, gradient: str | None, dtype: Any) -> str:
    """Which kernels a convolution runs on; neither format, gradient nor type changes that."""
    return "depthwise" if depthwise.suits(dims) else "implicit_gemm"
