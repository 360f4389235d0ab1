"""Learning-rate schedulers and clipping against torch; checkpoints that go on bit for bit."""

import math
import pickle

import convnet
import numpy as np
import pytest
from convnet import nn, optim
from convnet.optim import lr_scheduler

SCHEDULERS = [
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.99**epoch + 0.1}),
    ("StepLR", {"step_size": 30, "gamma": 0.7}),
    ("MultiStepLR", {"milestones": [20, 80, 80, 300], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.995}),
    ("CosineAnnealingLR", {"T_max": 70, "eta_min": 1e-4}),
    ("CosineAnnealingLR", {"T_max": 500}),
    ("OneCycleLR", {"max_lr": 0.05, "total_steps": 500}),
    ("OneCycleLR", {"max_lr": [0.05, 0.01], "total_steps": 600, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.05, "epochs": 10, "steps_per_epoch": 55, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.05, "total_steps": 500, "pct_start": 0.1, "div_factor": 5}),
]
PLATEAU = [
    {},
    {"patience": 3, "factor": 0.5, "threshold": 0.01, "cooldown": 5},
    {"mode": "max", "patience": 2, "threshold_mode": "abs", "threshold": 0.05, "min_lr": 1e-3},
    {"patience": 0, "factor": 0.9, "min_lr": [1e-3, 2e-3], "eps": 1e-4},
]


def run(library, tensor, scheduler, make, dtype, steps=500, metric=None):
    """Rates and momenta of every step, and the parameters after `steps` of SGD or Adam."""
    rng = np.random.default_rng(0)
    params = [library.nn.Parameter(tensor(rng.standard_normal((3, 4)).astype(dtype))) for _ in "ab"]
    groups = [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.003}]
    optimizer = make(library.optim, groups)
    schedule = scheduler(library.optim.lr_scheduler, optimizer)
    seen = []
    for _ in range(steps):
        for p in params:
            p.grad = tensor(rng.standard_normal((3, 4)).astype(dtype))
        optimizer.step()
        schedule.step(*(() if metric is None else (metric(rng),)))
        seen += [g["lr"] for g in optimizer.param_groups]
        seen += [g.get("betas", (g.get("momentum"),))[0] for g in optimizer.param_groups]
    assert schedule.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
    return seen, [np.asarray(p.detach()) for p in params]


OPTIMIZERS = {
    "SGD": lambda o, groups: o.SGD(groups, lr=0.01, momentum=0.9),
    "Adam": lambda o, groups: o.Adam(groups, lr=0.01),
}


def assert_as_torch(scheduler, name, dtype, bound, metric=None):
    torch = pytest.importorskip("torch")
    ours = run(convnet, nn.Tensor, scheduler, OPTIMIZERS[name], dtype, metric=metric)
    theirs = run(torch, torch.from_numpy, scheduler, OPTIMIZERS[name], dtype, metric=metric)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)
    for p, q in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(p, q, rtol=bound, atol=bound)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), SCHEDULERS, ids=lambda v: str(v)[:60])
def test_five_hundred_steps_are_torchs(name, options, optimizer, dtype, bound):
    assert_as_torch(lambda s, o: getattr(s, name)(o, **options), optimizer, dtype, bound)


@pytest.mark.parametrize("options", PLATEAU, ids=str)
def test_plateaus_are_torchs(options):
    assert_as_torch(
        lambda s, o: s.ReduceLROnPlateau(o, **options),
        "SGD",
        "float64",
        1e-12,
        lambda r: r.random(),
    )


def test_schedulers_act_together():
    p = nn.Parameter(np.ones(2))
    optimizer = optim.SGD([p], lr=1.0)
    both = [lr_scheduler.StepLR(optimizer, 2, 0.5), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    for _ in range(2):
        for s in both:
            s.step()
    assert optimizer.param_groups[0]["lr"] == 0.125


def train(steps, checkpoint=None, stop=None):
    """Weights, scheduler and random numbers after `steps`; a checkpoint's bytes at `stop`."""
    convnet.manual_seed(7)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = optim.AdamW(model.parameters(), lr=0.01, amsgrad=True)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=40)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, factor=0.5)
    parts = (model, optimizer, scheduler, plateau)
    begin = 0
    if checkpoint is not None:
        saved = pickle.loads(checkpoint)
        for part, state in zip(parts, saved["states"], strict=True):
            part.load_state_dict(state)
        convnet.set_rng_state(saved["random"])
        begin = saved["step"]
    for step in range(begin, steps):
        rng = np.random.default_rng(step)
        x = rng.standard_normal((10, 6)).astype(np.float32)
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(x), rng.integers(0, 3, 10))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        plateau.step(loss)
        if step + 1 == stop:
            states = [part.state_dict() for part in parts]
            saved = {"states": states, "random": convnet.get_rng_state(), "step": stop}
            return pickle.dumps(saved)
    return [p.data.tobytes() for p in model.parameters()], optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("stop", [1, 13, 39])
