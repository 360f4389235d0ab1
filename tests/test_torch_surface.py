"""torch's functions and names on convnet: the same results, and errors that say what to use."""

import importlib
import inspect
import pkgutil

import convnet
import numpy as np
import pytest
from convnet import nn, optim

A = np.arange(12.0).reshape(3, 4) - 5.5
CALLS = [
    "t.zeros(2, 3)",
    "t.zeros((2, 3), dtype=t.float64)",
    "t.ones(2)",
    "t.full((2, 2), 7)",
    "t.full((2,), 0.5)",
    "t.eye(3)",
    "t.arange(5)",
    "t.arange(1, 9, 2)",
    "t.arange(0, 1, 0.25)",
    "t.linspace(0, 1, 5)",
    "t.tensor([1, 2, 3])",
    "t.tensor([[1.0, 2.0]])",
    "t.tensor(3.0)",
    "t.zeros_like(a)",
    "t.ones_like(a, dtype=t.float32)",
    "t.full_like(a, 3)",
    "t.sum(a)",
    "t.sum(a, dim=1)",
    "t.mean(a, 0, keepdim=True)",
    "t.std(a)",
    "t.var(a, dim=1)",
    "t.max(a)",
    "t.max(a, 1)[1]",
    "t.max(a, -a)",
    "t.min(a, dim=0)[0]",
    "t.min(a, -a)",
    "t.argmax(a, dim=1)",
    "t.argmin(a)",
    "t.exp(a)",
    "t.log(a * a)",
    "t.sqrt(a * a)",
    "t.abs(a)",
    "t.pow(a, 2)",
    "t.square(a)",
    "t.clamp(a, min=-1, max=2)",
    "t.relu(a)",
    "t.sigmoid(a)",
    "t.tanh(a)",
    "t.softmax(a, dim=1)",
    "t.log_softmax(a, dim=0)",
    "t.matmul(a, a.T)",
    "t.mm(a, a.t())",
    "t.reshape(a, (4, 3))",
    "t.flatten(a)",
    "t.squeeze(a.unsqueeze(0))",
    "t.unsqueeze(a, 1)",
    "t.transpose(a, 0, 1)",
    "t.permute(a, (1, 0))",
    "t.where(a > 0, a, -a)",
    "t.where(a > 0, a, t.tensor(0.0, dtype=t.float64))",
    "t.stack([a, a], dim=1)",
    "t.cat([a, a], dim=1)",
    "t.concat((a, a))",
    "t.eq(a, a)",
    "t.isnan(a / a)",
    "t.isfinite(a)",
    "a.softmax(1)",
    "a.norm()",
    "a.add(a, alpha=2)",
    "a.sub(1).mul(2).div(3).square()",
    "a % 3",
    "a // 2",
    "a.gt(0).float()",
    "a.lt(0).long()",
    "(a >= 0).bool()",
    "a.view_as(a * 2)",
    "t.zeros(4).expand_as(a)",
    "a.unflatten(1, (2, 2))",
    "a.type_as(t.zeros(1))",
    "t.nn.functional.one_hot(t.arange(3), 5)",
    "t.nn.functional.one_hot(t.tensor([2, 0]))",
]


@pytest.mark.parametrize("call", CALLS)
def test_call_is_torchs(call):
    torch = pytest.importorskip("torch")
    ours = eval(call, {"t": convnet, "a": nn.Tensor(A)})
    theirs = eval(call, {"t": torch, "a": torch.tensor(A)})
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)


RANDOM = [
    ("rand(100, 50)", np.float32, 0.5, 12**-0.5),
    ("randn((100, 50), dtype=convnet.float64)", np.float64, 0, 1),
    ("randint(10, (5000,))", np.int64, 4.5, 8.25**0.5),
    ("randint(5, 15, (5000,))", np.int64, 9.5, 8.25**0.5),
    ("randperm(5001)", np.int64, 2500, 5001 / 12**0.5),
    ("rand_like(convnet.zeros(50, 99))", np.float32, 0.5, 12**-0.5),
    ("randn_like(convnet.zeros(50, 99))", np.float32, 0, 1),
]


@pytest.mark.parametrize(("call", "dtype", "mean", "std"), RANDOM)
def test_random_numbers_follow_the_seed(call, dtype, mean, std):
    convnet.manual_seed(3)
    first = eval(f"convnet.{call}")
    convnet.manual_seed(3)
    np.testing.assert_array_equal(first, eval(f"convnet.{call}"))
    assert first.dtype == dtype
    assert first.data.mean() == pytest.approx(mean, abs=0.05 * std)
    assert first.data.std() == pytest.approx(std, rel=0.05)
    assert not np.array_equal(first, eval(f"convnet.{call}"))


