"""Matrix products.

M rows, N columns, K the length of the sums; B a batch of matrices.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from convnet import backend
from convnet.kernels.arrays import (
    fits_kernel,
    is_gradient,
    is_plain,
    linear_shape,
    product_shape,
)
from convnet.memory import empty, empty_as
from convnet.ops._arrays import (
    as_array,
    check_out,
    check_same_dtype,
    check_shape,
    contiguous,
    native,
)
from convnet.ops._fused import FUSED, activate, check_activation


def _matrices(a: np.ndarray) -> np.ndarray:
    """`a` itself where one axis of its matrices is contiguous, the other ascending; else a copy.

    The copy has the contiguous axis that `a` nearly has: the kernels choose by it in which order
    they sum, and the bits are those of any other array of the same order.
    """
    if fits_kernel(a.shape, a.strides, a.itemsize):
        return a
    row, col = a.strides[-2:]
    if 0 < abs(row) < abs(col):
        return contiguous(a.swapaxes(-1, -2)).swapaxes(-1, -2)
    return contiguous(a)


def _product_out(
    out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype, *inputs: np.ndarray
) -> np.ndarray:
    if out is None:
        return empty(shape, dtype, False, inputs[0])
    out = check_out(out, shape, dtype, *inputs)
    if not out.flags.c_contiguous:
        raise ValueError(f"out: expected a C-contiguous array, got strides {out.strides}")
    return out


def _pair(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = as_array(a, "a"), as_array(b, "b")
    if a.dtype is not b.dtype or type(a) is not type(b):
        check_same_dtype("a", a, b=b)
    return a, b


def matmul(a: Any, b: Any, out: np.ndarray | None = None) -> np.ndarray:
    """y = a b, with numpy.matmul's rules for shapes.

    y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]

    a : (..., M, K)    b : (..., K, N)    ->    y : (..., M, N), the batch axes broadcast. A 1-D a
    is a row, a 1-D b a column, and that axis is missing in y. K = 0 gives zeros. ValueError for a
    0-D operand and for lengths or batch axes that do not match.
    """
    if out is None:
        simple = product_shape(a, b)
        if simple is not None:  # of small matrices, looking closer takes longer than the product
            y = empty(simple, a.dtype)
            backend.active(a).gemm(a, b, None, y, 1.0, 0.0, None)
            return y
    a, b = _pair(a, b)
    for name, operand in (("a", a), ("b", b)):
        if operand.ndim == 0:
            raise ValueError(f"{name}: expected at least 1 dimension, got a 0-D array")
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    m, k, n = left.shape[-2], left.shape[-1], right.shape[-1]
    if right.shape[-2] != k:
        raise ValueError(
            f"b: expected {k} rows like a's columns, got shapes {a.shape} and {b.shape}"
        )
    batch = left.shape[:-2]
    if right.ndim > 2:
        try:
            batch = np.broadcast_shapes(batch, right.shape[:-2])
        except ValueError:
            raise ValueError(
                f"b: expected batch axes that broadcast with a's, got {a.shape} and {b.shape}"
            ) from None
    shape = batch + (m,) * (a.ndim > 1) + (n,) * (b.ndim > 1)
    y = _product_out(out, shape, a.dtype, a, b)
    if y.size == 0:
        return native(y)
    if k == 0:
        y.fill(0)
    elif right.ndim == 2:  # one matrix for all of a's rows
        rows = _matrices(left if left.ndim == 2 else left.reshape(-1, k))
        backend.active(a).gemm(rows, _matrices(right), None, y.reshape(-1, n), 1.0, 0.0, None)
    else:
        left = _matrices(np.broadcast_to(left, (*batch, m, k)).reshape(-1, m, k))
        right = _matrices(np.broadcast_to(right, (*batch, k, n)).reshape(-1, k, n))
        backend.active(a).gemm(left, right, None, y.reshape(-1, m, n), 1.0, 0.0, None)
    if type(y) is not np.ndarray:
        return native(y)
    return y[()] if out is None and y.ndim == 0 else y


def gemm(
    a: Any,
    b: Any,
    c: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    transpose_a: bool = False,
    transpose_b: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """y = alpha a b + beta c

    a : (M, K), or (K, M) with transpose_a    b : (K, N), or (N, K) with transpose_b
    c : (M, N), or (N,) for every row, or None    ->    y : (M, N)

    With beta = 0 c is not read. `out` may be c itself. ValueError for shapes that do not match, and
    for a beta without a c. (BLAS level 3, xGEMM.)
    """
    alpha, beta = _number(alpha, "alpha"), _number(beta, "beta")
    if c is None and out is None and beta == 0 and is_plain(a) and is_plain(b):
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        simple = product_shape(left, right)
        if simple is not None:
            y = empty(simple, a.dtype)
            backend.active(a).gemm(left, right, None, y, alpha, 0.0, None)
            return y
    a, b = _pair(a, b)
    for name, operand in (("a", a), ("b", b)):
        if operand.ndim != 2:
            raise ValueError(f"{name}: expected 2 dimensions, got shape {operand.shape}")
    left, right = a.T if transpose_a else a, b.T if transpose_b else b
    (m, k), n = left.shape, right.shape[1]
    if right.shape[0] != k:
        raise ValueError(
            f"b: expected {k} {'columns' if transpose_b else 'rows'} like a's "
            f"{'rows' if transpose_a else 'columns'}, got shapes {a.shape} and {b.shape}"
        )
    if c is None:
        if beta != 0:
            raise ValueError(f"c: expected an array with beta={beta}, got None")
    else:
        c = as_array(c, "c")
        check_same_dtype("a", a, c=c)
        if c.shape not in ((m, n), (n,)):
            raise ValueError(f"c: expected shape {(m, n)} or {(n,)}, got {c.shape}")
        if beta == 0:
            c = None
    y = _product_out(out, (m, n), a.dtype, a, b)
    if c is not None:
        if out is not None:
            check_out(out, (m, n), a.dtype, c, in_place=True)
        c = contiguous(c)
    if y.size == 0:
        return native(y)
    if k == 0:
        y[...] = 0 if c is None else beta * c
        return native(y)
    backend.active(a).gemm(_matrices(left), _matrices(right), c, y, alpha, beta, None)
    return native(y)


def _number(value: Any, name: str) -> float:
    if type(value) is float:
        return value
    if not isinstance(value, Real):
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    return float(value)


def linear(x: Any, w: Any, b: Any = None, *, activation: str | None = None) -> np.ndarray:
    """A fully connected layer.

    y[..., o] = activation(b[o] + sum over i of x[..., i] * w[o, i])

    x : (..., I)    w : (O, I)    b : (O,) or None    ->    y : (..., O)

    activation : None, "relu", "sigmoid", "tanh", "silu", "leaky_relu" (slope 0.01) or "gelu"
    """
    if activation is not None:
        check_activation(activation)
    fused = activation if activation == FUSED else None
    beta = 0.0 if b is None else 1.0
    simple = linear_shape(x, w, b)
    if simple is not None:
        y = empty(simple, x.dtype)
        backend.active(x).gemm(x, w.T, b, y, 1.0, beta, fused)
    else:
        x, w, b = _linear_arguments(x, w, b)
        n, k = w.shape
        y = empty((*x.shape[:-1], n), x.dtype, False, x)
        if y.size == 0:
            return native(y)
        rows = y.reshape(-1, n)
        if k == 0:
            rows[...] = 0 if b is None else b
            if fused:
                backend.active(y).relu(y, y)
        else:
            x = _matrices(x if x.ndim == 2 else x.reshape(-1, k))
            backend.active(x).gemm(x, _matrices(w).T, b, rows, 1.0, beta, fused)
    if activation is not fused:
        activate(activation, y)
    return y if type(y) is np.ndarray else native(y)


def _linear_arguments(x: Any, w: Any, b: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    x, w = as_array(x, "x"), as_array(w, "w")
    check_same_dtype("x", x, w=w)
    _check_linear(x, w)
    if b is not None:
        b = as_array(b, "b")
        check_same_dtype("x", x, b=b)
        check_shape(b, "b", w.shape[:1], "like w's rows")
        b = contiguous(b)
    return x, w, b


def _check_linear(x: np.ndarray, w: np.ndarray) -> None:
    if w.ndim != 2:
        raise ValueError(f"w: expected 2 dimensions (O, I), got shape {w.shape}")
    if x.ndim == 0:
        raise ValueError("x: expected at least 1 dimension (..., I), got a 0-D array")
    if x.shape[-1] != w.shape[1]:
        raise ValueError(
            f"x: expected {w.shape[1]} in the last axis like w's columns, got shape {x.shape}"
        )


ALL = (True, True, True)


def check_needs(needs: Sequence[bool]) -> tuple[bool, bool, bool]:
    """The three flags of a backward function: which of dx, dw and db are wanted."""
    if needs is ALL:
        return ALL
    sequence = type(needs) is tuple or (isinstance(needs, Sequence) and not isinstance(needs, str))
    if not sequence or len(needs) != 3:
        raise ValueError(f"needs: expected three flags for dx, dw and db, got {needs!r}")
    return bool(needs[0]), bool(needs[1]), bool(needs[2])


def linear_backward(
    dy: Any, x: Any, w: Any, needs: Sequence[bool] = ALL
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The gradients of linear (without an activation): (dx, dw, db), None where not needed.

    dx[..., i] = sum over o of dy[..., o] * w[o, i]
    dw[o, i] = sum over all rows of dy[..., o] * x[..., i]
    db[o] = sum over all rows of dy[..., o]

    dy : (..., O)    x : (..., I)    w : (O, I)    ->    dx : like x    dw : like w    db : (O,)
    """
    need_dx, need_dw, need_db = check_needs(needs)
    shape, some = None, True
    if linear_shape(x, w, None) is None or not is_gradient(dy, x, w):
        dy, x, w, shape = _gradient_arguments(dy, x, w)
        some = dy.size and x.size and w.size
    run = backend.active(x)
    dx = dw = db = None
    if need_dx:
        dx = empty_as(x.shape, w)
        if some:
            run.gemm(dy, w, None, dx, 1.0, 0.0, None)
        else:
            dx.fill(0)
        if shape is not None:
            dx = dx.reshape(shape)
    if need_dw:
        dw = empty_as(w.shape, w)
        if some:
            run.gemm(dy.T, x, None, dw, 1.0, 0.0, None)
        else:
            dw.fill(0)
    if need_db:
        db = empty_as(w.shape[:1], w)
        if some or dy.size:
            run.sum_rows(dy, db)
        else:
            db.fill(0)
    if type(x) is np.ndarray:
        return dx, dw, db
    return native(dx), native(dw), native(db)


def _gradient_arguments(
    dy: Any, x: Any, w: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """dy and x as rows, w, all as the kernels take them; and x's shape."""
    dy, x, w = as_array(dy, "dy"), as_array(x, "x"), as_array(w, "w")
    check_same_dtype("x", x, w=w, dy=dy)
    _check_linear(x, w)
    n, k = w.shape
    check_shape(dy, "dy", (*x.shape[:-1], n), "like linear's result")
    m = math.prod(x.shape[:-1])
    rows = x.reshape(m, k)
    return contiguous(dy).reshape(m, n), _matrices(rows), _matrices(w), x.shape
