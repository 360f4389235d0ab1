"""Resampling of images (N, C, H, W): output row p mixes two rows of the input, columns likewise.

rows : (2, P) and columns : (2, Q), which ones; row_weights, column_weights : how much there is of
the second, None where there is the first alone.
"""

import numpy as np


def _mix(n: int, places: np.ndarray, weights: np.ndarray | None, dtype: np.dtype) -> np.ndarray:
    """The matrix (outputs, n) of one axis."""
    m = np.zeros((places.shape[1], n), dtype)
    at = np.arange(places.shape[1])
    w = np.zeros(len(at), dtype) if weights is None else weights
    np.add.at(m, (at, places[0]), 1 - w)
    np.add.at(m, (at, places[1]), w)
    return m


def interpolate(
    x: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row_weights: np.ndarray | None,
    column_weights: np.ndarray | None,
) -> None:
    a = _mix(x.shape[2], rows, row_weights, x.dtype)
    b = _mix(x.shape[3], columns, column_weights, x.dtype)
    y[...] = np.einsum("ph,nchw,qw->ncpq", a, x, b, optimize=True)


def interpolate_backward(
    dy: np.ndarray,
    dx: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row_weights: np.ndarray | None,
    column_weights: np.ndarray | None,
) -> None:
    a = _mix(dx.shape[2], rows, row_weights, dy.dtype)
    b = _mix(dx.shape[3], columns, column_weights, dy.dtype)
    dx[...] = np.einsum("ph,ncpq,qw->nchw", a, dy, b, optimize=True)
