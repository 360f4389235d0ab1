"""The entry points of each compiled module: x86_64_v2_f32 to x86_64_v4_f64, or baseline_f32, _f64.

Arrays are what README.md beside kernels.pyx promises; nothing is checked here: call convnet.ops.
"""

import numpy as np
from convnet.shapes import ConvDims, PoolDims

# gemm
def gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None,
    out: np.ndarray,
    alpha: float,
    beta: float,
    activation: str | None,
    n_threads: int,
) -> None: ...
def sum_rows(x: np.ndarray, out: np.ndarray, n_threads: int) -> None: ...

# conv
def conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    dims: ConvDims,
    activation: str | None,
    n_threads: int,
) -> None: ...

# conv_input_grad
def conv_input_grad(
    dy: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    dx: np.ndarray,
    dims: ConvDims,
    n_threads: int,
) -> None: ...

# conv_weight_grad
def conv_weight_grad(
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    dims: ConvDims,
    n_threads: int,
) -> None: ...

# im2col
def im2col(x: np.ndarray, cols: np.ndarray, dims: ConvDims, n_threads: int) -> None: ...
def col2im(cols: np.ndarray, x: np.ndarray, dims: ConvDims, n_threads: int) -> None: ...

# depthwise
def depthwise(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    dims: ConvDims,
    activation: str | None,
    n_threads: int,
) -> None: ...
def depthwise_input_grad(
    dy: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    dx: np.ndarray,
    dims: ConvDims,
    n_threads: int,
) -> None: ...
def depthwise_weight_grad(
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    dims: ConvDims,
    n_threads: int,
) -> None: ...

# direct
def direct(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    dims: ConvDims,
    activation: str | None,
    n_threads: int,
) -> None: ...
def direct_input_grad(
    dy: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    dx: np.ndarray,
    dims: ConvDims,
    n_threads: int,
) -> None: ...

# direct_weight
def direct_weight_grad(
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    dims: ConvDims,
    n_threads: int,
) -> None: ...

# winograd
def winograd(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    dims: ConvDims,
    activation: str | None,
    n_threads: int,
    tile: int,
) -> None: ...
def winograd_input_grad(
    dy: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    dx: np.ndarray,
    dims: ConvDims,
    n_threads: int,
    tile: int,
) -> None: ...

# winograd_weight
def winograd_weight_grad(
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    dims: ConvDims,
    n_threads: int,
    tile: int,
) -> None: ...

# pool_forward
def max_pool(
    x: np.ndarray, y: np.ndarray, indices: np.ndarray | None, dims: PoolDims, n_threads: int
) -> None: ...
def avg_pool(x: np.ndarray, y: np.ndarray, dims: PoolDims, n_threads: int) -> None: ...

# pool_backward
def max_pool_backward(
    dy: np.ndarray, indices: np.ndarray, dx: np.ndarray, dims: PoolDims, n_threads: int
) -> bool: ...
def avg_pool_backward(dy: np.ndarray, dx: np.ndarray, dims: PoolDims, n_threads: int) -> None: ...

# adaptive_pool
def adaptive_avg_pool(x: np.ndarray, y: np.ndarray, n_threads: int) -> None: ...
def adaptive_avg_pool_backward(dy: np.ndarray, dx: np.ndarray, n_threads: int) -> None: ...

# interpolate
def interpolate(
    x: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row_weights: np.ndarray | None,
    column_weights: np.ndarray | None,
    n_threads: int,
) -> None: ...
def interpolate_backward(
    dy: np.ndarray,
    dx: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row_weights: np.ndarray | None,
    column_weights: np.ndarray | None,
    n_threads: int,
) -> None: ...

# activation
def relu(x: np.ndarray, y: np.ndarray, n_threads: int) -> None: ...
def relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, n_threads: int) -> None: ...
def leaky_relu(x: np.ndarray, y: np.ndarray, negative_slope: float, n_threads: int) -> None: ...
def leaky_relu_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, negative_slope: float, n_threads: int
) -> None: ...
def sigmoid(x: np.ndarray, y: np.ndarray, n_threads: int) -> None: ...
def sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, n_threads: int) -> None: ...
def tanh(x: np.ndarray, y: np.ndarray, n_threads: int) -> None: ...
def tanh_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, n_threads: int) -> None: ...
def silu(x: np.ndarray, y: np.ndarray, n_threads: int) -> None: ...
def silu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, n_threads: int) -> None: ...
def gelu(x: np.ndarray, y: np.ndarray, with_tanh: bool, n_threads: int) -> None: ...
def gelu_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, with_tanh: bool, n_threads: int
) -> None: ...

