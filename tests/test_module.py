"""Models: their own forward, states, copies, types, lists and dicts of layers."""

import copy
import pickle

import numpy as np
import pytest
from convnet import nn
from convnet.nn import functional as F  # noqa: N812 - as everyone writes it


def mlp(nn):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 5))


class Residual(nn.Module):
    """Branches, a shared layer, a list in a Sequential, a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3, padding="same")
        self.again = self.first
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
        self.scale = nn.Parameter(np.ones((), np.float32))
        self.register_buffer("offset", nn.Tensor(np.zeros(2, np.float32)))
        self.register_buffer("scratch", nn.Tensor(np.zeros(2)), persistent=False)
        self.register_parameter("nothing", None)

    def forward(self, x):
        y = F.relu(self.first(x)) + x
        y = self.again(y) * self.scale + self.offset.reshape(1, 2, 1, 1)
        return self.head(nn.cat([y[:, :1], y[:, 1:]], dim=1))


def test_names_of_what_a_module_holds():
    model = Residual()
    once = ["scale", "first.weight", "first.bias", "head.1.weight", "head.1.bias"]
    assert [n for n, _ in model.named_parameters()] == once
    assert len(list(model.parameters())) == 5
    assert [n for n, _ in model.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in model.named_buffers()] == ["offset", "scratch"]
    assert [n for n, _ in model.named_children()] == ["first", "head"]
    assert [n for n, _ in model.named_modules()] == ["", "first", "head", "head.0", "head.1"]
    assert list(model.state_dict()) == [
        *("scale", "offset", "first.weight", "first.bias"),
        *("again.weight", "again.bias", "head.1.weight", "head.1.bias"),
    ]
    seen = []
    model.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Conv2d", "Flatten", "Linear", "Sequential", "Residual"]
    assert not any(m.training for m in model.eval().modules())
    assert all(m.training for m in model.train().modules())
    assert {"first", "scale", "offset"} <= set(dir(model))
    del model.again
    assert "again.weight" not in model.state_dict()


def test_custom_model_is_torchs():
    torch = pytest.importorskip("torch")

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(2, 2, 3, padding="same")
            self.again = self.first
            self.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 3))
            self.scale = torch.nn.Parameter(torch.ones(()))
            self.register_buffer("offset", torch.zeros(2))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)

        def forward(self, x):
            y = torch.nn.functional.relu(self.first(x)) + x
            y = self.again(y) * self.scale + self.offset.reshape(1, 2, 1, 1)
            return self.head(torch.cat([y[:, :1], y[:, 1:]], dim=1))

    ours, theirs = Residual(), Theirs()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    y, expected = ours(x), theirs(torch.from_numpy(x))
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(y, expected.detach(), atol=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, atol=1e-3)


def test_state_shares_memory_and_loading_keeps_the_parameters():
    model = mlp(nn)
    state = model.state_dict()
    assert np.shares_memory(state["1.weight"].data, model[1].weight.data)
    weight = model[1].weight
    model.load_state_dict({k: v.numpy().astype(np.float64) + 1 for k, v in state.items()})
    assert model[1].weight is weight
    assert weight.dtype == np.float32


def test_state_that_does_not_fit_names_everything_and_changes_nothing():
    model = mlp(nn)
    before = copy.deepcopy(model.state_dict())
    state = {k: np.zeros(v.shape, np.float32) for k, v in before.items()}
    del state["1.bias"]
    state["9.weight"] = np.zeros(3)
    state["3.weight"] = np.zeros((2, 30))
    state["3.bias"] = np.zeros(5, complex)
    with pytest.raises(nn.StateMismatch) as caught:
        model.load_state_dict(state)
    text = str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert "missing: 1.bias" in text
    assert "unexpected: 9.weight" in text
    assert "3.weight: the module has shape (5, 30), the state_dict (2, 30)" in text
    assert "3.bias: the module has float32, the state_dict complex128" in text
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v, before[k])
    del state["3.weight"], state["3.bias"]
    keys = model.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["1.bias", "3.weight", "3.bias"]
    assert keys.unexpected_keys == ["9.weight"]
    with pytest.raises(TypeError, match="state_dict: expected a dict, got list"):
        model.load_state_dict([])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_models(copied):
    model = Residual().eval()
    x = np.ones((1, 2, 4, 4), np.float32)
    expected = model(x).data.copy()
    twin = copied(model)
    np.testing.assert_array_equal(twin(x), expected)
    assert twin.first is twin.again
    assert not twin.training
    twin.first.weight.data += 1
    np.testing.assert_array_equal(model(x), expected)


def test_types_and_devices():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1, dtype="float64"))
    weight = model[1].weight
    assert model.float() is model
    assert model[1].weight is weight
    assert {str(t.dtype) for t in model.state_dict().values()} == {"float32", "int64"}
    assert model.to("cpu", np.float64)[0].running_mean.dtype == np.float64
    for call in (lambda: model.to("mps"), lambda: nn.Linear(1, 1, device="cuda")):
        with pytest.raises(NotImplementedError, match=r"device '(mps|cuda)': layers"):
            call()
    with pytest.raises(TypeError, match="dtype: expected float32 or float64, got float16"):
        model.to(np.float16)


def test_zero_grad_and_freezing():
    model = mlp(nn)
    model[1].requires_grad_(False)
    model(np.ones((2, 64), np.float32)).sum().backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]
    model.zero_grad(set_to_none=False)
    assert (model[3].bias.grad.data == 0).all()
    model.zero_grad()
    assert model[3].bias.grad is None


def test_sequential():
    model = nn.Sequential({"a": nn.ReLU(), "b": nn.Tanh()})
    assert [n for n, _ in model.named_children()] == ["a", "b"]
    assert len(model.append(nn.Sigmoid())) == 3
    assert [type(m) for m in model] == [nn.ReLU, nn.Tanh, nn.Sigmoid]
    assert type(model[-1]) is nn.Sigmoid
    assert repr(model[:2]) == "Sequential(\n  (a): ReLU()\n  (b): Tanh()\n)"
    model[0] = nn.Flatten()
    assert type(model.a) is nn.Flatten


def test_module_lists_and_dicts_are_torchs():
    torch = pytest.importorskip("torch")

    def build(nn):
        layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()])
        layers.append(nn.Tanh())
        layers.insert(0, nn.Identity())
        layers.extend([nn.Linear(2, 3)])
        layers[3] = nn.Sigmoid()
        del layers[4]
        named = nn.ModuleDict({"a": layers, "b": nn.Conv2d(1, 2, 3)})
        named["c"] = nn.Sequential(nn.ReLU()).extend([nn.Linear(1, 1), nn.Linear(1, 1)])
        named["c"].insert(1, nn.Tanh())
        del named["c"][0]
        named.update({"d": nn.ReLU()})
        assert type(named.pop("d")).__name__ == "ReLU"
        assert "b" in named
        assert "d" not in named
        assert type(layers.pop(0)).__name__ == "Identity"
        assert len(layers[1:]) == len(layers) - 1
        return named

    ours, theirs = build(nn), build(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [list(m.keys()) for m in (ours, theirs)] == [["a", "b", "c"]] * 2
