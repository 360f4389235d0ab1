"""Matrix products: cases and bounds.

Shapes go around what the kernel is made of: tiles of 4 to 14 rows and 4 to 32 columns, sums in
parts of 256, few rows or few columns, batches with one matrix for all.
"""

from itertools import product
from typing import Any

import numpy as np

from convnet.check.case import Array, Case, ErrorCase
from convnet.check.spec import OpSpec, flushed, sum_bound


def _gemm_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    a, b, c, alpha, beta = (args[p] for p in ("a", "b", "c", "alpha", "beta"))
    magnitude, k = abs(alpha) * (np.abs(a) @ np.abs(b)), a.shape[-1]
    if c is not None and beta != 0:
        magnitude, k = magnitude + np.abs(beta * c), k + 1
    tiny = (1 + abs(alpha)) * flushed(tiny, a, b) + abs(beta) * tiny
    return {"out": sum_bound(k, magnitude, eps, tiny)}


def _sum_rows_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    x = args["x"]
    return {"out": sum_bound(len(x), np.abs(x).sum(axis=0), eps, tiny)}


SPECS = {
    "gemm": OpSpec(("out",), _gemm_bound),
    "sum_rows": OpSpec(("out",), _sum_rows_bound),
}

_ROWS = (1, 2, 5, 6, 7, 13, 14, 15, 16, 29)
_COLUMNS = (1, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 65)
_LENGTHS = (0, 1, 2, 17, 64, 255, 256, 257, 520)
_BATCHES: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("vector vector", (7,), (7,)),
    ("vector matrix", (7,), (7, 5)),
    ("matrix vector", (5, 7), (7,)),
    ("batch matrix", (3, 5, 7), (7, 6)),
    ("matrix batch", (5, 7), (3, 7, 6)),
    ("batch batch", (3, 5, 7), (3, 7, 6)),
    ("batch vector", (3, 5, 7), (7,)),
    ("vector batch", (7,), (3, 7, 5)),
    ("broadcast", (2, 1, 5, 7), (3, 7, 6)),
    ("broadcast both", (2, 1, 5, 7), (1, 3, 7, 6)),
    ("empty batch", (0, 5, 7), (7, 6)),
    ("no rows", (0, 7), (7, 6)),
    ("no sum", (2, 5, 0), (2, 0, 6)),
    ("two threads", (4, 64, 96), (4, 96, 80)),
)


def _plain(*shape: int) -> Array:
    return Array(shape, follows="")


def _gemm(id: str, m: int, n: int, k: int, c: tuple[int, ...] | None = None, **args: Any) -> Case:
    a = (k, m) if args.get("transpose_a") else (m, k)
    b = (n, k) if args.get("transpose_b") else (k, n)
    arrays = {"a": _plain(*a), "b": _plain(*b)}
    if c is not None:
        arrays["c"] = _plain(*c)
    return Case("gemm", id, {**arrays, **args})


_FLAGS = [
    ({"transpose_a": ta, "transpose_b": tb}, f"{'T' if ta else 'N'}{'T' if tb else 'N'}")
    for ta, tb in product((False, True), repeat=2)
]
_LINEAR = (
    ("LeNet", (8, 400), 120),
    ("MLP", (100, 784), 100),
    ("10 classes", (64, 128), 10),
    ("one row", (1, 33), 17),
    ("vector", (33,), 17),
    ("batch", (2, 3, 33), 17),
    ("one output", (9, 33), 1),
    ("no rows", (0, 33), 17),
    ("no inputs", (4, 0), 3),
    ("no outputs", (4, 5), 0),
)

CASES = [
    *(
        _gemm(f"{m}x{n}x{k}", m, n, k)
        for m, n, k in [
            *((m, 33, 19) for m in _ROWS),
            *((15, n, 19) for n in _COLUMNS),
            *((15, 17, k) for k in _LENGTHS),
            *((m, 300, 40) for m in (1, 2, 3)),
            *((300, n, 40) for n in (1, 2, 3)),
            (350, 70, 300),
        ]
    ),
    *(
        _gemm(f"{name} {m}x{n}x{k}", m, n, k, **flags)
        for (flags, name), (m, n, k) in product(_FLAGS, ((15, 33, 19), (64, 3, 80), (1, 40, 300)))
    ),
    *(
        _gemm(
            f"alpha {alpha} beta {beta} {c} {name}", 15, 33, k, c, alpha=alpha, beta=beta, **flags
        )
        for (alpha, beta), c, k, (flags, name) in [
            ((2.0, -0.5), (15, 33), 19, _FLAGS[0]),
            ((2.0, -0.5), (33,), 300, _FLAGS[0]),
            ((-1.0, 1.0), (15, 33), 300, _FLAGS[3]),
            ((1.0, 0.0), (15, 33), 19, _FLAGS[0]),
            ((0.0, 3.0), (33,), 19, _FLAGS[1]),
            ((1.0, 2.0), (15, 33), 0, _FLAGS[0]),
            ((1.0, 2.0), (33,), 0, _FLAGS[0]),
        ]
    ),
    _gemm("few columns with c", 300, 2, 40, (300, 2), alpha=2.0, beta=3.0),
    _gemm("few columns with a row", 300, 2, 40, (2,), beta=1.0),
    *(Case("matmul", id, {"a": _plain(*a), "b": _plain(*b)}) for id, a, b in _BATCHES),
    *(
        Case("linear", id, {"x": _plain(*x), "w": _plain(o, x[-1]), "b": _plain(o)})
        for id, x, o in _LINEAR
    ),
    *(
        Case(
            "linear",
            f"{activation}",
            {
                "x": _plain(9, 33),
                "w": _plain(17, 33),
                "b": _plain(17) if activation else None,
                "activation": activation,
            },
        )
        for activation in (None, "relu")
    ),
    *(
        Case(
            "linear_backward",
            id,
            {"dy": _plain(*x[:-1], o), "x": _plain(*x), "w": _plain(o, x[-1])},
        )
        for id, x, o in _LINEAR
    ),
    *(
        Case(
            "linear_backward",
            f"needs {''.join('01'[n] for n in needs)}",
            {"dy": _plain(9, 17), "x": _plain(9, 33), "w": _plain(17, 33), "needs": needs},
        )
        for needs in product((False, True), repeat=3)
    ),
]


