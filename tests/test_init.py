"""nn.init: distributions as torch's, and what they cannot fill."""

import math

import convnet
import numpy as np
import pytest
from convnet import nn


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda nn: nn.Conv2d(16, 400, (5, 3), groups=4), 60),
        (lambda nn: nn.Linear(50, 4000), 50),
    ],
)
def test_initial_values_are_distributed_as_torchs(make, fan_in):
    torch = pytest.importorskip("torch")
    convnet.manual_seed(0)
    ours, theirs = make(nn), make(torch.nn)
    bound = 1 / math.sqrt(fan_in)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (p.shape, str(p.dtype)) == (tuple(q.shape), "float32")
        assert np.abs(p.data).max() <= bound
        assert np.abs(p.data).max() > 0.95 * bound
        assert p.data.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert p.data.std() == pytest.approx(q.detach().numpy().std(), rel=0.08)


INITS = [
    ("uniform_", {"a": -1.0, "b": 2.0}),
    ("normal_", {"mean": 1.0, "std": 0.5}),
    ("trunc_normal_", {"std": 1.5, "a": -1.0, "b": 2.0}),
    ("constant_", {"val": 0.25}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("xavier_normal_", {}),
    ("kaiming_uniform_", {"a": 0.3}),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {"nonlinearity": "tanh"}),
    ("orthogonal_", {"gain": 1.5}),
]


@pytest.mark.parametrize(("name", "options"), INITS, ids=str)
def test_inits_are_distributed_as_torchs(name, options):
    torch = pytest.importorskip("torch")
    convnet.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = nn.Tensor(np.empty((60, 30, 3, 3))), torch.empty(60, 30, 3, 3)
    assert getattr(nn.init, name)(ours, **options) is ours
    a, b = ours.data, getattr(torch.nn.init, name)(theirs, **options).double().numpy()
    for statistic, slack in ((np.mean, 0.02), (np.std, 0.02), (np.min, 0.2), (np.max, 0.2)):
        assert abs(statistic(a) - statistic(b)) <= slack * (b.std() + abs(statistic(b)))
    if name == "orthogonal_":
        rows = a.reshape(60, -1)
        np.testing.assert_allclose(rows @ rows.T, 2.25 * np.eye(60), atol=1e-12)


def test_gains_are_torchs():
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.5) == pytest.approx((2 / 1.25) ** 0.5)


@pytest.mark.parametrize(
    ("shape", "groups"), [((6, 4, 3), 1), ((4, 6, 3, 2), 2), ((6, 1, 1, 4, 3), 3)], ids=str
)
def test_dirac_is_torchs(shape, groups):
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Tensor(np.full(shape, 7.0)), torch.empty(shape)
    assert nn.init.dirac_(ours, groups) is ours
    np.testing.assert_array_equal(ours, torch.nn.init.dirac_(theirs, groups))


def test_dirac_hands_its_input_on():
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
    nn.init.dirac_(layer.weight, 2)
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 5), np.float32)
    np.testing.assert_allclose(layer(x).detach(), x, atol=1e-6)


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 1])
def test_sparse_has_its_zeros_in_every_column(sparsity):
    convnet.manual_seed(0)
    w = nn.init.sparse_(nn.Tensor(np.empty((25, 400))), sparsity, 0.5)
    zeros = (w.data == 0).sum(0)
    assert (zeros == math.ceil(25 * sparsity)).all()
    if 0 < sparsity < 1:
        assert np.ptp((w.data == 0).sum(1)) > 0, "rows differ"
        assert w.data[w.data != 0].std() == pytest.approx(0.5, rel=0.05)


W = np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda i: i.dirac_(nn.Tensor(W)), "expected 3 to 5 axes, got shape"),
        (lambda i: i.dirac_(nn.Tensor(W[..., None]), 3), "expected a divisor of 4 filters, got 3"),
        (lambda i: i.dirac_(nn.Tensor(W[..., None]), 0), "expected a divisor of 4 filters, got 0"),
        (lambda i: i.sparse_(nn.Tensor(W[0]), 0.5), "expected 2 axes"),
        (lambda i: i.sparse_(nn.Tensor(W), 1.5), "sparsity: expected a share from 0 to 1, got 1.5"),
        (lambda i: i.eye_(nn.Tensor(W[0])), "expected 2 axes"),
        (lambda i: i.xavier_normal_(nn.Tensor(W[0])), "expected at least 2 axes"),
        (lambda i: i.kaiming_normal_(nn.Tensor(W), mode="fan"), 'expected "fan_in" or "fan_out"'),
        (lambda i: i.calculate_gain("gelu"), "nonlinearity: expected leaky_relu or one of"),
        (lambda i: i.trunc_normal_(nn.Tensor(W), a=3, b=2), "expected an interval near the mean"),
    ],
)
def test_what_cannot_be_filled(call, match):
    with pytest.raises(ValueError, match=match):
        call(nn.init)
