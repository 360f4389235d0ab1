"""summary and fuse."""

import convnet
import numpy as np
import pytest
from convnet import nn
from convnet.nn import functional as F  # noqa: N812 - as everyone writes it


class Branches(nn.Module):
    """A shared convolution, a branch, and Sequentials inside one another."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.block = nn.Sequential(
            nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh()), nn.BatchNorm2d(4), nn.GELU()
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), nn.BatchNorm2d(6), nn.SiLU()
        )
        self.signal = nn.Sequential(nn.Conv1d(6, 5, 3), nn.LeakyReLU(), nn.BatchNorm1d(5))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(355, 7), nn.BatchNorm1d(7), nn.Sigmoid())

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(self.shared(self.shared(x)))
        x = self.up(x).flatten(2)
        return self.head(self.signal(x)[:, :, ::2])


def trained(dtype):
    convnet.manual_seed(0)
    model = Branches().to(dtype)
    for m in model.modules():
        if hasattr(m, "running_var"):
            nn.init.uniform_(m.running_var, 0.5, 2)
            nn.init.normal_(m.running_mean)
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
    return model.eval()


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-13)])
def test_fused_model_computes_the_same(dtype, bound):
    model = trained(dtype)
    x = nn.Tensor(np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(dtype))
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    fused = nn.fuse(model)
    np.testing.assert_allclose(fused(x), model(x).detach(), atol=bound)
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v, before[k])
    kinds = [type(m).__name__ for m in fused.modules()]
    assert kinds.count("FusedActivation") == 4  # of stem, block.0, signal and head
    assert kinds.count("BatchNorm2d") == 1  # after a Sequential, not a convolution
    assert kinds.count("BatchNorm1d") == 1  # after an activation
    assert not any(p.requires_grad for p in fused.parameters())


def test_layer_used_twice_is_not_fused():
    layer = nn.Conv2d(2, 2, 1)
    model = nn.Sequential(layer, nn.BatchNorm2d(2), layer, nn.ReLU()).eval()
    x = np.ones((1, 2, 3, 3), np.float32)
    np.testing.assert_array_equal(nn.fuse(model)(x), model(x).detach())
    assert [type(m).__name__ for m in nn.fuse(model)][:2] == ["Conv2d", "BatchNorm2d"]


class Residual(nn.Module):
    """A block whose forward is its own: no Sequential tells what follows what."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        self.head = nn.ModuleDict({"fc": nn.Linear(2, 3), "act": nn.Sigmoid()})

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.head["act"](self.head["fc"]((x + y).mean((2, 3))))


CHAINS = [("conv1", "bn1", "relu1"), ("conv2", "bn2"), ("head.fc", "head.act")]


def test_chains_of_a_forward_of_its_own_are_fused():
    model = Residual().eval()
    for norm in (model.bn1, model.bn2):
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.running_mean)
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5)).astype(np.float32)
    fused = nn.fuse(model, CHAINS)
    np.testing.assert_allclose(fused(x), model(x).detach(), atol=1e-5)
    kinds = [type(m).__name__ for m in fused.modules() if not m._modules]
    assert kinds.count("Identity") == 4
    assert not {"BatchNorm2d", "ReLU", "Sigmoid"} & set(kinds)
    assert [type(m).__name__ for m in nn.fuse(model).modules()].count("BatchNorm2d") == 2


@pytest.mark.parametrize(
    ("chain", "error", "message"),
    [
        (("conv1", "bn3"), ValueError, "the model has no layer 'bn3'"),
        (("conv1",), ValueError, r"got conv1 \(Conv2d\)"),
        (("bn1", "relu1"), ValueError, r"got bn1 \(BatchNorm2d\), relu1 \(ReLU\)"),
        (("conv1", "relu1", "bn1"), ValueError, "expected a convolution or linear layer"),
        ("conv1", TypeError, "expected sequences of layers' names, got 'conv1'"),
        ((1, 2), TypeError, "expected sequences of layers' names"),
    ],
)
def test_chain_that_cannot_be_one_layer(chain, error, message):
    with pytest.raises(error, match=message):
        nn.fuse(Residual().eval(), [chain])


def test_fuse_refuses():
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        nn.fuse(Branches())
    with pytest.raises(TypeError, match="model: expected a Module, got int"):
        nn.fuse(3)
    fused = nn.fuse(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval())
    with pytest.raises(RuntimeError, match="gives no gradients"):
        fused(nn.Tensor(np.ones((1, 2), np.float32), requires_grad=True))


def test_summary():
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Flatten(),
        nn.Linear(16 * 64, 10, bias=False),
    )
    model[4].weight.requires_grad_(False)
    found = convnet.summary(model, (2, 3, 8, 8))
    assert [layer.kind for layer in found] == ["Conv2d", "ReLU", "Conv2d", "Flatten", "Linear"]
    assert [layer.multiply_adds for layer in found] == [
        2 * 16 * 64 * 27, 0, 2 * 16 * 64 * 9, 0, 2 * 10 * 1024
    ]  # fmt: skip
    assert found[2].algorithm == "depthwise"
    assert found[0].output_shape == (2, 16, 8, 8)
    assert (found.parameters, found.trainable) == (448 + 160 + 10240, 448 + 160)
    assert "10,848 parameters, 608 of them trained" in str(found)
    assert all(m.training for m in model.modules())
    assert "forward" not in vars(model[0])


def test_summary_of_branches():
    """A layer that runs twice stands there twice, its parameters once; fused layers count too."""
    model = trained("float64")
    found = convnet.summary(model, [(1, 2, 8, 8)])
    shared = [layer for layer in found if layer.name == "shared"]
    assert [layer.parameters for layer in shared] == [148, 0]
    assert sum(layer.parameters for layer in found) == found.parameters
    transposed = next(layer for layer in found if layer.kind == "ConvTranspose2d")
    assert transposed.multiply_adds == 4 * 36 * 3 * 4
    fused = convnet.summary(nn.fuse(model), (1, 2, 8, 8))
    assert fused.multiply_adds == found.multiply_adds
    with pytest.raises(TypeError, match="model: expected a Module"):
        convnet.summary(F.relu, (1, 2))
