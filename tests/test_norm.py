"""Batch norm and dropout: every case, the reference against torch, the random numbers."""

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.backends.reference.norm import philox4x32
from convnet.check import runner
from convnet.ops._arrays import is_channels_last

RUNS = runner.plan("norm", backends=("cpu",))
GROUPS = sorted({(r.level, getattr(r.case, "op", "")) for r in RUNS})


@pytest.mark.parametrize(("level", "op"), GROUPS, ids=lambda v: v or "any")
def test_cases(level, op):
    """Within the bounds, the same bits for any threads and layout; bad input refused."""
    failures = [
        failure
        for run in RUNS
        if run.level == level and run.case.op == op
        for failure in [runner.run_one(run)[1]]
        if failure
    ]
    assert not failures, "\n\n".join(failures[:5])


def channels_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


SHAPES = [(6, 3), (4, 5, 7), (3, 4, 5, 6), (2, 3, 4, 3, 5)]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_is_torchs(backend, training, affine, shape):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape)) * 3 + 1
    c = shape[1]
    mean, var = rng.standard_normal(c), rng.uniform(0.5, 2, c)
    w, b = (rng.standard_normal((2, c))) if affine else (None, None)
    t = [None if a is None else torch.tensor(a) for a in (x, mean, var, w, b)]
    for i in (0, 3, 4):
        if t[i] is not None:
            t[i].requires_grad_(True)
    expected = torch.nn.functional.batch_norm(*t, training=training, momentum=0.3, eps=1e-3)
    expected.backward(torch.from_numpy(dy))
    with convnet.use_backend(backend):
        own = (mean, var) if not training else ops.batch_norm_stats(x)
        own = tuple(a.copy() for a in own)
        y = ops.batch_norm(x, mean, var, w, b, training, 0.3, 1e-3)
        dx, dw, db = ops.batch_norm_backward(dy, x, *own, w, training, 1e-3)
    np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(dx, t[0].grad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mean, t[1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(var, t[2], rtol=0, atol=1e-14)
    if affine:
        np.testing.assert_allclose(dw, t[3].grad, rtol=0, atol=1e-12)
        np.testing.assert_allclose(db, t[4].grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_batch_norm_gradient_by_finite_differences(training):
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, 3, 2, 2, 3))
    w, b, mean = rng.standard_normal((3, 2))
    var = rng.uniform(0.5, 2, 2)

    def loss(x, w, b):
        y = ops.batch_norm(x, mean.copy(), var.copy(), w, b, training)
        return float((y * dy).sum())

    own = ops.batch_norm_stats(x) if training else (mean, var)
    gradients = ops.batch_norm_backward(dy, x, *own, w, training)
    for which, gradient in enumerate(gradients):
        for place in np.ndindex(gradient.shape):
            moved = []
            for step in (1e-5, -1e-5):
                args = [a.copy() for a in (x, w, b)]
                args[which][place] += step
                moved.append(loss(*args))
            assert gradient[place] == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("change", [channels_last, np.ascontiguousarray])
def test_results_keep_the_memory_format(change):
    x = change(np.random.default_rng(0).standard_normal((2, 3, 4, 5)))
    y = ops.batch_norm(x, None, None, training=True)
    dx = ops.batch_norm_backward(np.ones_like(x), x, *ops.batch_norm_stats(x), training=True)[0]
    dropped, mask = ops.dropout(x, 0.5, seed=1)
    back = ops.dropout_backward(np.ones(x.shape), mask, 0.5)
    for a in (y, dx, dropped, mask, back):
        assert is_channels_last(a) == (change is channels_last)


def test_mean_far_from_zero_costs_no_digits():
    x = np.random.default_rng(0).standard_normal((8, 2, 30, 30)).astype(np.float32) + 1e4
    for a in (x, channels_last(x), np.ascontiguousarray(x[:, :, 0, 0])):
        axes = (0, *range(2, a.ndim))
        mean, var = ops.batch_norm_stats(a)
        np.testing.assert_allclose(mean, a.mean(axes, dtype=np.float64), rtol=1e-6)
        np.testing.assert_allclose(var, a.var(axes, dtype=np.float64), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_statistics_follow_numpys_formula_to_the_bit(dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 4)).astype(dtype)
    mean, var = rng.standard_normal(5).astype(dtype), rng.random(5).astype(dtype)
    new_mean, new_var = ops.batch_norm_stats(x)
    expected_mean = mean * (1 - 0.3) + 0.3 * new_mean
    expected_var = var * (1 - 0.3) + (0.3 * 12 / 11) * new_var
    packed = np.zeros(5, np.dtype([("byte", "u1"), ("mean", dtype), ("var", dtype)]))
    packed["mean"], packed["var"] = mean, var  # strided, and not aligned
    for running in ((mean, var), (packed["mean"], packed["var"])):
        ops.batch_norm(x, *running, training=True, momentum=0.3)
        np.testing.assert_array_equal(running[0], expected_mean)
        np.testing.assert_array_equal(running[1], expected_var)


def test_running_statistics_may_be_views():
    memory = np.zeros(10)
    running = memory[::2], memory[1::2]
    x = np.random.default_rng(0).standard_normal((4, 5))
    ops.batch_norm(x, *running, training=True, momentum=1.0)
    np.testing.assert_allclose(memory[::2], x.mean(0))
    np.testing.assert_allclose(memory[1::2], x.var(0, ddof=1))


def test_empty_batch_changes_nothing():
    mean, var = np.ones(3), np.full(3, 2.0)
    assert ops.batch_norm(np.ones((0, 3, 4, 4)), mean, var, training=True).shape == (0, 3, 4, 4)
    assert (mean == 1).all()
    assert (var == 2).all()


# Random123's known answers for ten rounds of Philox4x32.
KNOWN = [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "seed", "words"), KNOWN)
def test_philox_gives_the_known_answers(counter, seed, words):
    got = philox4x32(np.array([counter], np.uint64), seed)[0]
    assert tuple(int(w) for w in got) == words


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_share_that_is_dropped(p):
    x = np.ones((100, 1000), np.float32)
    y, mask = ops.dropout(x, p, seed=3)
    n, share = x.size, 1 - mask.mean()
    assert abs(share - p) <= 5 * np.sqrt(p * (1 - p) / n)
    np.testing.assert_array_equal(y != 0, mask)
    if p < 1:
        np.testing.assert_allclose(y[mask], 1 / (1 - p), rtol=1e-6)
    # neighbours along both axes are independent
    for a, b in ((mask[:, 1:], mask[:, :-1]), (mask[1:], mask[:-1])):
        assert abs((a & b).mean() - (1 - p) ** 2) < 0.01


def test_mask_is_the_logical_orders_whatever_the_format():
    x = np.random.default_rng(0).standard_normal((3, 5, 7, 2))
    masks = [ops.dropout(a, 0.4, seed=9, offset=2)[1] for a in (x, channels_last(x))]
    flat = ops.dropout(x.reshape(-1), 0.4, seed=9, offset=2)[1]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0].reshape(-1), flat)


def test_counters_follow_one_another():
    x = np.ones(1003)
    whole = ops.dropout(x, 0.5, seed=5)[1]
    later = ops.dropout(x[400:], 0.5, seed=5, offset=100)[1]
    np.testing.assert_array_equal(whole[400:], later)
    assert not np.array_equal(whole, ops.dropout(x, 0.5, seed=6)[1])


def test_what_is_dropped_is_zero_even_where_x_is_not_finite():
    x = np.full(1000, np.nan)
    y, mask = ops.dropout(x, 0.5, seed=0)
    assert np.isnan(y[mask]).all()
    assert (y[~mask] == 0).all()
    assert (ops.dropout(np.full(9, np.inf), 1.0, seed=0)[0] == 0).all()
