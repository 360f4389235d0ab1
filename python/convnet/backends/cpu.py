"""The compiled kernels: hand validated arrays to the module of their element type.

The level is chosen once, at import: the highest that this processor has and this build holds, or
CONVNET_ISA. Functions and signatures are the reference's.
"""

import importlib
import importlib.util
import os
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from convnet.backends.algorithm import WINOGRAD_TILES
from convnet.backends.algorithm import conv_algorithm as conv_algorithm
from convnet.kernels import cpu as processor
from convnet.kernels.arrays import look_up_kernel
from convnet.precision import get_precision
from convnet.shapes import ConvDims, PoolDims
from convnet.threads import get_num_threads

# From the best down. A module exists only if the build held its level.
_X86 = {"x86_64_v4": 4, "x86_64_v3": 3, "x86_64_v2": 2}
_DTYPES = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}


def built_levels() -> list[str]:
    """The instruction-set levels in this build, the best first."""
    names = [*_X86, "baseline"]
    return [n for n in names if importlib.util.find_spec(f"convnet.kernels.{n}_f32") is not None]


def usable_levels() -> list[str]:
    """The levels in this build that this processor has, the best first."""
    return [n for n in built_levels() if _X86.get(n, 0) <= processor.level()]


_kernels: dict[int, ModuleType] = {}  # by the size of an element
_level = ""
_why = ""


def use_level(level: str) -> str:
    """Switch the whole process to another instruction-set level; returns the former one.

    For checks and benchmarks that compare levels. Raises ValueError for a level that this build or
    this processor lacks.
    """
    global _level
    if level not in usable_levels():
        raise ValueError(
            f"level: expected one of {', '.join(usable_levels())} on this machine, got {level!r}"
        )
    former, _level = _level, level
    for dtype, suffix in _DTYPES.items():
        _kernels[dtype.itemsize] = importlib.import_module(f"convnet.kernels.{level}_{suffix}")
    return former


def _choose() -> None:
    global _why
    wanted = os.environ.get("CONVNET_ISA", "").strip().lower().replace("-", "_")
    usable = usable_levels()
    if wanted:
        if wanted not in usable:
            raise ImportError(
                f"CONVNET_ISA={wanted}: this build holds {', '.join(built_levels())}, and this "
                f"processor runs {', '.join(usable) or 'none of them'}"
            )
        _why = "CONVNET_ISA"
        use_level(wanted)
        return
    if not usable:
        raise ImportError(
            f"this build of convnet holds {', '.join(built_levels()) or 'no kernels'}; this "
            f"processor is at x86-64-v{processor.level()}. x86-64-v2 (2009) is the least."
        )
    _why = "the highest level that this processor has and this build holds"
    use_level(usable[0])


_choose()


def info() -> dict[str, Any]:
    """Instruction set and build, for convnet.info()."""
    return {
        "instruction_set": _level,
        "instruction_set_from": _why,
        "levels_built": built_levels(),
        "levels_usable": usable_levels(),
        "openmp": processor.openmp(),
        "compiler": processor.compiler(),
    }


# gemm


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None,
    out: np.ndarray,
    alpha: float,
    beta: float,
    activation: str | None,
) -> None:
    _kernels[a.itemsize].gemm(a, b, c, out, alpha, beta, activation, get_num_threads())


def sum_rows(x: np.ndarray, out: np.ndarray) -> None:
    _kernels[x.itemsize].sum_rows(x, out, get_num_threads())


# conv


_FORWARD = {
    "implicit_gemm": "conv",
    "depthwise": "depthwise",
    "direct": "direct",
    **dict.fromkeys(WINOGRAD_TILES, "winograd"),
}
_GRADIENT = {None: "", "input": "_input_grad", "weight": "_weight_grad"}

# Choosing takes as long as a small convolution: what was chosen is kept.
_chosen: dict[Any, Any] = {}


def _choose(
    dims: ConvDims, a_last: bool, b_last: bool, gradient: str | None, itemsize: int
) -> tuple[str, int]:
    """The kernel's name, and Winograd's tile or 0; _last: which arrays are channels-last."""
    if gradient == "weight" and dims.in_channels == 1:
        a_last = b_last  # one channel's array is in both formats
    algorithm = conv_algorithm(dims, a_last, gradient, np.dtype(f"f{itemsize}"))
    if algorithm in ("depthwise", "direct") and a_last != b_last:
        algorithm = "implicit_gemm"  # the direct kernels want one format
    return _FORWARD[algorithm] + _GRADIENT[gradient], WINOGRAD_TILES.get(algorithm, 0)


def _kernel(a: np.ndarray, b: np.ndarray, dims: ConvDims, gradient: str | None) -> Any:
    """The kernel for arrays of the input's (a) and the output's (b) side of a convolution."""
    name, tile = look_up_kernel(_chosen, _choose, dims, a, b, gradient, get_precision())
    run = getattr(_kernels[a.itemsize], name)
    return partial(run, tile=tile) if tile else run


def conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    dims: ConvDims,
    activation: str | None,
) -> None:
    run = _kernel(x, y, dims, None)
    run(x, w, b, y, dims, activation, get_num_threads())


def conv_input_grad(
    dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, dx: np.ndarray, dims: ConvDims
) -> None:
    run = _kernel(dx, dy, dims, "input")
    run(dy, w, b, dx, dims, get_num_threads())


def conv_weight_grad(
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    dims: ConvDims,
) -> None:
    run = _kernel(x, dy, dims, "weight")
    run(dy, x, dw, db, dims, get_num_threads())


def im2col(x: np.ndarray, cols: np.ndarray, dims: ConvDims) -> None:
    _kernels[x.itemsize].im2col(x, cols, dims, get_num_threads())


def col2im(cols: np.ndarray, x: np.ndarray, dims: ConvDims) -> None:
    _kernels[x.itemsize].col2im(cols, x, dims, get_num_threads())


# activation


def relu(x: np.ndarray, y: np.ndarray) -> None:
    _kernels[x.itemsize].relu(x, y, get_num_threads())


def relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    _kernels[dy.itemsize].relu_backward(dy, y, dx, get_num_threads())


def sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    _kernels[x.itemsize].sigmoid(x, y, get_num_threads())


def sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    _kernels[dy.itemsize].sigmoid_backward(dy, y, dx, get_num_threads())


def tanh(x: np.ndarray, y: np.ndarray) -> None:
    _kernels[x.itemsize].tanh(x, y, get_num_threads())


def tanh_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    _kernels[dy.itemsize].tanh_backward(dy, y, dx, get_num_threads())


def silu(x: np.ndarray, y: np.ndarray) -> None:
    _kernels[x.itemsize].silu(x, y, get_num_threads())


def silu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    _kernels[dy.itemsize].silu_backward(dy, x, dx, get_num_threads())


def leaky_relu(x: np.ndarray, y: np.ndarray, negative_slope: float) -> None:
    _kernels[x.itemsize].leaky_relu(x, y, negative_slope, get_num_threads())


def leaky_relu_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, negative_slope: float
) -> None:
    _kernels[dy.itemsize].leaky_relu_backward(dy, x, dx, negative_slope, get_num_threads())


def gelu(x: np.ndarray, y: np.ndarray, approximate: str) -> None:
    _kernels[x.itemsize].gelu(x, y, approximate == "tanh", get_num_threads())


def gelu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, approximate: str) -> None:
    _kernels[dy.itemsize].gelu_backward(dy, x, dx, approximate == "tanh", get_num_threads())


def softmax(x: np.ndarray, y: np.ndarray) -> None:
    _kernels[x.itemsize].softmax(x, y, get_num_threads())


def softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    _kernels[dy.itemsize].softmax_backward(dy, y, dx, get_num_threads())


def log_softmax(x: np.ndarray, y: np.ndarray) -> None:
    _kernels[x.itemsize].log_softmax(x, y, get_num_threads())


def log_softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    _kernels[dy.itemsize].log_softmax_backward(dy, y, dx, get_num_threads())


# pool


def max_pool(x: np.ndarray, y: np.ndarray, indices: np.ndarray | None, dims: PoolDims) -> None:
    _kernels[x.itemsize].max_pool(x, y, indices, dims, get_num_threads())


def max_pool_backward(dy: np.ndarray, indices: np.ndarray, dx: np.ndarray, dims: PoolDims) -> bool:
    return _kernels[dy.itemsize].max_pool_backward(dy, indices, dx, dims, get_num_threads())


def avg_pool(x: np.ndarray, y: np.ndarray, dims: PoolDims) -> None:
    _kernels[x.itemsize].avg_pool(x, y, dims, get_num_threads())


def avg_pool_backward(dy: np.ndarray, dx: np.ndarray, dims: PoolDims) -> None:
    _kernels[dy.itemsize].avg_pool_backward(dy, dx, dims, get_num_threads())


def adaptive_avg_pool(x: np.ndarray, y: np.ndarray) -> None:
    _kernels[x.itemsize].adaptive_avg_pool(x, y, get_num_threads())


def adaptive_avg_pool_backward(dy: np.ndarray, dx: np.ndarray) -> None:
    _kernels[dy.itemsize].adaptive_avg_pool_backward(dy, dx, get_num_threads())


# interpolate


def interpolate(
    x: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row_weights: np.ndarray | None,
    column_weights: np.ndarray | None,
) -> None:
    _kernels[x.itemsize].interpolate(
        x, y, rows, columns, row_weights, column_weights, get_num_threads()
    )


def interpolate_backward(
    dy: np.ndarray,
    dx: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row_weights: np.ndarray | None,
    column_weights: np.ndarray | None,
) -> None:
    _kernels[dy.itemsize].interpolate_backward(
        dy, dx, rows, columns, row_weights, column_weights, get_num_threads()
    )


# loss


