"""Activations and softmax: every case against the reference, the reference against torch and scipy,
the bounds in units of the last place, in-place calls."""

import math
import threading

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.backends import cpu
from convnet.check import runner

RUNS = runner.plan("activation", backends=("cpu",))
GROUPS = sorted({(r.level, r.case.op) for r in RUNS})
LEVELS = cpu.usable_levels()
F32, F64 = np.float32, np.float64


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


@pytest.fixture(params=LEVELS)
def level(request):
    former = cpu.use_level(request.param)
    yield request.param
    cpu.use_level(former)


# Units in the last place ------------------------------------------------------------------------


def logistic(x):
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


def normal(x):
    return np.vectorize(math.erfc, otypes=[float])(-x.astype(F64) / math.sqrt(2)) / 2


# function, the same in a wider type, units in the last place that it may be off by. gelu's are
# the normal distribution's 4, its far tail included, and the product's.
FUNCTIONS = {
    "sigmoid": (ops.sigmoid, logistic, 2),
    "tanh": (ops.tanh, np.tanh, 2),
    "silu": (ops.silu, lambda x: x * logistic(x), 3),
    "gelu": (ops.gelu, lambda x: x * normal(x), 5),
}


def every(step: int, low: float, high: float) -> np.ndarray:
    """Every step-th float32 of low <= |x| <= high, both signs."""
    first, last = np.array([low, high], F32).view(np.uint32)
    x = np.arange(first, last + 1, step, dtype=np.uint32).view(F32)
    return np.concatenate([x, -x])


def worst_ulps(y: np.ndarray, expected: np.ndarray) -> float:
    """The largest error in units in the last place of y's type; a denormal's unit is tiny * eps."""
    f = np.finfo(y.dtype)
    with np.errstate(all="ignore"):
        unit = np.spacing(np.maximum(np.abs(expected), f.tiny).astype(y.dtype))
        error = np.abs(y.astype(expected.dtype) - expected) / unit
    return float(error.max())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_within_ulps(name: str, level: str) -> None:
    """Every 2,003rd float32 from denormals to 100: some 900,000; gelu's fewer."""
    function, exact, most = FUNCTIONS[name]
    x = every(20011 if name == "gelu" else 2003, 0, 13 if name == "gelu" else 86)
    assert worst_ulps(function(x), exact(x.astype(F64))) <= most


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no type wider than float64")
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu"])
def test_float64_within_ulps(name: str, level: str) -> None:
    function, exact, most = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-w, w, 100_000) for w in (0.6, 3, 40, 700)])
    x = np.concatenate([x, 10.0 ** rng.uniform(-320, 0, 50_000)])
    assert worst_ulps(function(x), exact(x.astype(np.longdouble))) <= most


def test_exponential_and_logarithm_within_ulps(level: str) -> None:
    """exp as sigmoid gives it far below 0, log as cross-entropy and binary cross-entropy do."""
    x = every(4001, 18, 86)
    x = x[x < 0]
    assert worst_ulps(ops.sigmoid(x), logistic(x.astype(F64))) <= 1
    p = every(4001, 1e-38, 1)
    p = p[p > 0]
    loss = ops.bce(p, np.ones_like(p), "none")
    assert worst_ulps(loss, np.minimum(-np.log(p.astype(F64)), 100)) <= 2


def test_gelu_keeps_its_negative_tail(level: str) -> None:
    """Relative accuracy where 1 + erf cancels to nothing; expected: erfc in 40 digits."""
    x = np.array([-5.0, -10.0, -20.0, -37.0])
    expected = [-1.4332578593959696e-6, -7.6198530241605261e-23, -5.5072482372124674e-88]
    expected.append(-2.1184613523340934e-298)
    np.testing.assert_allclose(ops.gelu(x), expected, rtol=5 * 2.0**-52)


# Limits -----------------------------------------------------------------------------------------

INF, NAN = math.inf, math.nan
LIMITS = {
    "relu": ([0, 0, INF, NAN], {}),
    "leaky_relu": ([-INF, 0, INF, NAN], {}),
    "sigmoid": ([0, 0.5, 1, NAN], {}),
    "tanh": ([-1, 0, 1, NAN], {}),
    "silu": ([0, 0, INF, NAN], {}),
    "gelu": ([0, 0, INF, NAN], {}),
    "gelu tanh": ([0, 0, INF, NAN], {"approximate": "tanh"}),
    "leaky_relu_backward": ([0.01, 0.01, 1, 1], {}),
    "silu_backward": ([0, 0.5, 1, NAN], {}),
    "gelu_backward": ([0, 0.5, 1, NAN], {}),
    "gelu_backward tanh": ([0, 0.5, 1, NAN], {"approximate": "tanh"}),
}


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str, dtype: type, backend: str) -> None:
    """At -inf, 0, inf and NaN; and at the largest numbers, which are as good as infinite."""
    expected, form = LIMITS[name]
    function = getattr(ops, name.split()[0])
    first = (np.ones(4, dtype),) if "backward" in name else ()
    with convnet.use_backend(backend):
        y = function(*first, np.array([-INF, 0, INF, NAN], dtype), **form)
        np.testing.assert_array_equal(y, np.array(expected, dtype))
        if "relu" not in name:
            large = np.finfo(dtype).max
            y = function(*first, np.array([-large, 0, large, NAN], dtype), **form)
            finite = [large if e == INF else e for e in expected]
            np.testing.assert_array_equal(y, np.array(finite, dtype))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_denormals_are_kept(dtype: type, level: str) -> None:
    f = np.finfo(dtype)
    x = np.array([f.smallest_subnormal, -f.tiny / 4, f.tiny / 2], dtype)
    for function in (ops.tanh, ops.leaky_relu):
        np.testing.assert_array_equal(function(x)[[0, 2]], x[[0, 2]])
    low = np.array([-90 if dtype is F32 else -720], dtype)
    y = ops.sigmoid(low)
    assert 0 < y[0] < f.tiny
    np.testing.assert_allclose(y, np.exp(low), atol=2 * f.smallest_subnormal)


