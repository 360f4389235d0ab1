"""What a call costs where there is little to compute: every op, on about 1,000 elements.

    python bench/calls.py                       all ops, float32 and float64
    python bench/calls.py max_pool softmax      those whose names begin so
    python bench/calls.py --layers              steps of small layers and optimizers beside torch's

One thread. Times are microseconds a call: the least of many short runs, the ops and NumPy's
negative (the cheapest ufunc) in turn, so that all lines see the same machine.

    call      the op, as a user calls it
    over      what is left of it beside np.negative on 1,000 elements of that type
    kernel    what the compiled functions that the call ran take by themselves
"""

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import convnet
import numpy as np
from convnet import ops, optim
from convnet.backends import cpu

RUNS, SECONDS = 60, 0.0004  # of a line, of a run
Case = Callable[[], Any]


def cases(dtype: type) -> dict[str, Case]:
    """A call of every op, by its name."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    x, dy, table = normal(1000), normal(1000), normal(100, 10)
    y, d_table, classes = ops.softmax(table), normal(100, 10), rng.integers(0, 10, 100)
    found: dict[str, Case] = {}
    for name in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu"):
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        found[name] = lambda f=forward: f(x)
        found[f"{name}_backward"] = lambda f=backward: f(dy, x)
    for name in ("softmax", "log_softmax"):
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        found[name] = lambda f=forward: f(table)
        found[f"{name}_backward"] = lambda f=backward: f(d_table, y)
    for name in ("cross_entropy", "nll_loss"):
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        found[name] = lambda f=forward: f(table, classes)
        found[f"{name}_backward"] = lambda f=backward: f(table, classes)
    chance, target = rng.random(1000).astype(dtype), (normal(1000) > 0).astype(dtype)
    for name in ("bce", "bce_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss"):
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        found[name] = lambda f=forward: f(chance, target)
        found[f"{name}_backward"] = lambda f=backward: f(chance, target)

    image = normal(1, 10, 10, 10)
    one, zero = np.ones(10, dtype), np.zeros(10, dtype)
    mean, var = np.zeros(10, dtype), np.ones(10, dtype)
    found["batch_norm"] = lambda: ops.batch_norm(image, zero, one, one, zero)
    found["batch_norm training"] = lambda: ops.batch_norm(image, mean, var, one, zero, True)
    found["batch_norm_backward"] = lambda: ops.batch_norm_backward(
        image, image, zero, one, one, True
    )
    found["batch_norm_stats"] = lambda: ops.batch_norm_stats(image)
    mask = ops.dropout(x, 0.5, seed=1)[1]
    found["dropout"] = lambda: ops.dropout(x, 0.5, seed=1)
    found["dropout_backward"] = lambda: ops.dropout_backward(dy, mask, 0.5)

    for rank, extents in ((1, (100,)), (2, (10, 10)), (3, (5, 5, 4))):
        a, size = normal(1, 10, *extents), (1, 10, *extents)
        half, w = tuple(n // 2 for n in extents), normal(1, 1, *(2,) * rank)
        plane = normal(1, 1, *((1000,), (32, 32), (10, 10, 10))[rank - 1])
        for name in ("max_pool", "avg_pool"):
            forward = getattr(ops, f"{name}{rank}d")
            backward = getattr(ops, f"{name}{rank}d_backward")
            d = forward(a, 2)
            found[f"{name}{rank}d"] = lambda f=forward, a=a: f(a, 2)
            if name == "max_pool":
                d, places = forward(a, 2, return_indices=True)
                found[f"{name}{rank}d_backward"] = lambda f=backward, d=d, p=places, s=size: f(
                    d, p, s, 2
                )
            else:
                found[f"{name}{rank}d_backward"] = lambda f=backward, d=d, s=size: f(d, s, 2)
        forward = getattr(ops, f"adaptive_avg_pool{rank}d")
        backward = getattr(ops, f"adaptive_avg_pool{rank}d_backward")
        found[forward.__name__] = lambda f=forward, a=a, h=half: f(a, h)
        d = forward(a, half)
        found[backward.__name__] = lambda f=backward, d=d, s=size: f(d, s)
        forward = getattr(ops, f"global_avg_pool{rank}d")
        backward = getattr(ops, f"global_avg_pool{rank}d_backward")
        found[forward.__name__] = lambda f=forward, a=a: f(a)
        d = forward(a)
        found[backward.__name__] = lambda f=backward, d=d, s=size: f(d, s)
        for name in ("conv", "conv_transpose"):
            forward = getattr(ops, f"{name}{rank}d")
            backward = getattr(ops, f"{name}{rank}d_backward")
            found[forward.__name__] = lambda f=forward, a=plane, w=w: f(a, w)
            d = forward(plane, w)
            found[backward.__name__] = lambda f=backward, d=d, a=plane, w=w: f(d, a, w)
    digit, five = normal(1, 1, 28, 28), normal(1, 1, 5, 5)
    found["conv2d 28x28 5x5"] = lambda: ops.conv2d(digit, five)
    found["conv2d_algorithm"] = lambda: ops.conv2d_algorithm((1, 1, 28, 28), (1, 1, 5, 5))
    found["convolve"] = lambda: ops.convolve(x, five[0, 0, 0])
    columns = ops.im2col(digit, 2, stride=2)
    found["im2col"] = lambda: ops.im2col(digit, 2, stride=2)
    found["col2im"] = lambda: ops.col2im(columns, digit.shape, 2, stride=2)
    found["interpolate"] = lambda: ops.interpolate(image, scale_factor=2)
    large = ops.interpolate(image, scale_factor=2)
    found["interpolate_backward"] = lambda: ops.interpolate_backward(
        large, image.shape, scale_factor=2
    )

    rows, weights, bias = normal(10, 100), normal(10, 100), normal(10)
    square, d_rows = normal(32, 32), normal(10, 10)
    found["linear"] = lambda: ops.linear(rows, weights, bias)
    found["linear_backward"] = lambda: ops.linear_backward(d_rows, rows, weights)
    found["matmul"] = lambda: ops.matmul(square, square)
    found["gemm"] = lambda: ops.gemm(square, square)
    missing = set(ops.__all__) - set(found)
    assert not missing, f"no case for {missing}"

    for kind in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad):
        p = convnet.Tensor(x.copy(), requires_grad=True)
        p.grad = convnet.Tensor(dy)
        found[f"{kind.__name__}.step"] = kind([p], lr=1e-3).step
    return found


class _Recorder:
    """A module of kernels that notes what is called, and with what."""

    def __init__(self, module: Any) -> None:
        self.module, self.calls = module, []

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(self.module, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((kernel, args, kwargs))
            return kernel(*args, **kwargs)

        return run


def kernels_of(case: Case, dtype: np.dtype) -> Case:
    """A call of the compiled functions alone that a call of the op runs."""
    former = cpu._kernels[dtype.itemsize]
    recorder = cpu._kernels[dtype.itemsize] = _Recorder(former)
    try:
        case()
    finally:
        cpu._kernels[dtype.itemsize] = former
    calls = recorder.calls
    if len(calls) == 1:
        kernel, args, kwargs = calls[0]
        return (lambda: kernel(*args, **kwargs)) if kwargs else (lambda: kernel(*args))

    def run() -> None:
        for kernel, args, kwargs in calls:
            kernel(*args, **kwargs)

    return run


def least(functions: dict[Any, Case]) -> dict[Any, float]:
    """Microseconds of a call of each, the least of RUNS runs that take turns."""
    loops, best = {}, {}
    for name, f in functions.items():
        f()
        begin = time.perf_counter()
        for _ in range(20):
            f()
        loops[name] = max(5, int(SECONDS * 20 / (time.perf_counter() - begin)))
        best[name] = float("inf")
    gc.collect()
    gc.disable()
    for _ in range(RUNS):
        for name, f in functions.items():
            span = range(loops[name])
            begin = time.perf_counter()
            for _ in span:
                f()
            best[name] = min(best[name], (time.perf_counter() - begin) / loops[name])
    gc.enable()
    return {name: 1e6 * seconds for name, seconds in best.items()}


def ops_table(prefixes: list[str]) -> None:
    head = f"{'':28}"
    tables = []
    for dtype in (np.float32, np.float64):
        chosen = {
            name: case
            for name, case in cases(dtype).items()
            if not prefixes or name.startswith(tuple(prefixes))
        }
        functions: dict[Any, Case] = {(name, "call"): case for name, case in chosen.items()}
        for name, case in chosen.items():
            functions[name, "kernel"] = kernels_of(case, np.dtype(dtype))
        x = np.ones(1000, dtype)
        functions["np.negative"] = lambda x=x: np.negative(x)
        times = least(functions)
        tables.append((times, times["np.negative"]))
        head += f"{np.dtype(dtype).name:>9}{'over':>7}{'kernel':>8}"
    print(head)
    print(f"{'np.negative':28}" + "".join(f"{zero:9.2f}{'':15}" for _, zero in tables))
    for name in chosen:
        line = f"{name:28}"
        for times, zero in tables:
            call = times[name, "call"]
            line += f"{call:9.2f}{call - zero:7.2f}{times[name, 'kernel']:8.2f}"
        print(line)


def steps(torch: Any, nn: Any, tensor: Any, optim: Any) -> dict[str, Case]:
    """Small steps in convnet's or torch's names."""
    rng = np.random.default_rng(0)
    x = tensor(rng.normal(size=(10, 100)).astype("f4"))
    target = tensor(rng.integers(0, 10, 10))
    layer, loss = nn.Linear(100, 10), nn.CrossEntropyLoss()

    def forward() -> Any:
        return layer(x)

    def backward() -> None:
        layer(x).sum().backward()

    def trained() -> None:
        loss(layer(x), target).backward()

    found = {
        "Linear(100, 10) forward": forward,
        "forward, sum, backward": backward,
        "forward, loss, backward": trained,
    }
    for kind in (optim.SGD, optim.Adam):
        ps = [tensor(np.ones(10, "f4")) for _ in range(4)]
        for p in ps:
            p.requires_grad_()
            p.grad = tensor(np.ones(10, "f4"))
        found[f"{kind.__name__}, 4 x 10 elements"] = kind(ps, lr=1e-3).step
    return found


def layers_table() -> None:
    import torch
    from convnet import nn

    torch.set_num_threads(1)
    ours = steps(convnet, nn, convnet.tensor, optim)
    theirs = steps(torch, torch.nn, torch.from_numpy, torch.optim)
    functions: dict[Any, Case] = {}
    for name in ours:
        functions[name, "convnet"], functions[name, "torch"] = ours[name], theirs[name]
    times = least(functions)
    print(f"{'us':28}{'convnet':>9}{'torch':>9}{'ratio':>7}")
    for name in ours:
        a, b = times[name, "convnet"], times[name, "torch"]
        print(f"{name:28}{a:9.1f}{b:9.1f}{b / a:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="how names begin; all unless given")
    parser.add_argument("--layers", action="store_true", help="small layers beside torch instead")
    arguments = parser.parse_args()
    convnet.set_num_threads(1)
    level = convnet.info()["instruction_set"]
    print(f"convnet {convnet.__version__}, {level}, numpy {np.__version__}")
    if arguments.layers:
        layers_table()
    else:
        ops_table(arguments.names)


if __name__ == "__main__":
    main()
