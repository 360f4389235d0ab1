"""Convolution: cases.

Shapes go around what the kernels are made of: tiles of 4 to 14 rows and 4 to 32 columns, sums in
parts of 256, rows of pixels short of a vector and longer than it; every padding mode with strides
and dilations; the layers of well-known nets.
"""

from itertools import product
from math import prod
from typing import Any

import numpy as np

from convnet.check.case import Array, Case
from convnet.check.conv_bounds import SPECS
from convnet.check.conv_errors import ERROR_CASES
from convnet.shapes import conv_dims, conv_transpose_dims, im2col_dims

__all__ = ["CASES", "ERROR_CASES", "SPECS"]

# Geometries: (id, x's shape, filters, kernel, options, part of the quick run)

Geometry = tuple[str, tuple[int, ...], int, tuple[int, ...], dict[str, Any], bool]


def _geometry(
    id: str,
    x: tuple[int, ...],
    k: int,
    kernel: tuple[int, ...],
    quick: bool = False,
    **options: Any,
) -> Geometry:
    return id, x, k, kernel, options, quick


_PADDINGS: tuple[tuple[str, Any], ...] = (
    ("valid", "valid"),
    ("same", "same"),
    ("full", "full"),
    ("pad 1", 1),
    ("pad 2x0", (2, 0)),
    ("asymmetric", ((0, 2), (1, 0))),
    ("wide", ((4, 5), (6, 3))),
)


def _named(padding: Any) -> str:
    return next(name for name, p in _PADDINGS if p == padding)


