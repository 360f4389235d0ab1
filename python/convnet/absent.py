"""What of torch's surface is not here, and what to use instead: for error messages alone."""

_ELSEWHERE = "it is outside this package's scope"
_NUMPY = "use numpy on .numpy(); nothing is recorded there"

HINTS: dict[str, dict[str, str]] = {
    "convnet": {
        "utils": "convnet.data has Dataset and DataLoader, convnet.nn.utils clips gradients",
        "compile": "there is nothing to compile: call the model itself",
        "jit": "there is nothing to compile: call the model itself",
        "autograd": "call backward() on a Tensor; Tensor.result records an operation",
        "autocast": "types are float32 and float64; convert with .to()",
        "amp": "types are float32 and float64; convert with .to()",
        "float16": "types are float32 and float64",
        "bfloat16": "types are float32 and float64",
        "half": "types are float32 and float64",
        "Generator": "give a seed or a numpy.random.Generator as generator=",
        "set_default_dtype": "convert the model with .double(), or give dtype=",
        "inference_mode": "use no_grad()",
        "set_grad_enabled": "use no_grad() and nn.enable_grad()",
        "einsum": "use matmul, or " + _NUMPY,
        "bmm": "use matmul: it takes batches",
        "topk": _NUMPY,
        "sort": _NUMPY,
        "gather": "index the Tensor: x[arange(n), places]",
        "distributed": _ELSEWHERE,
        "onnx": _ELSEWHERE,
    },
    "convnet.nn": {
        "LayerNorm": "use BatchNorm1d, or write it with mean() and var()",
        "GroupNorm": "use BatchNorm2d, or write it with mean() and var()",
        "InstanceNorm2d": "use BatchNorm2d, or write it with mean() and var()",
        "ELU": "use LeakyReLU, SiLU or GELU",
        "PReLU": "use LeakyReLU",
        "Softplus": "write it with exp() and log()",
        "ReLU6": "use functional.relu and clamp(max=6)",
        "Hardswish": "use SiLU",
        "HuberLoss": "use SmoothL1Loss(beta) * beta",
        "KLDivLoss": "write it with log() and sum()",
        "AdaptiveMaxPool2d": "use MaxPool2d, or AdaptiveAvgPool2d",
        "MaxUnpool2d": "use Upsample or ConvTranspose2d",
        "ZeroPad2d": "give padding=((top, bottom), (left, right)) to the convolution",
        "Dropout1d": "use Dropout or Dropout2d",
        "Dropout3d": "use Dropout or Dropout2d",
        "AlphaDropout": "use Dropout",
        "Embedding": "index a Parameter: weight[places]",
        "RNN": _ELSEWHERE,
        "LSTM": _ELSEWHERE,
        "GRU": _ELSEWHERE,
        "Transformer": _ELSEWHERE,
        "MultiheadAttention": _ELSEWHERE,
        "DataParallel": "kernels use all threads already",
    },
    "convnet.nn.functional": {
        "pad": "give padding=((top, bottom), (left, right)) to the convolution, or use numpy.pad",
        "layer_norm": "use batch_norm, or write it with mean() and var()",
        "elu": "use leaky_relu, silu or gelu",
        "huber_loss": "use smooth_l1_loss, times beta",
        "unfold": "use convnet.ops.im2col",
        "fold": "use convnet.ops.col2im",
        "upsample": "use interpolate",
    },
    "convnet.optim": {
        "LBFGS": "use Adam or SGD with momentum",
        "Adadelta": "use RMSprop or Adagrad",
        "Adamax": "use Adam",
        "NAdam": "use Adam",
        "RAdam": "use AdamW",
        "Rprop": "use RMSprop",
        "SparseAdam": "use Adam",
    },
    "Tensor": {
        "half": "types are float32 and float64",
        "register_hook": "read .grad after backward()",
        "retain_grad": "make the tensor a leaf: detach().requires_grad_()",
        "topk": _NUMPY,
        "sort": _NUMPY,
        "gather": "index the Tensor: x[arange(n), places]",
        "scatter_": "assign to elements: x[places] = values",
        "bmm": "use matmul: it takes batches",
        "resize_": "use reshape()",
    },
}


def missing(where: str, name: str) -> AttributeError:
    """The error for a name that a module or class lacks."""
    hint = HINTS.get(where, {}).get(name)
    kind = "module" if "." in where or where == "convnet" else "class"
    return AttributeError(
        f"{kind} {where!r} has no attribute {name!r}" + (f": {hint}" if hint else "")
    )