def cross_entropy(
    logits: np.ndarray, target: np.ndarray, loss: np.ndarray, ignore_index: int
) -> None:
    _kernels[logits.itemsize].cross_entropy(logits, target, loss, ignore_index, get_num_threads())


def cross_entropy_backward(
    logits: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    dlogits: np.ndarray,
    ignore_index: int,
) -> None:
    _kernels[logits.itemsize].cross_entropy_backward(
        logits, target, scale, dlogits, ignore_index, get_num_threads()
    )


def nll_loss(
    log_probability: np.ndarray, target: np.ndarray, loss: np.ndarray, ignore_index: int
) -> None:
    _kernels[log_probability.itemsize].nll_loss(
        log_probability, target, loss, ignore_index, get_num_threads()
    )


def nll_loss_backward(
    log_probability: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    dx: np.ndarray,
    ignore_index: int,
) -> None:
    _kernels[log_probability.itemsize].nll_loss_backward(
        log_probability, target, scale, dx, ignore_index, get_num_threads()
    )


def bce_with_logits(x: np.ndarray, target: np.ndarray, loss: np.ndarray) -> None:
    _kernels[x.itemsize].bce_with_logits(x, target, loss, get_num_threads())


def bce_with_logits_backward(
    x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray
) -> None:
    _kernels[x.itemsize].bce_with_logits_backward(x, target, scale, dx, get_num_threads())


def bce(x: np.ndarray, target: np.ndarray, loss: np.ndarray) -> None:
    _kernels[x.itemsize].bce(x, target, loss, get_num_threads())


def bce_backward(x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray) -> None:
    _kernels[x.itemsize].bce_backward(x, target, scale, dx, get_num_threads())


def mse_loss(x: np.ndarray, target: np.ndarray, loss: np.ndarray) -> None:
    _kernels[x.itemsize].mse_loss(x, target, loss, get_num_threads())


def mse_loss_backward(x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray) -> None:
    _kernels[x.itemsize].mse_loss_backward(x, target, scale, dx, get_num_threads())


def smooth_l1_loss(x: np.ndarray, target: np.ndarray, loss: np.ndarray, beta: float) -> None:
    _kernels[x.itemsize].smooth_l1_loss(x, target, loss, beta, get_num_threads())


def smooth_l1_loss_backward(
    x: np.ndarray, target: np.ndarray, scale: np.ndarray, dx: np.ndarray, beta: float
) -> None:
    _kernels[x.itemsize].smooth_l1_loss_backward(x, target, scale, dx, beta, get_num_threads())


def sum_all(x: np.ndarray, total: np.ndarray) -> None:
    _kernels[x.itemsize].sum_all(x, total, get_num_threads())


# norm


def batch_norm_stats(x: np.ndarray, mean: np.ndarray, var: np.ndarray) -> None:
    _kernels[x.itemsize].batch_norm_stats(x, mean, var, get_num_threads())


def batch_norm(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    y: np.ndarray,
    eps: float,
) -> None:
    _kernels[x.itemsize].batch_norm(x, mean, var, weight, bias, y, eps, get_num_threads())


def batch_norm_training(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    mean: np.ndarray,
    var: np.ndarray,
    y: np.ndarray,
    eps: float,
) -> None:
    _kernels[x.itemsize].batch_norm_training(x, weight, bias, mean, var, y, eps, get_num_threads())


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
) -> None:
    _kernels[x.itemsize].batch_norm_backward(
        dy, x, mean, var, weight, dx, dweight, dbias, eps, training, get_num_threads()
    )


def dropout(
    x: np.ndarray, y: np.ndarray, mask: np.ndarray, p: float, seed: int, offset: int
) -> None:
    _kernels[x.itemsize].dropout(x, y, mask, p, seed, offset, get_num_threads())


def dropout_backward(dy: np.ndarray, mask: np.ndarray, dx: np.ndarray, p: float) -> None:
    _kernels[dy.itemsize].dropout_backward(dy, mask, dx, p, get_num_threads())


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
) -> None:
    _kernels[param.itemsize].sgd(
        param,
        grad,
        buf,
        lr,
        momentum,
        dampening,
        weight_decay,
        nesterov,
        first,
        get_num_threads(),
    )


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
) -> None:
    _kernels[param.itemsize].adam(
        param,
        grad,
        m,
        v,
        v_max,
        step,
        lr,
        beta1,
        beta2,
        eps,
        weight_decay,
        decoupled,
        get_num_threads(),
    )


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
) -> None:
    _kernels[param.itemsize].rmsprop(
        param, grad, v, buf, mean, lr, alpha, eps, weight_decay, momentum, get_num_threads()
    )


def adagrad(
    param: np.ndarray,
    grad: np.ndarray,
    total: np.ndarray,
    lr: float,
    eps: float,
    weight_decay: float,
) -> None:
    _kernels[param.itemsize].adagrad(param, grad, total, lr, eps, weight_decay, get_num_threads())


def sum_squares(x: np.ndarray, total: np.ndarray) -> None:
    _kernels[x.itemsize].sum_squares(x, total, get_num_threads())
