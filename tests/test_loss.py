"""Losses: every case against the reference, the reference against torch; targets, reductions."""

import math

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.check import runner

RUNS = runner.plan("loss", backends=("cpu",))
GROUPS = sorted({(r.level, r.case.op) for r in RUNS})
REDUCTIONS = ["mean", "sum", "none"]
CLASS_LOSSES = ["cross_entropy", "nll_loss"]
PAIR_LOSSES = ["bce", "bce_with_logits", "mse_loss"]


@pytest.mark.parametrize(("level", "op"), GROUPS, ids=lambda v: v or "any")
def test_cases(level: str, op: str) -> None:
    """Within the bounds, the same bits for any threads and layout; bad input refused."""
    failures = [
        failure
        for run in RUNS
        if run.level == level and run.case.op == op
        for failure in [runner.run_one(run)[1]]
        if failure
    ]
    assert not failures, "\n\n".join(failures[:5])


# Targets ----------------------------------------------------------------------------------------

WIDTHS = [f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", [*WIDTHS, ">i4", ">u2"])
@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_targets_of_every_width(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 10)).astype(np.float32)
    target = rng.integers(0, 10, 30)
    function, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    assert function(x, target.astype(dtype)) == function(x, target)
    dx = backward(x, target.astype(dtype))
    assert dx.tobytes() == backward(x, target).tobytes()


def test_target_may_be_a_numpy_integer() -> None:
    x = np.array([1.0, 2.0, 0.5])
    assert ops.cross_entropy(x, np.int32(2)) == ops.cross_entropy(x[None], np.array([2]))


def test_target_is_not_changed_and_may_be_read_only() -> None:
    target = np.array([0, 1, -100], np.int64)
    target.flags.writeable = False
    x = np.zeros((3, 2))
    ops.cross_entropy(x, target)
    ops.cross_entropy_backward(x, target)
    assert target.tolist() == [0, 1, -100]


def test_ignore_index_may_lie_anywhere() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3))
    target = np.array([0, 2, 1, 2])
    for ignore in (2, 7, -1):
        marked = np.where(target == 2, ignore, target)
        loss = ops.cross_entropy(x, marked, "mean", ignore)
        assert loss == pytest.approx(ops.cross_entropy(x[[0, 2]], target[[0, 2]]))
        dx = ops.cross_entropy_backward(x, marked, "mean", ignore)
        assert not dx[[1, 3]].any()
    with pytest.raises(ValueError, match=r"0 to 2 .*got 7 in target\[1\]"):
        ops.cross_entropy(x, np.where(target == 2, 7, target))


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_all_ignored(name: str) -> None:
    """torch's: the mean of nothing is NaN, its sum 0, and nothing has a gradient."""
    x, target = np.ones((3, 4), np.float32), np.full(3, -100)
    function, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    assert math.isnan(function(x, target))
    assert function(x, target, "sum") == 0
    assert not backward(x, target).any()


def test_ignored_row_has_no_gradient_even_with_nan_in_it() -> None:
    for shape in ((2, 3), (2, 3, 5)):
        x = np.ones(shape, np.float32)
        x[1] = np.nan
        target = np.zeros((2, *shape[2:]), np.int64)
        target[1] = -100
        assert np.isfinite(ops.cross_entropy(x, target))
        assert not ops.cross_entropy_backward(x, target)[1].any()


@pytest.mark.parametrize("name", CLASS_LOSSES + PAIR_LOSSES)
def test_empty_batch(name: str) -> None:
    x = np.empty((0, 3), np.float32)
    target = np.empty(0, np.int64) if name in CLASS_LOSSES else x
    function, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    assert math.isnan(function(x, target))
    assert function(x, target, "sum") == 0
    assert function(x, target, "none").shape == target.shape
    assert backward(x, target).shape == (0, 3)


# Values and reductions --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalars_have_the_inputs_type(dtype: type) -> None:
    x = np.zeros((2, 3), dtype)
    loss = ops.cross_entropy(x, np.array([0, 1]))
    assert type(loss) is dtype
    assert loss == pytest.approx(math.log(3))
    assert type(ops.mse_loss(x, x, "sum")) is dtype
    none = ops.cross_entropy(x[0], np.array(1), "none")
    assert (none.shape, none.dtype) == ((), dtype)