def test_relu_gradient_at_nan_is_dy() -> None:
    np.testing.assert_array_equal(
        ops.relu_backward(np.full(3, 7.0), np.array([NAN, 1, 0])), [7, 7, 0]
    )


# Softmax ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
def test_softmax_of_non_finite_slices(dtype: type) -> None:
    x = np.array([[0, INF, 1], [-INF, -INF, -INF], [NAN, 0, 0], [-INF, 0, 0]], dtype)
    y = ops.softmax(x)
    assert np.isnan(y[:3]).all()
    np.testing.assert_array_equal(y[3], [0, 0.5, 0.5])
    assert ops.log_softmax(x)[3, 0] == -INF
    np.testing.assert_array_equal(ops.softmax(np.ascontiguousarray(x.T), 0), y.T)


def test_softmax_does_not_overflow() -> None:
    x = np.array([[1e30, 0, 1e30]], F32)
    np.testing.assert_array_equal(ops.softmax(x), [[0.5, 0, 0.5]])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_gradient_by_differences(name: str) -> None:
    rng = np.random.default_rng(0)
    x, dy, step = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 4, 5)), 1e-6
    function, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    for axis in (0, 1, 2):
        dx = backward(dy, function(x, axis), axis)
        d = rng.standard_normal(x.shape)
        slope = (
            ((function(x + step * d, axis) - function(x - step * d, axis)) * dy).sum() / step / 2
        )
        assert slope == pytest.approx((dx * d).sum(), rel=1e-7)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_row_does_not_depend_on_the_others(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((50, 37)).astype(F32)
    function = getattr(ops, name)
    whole = function(x)
    for i in (0, 7, 49):
        assert function(x[i : i + 1]).tobytes() == whole[i].tobytes()


# In place, places, threads ----------------------------------------------------------------------

UNARY = ["relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu"]


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("channels_last", [False, True])
def test_out(name: str, channels_last: bool) -> None:
    """In place, into other memory, into the other memory format: the same values."""
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(F32)
    other = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if channels_last:
        x, other = other, x
    function, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    expected = function(x)
    assert expected.strides == x.strides
    out = np.full_like(other, np.nan)
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    dy = x[::-1].copy()
    dx = backward(dy, x)
    assert dx.strides == x.strides
    for place in (dy.copy(), np.full_like(other, np.nan)):
        np.testing.assert_array_equal(backward(dy, x, out=place), dx)
    mine = x.copy()
    assert backward(dy, mine, out=mine) is mine
    np.testing.assert_array_equal(mine, dx)
    assert function(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", UNARY)
def test_bits_do_not_depend_on_the_place(name: str, dtype: type, level: str) -> None:
    """Every length up to four vectors, and every offset: an element's bits are its own."""
    x = (np.random.default_rng(0).standard_normal(80) * 4).astype(dtype)
    dy = x[::-1].copy()
    function, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    y, dx = function(x), backward(dy, x)
    for n in range(1, 65):
        offset = n % 16
        part = slice(offset, offset + n)
        assert function(x[part]).tobytes() == y[part].tobytes()
        assert backward(dy[part], x[part]).tobytes() == dx[part].tobytes()


def test_nothing_is_written_beyond_the_end() -> None:
    for n in range(1, 70):
        guarded = np.full(n + 64, 7.0, F32)
        ops.tanh(np.ones(n, F32), out=guarded[32 : 32 + n])
        assert (guarded[:32] == 7).all()
        assert (guarded[32 + n :] == 7).all()


def test_callers_in_several_threads() -> None:
    x = np.random.default_rng(0).standard_normal(100_000).astype(F32)
    expected = ops.gelu(x).tobytes()
    wrong = []

    def work():
        wrong.extend(i for i in range(5) if ops.gelu(x).tobytes() != expected)

    callers = [threading.Thread(target=work) for _ in range(4)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong


# Oracles ----------------------------------------------------------------------------------------

FORMS = [
    ("relu", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("silu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("name", "form"), FORMS, ids=lambda v: "".join(map(str, v)))
def test_activation_is_torchs(name: str, form: dict, backend: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, dy = rng.uniform(-9, 9, (2, 1000))
    t = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(t, **form)
    expected.backward(torch.tensor(dy))
    with convnet.use_backend(backend):
        y = getattr(ops, name)(x, **form)
        saved = y if name in ("relu", "sigmoid", "tanh") else x
        dx = getattr(ops, f"{name}_backward")(dy, saved, **form)
    # torch's gelu cancels on the negative side: hence absolute tolerances.
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-10, atol=2e-13)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_scipys(name: str, backend: str) -> None:
    special = pytest.importorskip("scipy.special")
    x = np.random.default_rng(0).standard_normal((3, 17, 5)) * 10
    with convnet.use_backend(backend):
        for axis in (-3, -2, -1, 0, 1, 2):
            y = getattr(ops, name)(x, axis)
            np.testing.assert_allclose(y, getattr(special, name)(x, axis), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_backward_is_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, 17, 5))
    for axis in (0, 1, 2):
        t = torch.tensor(x, requires_grad=True)
        getattr(torch.nn.functional, name)(t, axis).backward(torch.tensor(dy))
        dx = getattr(ops, f"{name}_backward")(dy, getattr(ops, name)(x, axis), axis)
        np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_torch_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    x = torch.linspace(-3, 3, 50)
    np.testing.assert_allclose(ops.tanh(x), torch.tanh(x).numpy(), rtol=1e-6)
