"""The public names and signatures that are stable: what other people's programs rely on.

A signature is written as Python shows it without annotations. Changing a line here breaks users.
"""

CONV = "x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, activation=None, out=None"
CONV_BACKWARD = "dy, x, w, *, stride=1, padding=0, dilation=1, groups=1, needs=(True, True, True)"
MAX_POOL = "kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False"
AVG_POOL = (
    "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, "
    "divisor_override=None"
)
UNARY = "x, out=None"
FROM_X = "dy, x, out=None"
FROM_Y = "dy, y, out=None"

_BY_RANK = {
    "conv{}d": CONV,
    "conv{}d_backward": CONV_BACKWARD,
    "max_pool{}d": f"x, {MAX_POOL}, return_indices=False",
    "max_pool{}d_backward": f"dy, indices, x_shape, {MAX_POOL}",
    "avg_pool{}d": f"x, {AVG_POOL}",
    "avg_pool{}d_backward": f"dy, x_shape, {AVG_POOL}",
    "global_avg_pool{}d": "x",
    "global_avg_pool{}d_backward": "dy, x_shape",
    "adaptive_avg_pool{}d": "x, output_size",
    "adaptive_avg_pool{}d_backward": "dy, x_shape",
}

OPS = {name.format(rank): s for name, s in _BY_RANK.items() for rank in (1, 2, 3)} | {
    "conv_transpose2d": (
        "x, w, b=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1"
    ),
    "conv_transpose2d_backward": None,
    "conv_transpose1d": (
        "x, w, b=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1"
    ),
    "conv_transpose1d_backward": None,
    "conv_transpose3d": (
        "x, w, b=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1"
    ),
    "conv_transpose3d_backward": None,
    "interpolate": "x, size=None, scale_factor=None, mode='nearest', align_corners=False",
    "interpolate_backward": None,
    "l1_loss": "x, target, reduction='mean'",
    "l1_loss_backward": None,
    "smooth_l1_loss": "x, target, reduction='mean', beta=1.0",
    "smooth_l1_loss_backward": None,
    "convolve": "x, w, mode='full'",
    "im2col": None,
    "col2im": None,
    "conv2d_algorithm": None,
    "matmul": "a, b, out=None",
    "gemm": (
        "a, b, c=None, *, alpha=1.0, beta=0.0, transpose_a=False, transpose_b=False, out=None"
    ),
    "linear": "x, w, b=None, *, activation=None",
    "linear_backward": "dy, x, w, needs=(True, True, True)",
    "relu": UNARY,
    "sigmoid": UNARY,
    "tanh": UNARY,
    "silu": UNARY,
    "leaky_relu": None,
    "gelu": None,
    "relu_backward": FROM_Y,
    "sigmoid_backward": FROM_Y,
    "tanh_backward": FROM_Y,
    "silu_backward": FROM_X,
    "leaky_relu_backward": None,
    "gelu_backward": None,
    "softmax": "x, axis=-1",
    "log_softmax": "x, axis=-1",
    "softmax_backward": "dy, y, axis=-1",
    "log_softmax_backward": "dy, y, axis=-1",
    "cross_entropy": "logits, target, reduction='mean', ignore_index=-100",
    "cross_entropy_backward": None,
    "nll_loss": None,
    "nll_loss_backward": None,
    "bce": None,
    "bce_backward": None,
    "bce_with_logits": None,
    "bce_with_logits_backward": None,
    "mse_loss": None,
    "mse_loss_backward": None,
    "batch_norm": (
        "x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, "
        "eps=1e-05"
    ),
    "batch_norm_backward": None,
    "batch_norm_stats": "x",
    "dropout": "x, p, *, seed, offset=0",
    "dropout_backward": "dy, mask, p",
}

CONVNET = {
    "set_num_threads": "n",
    "get_num_threads": "",
    "use_backend": "name",
    "get_backend": "",
    "set_precision": "precision",
    "get_precision": "",
    "empty_cache": "",
    "set_cache_limit": "bytes",
    "get_cache_limit": "",
    "manual_seed": None,
    "get_rng_state": "",
    "set_rng_state": "new_state",
    "cross_check": "on=True",
    "info": "",
    "summary": "model, input_size, dtype=None",
    **dict.fromkeys(
        (
            *("zeros", "ones", "full", "eye", "arange", "linspace", "from_numpy", "tensor"),
            *("rand", "randn", "randint", "randperm", "zeros_like", "ones_like"),
            *("cat", "stack", "where", "sum", "mean", "max", "argmax", "flatten", "matmul"),
        )
    ),
    "save": None,
    "load": "path, *, with_metadata=False",
}

CLASSES = {
    "convnet": ["CrossCheckError"],
    "convnet.nn": [
        "Tensor",
        "Parameter",
        "Module",
        "Sequential",
        "ModuleList",
        "ModuleDict",
        "Linear",
        "Flatten",
        "Unflatten",
        "Identity",
        "Dropout",
        "Dropout2d",
        "Upsample",
        *(
            f"{layer}{rank}d"
            for layer in (
                "Conv",
                "ConvTranspose",
                "MaxPool",
                "AvgPool",
                "AdaptiveAvgPool",
                "BatchNorm",
            )
            for rank in (1, 2, 3)
        ),
        *("ReLU", "LeakyReLU", "GELU", "SiLU", "Sigmoid", "Tanh", "Softmax", "LogSoftmax"),
        *("CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"),
        *("MSELoss", "L1Loss", "SmoothL1Loss"),
    ],
    "convnet.nn.summary": ["Layer", "Summary"],
    "convnet.optim": ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Optimizer"],
    "convnet.optim.lr_scheduler": [
        "LambdaLR",
        "StepLR",
        "MultiStepLR",
        "ExponentialLR",
        "CosineAnnealingLR",
        "OneCycleLR",
        "ReduceLROnPlateau",
    ],
    "convnet.data": ["TensorDataset", "DataLoader"],
}