GEOMETRIES: list[Geometry] = [
    # rows of pixels, channels, filters around the tiles
    *(
        _geometry(f"W{w}", (2, 3, 3, w), 5, (3, 3), quick=w in (1, 16, 33), padding=1)
        for w in (1, 2, 7, 8, 9, 13, 14, 15, 16, 17, 31, 32, 33, 65)
    ),
    *(
        _geometry(f"K{k}", (2, 3, 4, 5), k, (3, 3), quick=k in (1, 15, 33), padding=1)
        for k in (1, 2, 5, 6, 7, 13, 14, 15, 16, 17, 29, 31, 32, 33, 65)
    ),
    *(
        _geometry(f"C{c}", (2, c, 4, 5), 6, (3, 3), quick=c in (1, 17, 33), padding=1)
        for c in (1, 2, 4, 8, 15, 16, 17, 28, 29, 33, 60)
    ),
    *(_geometry(f"N{n}", (n, 3, 5, 5), 4, (3, 3), quick=True, padding=1) for n in (0, 1, 3, 9)),
    # 1x1 kernels and images
    *(
        _geometry(f"1x1 stride {s} C{c}", (2, c, 5, 7), 9, (1, 1), quick=c == 3, stride=s)
        for s, c in product((1, 2, 3), (3, 18))
    ),
    # 1x1, multiplied where x lies or not: images end within panels and sums, planes 2 KB apart
    *(
        _geometry(f"1x1 C{c} K{k} {h}x{w}", (2, c, h, w), k, (1, 1), quick=c < 40, groups=g)
        for c, k, h, w, g in (
            (5, 17, 12, 13, 1),
            (34, 66, 9, 15, 2),
            (20, 260, 11, 12, 1),
            (300, 33, 12, 13, 1),
            (512, 20, 16, 32, 1),
        )
    ),
    _geometry("1x1 padded", (2, 3, 4, 5), 4, (1, 1), padding=2),
    _geometry("1x1 image", (3, 4, 1, 1), 5, (3, 3), quick=True, padding="same"),
    _geometry("kernel over image", (2, 3, 2, 3), 4, (5, 7), padding="full"),
    _geometry("whole image", (3, 4, 5, 6), 7, (5, 6), quick=True),
    # padding, stride, dilation, even and odd kernels
    *(
        _geometry(
            f"{_named(padding)} {r}x{s} stride {stride}",
            (2, 3, 7, 10),
            4,
            (r, s),
            quick=(r, s) == (3, 3),
            padding=padding,
            stride=stride,
        )
        for (_, padding), (r, s), stride in product(_PADDINGS, ((3, 3), (2, 4)), (1, 2, (3, 2)))
    ),
    *(
        _geometry(
            f"{_named(padding)} dilation {dilation} stride {stride}",
            (2, 3, 9, 11),
            4,
            (3, 3),
            quick=stride == 1,
            padding=padding,
            stride=stride,
            dilation=dilation,
        )
        for (_, padding), dilation, stride in product(_PADDINGS[:4], (2, (1, 3)), (1, 2, 3))
    ),
    _geometry("stride over kernel", (2, 3, 11, 13), 4, (2, 2), stride=4),
    _geometry("rows unused", (2, 3, 10, 12), 4, (3, 3), stride=5),
    # groups
    *(
        _geometry(f"groups {g}", (2, c, 5, 6), k, (3, 3), quick=g == 2, padding=1, groups=g)
        for c, k, g in ((4, 6, 2), (6, 3, 3), (32, 34, 2), (8, 16, 4))
    ),
    _geometry("groups 2 stride 2", (2, 6, 7, 8), 4, (3, 3), padding=1, groups=2, stride=2),
    *(
        _geometry(
            f"depthwise C{c} x{times}",
            (2, c, 6, 9),
            c * times,
            (3, 3),
            quick=c == 5,
            padding=1,
            groups=c,
        )
        for c, times in (
            (1, 1),
            (2, 1),
            (5, 1),
            (15, 1),
            (16, 1),
            (17, 1),
            (33, 1),
            (5, 2),
            (4, 16),
        )
    ),
    *(
        _geometry(
            f"depthwise W{w} stride 2x1",
            (2, 3, 9, w),
            3,
            (3, 3),
            quick=True,
            padding=1,
            groups=3,
            stride=(2, 1),
        )
        for w in (1, 3, 7, 20)
    ),
    *(
        _geometry(
            f"depthwise W{w} stride {s}", (2, 3, 4, w), 3, (3, 3), padding=1, groups=3, stride=s
        )
        for w, s in product((1, 8, 15, 16, 17, 33, 40), (1, 2))
    ),
    *(
        _geometry(
            f"depthwise {_named(padding)} stride {s}",
            (2, 5, 7, 10),
            5,
            (3, 2),
            quick=s == 1,
            padding=padding,
            groups=5,
            stride=s,
        )
        for (_, padding), s in product(_PADDINGS, (1, 3))
    ),
    _geometry(
        "depthwise 5x5 dilation 2", (2, 6, 12, 13), 6, (5, 5), padding=4, groups=6, dilation=2
    ),
    # depthwise blocks: rows, columns and channels around them
    *(
        _geometry(
            f"depthwise C{c} {h}x{w} {r}x{r} stride {s} pad {pad}",
            (2, c, h, w),
            c,
            (r, r),
            quick=c == 17,
            padding=pad,
            groups=c,
            stride=s,
        )
        for c, h, w, r, s, pad in (
            (17, 5, 4, 3, 1, 1),
            (17, 4, 7, 3, 1, 1),
            (33, 3, 8, 3, 1, 0),
            (16, 2, 9, 3, 1, 1),
            (17, 9, 9, 3, 2, 1),
            (16, 8, 14, 3, 2, 1),
            (18, 10, 11, 3, 2, 0),
            (16, 7, 15, 3, 2, "same"),
            (3, 7, 18, 5, 1, 2),
            (3, 9, 35, 5, 2, 2),
            (3, 3, 50, 3, 2, 1),
            (2, 11, 66, 3, 2, "same"),
            # small planes: one row of outputs in a vector, and two
            (17, 14, 14, 3, 1, 1),
            (3, 6, 16, 3, 1, 1),
            (3, 1, 9, 3, 1, 1),
            (17, 7, 7, 3, 1, 1),
            (3, 7, 8, 3, 1, 1),
            (3, 7, 4, 3, 1, 1),
            (3, 8, 7, 3, 1, 1),
            (17, 14, 14, 3, 2, 1),
            (3, 13, 13, 3, 2, 1),
            (3, 14, 15, 3, 2, 1),
            (3, 13, 10, 3, 2, 1),
            (3, 14, 16, 3, 2, 1),
        )
    ),
    # few channels: the same
    *(
        _geometry(
            f"C{c} K{k} {h}x{w} {r}x{s} stride {stride} pad {pad}",
            (2, c, h, w),
            k,
            (r, s),
            quick=c == 3,
            padding=pad,
            stride=stride,
        )
        for c, k, h, w, r, s, stride, pad in (
            (1, 6, 9, 18, 5, 5, 1, 2),
            (1, 4, 17, 35, 5, 5, 2, 2),
            (2, 5, 8, 33, 3, 3, 2, 1),
            (3, 7, 10, 34, 3, 3, 2, 1),
            (3, 33, 5, 40, 3, 3, 1, "same"),
            (1, 29, 28, 28, 5, 5, 1, 2),
            (2, 14, 21, 25, 2, 3, 1, "full"),
            (3, 15, 26, 64, 3, 5, 1, "valid"),
            (8, 13, 19, 49, 3, 3, 1, 1),
            (5, 3, 35, 51, 4, 3, 2, 1),
            (1, 1, 9, 100, 3, 5, 3, 2),
            (3, 9, 21, 38, 7, 7, 2, 3),
            (4, 3, 70, 12, 2, 4, (1, 2), "same"),
            (4, 18, 67, 15, 3, 1, (2, 1), 0),
            (5, 16, 14, 15, 5, 5, 1, 0),
            (6, 17, 9, 35, 3, 3, 2, 1),
            (7, 32, 19, 9, 3, 3, (1, 3), "same"),
            (8, 20, 17, 16, 4, 3, 2, ((0, 2), (1, 0))),
        )
    ),
    _geometry(
        "depthwise stride 2 dilation 2",
        (2, 6, 9, 9),
        6,
        (3, 3),
        padding=2,
        groups=6,
        stride=2,
        dilation=2,
    ),
    # Winograd's tiles of 4x4 and 2x2 outputs: images, channels and filters around them and vectors
    *(
        _geometry(
            f"{m}x{m} {h}x{w} C{c} K{k} {p}",
            (2, c, h, w),
            k,
            (m, m),
            quick=m == 3 and w == 9,
            padding=p,
        )
        for m in (3, 5)
        for h, w, c, k, p in (
            (4, 5, 8, 16, "same"),
            (8, 9, 16, 16, "same"),
            (7, 18, 17, 8, "full"),
            (10, 6, 33, 17, "valid"),
            (5, 13, 15, 31, ((0, 2), (1, 0))),
            (6, 12, 32, 33, 1),
            (9, 65, 8, 16, 2),
        )
    ),
    _geometry("3x3 large weights", (1, 100, 9, 10), 112, (3, 3), padding=1),
    # one and three dimensions
    *(
        _geometry(f"L{n} {m}/{s} {p}", (2, 3, n), 5, (m,), quick=n == 33, padding=p, stride=s)
        for n, m, s, p in (
            (1, 1, 1, 0),
            (9, 3, 1, "same"),
            (33, 5, 2, "full"),
            (40, 4, 3, "same"),
            (17, 3, 1, ((2, 0),)),
            (16, 7, 1, "valid"),
        )
    ),
    _geometry("L few channels", (2, 2, 41), 7, (5,), quick=True, padding=2, stride=2),
    _geometry("L few channels, many filters", (2, 5, 33), 18, (4,), padding="same"),
    _geometry("L depthwise dilation 2", (2, 6, 30), 6, (3,), padding=2, groups=6, dilation=2),
    _geometry("L groups 2", (2, 4, 30), 6, (3,), groups=2, stride=2),
    *(
        _geometry(
            f"D {_named(p)} stride {s}",
            (2, 3, 4, 5, 6),
            4,
            (3, 2, 3),
            quick=s == 1,
            padding=p,
            stride=s,
        )
        for (_, p), s in product(_PADDINGS[:3], (1, (2, 1, 2)))
    ),
    _geometry("D dilation", (1, 2, 5, 6, 7), 3, (2, 2, 2), padding=1, dilation=(1, 2, 3)),
    _geometry("D groups", (2, 4, 4, 4, 5), 6, (2, 3, 3), padding=1, groups=2),
    _geometry("D depthwise", (2, 5, 4, 4, 5), 5, (3, 3, 3), padding=1, groups=5),
    # layers
    _geometry("LeNet first", (4, 1, 28, 28), 6, (5, 5), quick=True, padding=2),
    _geometry("LeNet second", (4, 6, 14, 14), 16, (5, 5)),
    _geometry("LeNet third", (4, 16, 5, 5), 120, (5, 5)),
    _geometry("kernel covers a row", (9, 5, 7), 6, (7,), quick=True),
    _geometry("kernel covers a volume", (3, 2, 2, 3, 4), 9, (2, 3, 4), stride=2),
    _geometry("digits first", (4, 1, 28, 28), 32, (3, 3), padding=1),
    _geometry("digits second", (4, 32, 14, 14), 64, (3, 3), padding=1),
    _geometry("AlexNet first", (1, 3, 67, 67), 16, (11, 11), stride=4, padding=2),
    _geometry("ResNet first", (1, 3, 56, 56), 16, (7, 7), stride=2, padding=3),
    _geometry("ResNet 3x3", (2, 64, 14, 14), 64, (3, 3), padding=1),
    _geometry("ResNet 3x3 stride 2", (2, 32, 14, 14), 64, (3, 3), stride=2, padding=1),
    *(
        _geometry(f"3x3 stride 2 C{c} K{k} {h}x{w}", (3, c, h, w), k, (3, 3), stride=2, padding=1)
        for c, k, h, w in ((48, 33, 9, 12), (16, 128, 7, 33), (17, 32, 30, 5), (32, 80, 15, 15))
    ),
    *(  # Winograd's tiles at stride 2
        _geometry(
            f"3x3 stride 2 C{c} K{k} {h}x{w} {p}",
            (2, c, h, w),
            k,
            (3, 3),
            quick=w == 30,
            stride=2,
            padding=p,
        )
        for c, k, h, w, p in (
            (16, 16, 10, 9, 1),
            (17, 66, 19, 30, 1),
            (33, 18, 28, 20, "same"),
            (64, 48, 11, 21, "valid"),
            (18, 70, 27, 29, 2),
            (34, 80, 40, 11, 1),
            (17, 64, 29, 17, "same"),
        )
    ),
    _geometry("5x5 stride 3", (2, 32, 11, 17), 32, (5, 5), stride=3, padding=2),
    _geometry("bottleneck 1x1", (2, 64, 14, 14), 128, (1, 1)),
    _geometry("1x1, several bands", (2, 290, 6, 11), 350, (1, 1)),
    _geometry("MobileNet depthwise", (2, 32, 28, 28), 32, (3, 3), stride=1, padding=1, groups=32),
    _geometry("MobileNet stride 2", (2, 48, 28, 28), 48, (3, 3), stride=2, padding=1, groups=48),
    _geometry("ResNeXt", (2, 64, 14, 14), 64, (3, 3), padding=1, groups=8),
]