def test_where_has_gradients():
    a, b = (convnet.tensor([1.0, -2.0, 3.0], requires_grad=True) for _ in range(2))
    (convnet.where(a > 0, a * 2, b * 3)).sum().backward()
    np.testing.assert_array_equal(a.grad, [2, 0, 2])
    np.testing.assert_array_equal(b.grad, [0, 3, 0])


def test_types_and_devices():
    assert convnet.long == convnet.int64 == np.int64
    assert convnet.device("cpu") == "cpu"
    assert convnet.device("cpu").type == "cpu"
    assert not convnet.cuda.is_available()
    x = convnet.ones(2, device=convnet.device("cpu"))
    assert x.to(x.device) is x
    assert convnet.from_numpy(A).data is A
    assert convnet.is_tensor(x)
    assert not convnet.is_tensor(A)
    assert convnet.allclose(x, [1, 1])
    with pytest.raises(NotImplementedError, match="device 'mps'"):
        convnet.zeros(2, device="mps")


ABSENT = [
    (lambda: convnet.compile, "module 'convnet' has no attribute 'compile': there is nothing"),
    (lambda: convnet.einsum, "use matmul"),
    (lambda: convnet.nonsense, "module 'convnet' has no attribute 'nonsense': for functions that"),
    (lambda: convnet._nonsense, "module 'convnet' has no attribute '_nonsense'$"),
    (lambda: nn.LSTM, "module 'convnet.nn' has no attribute 'LSTM': it is outside"),
    (lambda: nn.PReLU, "use LeakyReLU"),
    (lambda: nn.functional.pad, r"give padding=\(\(top, bottom\), \(left, right\)\)"),
    (lambda: optim.LBFGS, "use Adam or SGD"),
    (lambda: nn.Tensor(A).topk, "class 'Tensor' has no attribute 'topk': .* use numpy"),
    (lambda: nn.Tensor(A).nonsense, "'nonsense': for what a Tensor lacks use numpy"),
    (lambda: nn.Linear(2, 2).register_forward_hook, r"class 'Linear' .*: there are no hooks"),
    (lambda: nn.ReLU().half, "types are float32 and float64"),
    (lambda: nn.ReLU().weight, "class 'ReLU' has no attribute 'weight'$"),
    (lambda: optim.lr_scheduler.CyclicLR, "use LambdaLR"),
    (lambda: convnet.data.default_collate, "use collate"),
    (lambda: convnet.data.StackDataset, "derive it from Dataset"),
]


@pytest.mark.parametrize(("get", "match"), ABSENT)
def test_what_is_absent_says_what_to_use(get, match):
    with pytest.raises(AttributeError, match=match):
        get()


def public(module, kind):
    return [n for n, v in inspect.getmembers(module, kind) if n[0] != "_" and n != "T_destination"]


@pytest.mark.parametrize("place", ["nn", "nn.functional", "optim", "optim.lr_scheduler"])
def test_every_name_of_torch_is_here_or_says_what_to_use(place):
    pytest.importorskip("torch")
    theirs = pkgutil.resolve_name(f"torch.{place}")
    ours = importlib.import_module(f"convnet.{place}")
    names = public(theirs, inspect.isfunction if place == "nn.functional" else inspect.isclass)
    own = [n for n in names if getattr(theirs, n).__module__.startswith("torch.")]
    assert len(own) > 8
    for name in own:
        if not hasattr(ours, name):
            with pytest.raises(AttributeError, match=f"'{name}': "):
                getattr(ours, name)


@pytest.mark.parametrize("name", ["nn.Module", "Tensor"])
def test_every_method_of_torch_is_here_or_says_what_to_use(name):
    pytest.importorskip("torch")
    ours = {"nn.Module": nn.ReLU(), "Tensor": nn.Tensor(A)}[name]
    for method in public(pkgutil.resolve_name(f"torch.{name}"), callable):
        if not hasattr(ours, method):
            with pytest.raises(AttributeError, match=f"'{method}': "):
                getattr(ours, method)


def test_hints_name_nothing_that_is_here():
    from convnet.absent import HINTS

    here = {"Tensor": nn.Tensor, "convnet.nn": nn, "convnet": convnet, "convnet.optim": optim}
    here |= {"convnet.nn.functional": nn.functional, "convnet.data": convnet.data}
    assert set(HINTS) == set(here)
    for where, hints in HINTS.items():
        assert not [name for name in hints if hasattr(here[where], name)]
