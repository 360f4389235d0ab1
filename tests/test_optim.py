"""Optimizers: every case of the kernels, steps against torch's, state, refused options."""

import copy
import inspect
import pickle

import convnet
import numpy as np
import pytest
from convnet import nn, optim
from convnet.check import runner

RUNS = runner.plan("optim", backends=("cpu",))
GROUPS = sorted({(r.level, r.case.op) for r in RUNS})


@pytest.mark.parametrize(("level", "op"), GROUPS)
def test_cases(level, op):
    """Within the bounds, the same bits for any threads."""
    runs = [r for r in RUNS if (r.level, r.case.op) == (level, op)]
    failures = [f for run in runs for f in [runner.run_one(run)[1]] if f]
    assert not failures, "\n\n".join(failures[:5])


OPTIONS = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.7, "dampening": 0.2, "maximize": True}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.01, "maximize": True}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.02}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.2, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.005, "alpha": 0.9, "eps": 1e-5, "weight_decay": 0.1, "momentum": 0.9}),
    ("RMSprop", {"centered": True, "maximize": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1}),
    ("Adagrad", {"initial_accumulator_value": 0.5, "eps": 1e-6, "maximize": True}),
]
SHAPES = [(7,), (5, 3), (4, 3, 5, 5), ()]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda v: str(v))
def test_fifty_steps_are_torchs(name, options, dtype, bound, backend):
    """Float32 against torch's steps in float64: its own AdamW is 3e-6 off in float32."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(s).astype(dtype) for s in SHAPES]
    ours = [nn.Parameter(np.array(a)) for a in start]
    theirs = [torch.nn.Parameter(torch.tensor(a, dtype=torch.float64)) for a in start]
    a = getattr(optim, name)(ours, **options)
    b = getattr(torch.optim, name)(theirs, **options)
    with convnet.use_backend(backend):
        for _ in range(50):
            for p, q in zip(ours, theirs, strict=True):
                g = np.asarray(rng.standard_normal(p.shape), dtype)
                p.grad, q.grad = nn.Tensor(g), torch.tensor(g, dtype=torch.float64)
            a.step()
            b.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=bound, atol=bound)


NAMES = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults_are_torchs(name):
    torch = pytest.importorskip("torch")
    ours = inspect.signature(getattr(optim, name)).parameters.values()
    theirs = inspect.signature(getattr(torch.optim, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in theirs
    ]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda v: str(v))
def test_state_is_torchs(name, options):
    """The same entries, and a state that torch saved goes on here."""
    torch = pytest.importorskip("torch")
    p, q = nn.Parameter(np.ones((2, 3))), torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    a = getattr(optim, name)([p], **options)
    b = getattr(torch.optim, name)([q], **options)
    for step in range(6):
        g = np.cos(np.arange(6.0) + step).reshape(2, 3)
        p.grad, q.grad = nn.Tensor(g), torch.tensor(g)
        if step >= 3:
            a.step()
        b.step()
        if step == 2:
            p.data[...] = q.detach().numpy()
            a.load_state_dict(b.state_dict())
    np.testing.assert_allclose(p, q.detach().numpy(), rtol=1e-13)
    entries = [set(o.state_dict()["state"].get(0, {})) for o in (a, b)]
    assert entries[0] == {k for k in entries[1] if b.state_dict()["state"][0][k] is not None}


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_parameters_and_gradients_of_any_memory_order(name):
    rng = np.random.default_rng(0)
    w, g = rng.standard_normal((2, 4, 3, 5, 5))
    wide = np.zeros((4, 3, 5, 10))
    layouts = {
        "contiguous": w.copy(),
        "channels last": np.moveaxis(np.ascontiguousarray(np.moveaxis(w, 1, -1)), -1, 1),
        "transposed": np.ascontiguousarray(w.T).T,
        "strided": wide[..., ::2],
    }
    layouts["strided"][...] = w
    results = []
    for a in layouts.values():
        p = nn.Parameter(a)
        options = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(optim, name)([p], lr=0.1, **options)
        for gradient in (g, np.ascontiguousarray(g.T).T, g[::-1][::-1]):
            p.grad = nn.Tensor(gradient)
            optimizer.step()
        assert p.data is a
        results.append(np.ascontiguousarray(p.data))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    assert (wide[..., 1::2] == 0).all()


def test_groups_have_options_of_their_own():
    p, q, r = (nn.Parameter(np.ones(2)) for _ in range(3))
    optimizer = optim.SGD([{"params": [p]}, {"params": q, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [r], "weight_decay": 1.0})
    for t in (p, q, r):
        t.grad = nn.Tensor(np.ones(2))
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert [t.data[0] for t in (p, q, r)] == [0.75, 0.5, 0.8]
    assert "lr: 0.25" in repr(optimizer)


def test_parameters_without_a_gradient_stay():
    p, q = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    optimizer = optim.Adam([p, q])
    p.grad = nn.Tensor(np.ones(2))
    optimizer.step()
    assert (q.data == 1).all()
    assert (p.data != 1).all()
    optimizer.zero_grad()
    assert p.grad is None
    p.grad = nn.Tensor(np.ones(2))
    optimizer.zero_grad(set_to_none=False)
    assert (p.grad.data == 0).all()


def test_step_with_a_closure():
    p = nn.Parameter(np.array([3.0]))
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses == [9.0, 2.25, 0.5625]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda v: str(v))
def test_resumed_run_has_the_same_bits(name, options, copied):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4)).astype(np.float32)
    gradients = rng.standard_normal((10, 3, 4)).astype(np.float32)

    def run(p, optimizer, gradients):
        for g in gradients:
            p.grad = nn.Tensor(g)
            optimizer.step()

    whole = nn.Parameter(start.copy())
    run(whole, getattr(optim, name)([whole], **options), gradients)
    p = nn.Parameter(start.copy())
    first = getattr(optim, name)([p], **options)
    run(p, first, gradients[:5])
    state = copied(first.state_dict())
    q = nn.Parameter(p.data.copy())
    second = getattr(optim, name)([q], **{**options, "lr": 77.0})
    second.load_state_dict(state)
    run(q, second, gradients[5:])
    assert q.data.tobytes() == whole.data.tobytes()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_parameters_converted_between_steps(name):
    """State follows the type and the memory order of its parameter."""
    start = np.arange(24.0).reshape(2, 3, 2, 2)
    p, q = nn.Parameter(start.astype("f4")), nn.Parameter(start.copy())
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizers = [getattr(optim, name)([t], **options) for t in (p, q)]
    for step in range(3):
        for t, optimizer in zip((p, q), optimizers, strict=True):
            t.grad = np.sin(start).astype(t.dtype)
            optimizer.step()
        if step == 0:
            p.data = p.data.astype("f8")
        if step == 1:
            p.data = np.moveaxis(np.ascontiguousarray(np.moveaxis(p.data, 1, -1)), -1, 1)
    np.testing.assert_allclose(p, q, rtol=1e-6)


@pytest.mark.parametrize("grad", [np.ones(3), np.ones(2, np.float64), np.ones((1, 2), np.float32)])
def test_gradient_that_does_not_fit(grad):
    p = nn.Parameter(np.ones(2, np.float32))
    p.grad = grad
    with pytest.raises(ValueError, match=r"grad: expected float32 of \(2,\) like its parameter"):
        optim.SGD([p]).step()


def test_state_of_another_model_is_refused():
    p, q = nn.Parameter(np.ones(2)), nn.Parameter(np.ones((3, 2)))
    state = optim.SGD([p], momentum=0.9).state_dict()
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, the state_dict \[1\]"):
        optim.SGD([p, q]).load_state_dict(state)
    state["state"][0] = {"momentum_buffer": np.ones(5)}
    with pytest.raises(ValueError, match=r"momentum_buffer has shape \(5,\), its parameter \(2,\)"):
        optim.SGD([p], momentum=0.9).load_state_dict(state)


P = [nn.Parameter(np.ones(2, np.float32))]


@pytest.mark.parametrize(
    ("make", "exception", "match"),
    [
        (lambda: optim.SGD(P, lr=-1), ValueError, "lr: expected a number of at least 0, got -1"),
        (lambda: optim.SGD(P, momentum=-0.1), ValueError, "momentum"),
        (lambda: optim.SGD(P, nesterov=True), ValueError, "nesterov: expected a momentum above 0"),
        (lambda: optim.SGD(P, 0.1, 0.9, 0.1, nesterov=True), ValueError, "nesterov"),
        (lambda: optim.SGD([]), ValueError, "expected at least one parameter"),
        (lambda: optim.SGD(P[0]), TypeError, "expected an iterable of Tensors"),
        (lambda: optim.SGD([np.ones(2)]), TypeError, "expected Tensors, got ndarray"),
        (lambda: optim.SGD([nn.Tensor([1, 2])]), TypeError, "float32 or float64, got int64"),
        (lambda: optim.SGD(P + P), ValueError, "a parameter is there twice"),
        (lambda: optim.SGD([P[0] * 2]), ValueError, "made by hand, got a computed one"),
        (lambda: optim.Adam(P, betas=(0.9, 1.0)), ValueError, "betas: .* below 1, got 1.0"),
        (lambda: optim.Adam(P, betas=(0.9,)), ValueError, "betas: expected two"),
        (lambda: optim.Adam(P, eps="x"), ValueError, "eps"),
        (lambda: optim.Adam(P, capturable=True), NotImplementedError, "capturable: .*leave it"),
        (lambda: optim.SGD(P, differentiable=True), NotImplementedError, "differentiable"),
        (lambda: optim.AdamW(P, weight_decay=-1), ValueError, "weight_decay"),
        (lambda: optim.RMSprop(P, alpha=-1), ValueError, "alpha"),
        (lambda: optim.Adagrad(P, lr_decay=-1), ValueError, "lr_decay"),
    ],
)
def test_bad_options(make, exception, match):
    with pytest.raises(exception, match=match):
        make()
