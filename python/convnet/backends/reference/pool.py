"""Pooling of any spatial rank: the definition, one kernel tap after another."""

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from convnet.shapes import PoolDims


def _taps(dims: PoolDims) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every tap of the kernel in row-major order, as (place, inside), both of out_size's shape.

    place: where each window's tap lies, as a flat index into the input plane; inside: whether it
    lies in the plane at all (else place means nothing).
    """
    for tap in product(*map(range, dims.kernel_size)):
        axes = [
            np.arange(q) * s - low + k * d
            for q, s, low, k, d in zip(
                dims.out_size, dims.stride, dims.pad_low, tap, dims.dilation, strict=True
            )
        ]
        grid = np.meshgrid(*axes, indexing="ij")
        inside = np.logical_and.reduce(
            [(g >= 0) & (g < n) for g, n in zip(grid, dims.in_size, strict=True)]
        )
        yield np.ravel_multi_index(grid, dims.in_size, mode="clip"), inside


def _divisor(dims: PoolDims) -> np.ndarray:
    """How many elements each window's sum is divided by, of out_size's shape."""
    if dims.divisor_override is not None:
        return np.full(dims.out_size, dims.divisor_override)
    extents = []
    for i, q in enumerate(dims.out_size):
        n, low, high = dims.in_size[i], dims.pad_low[i], dims.pad_high[i]
        if not dims.count_include_pad:
            low_end, high_end = 0, n
        else:
            low_end, high_end = -low, n + high
        begin = np.arange(q) * dims.stride[i] - low
        end = np.minimum(begin + dims.kernel_size[i], high_end)
        extents.append(end - np.maximum(begin, low_end))
    return np.prod(np.meshgrid(*extents, indexing="ij"), axis=0)


def _planes(a: np.ndarray) -> np.ndarray:
    """(N, C, spatial...) as (N, C, places)."""
    return a.reshape(*a.shape[:2], -1)


def max_pool(x: np.ndarray, y: np.ndarray, indices: np.ndarray | None, dims: PoolDims) -> None:
    best = np.full(y.shape, -np.inf, x.dtype)
    where = np.full(y.shape, -1)
    for place, inside in _taps(dims):
        value = _planes(x)[:, :, place]
        better = inside & ((value > best) | np.isnan(value) | (where < 0))
        best = np.where(better, value, best)
        where = np.where(better, place, where)
    y[...] = best
    if indices is not None:
        indices[...] = where


def max_pool_backward(dy: np.ndarray, indices: np.ndarray, dx: np.ndarray, dims: PoolDims) -> bool:
    """Whether all indices are places of a plane; dx is rubbish otherwise."""
    if indices.size and not 0 <= indices.min() <= indices.max() < prod(dims.in_size):
        return False
    planes = np.zeros_like(_planes(dx), order="C")
    n, c = np.ogrid[: dims.batch, : dims.channels]
    np.add.at(planes, (n[..., None], c[..., None], _planes(indices)), _planes(dy))
    dx[...] = planes.reshape(dx.shape)
    return True


def avg_pool(x: np.ndarray, y: np.ndarray, dims: PoolDims) -> None:
    total = np.zeros(y.shape, x.dtype)
    for place, inside in _taps(dims):
        total += np.where(inside, _planes(x)[:, :, place], 0)
    y[...] = total / _divisor(dims).astype(x.dtype)


def avg_pool_backward(dy: np.ndarray, dx: np.ndarray, dims: PoolDims) -> None:
    planes = np.zeros_like(_planes(dx), order="C")
    share = dy / _divisor(dims).astype(dy.dtype)
    for place, inside in _taps(dims):
        np.add.at(planes, (..., place[inside]), share[:, :, inside])
    dx[...] = planes.reshape(dx.shape)


def _cells(n: int, q: int) -> list[slice]:
    """The q cells that adaptive pooling cuts n inputs into: floor(p n/q) to ceil((p+1) n/q)."""
    return [slice(p * n // q, -(-(p + 1) * n // q)) for p in range(q)]


def adaptive_avg_pool(x: np.ndarray, y: np.ndarray) -> None:
    cells = [_cells(n, q) for n, q in zip(x.shape[2:], y.shape[2:], strict=True)]
    for p in np.ndindex(*y.shape[2:]):
        cell = tuple(axis[i] for axis, i in zip(cells, p, strict=True))
        y[(..., *p)] = np.mean(_planes(x[(..., *cell)]), axis=-1)


def adaptive_avg_pool_backward(dy: np.ndarray, dx: np.ndarray) -> None:
    cells = [_cells(n, q) for n, q in zip(dx.shape[2:], dy.shape[2:], strict=True)]
    dx[...] = 0
    for p in np.ndindex(*dy.shape[2:]):
        cell = tuple(axis[i] for axis, i in zip(cells, p, strict=True))
        into = dx[(..., *cell)]
        share = dy[(..., *p)] / np.prod(into.shape[2:]).astype(dy.dtype)
        into += share.reshape(*share.shape, *[1] * (into.ndim - 2))