def _z(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def _overlapping() -> dict[str, Any]:
    a = _z(4, 4)
    return {"a": a, "b": _z(4, 4), "out": a}


def _read_only() -> dict[str, Any]:
    out = _z(4, 4)
    out.flags.writeable = False
    return {"a": _z(4, 3), "b": _z(3, 4), "out": out}


def _error(op: str, id: str, exception: type[Exception], match: str, **args: Any) -> ErrorCase:
    return ErrorCase(op, id, lambda: args, exception, match)


_A, _B = _z(4, 3), _z(3, 5)

ERROR_CASES = [
    _error("matmul", "list", TypeError, "a: expected a numpy.ndarray", a=[[1.0]], b=_B),
    _error("matmul", "int", TypeError, "b: .* got int64", a=_A, b=np.ones((3, 5), np.int64)),
    _error(
        "matmul",
        "mixed",
        TypeError,
        "b: .*float32 like a, got float64",
        a=_A,
        b=_z(3, 5, dtype="f8"),
    ),
    _error("matmul", "0-D", ValueError, "a: .*0-D", a=_z(), b=_B),
    _error("matmul", "lengths", ValueError, r"b: expected 3 rows .*\(4, 5\)", a=_A, b=_z(4, 5)),
    _error("matmul", "batch", ValueError, "b: expected batch axes", a=_z(2, 4, 3), b=_z(3, 3, 5)),
    _error("matmul", "out shape", ValueError, "out: expected shape", a=_A, b=_B, out=_z(5, 4)),
    _error(
        "matmul",
        "out dtype",
        TypeError,
        "out: expected float32",
        a=_A,
        b=_B,
        out=_z(4, 5, dtype="f8"),
    ),
    _error("matmul", "out order", ValueError, "out: ", a=_A, b=_B, out=_z(5, 4).T),
    ErrorCase("matmul", "out overlaps", _overlapping, ValueError, "out: overlaps"),
    ErrorCase("matmul", "out read-only", _read_only, ValueError, "out: .*read-only"),
    _error("gemm", "object", TypeError, "a: .* got object", a=np.empty((4, 3), object), b=_B),
    _error("gemm", "ndim", ValueError, "a: expected 2 dimensions", a=_z(2, 4, 3), b=_B),
    _error("gemm", "lengths", ValueError, "b: expected 4 rows", a=_A, b=_B, transpose_a=True),
    _error("gemm", "transposed", ValueError, "b: expected 3 columns", a=_A, b=_B, transpose_b=True),
    _error("gemm", "beta alone", ValueError, "c: .*beta=2", a=_A, b=_B, beta=2.0),
    _error(
        "gemm", "c shape", ValueError, r"c: expected shape \(4, 5\)", a=_A, b=_B, c=_z(4), beta=1
    ),
    _error(
        "gemm", "c dtype", TypeError, "c: .*float64", a=_A, b=_B, c=_z(4, 5, dtype="f8"), beta=1
    ),
    _error("gemm", "alpha", TypeError, "alpha: expected a real number", a=_A, b=_B, alpha="1"),
    _error("gemm", "complex beta", TypeError, "beta: .*1j", a=_A, b=_B, c=_z(5), beta=1j),
    _error("gemm", "out shape", ValueError, "out: expected shape", a=_A, b=_B, out=_z(4)),
    _error("linear", "rows", ValueError, "x: expected 3 in the last", x=_z(2, 4), w=_z(5, 3)),
    _error("linear", "w ndim", ValueError, "w: expected 2 dimensions", x=_z(2, 3), w=_z(3)),
    _error("linear", "0-D", ValueError, "x: .*0-D", x=_z(), w=_z(5, 3)),
    _error(
        "linear",
        "b shape",
        ValueError,
        r"b: expected shape \(5,\)",
        x=_z(2, 3),
        w=_z(5, 3),
        b=_z(3),
    ),
    _error("linear", "mixed", TypeError, "w: .*float64", x=_z(2, 3), w=_z(5, 3, dtype="f8")),
    _error(
        "linear", "b dtype", TypeError, "b: .*float64", x=_z(2, 3), w=_z(5, 3), b=_z(5, dtype="f8")
    ),
    _error(
        "linear",
        "activation",
        ValueError,
        "activation: .*'swish'",
        x=_z(2, 3),
        w=_z(5, 3),
        activation="swish",
    ),
    _error(
        "linear_backward",
        "dy shape",
        ValueError,
        r"dy: expected shape \(2, 5\)",
        dy=_z(2, 4),
        x=_z(2, 3),
        w=_z(5, 3),
    ),
    _error(
        "linear_backward",
        "dy dtype",
        TypeError,
        "dy: .*float64",
        dy=_z(2, 5, dtype="f8"),
        x=_z(2, 3),
        w=_z(5, 3),
    ),
    _error(
        "linear_backward",
        "needs",
        ValueError,
        "needs: expected three",
        dy=_z(2, 5),
        x=_z(2, 3),
        w=_z(5, 3),
        needs=(True,),
    ),
]
