"""Images read at places between their pixels, for whole batches."""

import math

import numpy as np


def bilinear(
    x: np.ndarray, rows: np.ndarray, columns: np.ndarray, fill: float | None = None
) -> np.ndarray:
    """y[n, ..., i, j] = x[n, ..., rows[n, i, j], columns[n, i, j]], between pixels bilinear.

    x : (N, ..., H, W) floating-point    rows, columns : (N or 1, P, Q)    ->    (N, ..., P, Q)
    fill : the value outside of the image; None: the places are known to lie inside
    """
    h, w = x.shape[-2:]
    images = x.reshape(len(x), math.prod(x.shape[1:-2]), h * w)
    low_row, low_column = np.floor(rows), np.floor(columns)
    a, b = (rows - low_row).astype(x.dtype), (columns - low_column).astype(x.dtype)
    r, c = low_row.astype(np.int64), low_column.astype(np.int64)
    y = None
    for i in (0, 1):
        for j in (0, 1):
            weight = (a if i else 1 - a) * (b if j else 1 - b)
            at_r, at_c = r + i, c + j
            inside = (at_r >= 0) & (at_r < h) & (at_c >= 0) & (at_c < w)
            index = at_r.clip(0, h - 1) * w + at_c.clip(0, w - 1)
            flat = index.reshape(len(index), 1, math.prod(index.shape[1:]))
            values = np.take_along_axis(images, flat, 2)
            values = values.reshape(*images.shape[:2], *index.shape[1:])
            if fill is not None:
                values = np.where(inside[:, None], values, x.dtype.type(fill))
            term = values * weight[:, None]
            y = term if y is None else y + term
    return y.reshape(*x.shape[:-2], *rows.shape[1:])


def affine(
    x: np.ndarray,
    angle: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    scale: np.ndarray,
    fill: float = 0,
) -> np.ndarray:
    """Each image turned counterclockwise by angle (radians), scaled about its centre, then moved.

    angle, dy, dx, scale : (N,)    x : (N, ..., H, W) floating-point
    Every output pixel is looked up where it comes from: the inverse map.
    """
    h, w = x.shape[-2:]
    i = np.arange(h)[None, :, None] - (h - 1) / 2 - dy[:, None, None]
    j = np.arange(w)[None, None] - (w - 1) / 2 - dx[:, None, None]
    cos, sin = (f(angle)[:, None, None] / scale[:, None, None] for f in (np.cos, np.sin))
    rows = cos * i + sin * j + (h - 1) / 2
    columns = cos * j - sin * i + (w - 1) / 2
    return bilinear(x, rows, columns, fill)