def test_run_resumed_from_a_checkpoint_has_the_same_bits(stop):
    assert train(40, checkpoint=train(40, stop=stop)) == train(40)


def gradients(tensor):
    rng = np.random.default_rng(0)
    shapes = [(300, 40), (7,), (), (2, 3, 4, 5)]
    return [tensor(np.asarray(rng.standard_normal(s), np.float32)) for s in shapes]


def with_gradients(library, tensor):
    params = []
    for g in gradients(tensor):
        params.append(library.nn.Parameter(g * 0))
        params[-1].grad = g
    return [*params, library.nn.Parameter(g * 0)]


@pytest.mark.parametrize("max_norm", [0.5, 1e3])
@pytest.mark.parametrize("norm_type", [2, 1, 3.5, math.inf])
def test_clipping_by_norm_is_torchs(max_norm, norm_type):
    torch = pytest.importorskip("torch")
    ours, theirs = with_gradients(convnet, nn.Tensor), with_gradients(torch, torch.from_numpy)
    norms = [
        library.nn.utils.clip_grad_norm_(p, max_norm, norm_type)
        for library, p in ((convnet, ours), (torch, theirs))
    ]
    assert norms[0].item() == pytest.approx(norms[1].item(), rel=1e-6)
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=2e-6)
    assert ours[-1].grad is None


def test_clipping_by_value_and_bad_norms():
    params = with_gradients(convnet, nn.Tensor)
    nn.utils.clip_grad_value_(params, 0.5)
    assert max(np.abs(p.grad.data).max() for p in params[:-1]) == 0.5
    params[0].grad.data[0, 0] = np.nan
    before = params[1].grad.data.copy()
    with pytest.raises(RuntimeError, match="the norm of all tensors together is nan"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(params[1].grad, before)
    with pytest.raises(ValueError, match="norm_type: expected a number above 0"):
        nn.utils.clip_grad_norm_(params, 1.0, 0)
    with pytest.raises(TypeError, match="max_norm: expected a number, got 'x'"):
        nn.utils.clip_grad_norm_([], "x")
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    assert nn.utils.get_total_norm(nn.Tensor(np.float32([3, 4]))).item() == 5


SGD = optim.SGD([nn.Parameter(np.ones(2))], lr=1.0)


@pytest.mark.parametrize(
    ("make", "exception", "match"),
    [
        (lambda: lr_scheduler.StepLR(3, 1), TypeError, "optimizer: expected an Optimizer"),
        (lambda: lr_scheduler.StepLR(SGD, 0), ValueError, "step_size"),
        (lambda: lr_scheduler.StepLR(optim.SGD(SGD.param_groups[0]["params"]), 3, last_epoch=4),
         KeyError, "initial_lr in group 0"),
        (lambda: lr_scheduler.LambdaLR(SGD, [abs, abs]), ValueError, "expected 1 functions, got 2"),
        (lambda: lr_scheduler.CosineAnnealingLR(SGD, 0), ValueError, "T_max"),
        (lambda: lr_scheduler.OneCycleLR(SGD, 1.0), ValueError, "give it, or epochs"),
        (lambda: lr_scheduler.OneCycleLR(SGD, 1.0, 10, pct_start=2), ValueError, "pct_start"),
        (lambda: lr_scheduler.OneCycleLR(SGD, [1, 2], 10), ValueError, "max_lr: expected 1 numb"),
        (lambda: lr_scheduler.ReduceLROnPlateau(SGD, "low"), ValueError, "mode"),
        (lambda: lr_scheduler.ReduceLROnPlateau(SGD, factor=1.0), ValueError, "factor"),
        (lambda: lr_scheduler.ExponentialLR(SGD, 0.5).step(3), NotImplementedError, "epoch: call"),
    ],
)  # fmt: skip
def test_bad_options(make, exception, match):
    with pytest.raises(exception, match=match):
        make()


def test_one_cycle_has_an_end():
    optimizer = optim.RMSprop([nn.Parameter(np.ones(2))], momentum=0.5)
    schedule = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="total_steps=3, this is step 4"):
        schedule.step()
    with pytest.raises(ValueError, match="Adagrad has no momentum"):
        lr_scheduler.OneCycleLR(optim.Adagrad([nn.Parameter(np.ones(2))]), 1.0, 3)
