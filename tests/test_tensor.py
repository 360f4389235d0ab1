"""Tensor: every operation's value and gradient, the tape, no_grad, NumPy's functions."""

import copy
import gc
import operator
import pickle
import weakref

import numpy as np
import pytest
from convnet import nn, optim
from convnet.nn import Parameter, Tensor, no_grad, tensor


def leaf(*shape, seed=0, low=-2.0, high=2.0, dtype=np.float64):
    a = np.random.default_rng((seed, *shape)).uniform(low, high, shape)
    return Tensor(np.asarray(a, dtype), requires_grad=True)


def numeric(function, arguments, which, place, step=1e-6):
    values = []
    for sign in (1, -1):
        arrays = [a.data.copy() for a in arguments]
        arrays[which][place] += sign * step
        values.append(function(*map(Tensor, arrays)).data.sum(dtype=np.float64))
    return (values[0] - values[1]) / (2 * step)


def check_gradients(function, *arguments):
    """Every derivative of the sum of the result against finite differences."""
    function(*arguments).sum().backward()
    for which, a in enumerate(arguments):
        assert a.grad.shape == a.shape
        assert a.grad.dtype == a.dtype
        for place in np.ndindex(a.shape):
            expected = numeric(function, arguments, which, place)
            assert a.grad.data[place] == pytest.approx(expected, abs=2e-7, rel=2e-7)


BINARY = [operator.add, operator.sub, operator.mul, operator.truediv]
SHAPES = [
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((), (2,)),
    ((2,), ()),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("op", BINARY, ids=lambda f: f.__name__)
def test_operators_broadcast(op, shapes):
    a, b = leaf(*shapes[0]), leaf(*shapes[1], seed=1, low=0.5)
    np.testing.assert_array_equal(op(a, b), op(a.data, b.data))
    check_gradients(lambda a, b: op(a, b) * op(a, b), a, b)


@pytest.mark.parametrize("op", [*BINARY, operator.pow], ids=lambda f: f.__name__)
@pytest.mark.parametrize("other", [3, 2.5, np.float32(2), np.array([0.5, 1, 2])], ids=str)
def test_operators_with_numbers_and_arrays_on_either_side(op, other):
    for function in (lambda a: op(a, other), lambda a: op(other, a)):
        a = leaf(2, 3, low=0.5)
        y = function(a)
        assert type(y) is Tensor
        np.testing.assert_array_equal(y, function(a.data))
        check_gradients(lambda a, f=function: f(a) * f(a), a)


def test_power_of_two_tensors():
    check_gradients(lambda a, b: a**b, leaf(2, 3, low=0.5), leaf(3, seed=1))


EXPRESSIONS = [
    "-a * a",
    "a.exp()",
    "(a * a + 1).log()",
    "(a * a + 1).sqrt()",
    "abs(a) * a",
    "a.clamp(-0.5, 0.7) * a",
    "a.clamp(min=0.1) * a",
    "a.relu() * a",
    "a.sigmoid() * a",
    "a.tanh() * a",
    "nn.functional.softmax(a, 1) * a",
    "nn.functional.log_softmax(a, 0) * a",
    "a.sum() * a",
    "a.sum(1).sum() * a.sum(-1)",
    "a.sum((0, 2), keepdim=True) * a",
    "a.mean() * a",
    "a.mean([0, 1]) * a",
    "a.var() * a",
    "a.var(1, keepdim=True) * a",
    "a.std(2, correction=0) * a.sum(2)",
    "a.max() * a",
    "a.max(1)[0] * a.min(1)[0]",
    "a.max(2, keepdim=True)[0] * a",
    "a.reshape(6, 4) @ a.view((4, 6))",
    "a.flatten(1) * a.reshape(2, -1)",
    "a.transpose(0, 2) * a.permute(2, 1, 0)",
    "a.T * a.permute((2, 1, 0))",
    "a[0].t() @ a[1]",
    "a.unsqueeze(1).squeeze() * a",
    "a.squeeze(0) * a",
    "a.mean(1, keepdim=True).expand(-1, 3, -1) * a",
    "a.clone() * a",
    "a[1] * a[0, :, ::2].sum()",
    "a[:, 1:, None] * a[..., :2, 0].sum()",
    "a[[0, 1, 1, 0], [0, 2, 2, 0]] * 2",
    "a[a.data > 0] ** 2",
    "a[Tensor(np.array([1, 0, 1]))] ** 2",
    "nn.cat([a, a * a, a[:1]]) ** 2",
    "nn.cat([a, a[:, :1]], dim=1) ** 2",
    "nn.stack([a, a * a], dim=2) ** 2",
    "a.to(np.float64) * a",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_gradient(expression):
    check_gradients(eval(f"lambda a: {expression}", globals()), leaf(2, 3, 4))


@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (3,)), ((5, 2, 3), (5, 3, 2)),
     ((5, 2, 3), (3, 2)), ((2, 3), (5, 3, 2)), ((1, 2, 3), (5, 3, 2)), ((5, 2, 3), (3,))],
    ids=str,
)  # fmt: skip
def test_matmul(shapes):
    a, b = leaf(*shapes[0]), leaf(*shapes[1], seed=1)
    np.testing.assert_allclose(a @ b, a.data @ b.data, rtol=1e-13)
    check_gradients(lambda a, b: (a @ b) * (a @ b), a, b)
    assert type(a.data @ b) is Tensor
    assert type(a @ b.data) is Tensor