def test_sum_beyond_float32_is_inf_without_a_warning() -> None:
    x = np.full(4, 1e19, np.float32)
    assert ops.mse_loss(x, np.zeros_like(x), "sum") == np.inf
    assert ops.mse_loss(x, np.zeros_like(x)) == pytest.approx(1e38)


def test_sum_is_formed_in_float64() -> None:
    """A million losses of 0.1: float32 sums would be off in the fourth digit."""
    x = np.full(1_000_001, np.sqrt(0.1), np.float32)
    one = np.float64(x[0] * x[0])
    assert ops.mse_loss(x, np.zeros_like(x), "sum") == np.float32(one * x.size)


def test_sum_does_not_depend_on_threads() -> None:
    x = np.random.default_rng(0).standard_normal(300_001)
    with convnet.set_num_threads(1):
        one = ops.mse_loss(x, x[::-1], "sum")
    with convnet.set_num_threads(2):
        assert ops.mse_loss(x, x[::-1], "sum") == one
        assert ops.mse_loss(x, x[::-1]) == one / x.size


def test_confident_and_wrong_logits_are_exact() -> None:
    x = np.array([[1000.0, -1000.0]])
    assert ops.cross_entropy(x, np.array([0])) == 0
    assert ops.cross_entropy(x, np.array([1])) == 2000
    assert ops.bce_with_logits(x, np.array([[0.0, 1.0]]), "none").tolist() == [[1000, 1000]]
    limits = ops.bce_with_logits(np.array([np.inf, -np.inf]), np.array([1.0, 0.0]), "none")
    assert limits.tolist() == [0, 0]


def test_bce_clamps_its_logarithms() -> None:
    x = np.array([0.0, 1.0, 0.0, 1.0])
    assert ops.bce(x, np.array([1.0, 0.0, 0.0, 1.0]), "none").tolist() == [100, 100, 0, 0]
    assert np.isfinite(ops.bce_backward(x, 1 - x)).all()


@pytest.mark.parametrize("name", CLASS_LOSSES + PAIR_LOSSES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_by_differences(name: str, reduction: str) -> None:
    rng = np.random.default_rng(0)
    shape = (3, 4, 5)
    x, step = rng.uniform(0.2, 0.8, shape), 1e-6
    target = rng.integers(0, 4, (3, 5)) if name in CLASS_LOSSES else rng.uniform(0, 1, shape)
    dy = rng.standard_normal(target.shape) if reduction == "none" else 1.7
    function, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    d = rng.standard_normal(shape)

    def value(x):
        return (function(x, target, reduction) * dy).sum()

    slope = (value(x + step * d) - value(x - step * d)) / (2 * step)
    dx = backward(x, target, reduction, dy=dy)
    assert slope == pytest.approx((dx * d).sum(), rel=1e-6)


# torch ------------------------------------------------------------------------------------------

TORCH = {
    "cross_entropy": "cross_entropy",
    "nll_loss": "nll_loss",
    "bce": "binary_cross_entropy",
    "bce_with_logits": "binary_cross_entropy_with_logits",
    "mse_loss": "mse_loss",
}


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", TORCH)
def test_loss_is_torchs(name: str, reduction: str, backend: str) -> None:
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, TORCH[name])
    rng = np.random.default_rng(0)
    for shape in ((6,), (7, 5), (3, 4, 33), (2, 19, 4, 5), (2, 3, 3, 2, 2)):
        x = rng.uniform(0.01, 0.99, shape) if name == "bce" else rng.standard_normal(shape) * 3
        if name in CLASS_LOSSES:
            classes = shape[min(1, len(shape) - 1)]
            of_target = () if len(shape) == 1 else (shape[0], *shape[2:])
            target = np.asarray(rng.integers(0, classes, of_target))
            if of_target:
                target[-1] = -100
        else:
            target = rng.uniform(0, 1, shape)
        t = torch.tensor(x, requires_grad=True)
        expected = function(t, torch.tensor(target), reduction=reduction)
        dy = rng.standard_normal(target.shape) if reduction == "none" else 1.7
        expected.backward(torch.tensor(dy, dtype=torch.float64))
        last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 2 else x
        with convnet.use_backend(backend):
            for each in (x, last):
                loss = getattr(ops, name)(each, target, reduction)
                dx = getattr(ops, f"{name}_backward")(each, target, reduction, dy=dy)
                np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
                np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-11, atol=1e-14)
                assert dx.strides == each.strides
