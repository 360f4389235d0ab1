"""The compiled checks of small calls: what they pass is right, and what they do not still works."""

import numpy as np
import pytest
from convnet import ops
from convnet.kernels import arrays


def images(dtype=np.float32):
    """Name -> the same image in different memory; and whether nothing is left to do to it."""
    x = np.arange(2 * 3 * 4 * 5, dtype=dtype).reshape(2, 3, 4, 5) - 50
    last = x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    buffer = bytearray(x.nbytes + 1)
    crooked = np.frombuffer(buffer, dtype, offset=1).reshape(x.shape)
    crooked[...] = x
    return {
        "contiguous": (x, True),
        "channels-last": (last, True),
        "turned": (x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2), False),
        "strided": (np.repeat(x, 2, 3)[..., ::2], False),
        "backwards": (x[::-1].copy()[::-1], False),
        "broadcast": (np.broadcast_to(x[:1], x.shape), False),
        "not aligned": (crooked, False),
        "other byte order": (x.astype(x.dtype.newbyteorder()), False),
        "float16": (x.astype(np.float16), False),
        "a subclass": (x.view(np.matrix) if x.ndim == 2 else np.ma.masked_array(x), False),
        "empty": (x[:0], False),
    }


@pytest.mark.parametrize("name", images())
def test_an_array_passes_if_nothing_is_left_to_do(name):
    x, passes = images()[name]
    assert (arrays.result(None, x) is not None) == passes
    assert arrays.have_channels(x, np.ones(3, np.float32)) == passes
    if name != "empty":
        assert arrays.is_image(x, 4) == passes
        assert arrays.are_alike(x, x) == passes


@pytest.mark.parametrize(
    "name", ["contiguous", "channels-last", "turned", "strided", "not aligned"]
)
def test_a_result_has_the_format_and_bits_of_the_checked_path(name):
    x, _ = images()[name]
    y, expected = ops.sigmoid(x), ops.sigmoid(np.ascontiguousarray(x))
    np.testing.assert_array_equal(y, expected)
    assert y.flags.c_contiguous == (name != "channels-last")
    dx = ops.sigmoid_backward(x, y)
    np.testing.assert_array_equal(dx, ops.sigmoid_backward(x.copy("C"), expected))
    np.testing.assert_array_equal(ops.softmax(x, 1), ops.softmax(x.copy("C"), 1))


def test_out_passes_if_it_is_an_input_or_apart():
    memory = np.arange(300, dtype=np.float32)
    x = memory[:100]
    assert arrays.result(x, x) is x
    assert arrays.result(memory[100:200], x) is not None
    assert arrays.result(memory[99:199], x) is None
    assert arrays.result(memory[1:101], x) is None
    assert arrays.result(memory[100:200], x, memory[150:250]) is None
    memory.flags.writeable = False
    assert arrays.result(memory[100:200], x) is None


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_places_are_counted(dtype):
    a = np.array([0, 4, 2, -7, 4], dtype)
    assert arrays.count_within(a, 5, -7) == 4
    assert arrays.count_within(a, 5, 4) == -1  # -7
    assert arrays.count_within(a, 4, -7) == -1  # 4
    assert arrays.count_within(a[:0], 1, 0) == 0
    assert arrays.count_within(np.array([2**31 - 1], dtype), 2**40, 0) == 1


def test_what_is_kept_is_bounded_and_tells_types_apart():
    kept, calls = {}, []

    def function(*arguments):
        calls.append(arguments)
        return len(calls)

    for arguments in ((1, "a"), (True, "a"), (1.0, "a"), ((1, 2), None), ((True, 2), None)):
        first = arrays.look_up(kept, function, arguments)
        assert arrays.look_up(kept, function, arguments) == first
        assert calls[-1] is arguments or calls[-1] == arguments
    assert len(calls) == 5
    for _ in range(2):
        arrays.look_up(kept, function, ([1, 2],))  # not hashable: never kept
    assert len(calls) == 7
    for i in range(1000):
        arrays.look_up(kept, function, (i,))
    assert len(kept) <= 256


