"""set_precision("medium") on a GPU: products and convolution in TF32, within their own bound."""

import convnet
import numpy as np
import pytest
from convnet import ops, to_device

RNG = np.random.default_rng(0)
ROUNDED = 2.0**-10  # two factors of 10 bits, as docs/cuda.md says


def standard(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def both(function, arrays, length):
    """Errors over the sum of magnitudes, in "high" and "medium", within the bounds of each."""
    exact = function(*(a.astype(np.float64) for a in arrays))
    size = function(*(np.abs(a).astype(np.float64) for a in arrays))
    worst = {}
    for precision, rounded in (("high", 0.0), ("medium", ROUNDED)):
        with convnet.set_precision(precision):
            result = function(*map(to_device, arrays)).get()
        worst[precision] = (np.abs(result - exact) / np.maximum(size, 1e-30)).max()
        assert worst[precision] <= rounded + (8 + 2 * np.sqrt(length)) * 2.0**-23
    return worst


@pytest.mark.parametrize("shape", [(300, 200, 500), (33, 17, 40), (7, 512, 64)], ids=str)
def test_products(shape):
    m, n, k = shape
    worst = both(ops.matmul, (standard(m, k), standard(k, n)), k)
    assert worst["medium"] > 2.0**-14 > worst["high"]  # the factors were rounded, and only there


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution(stride):
    def forward(x, w):
        return ops.conv2d(x, w, stride=stride, padding=1)

    worst = both(forward, (standard(4, 24, 17, 19), standard(40, 24, 3, 3)), 24 * 9)
    assert worst["medium"] > 2.0**-14 > worst["high"]


@pytest.mark.parametrize("which", [0, 1], ids=["dx", "dw"])
def test_gradients_of_convolution(which):
    def gradient(dy, x, w):
        return ops.conv2d_backward(dy, x, w, padding=1)[which]

    arrays = standard(4, 40, 17, 19), standard(4, 24, 17, 19), standard(40, 24, 3, 3)
    worst = both(gradient, arrays, (40 * 9, 4 * 17 * 19)[which])
    assert worst["medium"] > 2.0**-14 > worst["high"]