def test_gradients_add_up_over_paths_and_calls():
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    (y + y * x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data + 3 * x.data**2)
    kept = x.grad
    x.sum().backward()
    assert x.grad is kept
    np.testing.assert_array_equal(x.grad, 2 * x.data + 3 * x.data**2 + 1)


def test_every_grad_is_an_array_of_its_own():
    a, b, c = (tensor([1.0, 2.0], requires_grad=True) for _ in range(3))
    dy = np.ones(2, np.float32)
    (a + b + c).backward(dy)
    for t in (a, b, c):
        t.grad.add_(1)
        np.testing.assert_array_equal(t.grad, [2, 2])
    np.testing.assert_array_equal(dy, [1, 1])


def test_a_million_uses_need_no_recursion():
    x = tensor(1.0, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 20_001
    del y


def test_graph_is_released_unless_retained():
    x = tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, 4 * x.data)
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    z = (x * x).sum()
    middle = z * 2
    middle.backward()
    with pytest.raises(RuntimeError, match="the graph was released"):
        (z * 3).backward()


def test_memory_of_intermediate_results_goes_when_nothing_needs_it():
    x = tensor(np.ones(1000), requires_grad=True)
    y = x + 1
    seen = weakref.ref(y)
    z = y.relu()
    del y
    gc.collect()
    assert seen() is None  # relu needs its result, not its argument
    z.sum().backward()
    assert x.grad.data.sum() == 1000


IN_PLACE = [
    ("x * w", "x.copy_(x + 1)"),
    ("x * w", "x[0] = 3"),
    ("x * w", "x.reshape(4).fill_(2)"),
    ("x * w", "x.detach().mul_(2)"),
    ("x * w", "x[1].zero_()"),
    ("x * w", "w.add_(1)"),
    ("w.exp()", "y.add_(1)"),
    ("w.relu()", "y.detach().mul_(2)"),
    ("nn.functional.linear(x, w)", "x.add_(1)"),
    ("nn.functional.linear(x, w)", "optim.SGD([w], lr=0.1).step()"),
    ("nn.functional.softmax(w)", "y.zero_()"),
    ("nn.functional.mse_loss(w, x)", "x.add_(1)"),
    ("x @ w", "x.sub_(1)"),
]


@pytest.mark.parametrize(("expression", "change"), IN_PLACE)
def test_changes_in_place_before_backward_are_refused(expression, change):
    w = tensor([[0.5, 1.5], [2.5, 3.5]], requires_grad=True)
    names = {"nn": nn, "optim": optim, "x": tensor([[1.0, 2.0], [3.0, 4.0]]), "w": w}
    y = names["y"] = eval(expression, names)
    w.grad = np.ones((2, 2), np.float32)
    with no_grad():
        exec(change, names)
    with pytest.raises(RuntimeError, match="changed in place since it was used"):
        y.sum().backward()


