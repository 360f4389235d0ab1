"""Resampling: every case of the kernels, values and gradients of torch."""

import numpy as np
import pytest
from convnet import ops
from convnet.check import runner

RUNS = runner.plan("interpolate", backends=("cpu",))
GROUPS = sorted({(r.level, r.case.op) for r in RUNS})


@pytest.mark.parametrize(("level", "op"), GROUPS)
def test_cases(level, op):
    """Within the bounds, the same bits for any threads and layout."""
    runs = [r for r in RUNS if (r.level, r.case.op) == (level, op)]
    failures = [f for run in runs for f in [runner.run_one(run)[1]] if f]
    assert not failures, "\n\n".join(failures[:5])


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "corners"])
@pytest.mark.parametrize(
    "target",
    [{"size": (9, 4)}, {"size": 3}, {"scale_factor": 2}, {"scale_factor": (0.6, 2.7)}],
    ids=str,
)
@pytest.mark.parametrize("extent", [(5, 7), (1, 6), (10, 3)], ids=str)
def test_is_torchs(extent, target, mode):
    torch = pytest.importorskip("torch")
    how = {**target, "mode": "bilinear" if mode == "corners" else mode}
    if mode == "corners":
        how["align_corners"] = True
    if "scale_factor" in how and extent[0] == 1:
        how["scale_factor"] = 2
    x = np.random.default_rng(0).standard_normal((2, 3, *extent))
    t = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.interpolate(t, **how)
    dy = np.random.default_rng(1).standard_normal(expected.shape)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(ops.interpolate(x, **how), expected.detach(), atol=1e-12)
    dx = ops.interpolate_backward(dy, x.shape, **how)
    np.testing.assert_allclose(dx, t.grad, atol=1e-12)


def test_nearest_lets_infinity_pass_alone():
    x = np.array([[[1.0, np.inf, 2.0]]])
    np.testing.assert_array_equal(
        ops.interpolate(x, scale_factor=2), [[[1, 1, np.inf, np.inf, 2, 2]]]
    )
