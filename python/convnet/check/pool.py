"""Pooling: cases and bounds.

Shapes go around what the kernels are made of: rows short of a vector, a vector, one more, and
longer than a strip; channels likewise; windows that share rows and windows that do not; work for
two threads.
"""

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from convnet.backends import reference
from convnet.check.case import Array, Case
from convnet.check.pool_errors import ERROR_CASES
from convnet.check.spec import OpSpec, exact, sum_bound
from convnet.shapes import PoolDims, pool_dims


def _windows_of_an_element(dims: PoolDims) -> int:
    """How many windows an input element can lie in."""
    return prod(
        -(-(d * (m - 1) + 1) // s)
        for d, m, s in zip(dims.dilation, dims.kernel_size, dims.stride, strict=True)
    )


def _magnitudes(
    function: Callable[..., None], source: str, result: str, terms: Callable[..., float]
) -> Callable[..., dict[str, Any]]:
    """The bound of a function that sums: its own sum over |source|, of `terms(args)` terms."""

    def bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
        magnitude = np.empty_like(expected[result])
        function(**{**args, source: np.abs(args[source]), result: magnitude})
        return {result: sum_bound(terms(args), magnitude, eps, tiny)}

    return bound


def _cell_size(args: dict[str, Any], image: str, cells: str) -> int:
    """Elements of the largest cell, and cells that hold an element: never more than this."""
    pairs = zip(args[image].shape[2:], args[cells].shape[2:], strict=True)
    return prod(max(n // q, q // n) + 2 for n, q in pairs)


SPECS = {
    "max_pool": OpSpec(("y", "indices"), exact("y")),
    "max_pool_backward": OpSpec(
        ("dx",),
        _magnitudes(
            reference.max_pool_backward, "dy", "dx", lambda a: _windows_of_an_element(a["dims"])
        ),
    ),
    "avg_pool": OpSpec(
        ("y",), _magnitudes(reference.avg_pool, "x", "y", lambda a: prod(a["dims"].kernel_size))
    ),
    "avg_pool_backward": OpSpec(
        ("dx",),
        _magnitudes(
            reference.avg_pool_backward, "dy", "dx", lambda a: _windows_of_an_element(a["dims"])
        ),
    ),
    "adaptive_avg_pool": OpSpec(
        ("y",),
        _magnitudes(reference.adaptive_avg_pool, "x", "y", lambda a: _cell_size(a, "x", "y")),
    ),
    "adaptive_avg_pool_backward": OpSpec(
        ("dx",),
        _magnitudes(
            reference.adaptive_avg_pool_backward, "dy", "dx", lambda a: _cell_size(a, "dx", "dy")
        ),
    ),
}


__all__ = ["CASES", "ERROR_CASES", "SPECS"]

# What x holds beside normal numbers.


def _halves(args: dict[str, Any]) -> dict[str, Any]:
    """Few different values: ties in every window."""
    return {**args, "x": np.round(args["x"] * 2) / 2}


def _specials(*values: float, share: float = 0.3) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Ties, and `values` at a share of the places."""

    def prepare(args: dict[str, Any]) -> dict[str, Any]:
        x = _halves(args)["x"]
        rng = np.random.default_rng(x.size)
        chosen = rng.choice(np.array(values, x.dtype), x.shape)
        return {**args, "x": np.where(rng.random(x.shape) < share, chosen, x)}

    return prepare


def _with_indices(args: dict[str, Any]) -> dict[str, Any]:
    """x becomes dy and indices: of the x that was drawn, by the reference; dy like them."""
    args = _halves(args)
    x, windows = args.pop("x"), {k: v for k, v in args.items() if k != "indices_dtype"}
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    defaults = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
    dims = pool_dims(x.shape, *({**defaults, **windows}[n] for n in names), rank=x.ndim - 2)
    dy = _like(x, (*x.shape[:2], *dims.out_size), x.dtype)
    indices = _like(x, dy.shape, args.get("indices_dtype", "int32"))
    if dy.size:
        reference.max_pool(x, dy, indices, dims)
    dy[...] = np.random.default_rng(dy.size).standard_normal(dy.shape)
    return {"dy": dy, "indices": indices, "x_shape": x.shape, **windows}


def _with_gradient(args: dict[str, Any]) -> dict[str, Any]:
    """x becomes dy and x_shape."""
    x, windows = args["x"], {k: v for k, v in args.items() if k != "x"}
    names = ("kernel_size", "stride", "padding", "ceil_mode")
    defaults = {"stride": None, "padding": 0, "ceil_mode": False}
    k, s, p, ceil = ({**defaults, **windows}[n] for n in names)
    dims = pool_dims(x.shape, k, s, p, 1, ceil, rank=x.ndim - 2)
    dy = _like(x, (*x.shape[:2], *dims.out_size), x.dtype)
    dy[...] = np.random.default_rng(dy.size).standard_normal(dy.shape)
    return {"dy": dy, "x_shape": x.shape, **windows}


def _like(x: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty array in x's memory format."""
    if x.flags.c_contiguous:
        return np.empty(shape, dtype)
    return np.moveaxis(np.empty((shape[0], *shape[2:], shape[1]), dtype), -1, 1)


# Windows: (name, rank of x's spatial part or None for all, arguments)

_WINDOWS: list[tuple[str, dict[str, Any]]] = [
    ("2/2", {"kernel_size": 2}),
    ("3/2 pad 1", {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("3/2", {"kernel_size": 3, "stride": 2}),
    ("3/1 pad 1", {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("3/1", {"kernel_size": 3, "stride": 1}),
    ("3/2 ceil", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("2/3", {"kernel_size": 2, "stride": 3}),
    ("1/1", {"kernel_size": 1}),
    ("1/2", {"kernel_size": 1, "stride": 2}),
    ("5/3 pad 2 ceil", {"kernel_size": 5, "stride": 3, "padding": 2, "ceil_mode": True}),
    ("5/1 pad 4", {"kernel_size": 5, "stride": 1, "padding": 4}),
    ("3/1 same", {"kernel_size": 3, "stride": 1, "padding": "same"}),
    ("2/2 same", {"kernel_size": 2, "padding": "same"}),
    ("3/3 valid", {"kernel_size": 3, "padding": "valid"}),
]
_DILATED: list[tuple[str, dict[str, Any]]] = [
    ("3/1 dilation 2", {"kernel_size": 3, "stride": 1, "padding": 2, "dilation": 2}),
    ("3/2 dilation 2", {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
    ("2/3 dilation 3", {"kernel_size": 2, "stride": 3, "padding": 1, "dilation": 3}),
]
_PLANAR: list[tuple[str, dict[str, Any]]] = [
    ("3x2/2x1", {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    ("5x3/3x2", {"kernel_size": (5, 3), "stride": (3, 2), "padding": (2, 1)}),
    ("1x3/2x1", {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 2)}),
    ("4x2/1x2", {"kernel_size": (4, 2), "stride": (1, 2), "padding": (3, 0)}),
    ("3x3/1x2 pad 2", {"kernel_size": 3, "stride": (1, 2), "padding": 2}),
    ("2x3/1x3 asymmetric", {"kernel_size": (2, 3), "stride": (1, 3), "padding": ((0, 1), (2, 0))}),
]
_PLANAR_DILATED: list[tuple[str, dict[str, Any]]] = [
    ("3x2 dilation 1x2", {"kernel_size": (3, 2), "stride": 1, "dilation": (1, 2)}),
    ("3x3 dilation 2x1", {"kernel_size": 3, "stride": 1, "padding": (3, 1), "dilation": (2, 1)}),
]
# Slices of a volume, pooled one by one.
_SLICES: list[tuple[str, dict[str, Any]]] = [
    ("1x2x2", {"kernel_size": (1, 2, 2)}),
    ("1x3x3/2x1x1", {"kernel_size": (1, 3, 3), "stride": (2, 1, 1), "padding": (0, 1, 1)}),
    ("1x3x3/1x2x2", {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)}),
]
_COUNTS: list[tuple[str, dict[str, Any]]] = [
    ("not counting", {"count_include_pad": False}),
    ("divisor 5", {"divisor_override": 5}),
]
_EXTENTS = {1: ((19,),), 2: ((9, 19),), 3: ((5, 7, 6),)}
# Rows and channels around a vector of 2 to 16 elements, and around four of them.
_WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 130)
_CHANNELS = (1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 64)


def _cases(
    op: str,
    windows: list[tuple[str, dict[str, Any]]],
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None,
    extra: dict[str, Any],
) -> list[Case]:
    """One op (a name without rank, "max_pool") over all ranks, widths, channels and windows."""
    name, _, end = op.partition("_pool")
    cases = []

    def add(
        rank: int, id: str, shape: tuple[int, ...], window: dict[str, Any], quick: bool
    ) -> None:
        full = {**{k: v for k, v in window.items() if v is not None}, **extra}
        args = {"x": Array(shape), **full}
        cases.append(Case(f"{name}_pool{rank}d{end}", id, args, prepare, quick=quick))

    for rank, extents in _EXTENTS.items():
        for extent, (id, window) in product(extents, windows):
            for c in (3, 17):
                add(rank, f"{id} C{c}", (2, c, *extent), window, quick=rank == 2 and c == 3)
    shared, separate = windows[3], windows[0]
    for (id, window), w in product(windows[:4], _WIDTHS):
        if w >= window["kernel_size"]:
            add(2, f"{id} W{w}", (2, 3, 4, w), window, quick=False)
    for (id, window), (h, w) in product(windows[:4], ((45, 19), (70, 6), (7, 300))):
        add(2, f"{id} {h}x{w}", (2, 3, h, w), window, quick=w == 19)
    for (id, window), c in product(_SLICES, (3, 17)):
        add(3, f"{id} C{c}", (2, c, 3, 9, 20), window, quick=False)
    for (id, window), c in product((shared, separate, windows[1]), _CHANNELS):
        add(2, f"{id} C{c}", (2, c, 6, 7), window, quick=c in (5, 16))
    for id, window in (shared, separate):
        add(2, f"{id} large", (2, 24, 33, 41), window, quick=False)  # two threads
        add(2, f"{id} strips", (1, 2, 5, 4500), window, quick=False)
        add(2, f"{id} wide pixels", (1, 2100, 3, 3), window, quick=False)
        add(2, f"{id} one row of pixels", (1, 700, 4, 9), window, quick=False)
        add(2, f"{id} N0", (0, 3, 4, 5), window, quick=True)
    add(2, "whole image", (2, 3, 12, 13), {"kernel_size": (12, 13)}, quick=True)
    return cases


def _planar(
    op: str, windows: list[tuple[str, dict[str, Any]]], prepare: Any, extra: dict[str, Any]
) -> list[Case]:
    return [
        Case(op, f"{id} C{c}", {"x": Array((2, c, 9, 20)), **window, **extra}, prepare)
        for (id, window), c in product(windows, (3, 16))
    ]


def _counted(end: str, prepare: Any) -> list[Case]:
    return [
        Case(
            f"avg_pool{len(extent)}d{end}",
            f"{id} {how}",
            {"x": Array((2, 3, *extent)), **window, **count},
            prepare,
        )
        for (how, count), (id, window), (extent,) in product(
            _COUNTS, (_WINDOWS[1], _WINDOWS[5], _WINDOWS[9], _WINDOWS[11]), _EXTENTS.values()
        )
    ]


_INDICES = {"return_indices": True}
_FIRST = _WINDOWS[1], _WINDOWS[3], _WINDOWS[0], _DILATED[0]
_NAN, _INF = float("nan"), float("inf")
_SPECIALS = {
    "NaN": _specials(_NAN),
    "many NaN": _specials(_NAN, share=0.7),
    "inf": _specials(_INF, -_INF),
    "all -inf": _specials(-_INF, share=1.0),
    "NaN and -inf": _specials(_NAN, -_INF, share=0.9),
    "zeros of both signs": _specials(0.0, -0.0, share=0.8),
}

_CELLS = ((1, 1), (7, 7), (3, 5), (9, 19), (12, 20), (1, 4), (5, 1))

CASES = [
    *_cases("max_pool", _WINDOWS + _DILATED, _halves, {}),
    *_cases("max_pool", _WINDOWS + _DILATED, _halves, _INDICES),
    *_planar("max_pool2d", _PLANAR + _PLANAR_DILATED, _halves, _INDICES),
    *(
        Case("max_pool2d", f"{id} {what}", {"x": Array((2, c, 9, 19)), **window, **extra}, prepare)
        for (what, prepare), (id, window), c, extra in product(
            _SPECIALS.items(), _FIRST, (3, 17), ({}, _INDICES)
        )
    ),
    # NaN among several vectors of a row.
    *(
        Case("max_pool2d", f"{id} W{w} {what}", {"x": Array((2, 3, 9, w)), **window}, prepare)
        for (what, prepare), (id, window), w in product(
            list(_SPECIALS.items())[:2], _FIRST[:2], (3, 58, 150)
        )
    ),
    *_cases("max_pool_backward", _WINDOWS + _DILATED, _with_indices, {}),
    *_planar("max_pool2d_backward", _PLANAR + _PLANAR_DILATED, _with_indices, {}),
    # More rows or taps than the kernels keep.
    *(
        Case(op, what, {"x": Array(shape), "kernel_size": kernel, "stride": 1, **extra}, prepare)
        for what, shape, kernel in (
            ("5000 rows", (2, 2, 5002, 2), (5000, 1)),
            ("5000 rows and columns", (1, 2, 5000, 3), (5000, 3)),
        )
        for op, extra, prepare in (
            ("max_pool2d", {}, _halves),
            ("max_pool2d", _INDICES, _halves),
            ("avg_pool2d", {}, None),
        )
    ),
    Case(
        "max_pool1d",
        "16400 taps",
        {"x": Array((1, 2, 16402)), "kernel_size": 16400, "padding": 1, "stride": 1, **_INDICES},
        _halves,
    ),
    *_cases("avg_pool", _WINDOWS, None, {}),
    *_planar("avg_pool2d", _PLANAR, None, {}),
    *_counted("", None),
    *_cases("avg_pool_backward", _WINDOWS, _with_gradient, {}),
    *_planar("avg_pool2d_backward", _PLANAR, _with_gradient, {}),
    # Windows of a line that lie side by side.
    *(
        Case(f"{op}1d_backward", f"{n} by {k}", {"x": Array((2, 5, n)), "kernel_size": k}, prepare)
        for n, k in ((6, 2), (33, 2), (100, 2), (101, 5), (3, 3))
        for op, prepare in (("max_pool", _with_indices), ("avg_pool", _with_gradient))
    ),
    *_counted("_backward", _with_gradient),
    *(
        Case(
            "adaptive_avg_pool2d",
            f"{cells} C{c}",
            {"x": Array((2, c, 9, 19)), "output_size": cells},
        )
        for cells, c in product(_CELLS, (1, 3, 16, 17))
    ),
    *(
        Case(
            "adaptive_avg_pool2d_backward",
            f"{cells} C{c}",
            {"dy": Array((2, c, *cells)), "x_shape": (2, c, 9, 19)},
        )
        for cells, c in product(_CELLS, (1, 3, 16, 17))
    ),
    *(
        Case(f"adaptive_avg_pool{rank}d", f"{q}", {"x": Array((2, 3, *extent)), "output_size": q})
        for rank, extent in ((1, (40,)), (3, (4, 6, 5)))
        for q in (1, 2, 3, 7)
    ),
    *(
        Case(
            f"adaptive_avg_pool{rank}d_backward",
            f"{q}",
            {"dy": Array((2, 3, *[q] * rank)), "x_shape": (2, 3, *extent)},
        )
        for rank, extent in ((1, (40,)), (3, (4, 6, 5)))
        for q in (1, 2, 3, 7)
    ),
    *(
        Case(f"global_avg_pool{rank}d", f"{shape}", {"x": Array(shape)})
        for rank, shape in (
            (1, (2, 3, 70)),
            (2, (2, 3, 7, 9)),
            (2, (2, 40, 7, 7)),
            (2, (3, 20, 56, 56)),
            (2, (1, 2, 224, 224)),
            (2, (0, 3, 4, 4)),
            (3, (2, 17, 4, 5, 3)),
        )
    ),
    *(
        Case(
            f"global_avg_pool{rank}d_backward",
            f"{s}",
            {"dy": Array((*s[:2], *[1] * rank)), "x_shape": s},
        )
        for rank, s in ((1, (2, 3, 70)), (2, (2, 40, 7, 9)), (3, (2, 17, 4, 5, 3)))
    ),
]