def test_changes_in_place_of_what_no_gradient_needs():
    x, w = tensor([1.0, 2.0]), tensor([3.0, 4.0], requires_grad=True)
    y = (w + x).relu()
    x.add_(5)
    z = y * 2
    with no_grad():
        w.add_(1)
        z.add_(1)
    z.sum().backward()
    np.testing.assert_array_equal(w.grad, [2, 2])


def test_nothing_is_recorded_without_need():
    x, w = tensor([1.0]), tensor([2.0], requires_grad=True)
    assert not (x * 2).requires_grad
    with no_grad():
        assert not (x * w).requires_grad
        with nn.enable_grad():
            assert (x * w).requires_grad
        assert not nn.is_grad_enabled()
    assert (x * w).requires_grad

    @no_grad()
    def inner():
        return x * w

    assert not inner().requires_grad
    assert nn.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert nn.is_grad_enabled()
    assert not (w * 2).detach().requires_grad
    with pytest.raises(RuntimeError, match="does not depend on any tensor with requires_grad"):
        (x * 2).backward()


def test_only_wanted_gradients_are_computed(monkeypatch):
    from convnet import ops

    seen = []
    real = ops.linear_backward
    monkeypatch.setattr(ops, "linear_backward", lambda *a: seen.append(a[3]) or real(*a))
    x, layer = Tensor(np.ones((4, 3), np.float32)), nn.Linear(3, 2)
    layer(x).sum().backward()
    layer.weight.requires_grad_(False)
    layer(tensor(np.ones((4, 3), np.float32), requires_grad=True)).sum().backward()
    assert seen == [(False, True, True), (True, False, True)]


def test_backward_wants_a_gradient_of_the_right_shape():
    y = leaf(2, 3) * 2
    with pytest.raises(RuntimeError, match=r"give a gradient for a tensor of shape \(2, 3\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"gradient: expected shape \(2, 3\), got \(3,\)"):
        y.backward(np.ones(3))


def test_changes_in_place_by_hand():
    w = Parameter(np.ones(3))
    (w * w).sum().backward()
    with pytest.raises(RuntimeError, match="changed in place"):
        w -= 0.1 * w.grad
    with pytest.raises(RuntimeError, match="changed in place"):
        w[0] = 1
    data = w.data
    with no_grad():
        w -= 0.25 * w.grad
        w[0] = 7
    assert w.data is data
    assert type(w) is Parameter
    np.testing.assert_array_equal(w, [7, 0.5, 0.5])
    w.data -= 0.5 * w.grad
    np.testing.assert_array_equal(w, [6, -0.5, -0.5])
    w.data = w.data + w.grad
    assert type(w.data) is np.ndarray
    total = tensor(0.0)
    total += (w * w).sum()
    total *= 2
    total.backward()
    assert w.grad is not None
    w.grad.zero_()
    assert (w.grad.data == 0).all()
    t = tensor([1.0, 2.0])
    assert t.add_(1).mul_(2).sub_(1).div_(2).fill_(3).copy_(np.array([4, 5])) is t
    assert t.tolist() == [4, 5]


def test_comparisons_and_the_accuracy_idiom():
    logits, target = tensor([[0.1, 2.0], [3.0, 1.0], [0.0, 1.0]]), tensor([1, 0, 0])
    correct = logits.argmax(1) == target
    assert correct.dtype == bool
    assert correct.sum().item() == 2
    assert correct.float().mean().item() == pytest.approx(2 / 3)
    assert (logits.max(dim=1)[1] == target).tolist() == [True, True, False]
    assert (logits > 1).sum().item() == 2
    assert bool((logits >= 0).all())
    assert not (tensor([1, 2]) != np.array([1, 2])).any()
    assert tensor([1.0]) is not None
    assert (tensor([1.0]) == None) is False  # noqa: E711 - what is tested
    assert len({logits, target, logits}) == 2


def test_types_follow_torch_and_numpy():
    assert tensor([1.0, 2.0]).dtype == np.float32
    assert tensor([1, 2]).dtype == np.int64
    assert tensor(np.ones(2)).dtype == np.float64
    assert (tensor([1.0]) * 2.0).dtype == np.float32
    assert (tensor([1.0]) * np.float64(2)).dtype == np.float32
    assert (tensor([1.0]) + tensor([1])).dtype == np.float32
    assert (tensor([1]) + tensor([1.0])).dtype == np.float32
    assert (tensor([1]) / 2).dtype == np.float32
    x = tensor([1.0], requires_grad=True)
    y = x.double() * tensor([2.0], dtype="float64")
    assert y.dtype == np.float64
    y.backward()
    assert x.grad.dtype == np.float32
    assert x.to(x) is x
    assert x.to("cpu") is x
    assert x.to("cpu", np.float64).dtype == np.float64
    with pytest.raises(NotImplementedError, match="device 'mps:0': layers and Tensors"):
        x.to("mps:0")
    with pytest.raises(TypeError, match="requires_grad: expected data of float32 or float64"):
        tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="expected numbers, got str"):
        Tensor("text")