# softmax
def softmax(x: np.ndarray, y: np.ndarray, n_threads: int) -> None: ...
def softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, n_threads: int) -> None: ...
def log_softmax(x: np.ndarray, y: np.ndarray, n_threads: int) -> None: ...
def log_softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, n_threads: int) -> None: ...

# loss
def cross_entropy(
    logits: np.ndarray, target: np.ndarray, loss: np.ndarray, ignore_index: int, n_threads: int
) -> None: ...
def cross_entropy_backward(
    logits: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    dlogits: np.ndarray,
    ignore_index: int,
    n_threads: int,
) -> None: ...
def nll_loss(
    log_probability: np.ndarray,
    target: np.ndarray,
    loss: np.ndarray,
    ignore_index: int,
    n_threads: int,
) -> None: ...
def nll_loss_backward(
    log_probability: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    dx: np.ndarray,
    ignore_index: int,
    n_threads: int,
) -> None: ...
def bce_with_logits(
    x: np.ndarray, target: np.ndarray, loss: np.ndarray, n_threads: int
) -> None: ...
def bce_with_logits_backward(
    x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray, n_threads: int
) -> None: ...
def bce(x: np.ndarray, target: np.ndarray, loss: np.ndarray, n_threads: int) -> None: ...
def bce_backward(
    x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray, n_threads: int
) -> None: ...
def mse_loss(x: np.ndarray, target: np.ndarray, loss: np.ndarray, n_threads: int) -> None: ...
def mse_loss_backward(
    x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray, n_threads: int
) -> None: ...
def smooth_l1_loss(
    x: np.ndarray, target: np.ndarray, loss: np.ndarray, beta: float, n_threads: int
) -> None: ...
def smooth_l1_loss_backward(
    x: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    dx: np.ndarray,
    beta: float,
    n_threads: int,
) -> None: ...
def sum_all(x: np.ndarray, total: np.ndarray, n_threads: int) -> None: ...

# norm
def batch_norm_stats(x: np.ndarray, mean: np.ndarray, var: np.ndarray, n_threads: int) -> None: ...
def batch_norm(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    y: np.ndarray,
    eps: float,
    n_threads: int,
) -> None: ...
def batch_norm_training(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    mean: np.ndarray,
    var: np.ndarray,
    y: np.ndarray,
    eps: float,
    n_threads: int,
) -> None: ...
def batch_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None,
    dx: np.ndarray | None,
    dweight: np.ndarray | None,
    dbias: np.ndarray | None,
    eps: float,
    training: bool,
    n_threads: int,
) -> None: ...
def dropout(
    x: np.ndarray,
    y: np.ndarray,
    mask: np.ndarray,
    p: float,
    seed: int,
    offset: int,
    n_threads: int,
) -> None: ...
def dropout_backward(
    dy: np.ndarray,
    mask: np.ndarray,
    dx: np.ndarray,
    p: float,
    n_threads: int,
) -> None: ...

# optim
def sgd(
    param: np.ndarray,
    grad: np.ndarray,
    buf: np.ndarray | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
    n_threads: int,
) -> None: ...
def adam(
    param: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    v_max: np.ndarray | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    n_threads: int,
) -> None: ...
def rmsprop(
    param: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    buf: np.ndarray | None,
    mean: np.ndarray | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    n_threads: int,
) -> None: ...
def adagrad(
    param: np.ndarray,
    grad: np.ndarray,
    total: np.ndarray,
    lr: float,
    eps: float,
    weight_decay: float,
    n_threads: int,
) -> None: ...
def sum_squares(x: np.ndarray, total: np.ndarray, n_threads: int) -> None: ...

# peak
def fma_peak(out: np.ndarray, rounds: int, n_threads: int) -> int: ...