def _weights(x: tuple[int, ...], k: int, kernel: tuple[int, ...], options: Any) -> tuple[int, ...]:
    return (k, x[1] // options.get("groups", 1), *kernel)


def _forward(geometry: Geometry, **more: Any) -> Case:
    id, x, k, kernel, options, quick = geometry
    args = {"x": Array(x), "w": Array(_weights(x, k, kernel, options)), "b": Array((k,))}
    return Case(f"conv{len(kernel)}d", id, {**args, **options, **more}, quick=quick)


def _backward(geometry: Geometry, **more: Any) -> Case:
    id, x, k, kernel, options, quick = geometry
    w, rank = _weights(x, k, kernel, options), len(kernel)
    names = ("stride", "padding", "dilation", "groups")
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    dims = conv_dims(x, w, *({**defaults, **options}[n] for n in names), rank)
    args = {"dy": Array((x[0], k, *dims.out_size)), "x": Array(x), "w": Array(w)}
    return Case(f"conv{rank}d_backward", id, {**args, **options, **more}, quick=quick)


def _special(args: dict[str, Any]) -> dict[str, Any]:
    """NaN and infinities here and there in x and dy."""
    for name in ("x", "dy"):
        if name in args:
            a = args[name] = args[name].copy(order="K")
            rng = np.random.default_rng(a.size)
            for value in (np.nan, np.inf, -np.inf):
                a[tuple(rng.integers(0, a.shape))] = value
    return args


def _infinite_weight(args: dict[str, Any]) -> dict[str, Any]:
    args["w"] = args["w"].copy(order="K")
    args["w"][0, 0, 0, 0] = np.inf
    return args


_NEEDS = [n for n in product((False, True), repeat=3) if not all(n)]
_BASE = _geometry("", (2, 4, 6, 7), 6, (3, 3), True, padding=1, groups=2)
_ODD = _geometry("", (2, 5, 9, 19), 5, (3, 3), True, padding=1)
_DEPTHWISE = _geometry("", (2, 5, 9, 19), 5, (3, 3), True, padding=1, groups=5)
_STRIDED = _geometry("", (2, 5, 9, 19), 4, (3, 3), True, padding=1, stride=2)
_TILED = _geometry("", (2, 16, 9, 19), 17, (3, 3), True, padding=1)
_TILED_STRIDED = _geometry("", (2, 33, 9, 19), 66, (3, 3), True, padding=1, stride=2)
_TILED_5 = _geometry("", (2, 16, 9, 19), 17, (5, 5), True, padding=2)


def _with(case: Case, id: str, prepare: Any = None, **args: Any) -> Case:
    return Case(case.op, id, {**case.args, **args}, prepare)


def _variants() -> list[Case]:
    cases = [
        _with(_forward(_BASE), "no bias", b=None),
        _with(_forward(_BASE), "relu", activation="relu"),
        _with(_forward(_DEPTHWISE), "relu depthwise", activation="relu"),
        _with(_forward(_ODD), "relu no bias", activation="relu", b=None),
        _with(_forward(_TILED), "relu 3x3", activation="relu"),
        _with(_forward(_TILED_5), "relu 5x5", activation="relu"),
        _with(_forward(_BASE), "weights NCHW", w=Array((6, 2, 3, 3), follows="")),
        _with(_backward(_BASE), "weights NCHW", w=Array((6, 2, 3, 3), follows="")),
        _with(_backward(_BASE), "dy NCHW", dy=Array((2, 6, 6, 7), follows="")),
        _with(_backward(_DEPTHWISE), "dy NCHW depthwise", dy=Array((2, 5, 9, 19), follows="")),
    ]
    for needs in _NEEDS:
        id = f"needs {''.join('01'[n] for n in needs)}"
        cases.append(_with(_backward(_BASE), id, needs=needs))
    for name, geometry in (
        ("", _ODD),
        (" depthwise", _DEPTHWISE),
        (" stride 2", _STRIDED),
        (" 3x3", _TILED),
        (" 3x3 stride 2", _TILED_STRIDED),
        (" 5x5", _TILED_5),
    ):
        for make in (_forward, _backward):
            cases.append(_with(make(geometry), f"NaN{name}", _special))
            cases.append(_with(make(geometry), f"infinite weight{name}", _infinite_weight))
    return cases


# Transposed convolution: (id, x's shape, K, kernel, options)

_TRANSPOSED: list[tuple[str, tuple[int, ...], int, tuple[int, int], dict[str, Any]]] = [
    ("3x3", (2, 3, 5, 6), 4, (3, 3), {}),
    ("3x3 pad 1", (2, 3, 5, 6), 4, (3, 3), {"padding": 1}),
    ("stride 2", (2, 3, 5, 6), 4, (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("stride 2 even", (2, 3, 5, 6), 17, (4, 4), {"stride": 2, "padding": 1}),
    ("stride 3x2", (2, 3, 5, 6), 4, (2, 3), {"stride": (3, 2), "output_padding": (2, 0)}),
    ("asymmetric", (2, 3, 5, 6), 4, (3, 3), {"stride": 2, "padding": ((0, 1), (2, 0))}),
    ("dilation", (2, 3, 5, 6), 4, (3, 3), {"dilation": 2, "padding": 1, "output_padding": 1}),
    ("groups", (2, 6, 5, 6), 4, (3, 3), {"groups": 2, "padding": 1}),
    ("depthwise", (2, 6, 5, 6), 6, (3, 3), {"groups": 6, "stride": 2, "padding": 1}),
    ("stride over kernel", (2, 3, 4, 4), 4, (2, 2), {"stride": 3, "output_padding": 1}),
    ("1x1", (2, 18, 5, 6), 9, (1, 1), {"stride": 2}),
    ("N0", (0, 3, 5, 6), 4, (3, 3), {}),
    ("DCGAN", (1, 32, 8, 8), 16, (4, 4), {"stride": 2, "padding": 1}),
]


def _transposed(backward: bool) -> list[Case]:
    cases = []
    for id, x, k, kernel, options in _TRANSPOSED:
        w = (x[1], k // options.get("groups", 1), *kernel)
        args: dict[str, Any] = {"x": Array(x), "w": Array(w)}
        if not backward:
            args["b"] = Array((k,))
        else:
            names = ("stride", "padding", "output_padding", "dilation", "groups")
            defaults = dict(zip(names, (1, 0, 0, 1, 1), strict=True))
            dims = conv_transpose_dims(x, w, *({**defaults, **options}[n] for n in names), 2)
            args["dy"] = Array((x[0], k, *dims.in_size))
        cases.append(Case(f"conv_transpose2d{'_backward' * backward}", id, {**args, **options}))
    return cases


_WINDOWS: tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...] = (
    ("3x3", (2, 3, 6, 7), {"kernel_size": 3}),
    ("2x3 stride 2", (2, 3, 6, 7), {"kernel_size": (2, 3), "stride": 2, "padding": 1}),
    ("dilation", (2, 3, 9, 20), {"kernel_size": 3, "dilation": 2, "padding": "same"}),
    ("full", (2, 2, 4, 33), {"kernel_size": (3, 4), "padding": "full"}),
    ("asymmetric", (1, 17, 5, 6), {"kernel_size": 2, "padding": ((0, 1), (2, 0)), "stride": 3}),
    ("N0", (0, 3, 6, 7), {"kernel_size": 3}),
    ("two threads", (4, 16, 20, 20), {"kernel_size": 3, "padding": 1}),
)


def _col2im(id: str, x: tuple[int, ...], options: dict[str, Any]) -> Case:
    names = ("kernel_size", "stride", "padding", "dilation")
    defaults = {"stride": 1, "padding": 0, "dilation": 1}
    dims = im2col_dims(x, *({**defaults, **options}[n] for n in names))
    cols = (x[0], x[1] * prod(dims.kernel_size), prod(dims.out_size))
    return Case("col2im", id, {"cols": Array(cols, follows=""), "x_shape": x, **options})


def _transposed_rank(rank: int) -> list[Case]:
    extent, kernel = (2, 5, 7)[:rank], (2, 3, 3)[:rank]
    if rank == 1:
        extent, kernel = (30,), (4,)
    x, w = (2, 6, *extent), (6, 4, *kernel)
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    dims = conv_transpose_dims(x, w, 2, 1, 1, 1, 2, rank)
    args = {"x": Array(x), "w": Array(w, follows="w"), **options}
    dy = Array((2, 8, *dims.in_size))
    op = f"conv_transpose{rank}d"
    return [
        Case(op, "groups", {**args, "b": Array((8,))}),
        Case(f"{op}_backward", "groups", {**args, "dy": dy}),
    ]


CASES = [
    *(_forward(g) for g in GEOMETRIES),
    *(_backward(g) for g in GEOMETRIES),
    *_variants(),
    *_transposed(False),
    *_transposed(True),
    *_transposed_rank(1),
    *_transposed_rank(3),
    *(
        Case("convolve", f"{x} {w} {mode}", {"x": Array(x), "w": Array(w), "mode": mode})
        for (x, w), mode in product(
            (((9,), (4,)), ((3,), (8,)), ((40,), (1,)), ((9, 17), (3, 4)), ((5, 5), (5, 5))),
            ("full", "same", "valid"),
        )
    ),
    *(Case("im2col", id, {"x": Array(x), **options}) for id, x, options in _WINDOWS),
    *(_col2im(*window) for window in _WINDOWS),
]
