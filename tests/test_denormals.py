"""Denormal numbers: 0 inside convolution, products and average pooling, kept everywhere else.

The processor's floating-point state is as it was after every call, on every thread.
"""

import operator
from concurrent.futures import ThreadPoolExecutor

import convnet
import numpy as np
import pytest
from convnet import ops

TINY = float(np.finfo(np.float32).tiny)
DENORMAL = np.full(64, TINY / 4, np.float32)


def keeps_denormals() -> bool:
    """Whether this thread computes with denormal numbers: by NumPy and by Python's own float."""
    halves = np.multiply(DENORMAL, np.float32(0.5))
    smallest = operator.mul(2.0**-537, 2.0**-537)
    return bool((halves == np.float32(TINY / 8)).all()) and smallest == 2.0**-1074


def small(*shape: int) -> np.ndarray:
    """Numbers about the smallest normal one, most of them denormal."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) * TINY / 2).astype(np.float32)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def convolve(x: np.ndarray, w: np.ndarray, padding: int, groups: int = 1, stride: int = 1) -> None:
    y = ops.conv2d(x, w, padding=padding, groups=groups, stride=stride)
    ops.conv2d_backward(y, x, w, padding=padding, groups=groups, stride=stride)


def pool(x: np.ndarray) -> None:
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    ops.max_pool2d_backward(y, indices, x.shape, 2)
    ops.avg_pool2d_backward(ops.avg_pool2d(x, 2), x.shape, 2)
    ops.adaptive_avg_pool2d_backward(ops.adaptive_avg_pool2d(x, 3), x.shape)


# Every kernel that flushes, each with work for two threads.
CALLS = {
    "product": lambda f: ops.matmul(f(96, 300), normal(300, 96)),
    "linear": lambda f: ops.linear_backward(f(64, 200), normal(64, 300), f(200, 300)),
    "implicit_gemm": lambda f: convolve(f(2, 9, 24, 24), normal(16, 9, 7, 7), 3),
    "direct": lambda f: convolve(f(4, 3, 40, 40), normal(16, 3, 3, 3), 1),
    "winograd_4x4_3x3": lambda f: convolve(f(2, 64, 28, 28), normal(64, 64, 3, 3), 1),
    "winograd_5x5_3x3_stride2": lambda f: convolve(
        f(2, 64, 28, 28), normal(64, 64, 3, 3), 1, stride=2
    ),
    "winograd_2x2_5x5": lambda f: convolve(f(2, 32, 14, 14), normal(64, 32, 5, 5), 2),
    "depthwise": lambda f: convolve(f(2, 32, 28, 28), normal(32, 1, 3, 3), 1, 32),
    "pool": lambda f: pool(f(4, 32, 28, 28)),
}


def channels_last(*shape: int) -> np.ndarray:
    a = small(*shape)
    if a.ndim != 4:
        return a
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("make", [small, channels_last, normal], ids=lambda f: f.__name__)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_results_are_within_their_bounds_and_the_state_is_kept(call, make):
    with convnet.set_num_threads(2), convnet.cross_check() as report:
        call(make)
    assert report.calls >= 1
    assert keeps_denormals()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_other_threads_keep_denormals_afterwards(call):
    """The second thread of the pool flushes during the call; in the next one it must not."""
    x = np.full(1 << 16, TINY / 4, np.float32)
    with convnet.set_num_threads(2):
        call(small)
        assert (ops.leaky_relu(-x, 0.5) == np.float32(-TINY / 8)).all()
    with ThreadPoolExecutor(1) as pool_of_one:
        assert pool_of_one.submit(lambda: (call(small), keeps_denormals())[1]).result()


def test_state_is_kept_after_an_error():
    with pytest.raises(ValueError, match="w: "):
        ops.conv2d(small(1, 3, 8, 8), small(4, 2, 3, 3))
    assert keeps_denormals()


def test_products_flush():
    """The kernels do what they promise: a denormal factor counts as 0, whatever the other one."""
    x = np.full((8, 8), TINY / 2, np.float32)
    assert not ops.matmul(x, np.full((8, 8), 1e30, np.float32)).any()
    assert not ops.avg_pool2d(x.reshape(1, 1, 8, 8), 2).any()


def test_maxima_keep_denormals():
    x = small(1, 1, 8, 8)
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    assert (y != 0).all()
    np.testing.assert_array_equal(y.ravel(), x.ravel()[indices.ravel()])
