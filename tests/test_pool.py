"""Pooling: every case against the reference, that against torch and ONNX, memory safety."""

from itertools import product

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.check import runner
from convnet.check.pool import CASES
from convnet.ops._arrays import is_channels_last

RUNS = runner.plan("pool", backends=("cpu",))
GROUPS = sorted({(r.level, getattr(r.case, "op", "")) for r in RUNS})


@pytest.mark.parametrize(("level", "op"), GROUPS, ids=lambda v: v or "any")
def test_cases(level: str, op: str) -> None:
    """Within the bounds, the same bits for any threads, layout and batch; bad input refused."""
    failures = [
        failure
        for run in RUNS
        if run.level == level and run.case.op == op
        for failure in [runner.run_one(run)[1]]
        if failure
    ]
    assert not failures, "\n\n".join(failures[:5])


def channels_last(a: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def windows(rank: int) -> list[tuple]:
    """(kernel, stride, padding, dilation, ceil_mode) that torch takes too."""
    return [
        (k, s, p, d, ceil)
        for k, s, p, d, ceil in product((1, 2, 3), (1, 2, 3), (0, 1), (1, 2), (False, True))
        if p <= k // 2 and not (rank == 3 and d == 2 and s == 3)
    ]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_reference_max_pool_is_torchs(rank: int) -> None:
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, f"max_pool{rank}d")
    rng = np.random.default_rng(rank)
    compared = 0
    for size, (k, s, p, d, ceil) in product((4, 7), windows(rank)):
        x = np.round(rng.standard_normal((2, 3) + (size,) * rank) * 2) / 2
        if compared % 3 == 0:
            x[rng.random(x.shape) < 0.2] = np.nan
        t = torch.from_numpy(x).requires_grad_(True)
        try:
            expected, where = function(t, k, s, p, d, ceil, return_indices=True)
        except RuntimeError:  # the windows do not fit: an error here, too
            with pytest.raises(ValueError, match=r"kernel_size|padding"):
                getattr(ops, f"max_pool{rank}d")(x, k, s, p, d, ceil)
            continue
        dy = rng.standard_normal(expected.shape)
        expected.backward(torch.from_numpy(dy))
        with convnet.use_backend("reference"):
            y, indices = getattr(ops, f"max_pool{rank}d")(x, k, s, p, d, ceil, True)
            dx = getattr(ops, f"max_pool{rank}d_backward")(dy, indices, x.shape, k, s, p, d, ceil)
        np.testing.assert_array_equal(y, expected.detach().numpy())
        np.testing.assert_array_equal(indices, where.numpy())
        np.testing.assert_allclose(dx, t.grad.numpy(), rtol=0, atol=1e-13)
        compared += 1
    assert compared > 50


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_reference_avg_pool_is_torchs(rank: int) -> None:
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, f"avg_pool{rank}d")
    rng = np.random.default_rng(rank)
    for size, (k, s, p, d, ceil) in product((4, 7), windows(rank)):
        if d != 1:
            continue
        for counting, divisor in product((True, False), (None, 3)):
            if rank == 1 and divisor:
                continue
            x = rng.standard_normal((2, 3) + (size,) * rank)
            t = torch.from_numpy(x).requires_grad_(True)
            expected = function(t, k, s, p, ceil, counting, *[divisor] * (rank > 1))
            dy = rng.standard_normal(expected.shape)
            expected.backward(torch.from_numpy(dy))
            args = (k, s, p, ceil, counting, divisor)
            with convnet.use_backend("reference"):
                y = getattr(ops, f"avg_pool{rank}d")(x, *args)
                dx = getattr(ops, f"avg_pool{rank}d_backward")(dy, x.shape, *args)
            np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-13)
            np.testing.assert_allclose(dx, t.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_reference_adaptive_pool_is_torchs(rank: int) -> None:
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, f"adaptive_avg_pool{rank}d")
    rng = np.random.default_rng(rank)
    for size, q in product((4, 7, 9), (1, 2, 3, 5, 9, 11)):
        x = rng.standard_normal((2, 3) + (size,) * rank)
        t = torch.from_numpy(x).requires_grad_(True)
        expected = function(t, q)
        dy = rng.standard_normal(expected.shape)
        expected.backward(torch.from_numpy(dy))
        with convnet.use_backend("reference"):
            y = getattr(ops, f"adaptive_avg_pool{rank}d")(x, q)
            dx = getattr(ops, f"adaptive_avg_pool{rank}d_backward")(dy, x.shape)
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(dx, t.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", ["same", "valid"])
@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_reference_modes_are_onnxs(pool: str, mode: str) -> None:
    """SAME_UPPER and VALID, strided: what torch lacks."""
    helper = pytest.importorskip("onnx").helper
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    names = {"same": "SAME_UPPER", "valid": "VALID"}
    for (k, s), size in product(((2, 1), (2, 2), (3, 2), (3, 1), (4, 3)), (6, 7)):
        node = helper.make_node(
            pool, ["x"], ["y"], kernel_shape=[k, k], strides=[s, s], auto_pad=names[mode]
        )
        x = np.random.default_rng(size).standard_normal((1, 2, size, size)).astype(np.float32)
        (expected,) = evaluator(node).run(None, {"x": x})
        with convnet.use_backend("reference"):
            if pool == "MaxPool":
                y = ops.max_pool2d(x, k, s, mode)
            else:
                y = ops.avg_pool2d(x, k, s, mode, count_include_pad=False)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_max_pool_rules_of_ties_and_nan() -> None:
    nan, inf = np.nan, np.inf
    rows = [
        ([1, 3, 3, 0], 3, 1),  # the first maximum
        ([1, nan, nan, 9], nan, 2),  # the last NaN
        ([-inf, -inf, -inf, -inf], -inf, 0),
        ([nan, 1, 2, 3], nan, 0),
    ]
    for values, value, place in rows:
        for dtype in (np.float32, np.float64):
            x = np.array(values, dtype).reshape(1, 1, 2, 2)
            y, indices = ops.max_pool2d(x, 2, return_indices=True)
            np.testing.assert_array_equal(y, np.full((1, 1, 1, 1), value, dtype))
            assert indices.item() == place
            assert indices.dtype == np.int32
    x = np.full((1, 1, 3, 3), -inf)
    _, indices = ops.max_pool2d(x, 3, 1, 1, return_indices=True)
    assert indices[0, 0].tolist() == [[0, 0, 1], [0, 0, 1], [3, 3, 4]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [np.int16, np.uint8, np.uint64, np.int64, ">i4"])
def test_indices_of_any_integer_type(dtype: type, place: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 9)).astype(dtype)
    y, indices = ops.max_pool2d(x, 3, 2, 1, return_indices=True)
    expected = ops.max_pool2d_backward(y, indices, x.shape, 3, 2, 1)
    got = ops.max_pool2d_backward(y, indices.astype(place), x.shape, 3, 2, 1)
    assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_misplaced_indices_do_no_harm(dtype: type) -> None:
    """In the plane, but not in their windows: nothing comes through, nothing else is touched."""
    dy = np.ones((1, 1, 4, 4), dtype)
    dx = ops.max_pool2d_backward(dy, np.full(dy.shape, 63), (1, 1, 8, 8), 2)
    assert dx.sum() == 1
    assert dx[0, 0, 7, 7] == 1


