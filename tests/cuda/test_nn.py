"""Layers on the simulator: the same steps as on the CPU, batches copied ahead, state that moves."""

import copy
import pickle

import convnet
import numpy as np
import pytest
from convnet import nn, optim
from convnet.data import DataLoader, TensorDataset
from convnet.data.ahead import ahead
from convnet.gpu import DeviceArray
from convnet.nn.conversion import host
from convnet.train.checkpoint import load_checkpoint, save_checkpoint

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 5)).astype(np.float32)
T = np.array([0, 2, 1, 2, 0, 1])


def model(seed=0):
    convnet.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def train(net, device):
    """One step; the simulator takes seconds for each product."""
    optimizer = optim.Adam(net.parameters(), 0.1)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for x, t in DataLoader(TensorDataset(X, T), 6, device=device):
        assert (x.device, t.is_cuda) == (device, device == "cuda")
        optimizer.zero_grad()
        loss = criterion(net(x), t)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses, optimizer


def test_a_training_loop_runs_unchanged():
    here, there = model(), model().to("cuda")
    assert all(p.is_cuda and str(p.device) == "cuda" for p in there.parameters())
    losses, _ = train(here, "cpu")
    losses_there, optimizer = train(there, "cuda")
    np.testing.assert_allclose(losses_there, losses, rtol=1e-5)
    for a, b in zip(here.parameters(), there.parameters(), strict=True):
        np.testing.assert_allclose(host(b), a.data, rtol=2e-4, atol=1e-6)
        assert type(optimizer.state[b]["exp_avg"]) is DeviceArray


def cnn():
    convnet.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(2 * 2 * 3, 3),
    )


def test_a_small_cnn_trains_as_on_the_cpu():
    """Two steps: loss, gradients, weights, running statistics; and what it says in evaluation."""
    images = RNG.standard_normal((4, 1, 4, 6)).astype(np.float32)
    classes = np.array([2, 0, 1, 1])
    kept = []
    for device in ("cpu", "cuda"):
        net = cnn().to(device)
        optimizer = optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-2)
        x, t = nn.Tensor(images).to(device), nn.Tensor(classes).to(device)
        values = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(net(x), t)
            loss.backward()
            values += [loss.item(), *(host(p.grad) for p in net.parameters())]
            optimizer.step()
        values += [host(v) for v in net.state_dict().values()]
        net.eval()
        with nn.no_grad():
            values.append(host(net(x)))
        kept.append(values)
    assert len(kept[0]) == 2 * 7 + 9 + 1
    for here, there in zip(*kept, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=2e-6)


def test_models_move_and_are_saved_from_where_they_are(tmp_path):
    net = model()
    weights = {k: v.data.copy() for k, v in net.state_dict().items()}
    assert net.to("cuda") is net
    assert net.cuda() is net
    convnet.save(net.state_dict(), tmp_path / "w.safetensors")
    for name, value in convnet.load(tmp_path / "w.safetensors").items():
        np.testing.assert_array_equal(value, weights[name])
    other = model(1).cuda()
    other.load_state_dict(weights)
    other.load_state_dict(net.state_dict())
    twin = pickle.loads(pickle.dumps(copy.deepcopy(other)))
    assert next(twin.parameters()).is_cuda
    for name, value in twin.cpu().state_dict().items():
        np.testing.assert_array_equal(value.numpy(), weights[name])


def test_tensors():
    x = nn.Tensor(X, requires_grad=True)
    y = x.to("cuda")
    assert y.cuda() is y
    (y * y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * X, rtol=1e-6)
    t = convnet.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    ((1 - t) ** 2 / (t + 3)).mean().backward()
    v = convnet.tensor([1.0, 2.0], requires_grad=True)
    ((1 - v) ** 2 / (v + 3)).mean().backward()
    np.testing.assert_allclose(host(t.grad), v.grad.numpy(), rtol=1e-5)
    assert repr(t.detach()) == "tensor([1., 2.], device='cuda')"
    assert (t.detach() > 1).data.tolist() == [False, True]
    assert convnet.zeros(2, device="cuda").is_cuda
    assert convnet.ones_like(t).is_cuda
    assert convnet.cat([t, t]).shape == (4,)
    with pytest.raises(TypeError, match=r"on a GPU; call \.cpu\(\) first"):
        t.numpy()
    with pytest.raises(TypeError, match="a GPU array beside"):
        t + v
    with pytest.raises(NotImplementedError, match='live on "cpu" or "cuda"'):
        t.to("mps")
    with pytest.raises(NotImplementedError, match=r"made on the CPU; move them with \.to"):
        nn.Linear(2, 2, device="cuda")


def test_batches_come_ahead_and_whole():
    batches = [{"x": X[i : i + 2], "names": ["a"], "t": (nn.Tensor(T[i : i + 2]),)} for i in (0, 2)]
    batches.append({"x": X[:, ::2], "names": [], "t": (nn.Tensor(np.int64(3)),)})
    out = list(ahead(batches, "cuda"))
    assert [b["names"] for b in out] == [["a"], ["a"], []]
    for given, got in zip(batches, out, strict=True):
        np.testing.assert_array_equal(host(got["x"]), given["x"])
        np.testing.assert_array_equal(host(got["t"][0]), given["t"][0].data)
    assert next(iter(ahead([X], "cpu"))) is X


def test_an_optimizer_follows_its_model():
    net = model()
    _, optimizer = train(net, "cpu")
    net.to("cuda")
    grad = next(net.parameters()).grad
    grad.data = grad.data.get()
    with pytest.raises(TypeError, match="its parameter is on another device"):
        optimizer.step()
    grad.data = nn.Tensor(grad.data).cuda().data
    optimizer.step()
    state = optimizer.state_dict()["state"][0]
    assert type(state["exp_avg"]) is DeviceArray


def test_a_checkpoint_is_read_where_the_model_is(tmp_path):
    def stepped(net):
        optimizer = optim.Adam(net.parameters(), 0.1)
        for p in net.parameters():
            p.grad = convnet.ones_like(p.detach())
        optimizer.step()
        return optimizer

    there, here = model().to("cuda"), model(1)
    first = stepped(there)
    save_checkpoint(tmp_path / "c", there, first)
    second = optim.Adam(here.parameters(), 0.1)
    load_checkpoint(tmp_path / "c", here, second)
    other = model(2).to("cuda")
    again = stepped(other)
    load_checkpoint(tmp_path / "c", other, again)
    for a, b in zip(here.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(host(b), a.data)
        assert type(second.state[a]["exp_avg"]) is np.ndarray
        assert type(again.state[b]["exp_avg"]) is DeviceArray
