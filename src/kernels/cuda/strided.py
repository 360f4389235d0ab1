"""NumPy's element-wise functions on arrays of any strides: what the layers' own arithmetic needs.

    y[i0, ..., ik] = f(a[...], b[...])      each array with strides of its own, 0 where it repeats

The host merges axes that all arrays go through alike, so that dense arrays have one. A kernel is
made for a function, the arrays' types, the type that the function works in, and a number of axes.
Every array comes as all the memory between its lowest and its highest element, with the place
where it begins: strides may be negative. Offsets are 64-bit.

The ops' own kernels stand in their families' files; these are for what has no op.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import (
    SIMULATED,
    Kernel,
    device,
    flat,
    grid_for,
    kernel,
    launch,
    multiprocessors,
)
from numba import cuda

BLOCK = 16 if SIMULATED else 256
MAX_AXES = 6


@device
def identity(x):
    return x


@device
def negative(x):
    return -x


@device
def absolute(x):
    return abs(x)


@device
def sign(x):
    return x if x == 0 or x != x else math.copysign(1.0, x)


@device
def exp(x):
    return math.exp(x)


@device
def log(x):
    return math.log(x)


@device
def sqrt(x):
    return math.sqrt(x)


@device
def isnan(x):
    return x != x


@device
def isfinite(x):
    return x - x == 0


@device
def logical_not(x):
    return x == 0


@device
def add(a, b):
    return a + b


@device
def subtract(a, b):
    return a - b


@device
def multiply(a, b):
    return a * b


@device
def divide(a, b):
    return a / b


@device
def power(a, b):
    return math.pow(a, b)


@device
def maximum(a, b):
    return a if a > b or a != a else b


@device
def minimum(a, b):
    return a if a < b or a != a else b


@device
def equal(a, b):
    return a == b


@device
def not_equal(a, b):
    return a != b


@device
def less(a, b):
    return a < b


@device
def less_equal(a, b):
    return a <= b


@device
def greater(a, b):
    return a > b


@device
def greater_equal(a, b):
    return a >= b


@device
def logical_and(a, b):
    return (a != 0) & (b != 0)


@device
def logical_or(a, b):
    return (a != 0) | (b != 0)


# Where k axes' counter i stands in each array: the last axis counts fastest.
@functools.cache
def make_fill(y_type: np.dtype, axes: int) -> Kernel:
    scalar = "float64" if y_type.kind == "f" else "int64"
    store = y_type.type

    @kernel(
        f"void({_array(y_type)}, int64, UniTuple(int64, {axes}), UniTuple(int64, {axes}), "
        f"int64, {scalar})",
        max_threads=BLOCK,
    )
    def fill(y, n, shape, ys, iy, value):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, at = i, iy
            for j in range(axes):
                d = axes - 1 - j
                q = rest // shape[d]
                at += (rest - q * shape[d]) * ys[d]
                rest = q
            y[at] = store(value)

    return fill


@functools.cache
def make_unary(name: str, y_type: np.dtype, a_type: np.dtype, work: np.dtype, axes: int) -> Kernel:
    function, store, load = _functions()[name], y_type.type, work.type

    @kernel(
        f"void({_array(y_type)}, {_array(a_type)}, int64, {_tuples(axes, 3)}, int64, int64)",
        max_threads=BLOCK,
    )
    def unary(y, a, n, shape, ys, as_, iy, ia):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, at, at_a = i, iy, ia
            for j in range(axes):
                d = axes - 1 - j
                q = rest // shape[d]
                k = rest - q * shape[d]
                at += k * ys[d]
                at_a += k * as_[d]
                rest = q
            y[at] = store(function(load(a[at_a])))

    return unary


@functools.cache
def make_binary(
    name: str, y_type: np.dtype, a_type: np.dtype, b_type: np.dtype, work: np.dtype, axes: int
) -> Kernel:
    function, store, load = _functions()[name], y_type.type, work.type

    @kernel(
        f"void({_array(y_type)}, {_array(a_type)}, {_array(b_type)}, int64, {_tuples(axes, 4)}, "
        f"int64, int64, int64)",
        max_threads=BLOCK,
    )
    def binary(y, a, b, n, shape, ys, as_, bs, iy, ia, ib):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, at, at_a, at_b = i, iy, ia, ib
            for j in range(axes):
                d = axes - 1 - j
                q = rest // shape[d]
                k = rest - q * shape[d]
                at += k * ys[d]
                at_a += k * as_[d]
                at_b += k * bs[d]
                rest = q
            y[at] = store(function(load(a[at_a]), load(b[at_b])))

    return binary


@functools.cache
def make_where(dtype: np.dtype, axes: int) -> Kernel:
    t = _array(dtype)

    @kernel(
        f"void({t}, bool_[::1], {t}, {t}, int64, {_tuples(axes, 5)}, int64, int64, int64, int64)",
        max_threads=BLOCK,
    )
    def where(y, c, a, b, n, shape, ys, cs, as_, bs, iy, ic, ia, ib):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, at, at_c, at_a, at_b = i, iy, ic, ia, ib
            for j in range(axes):
                d = axes - 1 - j
                q = rest // shape[d]
                k = rest - q * shape[d]
                at += k * ys[d]
                at_c += k * cs[d]
                at_a += k * as_[d]
                at_b += k * bs[d]
                rest = q
            y[at] = a[at_a] if c[at_c] else b[at_b]

    return where


def _array(dtype: np.dtype) -> str:
    return "bool_[::1]" if dtype.kind == "b" else f"{dtype}[::1]"


def _tuples(axes: int, count: int) -> str:
    return ", ".join([f"UniTuple(int64, {axes})"] * count)


def _functions() -> dict[str, Any]:
    return globals()


def merged(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[Any, ...]:
    """(shape, strides of each array) with as few axes as can be: neighbours that every array
    goes through as through one are merged, the largest strides of the first array come first."""
    order = sorted(range(len(shape)), key=lambda d: -abs(strides[0][d]))
    out: list[list[int]] = [[] for _ in range(1 + len(strides))]
    for d in order:
        n = shape[d]
        if n == 1:
            continue
        if out[0] and all(s[-1] == n * given[d] for s, given in zip(out[1:], strides, strict=True)):
            out[0][-1] *= n
            for s, given in zip(out[1:], strides, strict=True):
                s[-1] = given[d]
            continue
        out[0].append(n)
        for s, given in zip(out[1:], strides, strict=True):
            s.append(given[d])
    if not out[0]:
        out = [[1]] * (1 + len(strides))
    if len(out[0]) > MAX_AXES:
        raise NotImplementedError(f"arrays of more than {MAX_AXES} axes on a GPU: {shape}")
    return tuple(tuple(x) for x in out)


def _run(make: Any, y: Any, *inputs: Any, value: Any = None) -> None:
    """Launch what make(axes) gives on y and inputs, all of y's shape (strides may be 0)."""
    if y.size == 0:
        return
    arrays = (y, *inputs)
    shape, *strides = merged(
        y.shape, *[tuple([s // a.itemsize for s in a.strides]) for a in arrays]
    )
    lines, starts = zip(*[a.line() for a in arrays], strict=True)
    n = y.size
    extra = () if value is None else (value,)
    launch(
        make(len(shape)),
        grid_for(n, BLOCK, 16 * multiprocessors()),
        BLOCK,
        *[flat(line) for line in lines],
        n,
        shape,
        *strides,
        *starts,
        *extra,
    )


def fill(y: Any, value: Any) -> None:
    """y[...] = value."""
    _run(lambda axes: make_fill(y.dtype, axes), y, value=value)


def unary(name: str, y: Any, a: Any, work: np.dtype) -> None:
    """y = name(a), computed in the type `work`."""
    _run(lambda axes: make_unary(name, y.dtype, a.dtype, work, axes), y, a)


def binary(name: str, y: Any, a: Any, b: Any, work: np.dtype) -> None:
    """y = name(a, b), computed in the type `work`."""
    _run(lambda axes: make_binary(name, y.dtype, a.dtype, b.dtype, work, axes), y, a, b)


def where(y: Any, c: Any, a: Any, b: Any) -> None:
    """y = a where c, else b."""
    _run(lambda axes: make_where(y.dtype, axes), y, c, a, b)


def programs() -> Iterator[Kernel]:
    """What a training loop uses; other functions and types are compiled when they are called."""
    f32, f64, i64 = (np.dtype(t) for t in ("float32", "float64", "int64"))
    for t in (f32, f64):
        for axes in (1, 4):
            yield make_fill(t, axes)
            yield make_unary("identity", t, t, t, axes)
            yield make_binary("add", t, t, t, t, axes)
        for name in ("negative", "absolute", "sign", "exp", "log", "sqrt"):
            yield make_unary(name, t, t, t, 1)
        for name in ("subtract", "multiply", "divide", "power", "maximum", "minimum"):
            yield make_binary(name, t, t, t, t, 1)
        yield make_binary("less_equal", np.dtype(bool), t, t, t, 1)
        yield make_where(t, 1)
    yield make_unary("identity", f32, f64, f64, 1)
    yield make_binary("equal", np.dtype(bool), i64, i64, i64, 1)