WINDOWS = [(2, 2, 0), (2, 1, 0), (3, 1, 0), (3, 1, 1), (3, 2, 0), (3, 2, 1), (3, 3, 0)]


@pytest.mark.parametrize("last", [False, True], ids=("nchw", "channels_last"))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
def test_any_places_in_the_plane(k: int, s: int, p: int, dtype: type, last: bool) -> None:
    """An index passes dy on to its place if the place lies in its own window, else to nothing."""
    rng = np.random.default_rng(k * s)
    shape, side = (2, 17, 19, 20), channels_last if last else np.ascontiguousarray
    y = ops.max_pool2d(np.zeros(shape, dtype), k, s, p)
    dy = side(rng.integers(1, 9, y.shape).astype(dtype))
    rows, columns = np.ogrid[: y.shape[2], : y.shape[3]]
    h = rows * s - p + rng.integers(-1, k + 1, y.shape)
    w = columns * s - p + rng.integers(-1, k + 1, y.shape)
    place = np.clip(h * 20 + w, 0, 19 * 20 - 1)
    h, w = place // 20 - rows * s + p, place % 20 - columns * s + p
    own = (h >= 0) & (h < k) & (w >= 0) & (w < k)
    expected = np.zeros((2, 17, 19 * 20), dtype)
    image, channel = np.ogrid[:2, :17]
    where = image[..., None, None], channel[..., None, None], place
    np.add.at(expected, where, np.where(own, dy, 0))
    dx = ops.max_pool2d_backward(dy, side(place.astype(np.int32)), shape, k, s, p)
    np.testing.assert_array_equal(dx.reshape(expected.shape), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("last", [False, True], ids=("nchw", "channels_last"))
@pytest.mark.parametrize("channels", [3, 17])
@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
def test_every_index_is_checked(
    k: int, s: int, p: int, channels: int, last: bool, threads: int
) -> None:
    shape, side = (2, channels, 7, 6), channels_last if last else np.ascontiguousarray
    y, indices = ops.max_pool2d(side(np.zeros(shape, np.float32)), k, s, p, return_indices=True)
    with convnet.set_num_threads(threads):
        for i in np.ndindex(indices.shape):
            former, indices[i] = indices[i], (-1, 42, -(2**31), 2**31 - 1)[sum(i) % 4]
            with pytest.raises(ValueError, match="places 0 to 41 of a plane"):
                ops.max_pool2d_backward(y, indices, shape, k, s, p)
            indices[i] = former
        ops.max_pool2d_backward(y, indices, shape, k, s, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_follow_the_memory_format(dtype: type) -> None:
    x = channels_last(np.random.default_rng(0).standard_normal((2, 5, 8, 9)).astype(dtype))
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    mean = ops.avg_pool2d(x, 3, 1, 1)
    results = (
        y,
        indices,
        mean,
        ops.adaptive_avg_pool2d(x, 3),
        ops.max_pool2d_backward(y, indices, x.shape, 2),
        ops.avg_pool2d_backward(mean, x.shape, 3, 1, 1),
    )
    assert all(is_channels_last(a) for a in results)


@pytest.mark.parametrize("channels", [3, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", [False, True], ids=("nchw", "channels_last"))
def test_kernels_stay_within_their_arrays(channels: int, dtype: type, last: bool) -> None:
    """Memory around every result keeps its bits; inputs that end where their memory ends work."""
    from convnet.backends import cpu
    from convnet.shapes import pool_dims

    rng = np.random.default_rng(0)

    def guarded(shape: tuple[int, ...], kind: type) -> tuple[np.ndarray, np.ndarray]:
        size, guard = int(np.prod(shape)), 64
        memory = np.full(size + 2 * guard, 77, kind)
        inner = memory[guard : guard + size]
        if last:
            n, c, *spatial = shape
            return memory, np.moveaxis(inner.reshape(n, *spatial, c), -1, 1)
        return memory, inner.reshape(shape)

    for (k, s, p), w in product(
        ((2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0), (5, 3, 2)), (5, 6, 16, 19, 35)
    ):
        x_shape = (2, channels, 6, w)
        dims = pool_dims(x_shape, k, s, p, 1, False)
        y_shape = (2, channels, *dims.out_size)
        x = rng.standard_normal(x_shape).astype(dtype)
        x = channels_last(x) if last else x
        arrays = [
            guarded(y_shape, dtype),
            guarded(y_shape, np.int32),
            guarded(x_shape, dtype),
            guarded(y_shape, dtype),
            guarded(x_shape, dtype),
        ]
        y, indices, dx, mean, dmean = (a for _, a in arrays)
        cpu.max_pool(x, y, indices, dims)
        cpu.max_pool_backward(y, indices, dx, dims)
        cpu.avg_pool(x, mean, dims)
        cpu.avg_pool_backward(mean, dmean, dims)
        for memory, a in arrays:
            guard = (memory.size - a.size) // 2
            assert (memory[:guard] == 77).all()
            assert (memory[-guard:] == 77).all()


def test_gradients_are_the_adjoints() -> None:
    """<dy, avg_pool(x)> = <avg_pool_backward(dy), x>, in float64."""
    rng = np.random.default_rng(0)
    for args in ((2,), (3, 2, 1), (3, 1, 1, False, False), (4, 3, 2, True), (3, 2, "same")):
        x = rng.standard_normal((2, 3, 9, 10))
        y = ops.avg_pool2d(x, *args)
        dy = rng.standard_normal(y.shape)
        dx = ops.avg_pool2d_backward(dy, x.shape, *args)
        assert np.vdot(dy, y) == pytest.approx(np.vdot(dx, x), rel=1e-12)


def test_windows_are_checked_though_equal_ones_are_remembered() -> None:
    """1 == True == 1.0, but only the first is a size."""
    x = np.ones((1, 1, 4, 4), np.float32)
    ops.max_pool2d(x, 1, 1)
    ops.max_pool2d(x, (1, 1), 1)
    for wrong in (True, 1.0, (True, 1), (1, 1.0)):
        with pytest.raises(TypeError, match="kernel_size"):
            ops.max_pool2d(x, wrong, 1)
        with pytest.raises(TypeError, match="stride"):
            ops.max_pool2d(x, 1, wrong)
    assert ops.max_pool2d(x, 3, 2, ceil_mode=False).shape == (1, 1, 1, 1)
    assert ops.max_pool2d(x, 3, 2, ceil_mode=True).shape == (1, 1, 2, 2)


def test_cases_hold_every_public_function() -> None:
    pools = {n for n in ops.__all__ if "_pool" in n}
    assert pools == {c.op for c in CASES}


@pytest.mark.parametrize("size", [(40,), (12,), (9, 8), (20, 30), (5, 6, 4), (4, 5, 20)], ids=str)
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels-last"])
def test_an_index_outside_its_window_passes_nothing_on(
    size: tuple[int, ...], dilation: int, last: bool
) -> None:
    """On every path: short rows and long ones, small planes and volumes."""
    rng = np.random.default_rng(len(size))
    rank = len(size)
    forward, backward = getattr(ops, f"max_pool{rank}d"), getattr(ops, f"max_pool{rank}d_backward")
    x = rng.standard_normal((2, 3, *size)).astype(np.float32)
    if last:
        x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    for k, s, p in ((2, 2, 0), (2, 1, 1), (3, 2, 1)):
        y, indices = forward(x, k, s, p, dilation, return_indices=True)
        indices[...] = np.where(
            rng.random(y.shape) < 0.5, indices, rng.integers(0, np.prod(size), y.shape)
        )
        own = np.ones(y.shape, bool)
        for place, q in zip(np.unravel_index(indices, size), np.indices(y.shape)[2:], strict=True):
            offset = place - (q * s - p)
            own &= (offset >= 0) & (offset <= dilation * (k - 1)) & (offset % dilation == 0)
        assert own.any()
        assert not own.all()
        for kind in (np.int32, np.int64):
            dx = backward(y, indices.astype(kind), x.shape, k, s, p, dilation)
            with convnet.use_backend("reference"):
                dy = np.where(own, y, 0)
                expected = backward(dy, indices.astype(kind), x.shape, k, s, p, dilation)
            np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-5)
