"""Products on the simulator, with tiles small enough that every edge is crossed."""

from itertools import product

import numpy as np
import pytest
from convnet.kernels.cuda import gemm, sums
from convnet.kernels.cuda.engine import Tile
from convnet.precision import set_precision

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
TILE = Tile(8, 8, 4, 4, 4, 4)  # 4 threads
WIDE = Tile(16, 8, 4, 4, 8, 4)  # two groups of rows a thread
EXTENTS = {8: (1, 7, 8, 9, 17), 4: (1, 3, 4, 5, 9, 17)}
DTYPES = pytest.mark.parametrize("dtype", [F32, F64], ids=str)


class Small:
    """The backend's gemm and sum_rows with tiles of one's own."""

    def __init__(self, tile=TILE, splits=1):
        self.tile, self.splits = tile, splits

    def gemm(self, a, b, c, out, alpha, beta, activation):
        gemm.run_gemm(a, b, c, out, alpha, beta, activation, self.tile, self.splits)

    def sum_rows(self, x, out):
        sums.sum_columns(x, out, *x.shape, (4, 2), 5)


def operand(rng, shape, transposed, dtype):
    if transposed:
        return (
            rng.standard_normal((*shape[:-2], shape[-1], shape[-2])).astype(dtype).swapaxes(-1, -2)
        )
    return rng.standard_normal(shape).astype(dtype)


def run(checked, small, m, n, k, dtype, flags=(0, 0), c=None, alpha=1.0, beta=0.0, activation=None):
    rng = np.random.default_rng(m + n + k)
    a, b = operand(rng, (m, k), flags[0], dtype), operand(rng, (k, n), flags[1], dtype)
    if c is not None:
        c = rng.standard_normal(c).astype(dtype)
    checked(small).gemm(a, b, c, np.empty((m, n), dtype), alpha, beta, activation)


SHAPES = [
    *((m, 9, 5) for m in EXTENTS[8]),
    *((9, n, 5) for n in EXTENTS[8]),
    *((9, 9, k) for k in EXTENTS[4]),
    (16, 24, 8),
    (8, 16, 40),
]


@DTYPES
@pytest.mark.parametrize("flags", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=["NN", "NT", "TN", "TT"])
def test_extents(checked, flags, dtype):
    for m, n, k in SHAPES:
        run(checked, Small(), m, n, k, dtype, flags)


@DTYPES
def test_groups_of_rows(checked, dtype):
    for m, n, k in ((1, 1, 1), (15, 9, 4), (16, 8, 7), (17, 7, 9), (33, 17, 3)):
        run(checked, Small(WIDE), m, n, k, dtype, (m % 2, n % 2))


@DTYPES
def test_scales_c_and_relu(checked, dtype):
    for m, n, c in ((9, 17, (9, 17)), (8, 16, (16,)), (7, 20, (20,)), (3, 16, (3, 16))):
        for activation in (None, "relu"):
            run(checked, Small(), m, n, 6, dtype, (0, 0), c, 0.5, -2.0, activation)
    run(checked, Small(), 5, 6, 7, dtype, (0, 1), (5, 6), 2.0, 0.0)


@DTYPES
def test_splits(checked, dtype):
    """Sums in parts: of equal length, a shorter last one, fewer than asked for, and c with relu."""
    for k, splits in ((16, 2), (17, 2), (9, 3), (5, 7), (40, 3)):
        run(checked, Small(splits=splits), 9, 7, k, dtype)
        run(checked, Small(splits=splits), 4, 16, k, dtype, (1, 1), (16,), 2.0, 1.0, "relu")


@DTYPES
def test_batches(checked, dtype):
    rng = np.random.default_rng(3)
    for flags, splits in (((0, 0), 1), ((1, 0), 2), ((0, 1), 2)):
        a, b = operand(rng, (3, 9, 8), flags[0], dtype), operand(rng, (3, 8, 5), flags[1], dtype)
        out = np.empty((3, 9, 5), dtype)
        checked(Small(splits=splits)).gemm(a, b, None, out, 1.0, 0.0, None)
        checked(Small()).gemm(np.broadcast_to(a[:1], a.shape), b, None, out, 1.0, 0.0, None)


