"""What of torch's surface is not here, and what to use instead: for error messages alone."""

import re

_ELSEWHERE = "it is outside this package's scope"
_PADDING = "give padding=((top, bottom), (left, right)) to the convolution, or use numpy.pad"
_WRITE = "write it with the operations of a Tensor in forward(); backward() follows them"
_HOOKS = "there are no hooks: do it in forward(), or in the training loop"
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
        "ELU": "use LeakyReLU, SiLU or GELU",
        "PReLU": "use LeakyReLU",
        "Softplus": "write it with exp() and log()",
        "ReLU6": "use functional.relu and clamp(max=6)",
        "Hardswish": "use SiLU",
        "HuberLoss": "use SmoothL1Loss(beta) * beta",
        "KLDivLoss": "write it with log() and sum()",
        "MaxUnpool2d": "use Upsample or ConvTranspose2d",
        "Dropout1d": "use Dropout or Dropout2d",
        "Dropout3d": "use Dropout or Dropout2d",
        "AlphaDropout": "use Dropout",
        "Embedding": "index a Parameter: weight[places]",
        "DataParallel": "kernels use all threads already",
    },
    "convnet.nn.functional": {
        "pad": _PADDING,
        "elu": "use leaky_relu, silu or gelu",
        "huber_loss": "use smooth_l1_loss, times beta",
        "unfold": "use convnet.ops.im2col",
        "fold": "use convnet.ops.col2im",
    },
    "convnet.data": {
        "default_collate": "use collate",
        "get_worker_info": "workers are threads that share the dataset; there is nothing to split",
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
        "gather": "index the Tensor: x[arange(n), places]",
        "scatter_": "assign to elements: x[places] = values",
        "bmm": "use matmul: it takes batches",
        "resize_": "use reshape()",
    },
}


# By the form of a name, where it has no line of its own; the first that fits.
_PATTERNS: dict[str, dict[str, str]] = {
    "convnet": {r"(?!_)\w+": f"for functions that are not here {_NUMPY}"},
    "convnet.nn": {
        r".*Pad[123]d": _PADDING,
        r"Lazy.*|Uninitialized.*": "give the sizes; convnet.summary(model, input_size) shows them",
        r".*(RNN|LSTM|GRU|Transformer|Attention|Embedding).*": _ELSEWHERE,
        r".*(MaxPool|MaxUnpool|LPPool)\dd": "use MaxPool2d, AvgPool2d or AdaptiveAvgPool2d",
        r".*Norm\w*|.*Norm": "use BatchNorm1d or BatchNorm2d, or write it with mean() and var()",
        r"Upsampling.*": "use Upsample",
        r"Parameter(List|Dict)": "use Parameters as attributes, or ModuleList and ModuleDict",
        r"[A-Z]\w*": _WRITE,
    },
    "convnet.nn.functional": {
        r".*(rnn|attention|embedding|grouped_mm|scaled_mm).*": _ELSEWHERE,
        r".*_with_indices|.*(max_pool|max_unpool|lp_pool)\dd": "use max_pool2d or avg_pool2d",
        r".*_norm|normalize": "use batch_norm, or write it with mean() and var()",
        r"upsample.*": "use interpolate",
        r"\w+_": "use the function without _ and assign its result",
        r"[a-z]\w*": _WRITE,
    },
    "convnet.nn.init": {r"[a-z_]+[a-z]": "its name ends in _: it changes the tensor in place"},
    "convnet.nn.utils": {
        r"(?!_)\w+": "clip_grad_norm_, clip_grad_value_ and get_total_norm are here"
    },
    "convnet.optim": {r"[A-Z]\w*": "use SGD, Adam, AdamW, RMSprop or Adagrad"},
    "convnet.optim.lr_scheduler": {
        r"[A-Z]\w*": "use LambdaLR(optimizer, lambda epoch: factor), which writes down any schedule"
    },
    "convnet.data": {
        r".*(Distributed|Pipe).*": _ELSEWHERE,
        r"[A-Z]\w*": "derive it from Dataset or IterableDataset",
    },
    "Module": {
        r"register_\w*hook": _HOOKS,
        r"half|bfloat16|type": "types are float32 and float64; convert with .to()",
        r"[gs]et_\w+": "look in named_parameters(), named_buffers() or named_modules()",
        r"compile|share_memory|to_empty|ipu|xpu|mtia": "leave it out: it has no meaning here",
    },
    "Tensor": {
        r"\w*[a-z]_": "use the form without _ and assign its result",
        r"(?!_)\w+": f"for what a Tensor lacks {_NUMPY}",
    },
}


def missing(where: str, name: str, kind: str = "") -> AttributeError:
    """The error for a name that a module or class lacks. kind: the class, if it is not `where`."""
    hint = HINTS.get(where, {}).get(name) or next(
        (hint for pattern, hint in _PATTERNS.get(where, {}).items() if re.fullmatch(pattern, name)),
        "",
    )
    of = "module" if "." in where or where == "convnet" else "class"
    return AttributeError(
        f"{of} {kind or where!r} has no attribute {name!r}" + (f": {hint}" if hint else "")
    )
