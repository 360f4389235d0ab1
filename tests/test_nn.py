"""Layers and losses: against torch, by finite differences, under cross_check."""

import re

import convnet
import numpy as np
import pytest
from convnet import nn, optim
from convnet.nn import functional as F  # noqa: N812 - as everyone writes it


@pytest.fixture(autouse=True)
def one_thread():
    """torch's threads and ours would wait for each other, actively, and take ten times as long."""
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        pass
    with convnet.set_num_threads(1):
        yield


def mlp(nn):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 5))


def cnn(nn):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2),
        nn.Tanh(),
        nn.AvgPool2d(kernel_size=2, stride=1),
        nn.AdaptiveAvgPool2d((1, None)),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def torch_twin(make, dtype="float32"):
    """(our model, torch's, with the same weights)."""
    torch = pytest.importorskip("torch")
    ours, theirs = make(nn), make(torch.nn)
    state = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    if dtype == "float64":
        ours.double()
        theirs.double()
    return ours, theirs


def as_torch(a):
    import torch

    return torch.from_numpy(a)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(
    ("name", "options"),
    [("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}), ("Adam", {"lr": 1e-3})],
)
@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MSELoss"])
@pytest.mark.parametrize("make", [mlp, cnn], ids=["mlp", "cnn"])
def test_training_is_torchs(make, loss, name, options, dtype, bound):
    """Losses of 30 steps, then weights, buffers and outputs in evaluation mode."""
    torch = pytest.importorskip("torch")
    convnet.manual_seed(3)
    ours, theirs = torch_twin(make, dtype)
    a = getattr(optim, name)(ours.parameters(), **options)
    b = getattr(torch.optim, name)(theirs.parameters(), **options)
    rng = np.random.default_rng(0)
    for _ in range(30):
        x = rng.standard_normal((12, 1, 8, 8)).astype(dtype)
        target = rng.integers(0, 5, 12)
        if loss == "MSELoss":
            target = np.eye(5, dtype=dtype)[target]
        losses = []
        for library, model, optimizer, tensor in (
            (nn, ours, a, nn.Tensor),
            (torch.nn, theirs, b, as_torch),
        ):
            optimizer.zero_grad()
            value = getattr(library, loss)()(model(tensor(x)), tensor(target))
            value.backward()
            optimizer.step()
            losses.append(value.item())
        assert losses[0] == pytest.approx(losses[1], abs=bound)
    for (key, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        slack = 100 * bound if name == "Adam" else 10 * bound
        np.testing.assert_allclose(p, q, rtol=0, atol=slack, err_msg=key)
    ours.eval()
    theirs.eval()
    with nn.no_grad():
        y = ours(nn.Tensor(x))
    np.testing.assert_allclose(y, theirs(as_torch(x)).detach(), rtol=0, atol=200 * bound)


BIAS = re.compile("(?<=affine=True|ffine=False), bias=(True|False)")  # torch 2.13 shows it

LAYERS = [
    ("Conv2d", (4, 6, 3), {}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 2), "dilation": 2}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, 3), {"padding": "same", "groups": 2, "bias": False}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, 3), {"padding": "valid"}, (2, 4, 7, 8)),
    ("Linear", (8, 3), {}, (5, 8)),
    ("Linear", (8, 3), {"bias": False}, (2, 5, 8)),
    ("Linear", (8, 3), {}, (8,)),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 8, 9)),
    ("MaxPool2d", ((2, 3),), {"dilation": (1, 2)}, (2, 3, 8, 9)),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, (2, 3, 8, 9)),
    ("AvgPool2d", (2,), {"divisor_override": 3, "ceil_mode": True}, (2, 3, 7, 9)),
    ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 8, 9)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 8, 9)),
    ("ReLU", (), {}, (2, 3, 4)),
    ("Sigmoid", (), {}, (2, 3, 4)),
    ("Tanh", (), {}, (2, 3, 4)),
    ("Flatten", (), {}, (2, 3, 4, 5)),
    ("Flatten", (0, 1), {}, (2, 3, 4, 5)),
    ("BatchNorm2d", (3,), {}, (4, 3, 5, 6)),
    ("BatchNorm2d", (3,), {"momentum": None, "eps": 1e-3}, (4, 3, 5, 6)),
    ("BatchNorm2d", (3,), {"affine": True}, (2, 3, 1, 1)),
    ("BatchNorm2d", (3,), {"affine": False, "track_running_stats": False}, (4, 3, 5, 6)),
    ("BatchNorm1d", (3,), {}, (5, 3)),
    ("BatchNorm1d", (3,), {"momentum": 0.3}, (5, 3, 7)),
    ("BatchNorm3d", (3,), {}, (2, 3, 4, 3, 2)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 9)),
    ("Conv1d", (4, 6, 5), {"padding": "same", "bias": False}, (4, 9)),
    ("Conv2d", (4, 6, 3), {}, (4, 7, 8)),
    ("Conv3d", (2, 3, (1, 2, 3)), {"padding": (0, 1, 2), "dilation": (1, 2, 1)}, (2, 2, 3, 5, 4)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (2, 4, 9)),
    ("ConvTranspose2d", (4, 6, 3), {}, (2, 4, 5, 6)),
    ("ConvTranspose2d", (4, 6, (3, 2), 2, 1, 1), {"groups": 2, "bias": False}, (2, 4, 5, 6)),
    ("ConvTranspose2d", (4, 6, 3), {"dilation": 2, "padding": (1, 2)}, (4, 5, 6)),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2}, (1, 2, 2, 3, 4)),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, (2, 3, 10)),
    ("MaxPool1d", (2,), {}, (3, 10)),
    ("MaxPool3d", (2,), {"ceil_mode": True}, (2, 3, 5, 4, 3)),
    ("AvgPool1d", (3,), {"padding": 1, "count_include_pad": False}, (2, 3, 10)),
    ("AvgPool3d", ((1, 2, 3),), {"divisor_override": 2}, (2, 3, 5, 4, 3)),
    ("AdaptiveAvgPool1d", (4,), {}, (2, 3, 10)),
    ("AdaptiveAvgPool3d", ((1, None, 2),), {}, (2, 3, 5, 4, 3)),
    ("LeakyReLU", (0.2,), {}, (2, 3, 4)),
    ("GELU", (), {}, (2, 3, 4)),
    ("GELU", (), {"approximate": "tanh"}, (2, 3, 4)),
    ("SiLU", (), {}, (2, 3, 4)),
    ("Softmax", (), {"dim": 1}, (2, 3, 4)),
    ("Softmax", (-1,), {}, (2, 3, 4)),
    ("LogSoftmax", (1,), {}, (2, 3)),
    ("Upsample", (), {"scale_factor": 2}, (2, 3, 4, 5)),
    ("Upsample", ((7, 3),), {}, (2, 3, 4, 5)),
    ("Upsample", (), {"scale_factor": (1.5, 2.5), "mode": "bilinear"}, (2, 3, 4, 5)),
    ("Upsample", (), {"size": 9, "mode": "bilinear", "align_corners": True}, (2, 3, 4, 5)),
    ("Upsample", (), {"scale_factor": 3, "mode": "linear"}, (2, 3, 4)),
    ("Identity", (5,), {"whatever": 3}, (2, 3)),
    ("Unflatten", (1, (2, 3)), {}, (4, 6, 2)),
]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=lambda v: str(v))
def test_layer_is_torchs(name, args, options, shape, training):
    """Output, gradients, buffers, repr, in both memory formats and under cross_check."""
    torch = pytest.importorskip("torch")
    ours, theirs = torch_twin(lambda nn: getattr(nn, name)(*args, **options), "float64")
    if name.startswith("Conv") and options.get("padding") in ("same", "valid"):
        assert options["padding"] in repr(ours)
    else:
        assert BIAS.sub("", repr(ours)) == BIAS.sub("", repr(theirs))
    ours.train(training)
    theirs.train(training)
    rng = np.random.default_rng(0)
    for step in range(3):
        x = rng.standard_normal(shape)
        given = x
        if step == 1 and x.ndim == 4:
            given = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        a = nn.Tensor(given, requires_grad=True)
        b = torch.tensor(x, requires_grad=True)
        with convnet.cross_check():
            y, expected = ours(a), theirs(b)
            dy = rng.standard_normal(expected.shape)
            y.backward(dy)
        expected.backward(torch.from_numpy(dy))
        np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(a.grad, b.grad, rtol=0, atol=1e-12)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=0, atol=1e-11)
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(p, q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["full", "same", "valid", ((1, 0), (2, 1)), 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_gradients_by_finite_differences(padding, stride):
    convnet.manual_seed(0)
    layer = nn.Conv2d(2, 3, (3, 2), stride=stride, padding=padding).double()
    x = nn.Tensor(np.random.default_rng(0).standard_normal((2, 2, 5, 4)), requires_grad=True)
    (layer(x) * layer(x)).sum().backward()
    for t in (x, layer.weight, layer.bias):
        for place in list(np.ndindex(t.shape))[::3]:
            value, values = t.data[place], []
            for moved in (value + 1e-5, value - 1e-5):
                t.data[place] = moved
                with nn.no_grad():
                    values.append((layer(x) * layer(x)).sum().item())
            t.data[place] = value
            expected = (values[0] - values[1]) / 2e-5
            assert t.grad.data[place] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_are_torchs(reduction):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits, target = rng.standard_normal((4, 5, 3)), rng.integers(0, 5, (4, 3))
    target[1, 2] = 2
    other = rng.standard_normal(logits.shape)
    for name, second, options in (
        ("CrossEntropyLoss", target, {}),
        ("CrossEntropyLoss", target, {"ignore_index": 2}),
        ("CrossEntropyLoss", target.astype(np.int32), {}),
        ("MSELoss", other, {}),
        ("L1Loss", other, {}),
        ("SmoothL1Loss", other, {}),
        ("SmoothL1Loss", other, {"beta": 0.3}),
        ("NLLLoss", target, {"ignore_index": 1}),
        ("BCEWithLogitsLoss", rng.random(logits.shape), {}),
    ):
        a = nn.Tensor(logits, requires_grad=True)
        loss = getattr(nn, name)(reduction=reduction, **options)(a, nn.Tensor(second))
        b = torch.tensor(logits, requires_grad=True)
        wanted = torch.tensor(second.astype(np.int64) if second.dtype == np.int32 else second)
        expected = getattr(torch.nn, name)(reduction=reduction, **options)(b, wanted)
        dy = rng.standard_normal(expected.shape)
        loss.backward(np.asarray(dy))
        expected.backward(torch.as_tensor(dy))
        np.testing.assert_allclose(loss, expected.detach(), rtol=1e-13)
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-12, atol=1e-15)


def test_loss_of_probabilities_is_torchs():
    torch = pytest.importorskip("torch")
    p, t = np.random.default_rng(0).random((2, 5, 4))
    a, b = nn.Tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    loss, expected = nn.BCELoss()(a, nn.Tensor(t)), torch.nn.BCELoss()(b, torch.tensor(t))
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(a.grad, b.grad, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "gradient"), [(nn.MSELoss(), 4.0), (nn.L1Loss(), 1.0), (nn.SmoothL1Loss(), 1.0)]
)
def test_gradient_of_the_target(loss, gradient):
    x, t = (nn.Tensor(np.array([v]), requires_grad=True) for v in (3.0, 1.0))
    loss(x, t).backward()
    assert (x.grad.item(), t.grad.item()) == (gradient, -gradient)