def test_rows_of_a_larger_matrix(checked):
    """Rows that do not follow one another, aligned and not."""
    rng = np.random.default_rng(4)
    for gap in (3, 4):
        a = rng.standard_normal((16, 8 + gap)).astype(F32)[:, :8]
        b = rng.standard_normal((8, 16 + gap)).astype(F32)[:, :16]
        checked(Small()).gemm(a, b, None, np.empty((16, 16), F32), 1.0, 0.0, None)
        checked(Small()).gemm(b.T, a.T, None, np.empty((16, 16), F32), 1.0, 0.0, None)


def test_special_values_reach_their_rows_and_columns_alone(checked):
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((9, 7)).astype(F32), rng.standard_normal((7, 17)).astype(F32)
    a[8, 6], a[0, 0], b[3, 16] = np.nan, np.inf, -np.inf
    for activation in (None, "relu"):
        checked(Small()).gemm(a, b, None, np.empty((9, 17), F32), 1.0, 0.0, activation)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_a_tile_that_ships(checked, dtype):
    """One row too many for a tile of 64 x 64, at its true size."""
    rng = np.random.default_rng(6)
    a, b = (rng.standard_normal(s).astype(dtype) for s in ((65, 9), (9, 20)))
    checked(gemm).gemm(a, b, None, np.empty((65, 20), dtype), 1.0, 0.0, None)


WARP_TILE = Tile(32, 16, 8, 2, 4, 4)  # 32 threads: one warp


def test_tiles_that_ship_suit_tensor_cores():
    assert all(tile.suits_tensor_cores for tile in gemm.TILES[F32])
    assert not TILE.suits_tensor_cores


@pytest.mark.parametrize("flags", [(0, 0), (1, 1)], ids=["NN", "TT"])
def test_tf32(flags):
    """The error documented in docs/cuda.md: 2^-10 of sum |a||b| beside the bound of float32."""
    rng = np.random.default_rng(7)
    for m, n, k, splits in ((33, 17, 9, 1), (32, 16, 8, 1), (31, 20, 33, 2)):
        a, b = operand(rng, (m, k), flags[0], F32), operand(rng, (k, n), flags[1], F32)
        out = np.full((m, n), np.nan, F32)
        gemm.run_gemm(a, b, None, out, 1.0, 0.0, None, WARP_TILE, splits, tf32=True)
        exact = a.astype(F64) @ b.astype(F64)
        magnitude = np.abs(a).astype(F64) @ np.abs(b).astype(F64)
        error = np.abs(out - exact) / magnitude
        assert error.max() <= 2**-10 + (8 + 2 * np.sqrt(k)) * 2**-23
        assert error.max() > 2**-14  # the factors were rounded


def test_tf32_is_for_medium_precision_alone(monkeypatch):
    used = []
    monkeypatch.setattr(gemm, "run_gemm", lambda *args: used.append(args[-1]))
    a = np.zeros((2048, 2048), F32)
    for precision in ("highest", "high", "medium"):
        with set_precision(precision):
            gemm.gemm(a, a, None, a, 1.0, 0.0, None)
            gemm.gemm(a.astype(F64), a.astype(F64), None, a, 1.0, 0.0, None)
    assert used == [False, False, False, False, True, False]


@DTYPES
def test_sum_rows(checked, dtype):
    for rows, columns in product((1, 4, 5, 6, 11, 26, 40), (1, 2, 3, 5)):
        x = np.random.default_rng(rows).standard_normal((rows, columns)).astype(dtype)
        checked(Small()).sum_rows(x, np.empty(columns, dtype))


def test_choices():
    """A sum is split by the shape alone, where there are few tiles and it is long."""
    assert gemm.choose_splits(1, 1 << 20) == gemm.ENOUGH_BLOCKS
    assert gemm.choose_splits(1, 511) == 1
    assert gemm.choose_splits(4, 1024) == 4
    assert gemm.choose_splits(gemm.ENOUGH_BLOCKS, 1 << 20) == 1