def test_numpys_functions_take_tensors():
    x = tensor([[1.0, 4.0]], requires_grad=True)
    assert np.asarray(x) is x.data
    assert type(np.exp(x)) is np.ndarray
    assert np.concatenate([x, x]).shape == (2, 2)
    assert float(x[0, 1]) == 4
    assert int(x[0, 1]) == 4
    assert [1, 2, 3][tensor(1)] == 2
    assert x.item() == 4 if x.numel() == 1 else len(x) == 1
    np.multiply(np.array([2.0]), x).sum().backward()
    np.testing.assert_array_equal(x.grad, [[2, 2]])
    assert (x.shape, x.ndim, x.dim(), x.size(), x.size(1)) == ((1, 2), 2, 2, (1, 2), 2)
    assert np.from_dlpack(x).base is not None


def test_exchange_with_torch():
    torch = pytest.importorskip("torch")
    t = torch.arange(3.0)
    x = Tensor(t)
    t[0] = 7
    assert x.tolist() == [7, 1, 2]  # the same memory
    assert torch.from_dlpack(x).tolist() == [7, 1, 2]
    assert x.to(torch.float64).dtype == np.float64
    assert x.to(torch.device("cpu")) is x


def test_repr():
    assert repr(tensor([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert repr(tensor([1.0], requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert repr(tensor(np.ones(1))) == "tensor([1.], dtype=float64)"
    assert repr(Parameter(np.ones(1, "f4"))) == (
        "Parameter containing:\ntensor([1.], requires_grad=True)"
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies(copied):
    p = Parameter(np.ones(3))
    p.grad = tensor([1.0])
    q = copied(p)
    assert type(q) is Parameter
    assert q.requires_grad
    assert q.grad is None
    assert not np.shares_memory(p.data, q.data)
    first, second = copied([p, p])
    assert first is second
    with pytest.raises(RuntimeError, match="detach"):
        copied(p * 2)


def test_integers_with_a_float_or_a_division_give_float32():
    t = nn.Tensor(np.array([1, 2], np.uint8))
    for result in (t / 255, t * 1.0, t + 2.5, 1.0 - t, t / nn.Tensor(np.array([2, 2]))):
        assert result.dtype == np.float32
    assert (t * 2).dtype == np.uint8


def test_power_at_zero():
    for exponent, expected in ((0, [0, 0]), (1, [1, 1]), (3, [0, 3])):
        a = nn.Tensor(np.array([0.0, 1.0], np.float32), requires_grad=True)
        (a**exponent).sum().backward()
        assert a.grad.data.tolist() == expected
    b = nn.Tensor(np.array([2.0, 2.0]), requires_grad=True)
    (nn.Tensor(np.array([0.0, np.e])) ** b).sum().backward()
    assert np.allclose(b.grad.data, [0, np.e**2])
