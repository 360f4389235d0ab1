"""Convolution: how far each backend function may be off.

The reference run on absolute values gives sum |x||w|, and K products may be off by
(8 + 2 sqrt(K)) eps sum |x||w|. Winograd mixes the values of a tile: 16 instead of 8, and the
largest sum of the image and filter; of the filter for a weight gradient. Denormal numbers count as
0 in the kernels: a product may lose tiny times the other factor, and Winograd, whose inverse
transform adds up to 361 products where the direct sum has 9, 64 times that.

Values that are not finite: in the reference padding takes part in no sum. A kernel may add 0 times
a weight for it, which shows where the weight is infinite; Winograd may spread them in their tile.
"""

from math import gcd, prod
from typing import Any

import numpy as np

from convnet.backends import reference
from convnet.backends.algorithm import WINOGRAD_TILES, conv_algorithm
from convnet.check.spec import OpSpec, exact, flushed, sum_bound
from convnet.shapes import ConvDims

_F32 = np.dtype(np.float32)


def _tile(dims: ConvDims, gradient: str | None, eps: float) -> int:
    """How many results along an axis a tile of Winograd's has; 0 where it may not be used."""
    if eps != np.finfo(_F32).eps:
        return 0
    tile = WINOGRAD_TILES.get(conv_algorithm(dims, False, gradient, _F32), 0)
    return tile * dims.stride[0] if gradient == "input" else tile


def _mixed(
    magnitude: np.ndarray,
    terms: float,
    tile: int,
    eps: float,
    tiny: float,
    over: tuple[int, ...] = (2, 3),
) -> np.ndarray:
    """Winograd's bound, the largest sum over some axes; NaN in tiles where one is not finite."""
    finite = np.isfinite(magnitude)
    largest = np.where(finite, magnitude, 0).max(axis=over, keepdims=True)
    bound = sum_bound(terms, largest, eps, 64 * tiny, front=16)
    bound = np.broadcast_to(bound, magnitude.shape).copy()
    for n, k, p, q in np.argwhere(~finite):
        p, q = p // tile * tile, q // tile * tile
        bound[n, k, p : p + tile, q : q + tile] = np.nan
    return bound


def _allowed(bound: np.ndarray, factor: np.ndarray, counts: np.ndarray, terms: float) -> np.ndarray:
    """NaN (may be anything non-finite) where a sum of fewer terms meets a factor not finite."""
    return bound if np.isfinite(factor).all() else np.where(counts < terms, np.nan, bound)


def _taps_of_an_input(dims: ConvDims) -> int:
    """The most taps that read one input: every (stride / gcd(stride, dilation))-th."""
    return prod(
        -(-m // (s // gcd(s, d)))
        for m, s, d in zip(dims.kernel_size, dims.stride, dims.dilation, strict=True)
    )


def _conv_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    x, w, b, dims = args["x"], args["w"], args["b"], args["dims"]
    terms, tile, tiny = prod(w.shape[1:]), _tile(dims, None, eps), flushed(tiny, x, w)
    magnitude, counts = np.empty(args["y"].shape), np.empty(args["y"].shape)
    reference.conv(np.abs(x), np.abs(w), None if b is None else np.abs(b), magnitude, dims, None)
    if tile:
        magnitude[:, ~np.isfinite(w).all(axis=(1, 2, 3))] = np.nan
        return {"y": _mixed(magnitude, terms + (b is not None), tile, eps, tiny)}
    if not np.isfinite(w).all():
        reference.conv(np.ones_like(x), np.ones_like(w), None, counts, dims, None)
    bound = sum_bound(terms + (b is not None), magnitude, eps, tiny)
    return {"y": _allowed(bound, w, counts, terms)}


def _input_grad_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    dy, w, b, dims = args["dy"], args["w"], args["b"], args["dims"]
    filters, tile = dims.out_channels // dims.groups, _tile(dims, "input", eps)
    terms, tiny = filters * _taps_of_an_input(dims) + (b is not None), flushed(tiny, dy, w)
    magnitude, counts = np.empty(args["dx"].shape), np.empty(args["dx"].shape)
    bias = None if b is None else np.abs(b)
    reference.conv_input_grad(np.abs(dy), np.abs(w), bias, magnitude, dims)
    if tile:
        magnitude[:, ~np.isfinite(w).all(axis=(0, 2, 3))] = np.nan
        return {"dx": _mixed(magnitude, terms, tile, eps, tiny)}
    if not np.isfinite(w).all():
        reference.conv_input_grad(np.ones_like(dy), np.ones_like(w), None, counts, dims)
    bound = sum_bound(terms, magnitude, eps, tiny)
    return {"dx": _allowed(bound, w, counts, filters * prod(dims.kernel_size))}


def _weight_grad_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    dy, x, dw, db, dims = (args[p] for p in ("dy", "x", "dw", "db", "dims"))
    terms, tiny = dims.batch * prod(dims.out_size), flushed(tiny, dy, x)
    bounds = {}
    if db is not None:
        magnitude = np.empty(db.shape)
        reference.conv_weight_grad(np.abs(dy), np.abs(x), None, magnitude, dims)
        bounds["db"] = sum_bound(terms, magnitude, eps, tiny)
    if dw is not None:
        magnitude, counts = np.empty(dw.shape), np.empty(dw.shape)
        reference.conv_weight_grad(np.abs(dy), np.abs(x), magnitude, None, dims)
        if not np.isfinite(dy).all():
            reference.conv_weight_grad(np.ones_like(dy), np.ones_like(x), counts, None, dims)
        if _tile(dims, "weight", eps):
            bounds["dw"] = _mixed(
                magnitude, terms, max(dims.kernel_size), eps, tiny, over=(1, 2, 3)
            )
        else:
            bound = sum_bound(terms, magnitude, eps, tiny)
            bounds["dw"] = _allowed(bound, dy, counts, terms)
    return bounds


def _col2im_bound(args: Any, expected: dict[str, np.ndarray], eps: float, tiny: float) -> dict:
    magnitude = np.empty(args["x"].shape)
    reference.col2im(np.abs(args["cols"]), magnitude, args["dims"])
    return {"x": sum_bound(_taps_of_an_input(args["dims"]), magnitude, eps, tiny)}


SPECS = {
    "conv": OpSpec(("y",), _conv_bound),
    "conv_input_grad": OpSpec(("dx",), _input_grad_bound),
    "conv_weight_grad": OpSpec(("dw", "db"), _weight_grad_bound),
    "im2col": OpSpec(("cols",), exact("cols")),
    "col2im": OpSpec(("x",), _col2im_bound),
}
