"""Batch normalisation and dropout: the definition. Statistics are over all axes but 1."""

import numpy as np


def _axes(x: np.ndarray) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _column(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A value for each channel, to broadcast against x."""
    return a.reshape(1, -1, *(1,) * (x.ndim - 2))


def batch_norm_stats(x: np.ndarray, mean: np.ndarray, var: np.ndarray) -> None:
    """var is biased: divided by the number of elements."""
    mean[...] = x.mean(_axes(x))
    var[...] = ((x - _column(x.mean(_axes(x)), x)) ** 2).mean(_axes(x))


def batch_norm(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    y: np.ndarray,
    eps: float,
) -> None:
    w = np.ones_like(mean) if weight is None else weight
    b = np.zeros_like(mean) if bias is None else bias
    y[...] = (x - _column(mean, x)) * _column(w / np.sqrt(var + eps), x) + _column(b, x)


def batch_norm_training(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    mean: np.ndarray,
    var: np.ndarray,
    y: np.ndarray,
    eps: float,
) -> None:
    batch_norm_stats(x, mean, var)
    batch_norm(x, mean, var, weight, bias, y, eps)


def batch_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None,
    dx: np.ndarray | None,
    dweight: np.ndarray | None,
    dbias: np.ndarray | None,
    eps: float,
    training: bool,
) -> None:
    """In training mean and var are x's own, and depend on it."""
    rstd = 1 / np.sqrt(var + eps)
    normalised = (x - _column(mean, x)) * _column(rstd, x)
    db, dw = dy.sum(_axes(x)), (dy * normalised).sum(_axes(x))
    if dweight is not None:
        dweight[...] = dw
    if dbias is not None:
        dbias[...] = db
    if dx is not None:
        w = np.ones_like(mean) if weight is None else weight
        count = x.size // x.shape[1]
        own = (_column(db, x) + normalised * _column(dw, x)) / count if training else 0
        dx[...] = (dy - own) * _column(w * rstd, x)


_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox4x32(counter: np.ndarray, seed: int) -> np.ndarray:
    """Ten rounds of Philox4x32 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3; 2011).

    counter : (n, 4) words of 32 bits, the lowest first, as uint64    ->    as many random words
    """
    x = list(counter.T)
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = x[0] * _MULTIPLIERS[0], x[2] * _MULTIPLIERS[1]
        k0, k1 = (np.uint64(k) for k in key)
        x = [(b >> _32) ^ x[1] ^ k0, b & _LOW, (a >> _32) ^ x[3] ^ k1, a & _LOW]
        key = [(k + w) & 0xFFFFFFFF for k, w in zip(key, _WEYL, strict=True)]
    return np.stack(x, axis=1)


def dropout(
    x: np.ndarray, y: np.ndarray, mask: np.ndarray, p: float, seed: int, offset: int
) -> None:
    """Element i, counted in logical order, has word i % 4 of counter offset + i // 4 (mod 2^64).

    It is kept if word >= p 2^32.
    """
    counter = np.arange((x.size + 3) // 4, dtype=np.uint64) + np.uint64(offset)
    zero = np.zeros_like(counter)
    words = philox4x32(np.stack([counter & _LOW, counter >> _32, zero, zero], axis=1), seed)
    words = words.reshape(-1)[: x.size].reshape(x.shape)
    mask[...] = words >= p * 2.0**32
    dropout_backward(x, mask, y, p)


def dropout_backward(dy: np.ndarray, mask: np.ndarray, dx: np.ndarray, p: float) -> None:
    dx[...] = np.where(mask, dy / (1 - p), 0) if p < 1 else 0