def test_images_and_weights_pass_if_nothing_is_left_to_do():
    kept, found = {}, []
    weights = np.ones((2, 3, 2, 2), np.float32)

    def function(*how):
        found.append(how)
        return how

    for x, passes in images().values():
        looked_up = arrays.look_up_images(kept, function, x, weights, (1, "same"))
        plain = passes or x.size == 0  # an empty batch has a shape like any other
        assert looked_up == ((x.shape, weights.shape, 1, "same") if plain else None)
    assert len(found) == 2
    x = images()["contiguous"][0]
    assert arrays.look_up_images(kept, function, x, weights.astype(np.float64), ()) is None
    assert arrays.look_up_images(kept, function, x, weights[..., ::2], ()) is None
    for b, passes in ((None, True), (weights[0, :, 0, 0], False), (np.ones(3, "f4"), True)):
        assert arrays.is_vector(b, x, 3) == passes
    assert not arrays.is_vector(np.ones(3), x, 3)


@pytest.mark.parametrize("name", images())
def test_a_gradient_passes_in_the_format_of_its_image(name):
    dy, _ = images()[name]
    for like in ("contiguous", "channels-last"):
        x = images()[like][0]
        expected = name == like or (name == "empty" and like == "contiguous")
        assert arrays.is_image_beside(dy, x, dy.shape) == expected
        assert not arrays.is_image_beside(dy, x, (*dy.shape[:3], 6))
        assert not arrays.is_image_beside(dy, x, dy.shape[:3])
        assert not arrays.is_image_beside(dy, x.astype(np.float64), dy.shape)


def test_a_chosen_kernel_is_kept_for_what_it_depends_on():
    kept, chosen = {}, []

    def choose(*how):
        chosen.append(how)
        return how

    x, last = images()["contiguous"][0], images()["channels-last"][0]
    dims = (1, 2)
    same = (*dims[:1], 2)
    calls = [
        (dims, x, x, None, "high"),
        (same, x, x, None, "high"),
        (dims, last, x, None, "high"),
        (dims, x, last, None, "high"),
        (dims, x.astype(np.float64), x, None, "high"),
        (dims, x, x, "input", "high"),
        (dims, x, x, None, "highest"),
    ]
    for _ in range(2):
        for call in calls:
            how = arrays.look_up_kernel(kept, choose, *call)
            assert how == (call[0], call[1] is last, call[2] is last, call[3], call[1].itemsize)
    assert len(chosen) == len(calls)
    for i in range(1000):
        arrays.look_up_kernel(kept, choose, (i,), x, x, None, "high")
    assert len(kept) <= 256


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_reduced_loss_is_a_scalar_of_its_type(dtype):
    def reduced(value, mean, count):
        return arrays.reduced(np.array(value, np.float64), np.dtype(dtype), mean, count)

    assert type(reduced(6.0, True, 4)) is dtype
    assert reduced(6.0, True, 4) == 1.5
    assert reduced(6.0, False, 4) == 6
    assert np.isnan(reduced(0.0, True, 0))
    assert reduced(0.0, False, 0) == 0
    assert np.isinf(reduced(1e300, False, 1)) == (dtype is np.float32)


def test_statistics_are_trained_in_place_only_in_memory_of_their_own():
    x, last = images()["contiguous"][0], images()["channels-last"][0]
    both = np.ones(6, np.float32)
    read_only = np.ones(3, np.float32)
    read_only.flags.writeable = False
    mean, var, w = (np.ones(3, np.float32) for _ in range(3))
    assert arrays.are_trainable(last.copy("K"), mean, var, w, w.copy())
    assert arrays.are_trainable(x.copy(), None, None, None, None)
    for others in (
        (mean, mean, None, None),
        (mean, var, var, None),
        (both[:3], var, None, None),
        (read_only, var, None, None),
        (mean, read_only, None, None),
        (mean, var.astype(np.float64), None, None),
    ):
        assert not arrays.are_trainable(x.copy(), *others)
    assert arrays.are_trainable(x.copy(), mean, var, read_only, None)
