"""Arguments at the edge of integers and memory, and results that would overwrite inputs."""

import convnet
import numpy as np
import pytest
from convnet import nn, ops

X = np.ones((1, 2, 5, 5), np.float32)
W = np.ones((4, 2, 3, 3), np.float32)


def test_a_stride_beyond_the_image_gives_its_one_window():
    assert np.array_equal(ops.conv2d(X, W, stride=10**6), np.full((1, 4, 1, 1), 18.0))
    dy = np.ones((1, 4, 1, 1), np.float32)
    for got, expected in zip(
        ops.conv2d_backward(dy, X, W, stride=10**6),
        ops.conv2d_backward(dy, X[..., :3, :3].copy(), W),
        strict=True,
    ):
        assert np.array_equal(got[..., :3, :3] if got.ndim == 4 else got, expected)
    assert ops.max_pool2d(X, 2, stride=10**9).shape == (1, 2, 1, 1)
    assert ops.conv2d(X, W[:, :, :1, :1].copy(), dilation=10**9).shape == (1, 4, 5, 5)


@pytest.mark.parametrize(
    ("op", "arguments", "match"),
    [
        (ops.conv2d, {"x": X, "w": W, "stride": 2**62}, "stride: expected at most"),
        (ops.conv2d, {"x": X, "w": W, "stride": 2**70}, "stride: expected at most"),
        (ops.conv2d, {"x": X, "w": W, "padding": 2**62}, "padding: expected at most"),
        (ops.conv2d, {"x": X, "w": W, "padding": 2**30}, "padding: expected at most"),
        (ops.max_pool2d, {"x": X, "kernel_size": 2**62}, "kernel_size: expected at most"),
        (
            ops.avg_pool2d,
            {"x": X, "kernel_size": 2**30, "padding": 2**29},
            "padding: expected at most",
        ),
    ],
)
def test_sizes_beyond_reason_are_refused(op, arguments, match):
    with pytest.raises(ValueError, match=match):
        op(**arguments)


def test_out_may_not_overlap_an_input_that_is_copied():
    strided = np.ones((1, 2, 5, 10), np.float32)
    out = strided.reshape(-1)[:36].reshape(1, 4, 3, 3)
    with pytest.raises(ValueError, match="out: overlaps an input"):
        ops.conv2d(strided[..., ::2], W, out=out)
    bytes_ = np.zeros(801, np.uint8)
    with pytest.raises(ValueError, match="out: overlaps an input"):
        ops.relu(bytes_[1:401].view(np.float32), out=bytes_[:400].view(np.float32))
    with pytest.raises(ValueError, match="out: overlaps an input"):
        ops.relu_backward(
            bytes_[1:401].view(np.float32),
            np.ones(100, np.float32),
            out=bytes_[:400].view(np.float32),
        )


def test_running_statistics_may_not_overlap():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
    with pytest.raises(ValueError, match="running_mean: overlaps x"):
        ops.batch_norm(x, x.reshape(-1)[:3], np.ones(3), training=True)
    both = np.ones(3)
    with pytest.raises(ValueError, match="running_mean: overlaps running_var"):
        ops.batch_norm(x, both, both, training=True)
    with pytest.raises(ValueError, match="running_var: overlaps weight"):
        ops.batch_norm(x, np.ones(3), both, both, training=True)


def test_a_with_block_does_not_undo_a_later_call():
    former = convnet.get_num_threads()
    try:
        override = convnet.set_num_threads(3)
        convnet.set_num_threads(2)
        with override:
            assert convnet.get_num_threads() == 3
        assert convnet.get_num_threads() == 2
    finally:
        convnet.set_num_threads(former)


def test_too_many_threads_are_refused():
    with pytest.raises(ValueError, match="n: expected at most 4096"):
        convnet.set_num_threads(5_000_000_000)


def test_a_scalar_tensor_formats_as_its_number():
    assert f"{nn.Tensor(np.float32(1.5)):.2f}" == "1.50"