def test_one_seed_gives_one_model():
    def weights(seed):
        convnet.manual_seed(seed)
        model = cnn(nn)
        x = nn.Tensor(np.ones((50, 8), np.float32))
        return [p.data.tobytes() for p in model.parameters()], nn.Dropout()(x).data.tobytes()

    assert weights(1) == weights(1)
    assert weights(1)[0] != weights(2)[0]
    assert weights(1)[1] != weights(2)[1]
    with pytest.raises(TypeError, match="seed: expected an integer"):
        convnet.manual_seed(1.5)
    with pytest.raises(ValueError, match="seed: expected at least 0"):
        convnet.manual_seed(-1)


def test_dropout():
    convnet.manual_seed(0)
    x = nn.Tensor(np.ones((100, 100), np.float32), requires_grad=True)
    layer = nn.Dropout(0.25)
    y, z = layer(x), layer(x)
    assert abs((y.data == 0).mean() - 0.25) < 0.03
    assert not np.array_equal(y, z)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.data)
    assert layer.eval()(x) is x
    assert (nn.Dropout(1.0)(x).data == 0).all()
    assert nn.Dropout(0.0)(x) is x
    with pytest.raises(ValueError, match="p: expected a probability"):
        nn.Dropout(1.5)


def test_dropout_of_channels():
    convnet.manual_seed(0)
    x = nn.Tensor(np.ones((20, 30, 4, 5), np.float32), requires_grad=True)
    y = nn.Dropout2d(0.25)(x)
    of_channels = y.data.reshape(600, 20)
    assert (of_channels == of_channels[:, :1]).all()
    assert set(np.unique(of_channels)) == {0.0, np.float32(4 / 3)}
    assert abs((of_channels[:, 0] == 0).mean() - 0.25) < 0.06
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.data)
    layer = nn.Dropout2d(0.25).eval()
    assert layer(x) is x


def test_transposed_convolution_to_a_size():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = np.ones((1, 2, 5, 6), np.float32)
    assert layer(x, output_size=(10, 11)).shape == (1, 3, 10, 11)
    with pytest.raises(ValueError, match=r"output_size: expected at least \(9, 11\)"):
        layer(x, output_size=(8, 11))


def forgot_super():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    return Forgetful()


X = np.ones((2, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "exception", "match"),
    [
        (forgot_super, AttributeError, r"call super\(\).__init__\(\) in Forgetful"),
        (lambda: nn.Module()(1), NotImplementedError, "Module has no forward"),
        (lambda: nn.ReLU().weight, AttributeError, "'ReLU' has no attribute 'weight'"),
        (lambda: setattr(nn.Linear(1, 1), "weight", 3), TypeError, "weight: expected a Parameter"),
        (lambda: nn.ReLU().register_parameter("a.b", None), KeyError, "without a dot"),
        (lambda: nn.ReLU().register_buffer("forward", None), KeyError, "an attribute 'forward'"),
        (lambda: nn.Sequential(3), TypeError, "Sequential: expected Modules, got int"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels: expected a multiple"),
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "in_channels: expected at least 1"),
        (lambda: nn.Conv2d(3, 4, 0), ValueError, "kernel_size"),
        (lambda: nn.Conv2d(3, 4, 3, padding="half"), ValueError, "padding: .*got 'half'"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="circular"), NotImplementedError, "padding_mode"),
        (lambda: nn.Conv2d(2, 4, 3)(X), ValueError, "channels"),
        (lambda: nn.Linear(5, 4)(X), ValueError, "x: expected 5"),
        (lambda: nn.Linear(4, 4)(X.astype("f8")), TypeError, "float64"),
        (lambda: nn.BatchNorm2d(2)(X), ValueError, "BatchNorm2d: expected 2 channels"),
        (lambda: nn.BatchNorm2d(3)(X[0]), ValueError, r"BatchNorm2d: expected \(N, C, H, W\)"),
        (lambda: nn.BatchNorm2d(3)(X[:1, :, :1, :1]), ValueError, "more than one value per ch"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), ValueError, "padding"),
        (lambda: nn.Conv2d(3, 4, 3, padding=(1, 2, 3)), ValueError, "padding"),
        (lambda: nn.Conv1d(3, 4, 3, stride=0), ValueError, "stride"),
        (lambda: nn.Conv3d(3, 4, 3, dilation=0), ValueError, "dilation"),
        (lambda: nn.Conv2d(3, 4, 2.5), TypeError, "kernel_size"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), ValueError, "padding: expected numb"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=-1), ValueError, "output_padding"),
        (lambda: nn.MaxPool2d(0), ValueError, "kernel_size"),
        (lambda: nn.MaxPool1d(2, padding=-1), ValueError, "padding"),
        (lambda: nn.MaxPool3d(2, dilation=0), ValueError, "dilation"),
        (lambda: nn.AvgPool2d(2, stride=0), ValueError, "stride"),
        (lambda: nn.AvgPool3d(2, divisor_override=0), ValueError, "divisor_override"),
        (lambda: nn.AdaptiveAvgPool2d(0), ValueError, "output_size"),
        (lambda: nn.GELU("erf"), ValueError, "approximate"),
        (lambda: nn.Upsample(), ValueError, "give either size or scale_factor"),
        (lambda: nn.Upsample(2, mode="bicubic"), ValueError, "mode"),
        (lambda: nn.ModuleList([3]), TypeError, "ModuleList: expected Modules, got int"),
        (lambda: nn.ModuleDict({"a": 3}), TypeError, "ModuleDict: expected Modules"),
        (lambda: nn.L1Loss(reduction="max"), ValueError, "reduction"),
        (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "beta"),
        (lambda: nn.BCEWithLogitsLoss(pos_weight=X), NotImplementedError, "has no weights"),
        (lambda: nn.BCELoss()(X, nn.Parameter(X)), NotImplementedError, "no gradient of its targ"),
        (lambda: nn.functional.dropout2d(X[0, 0]), ValueError, "input: expected"),
        (lambda: nn.CrossEntropyLoss(weight=X), NotImplementedError, "weight: Cross"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=0.1), NotImplementedError, "label_smoothing"),
        (lambda: nn.CrossEntropyLoss()(X, X), NotImplementedError, "target: .* not probabilities"),
        (lambda: nn.MSELoss(reduce=True), NotImplementedError, "use reduction instead"),
        (lambda: nn.MSELoss()(X, X[:1]), ValueError, "target: expected shape"),
        (lambda: F.cross_entropy(X[:, :, 0, 0], np.array([0, 3])), ValueError, "classes 0 to 2"),
    ],
)
def test_errors(call, exception, match):
    with pytest.raises(exception, match=match):
        call()


def test_planted_fault_is_found_through_layers(monkeypatch):
    from convnet.backends import cpu

    real = cpu.conv_weight_grad

    def faulty(dy, x, dw, db, dims):
        real(dy, x, dw, db, dims)
        dw.reshape(-1)[0] += 0.01

    monkeypatch.setattr(cpu, "conv_weight_grad", faulty)
    loss = cnn(nn)(np.ones((2, 1, 8, 8), np.float32)).sum()
    with convnet.cross_check(), pytest.raises(convnet.CrossCheckError, match="conv_weight_grad"):
        loss.backward()
