"""Output sizes and paddings, against counting windows one by one and against torch."""

from itertools import product

import numpy as np
import pytest
from convnet.shapes import conv_dims, conv_transpose_dims, pool_dims


def windows(n: int, m: int, s: int, d: int, low: int, high: int) -> int:
    """How many windows lie within the padded input, by trying."""
    return sum(start + d * (m - 1) < n + low + high for start in range(0, n + low + high, s))


def conv(n, m, s=1, padding=0, d=1):
    """The dims of a 1-D convolution, without the tuples: (out, low, high)."""
    dims = conv_dims((1, 1, n), (1, 1, m), s, padding, d, 1, 1)
    return dims.out_size[0], dims.pad_low[0], dims.pad_high[0]


GRID = list(product(range(1, 9), range(1, 5), (1, 2, 3), (1, 2)))


@pytest.mark.parametrize("padding", [0, 1, ((2, 0),), ((0, 3),)], ids=str)
def test_explicit_padding_counts_windows(padding):
    low, high = padding[0] if isinstance(padding, tuple) else (padding, padding)
    for n, m, s, d in GRID:
        expected = windows(n, m, s, d, low, high)
        if expected == 0:
            with pytest.raises(ValueError, match="w: the output would be empty"):
                conv(n, m, s, padding, d)
            continue
        out, got_low, reach = conv(n, m, s, padding, d)
        assert (out, got_low) == (expected, low)
        assert reach == (out - 1) * s + d * (m - 1) + 1 - n - low
        assert high - s < reach <= high


def test_same_gives_ceil_and_the_odd_zero_to_the_end():
    for n, m, s, d in GRID:
        out, low, high = conv(n, m, s, "same", d)
        assert out == -(-n // s)
        if low or high > 0:
            assert high - low in (0, 1)
    assert conv(5, 4, 1, "same") == (5, 1, 2)
    assert conv(6, 3, 2, "same") == (3, 0, 1)
    assert conv(7, 3, 2, "same") == (4, 1, 1)


def test_full_and_valid():
    for n, m, s, d in GRID:
        span = d * (m - 1)
        assert conv(n, m, s, "full", d)[:2] == ((n + span - 1) // s + 1, span)
        if n > span:
            assert conv(n, m, s, "valid", d)[:2] == ((n - span - 1) // s + 1, 0)


@pytest.mark.parametrize("padding", [(1, 2), [1, 2], ((1, 1), (2, 2)), np.array([1, 2])], ids=str)
def test_ways_to_say_padding(padding):
    if isinstance(padding, np.ndarray):
        with pytest.raises(TypeError, match="padding"):
            conv_dims((1, 1, 9, 9), (1, 1, 3, 3), 1, padding, 1, 1, 2)
        return
    dims = conv_dims((1, 1, 9, 9), (1, 1, 3, 3), 1, padding, 1, 1, 2)
    assert dims.pad_low == dims.pad_high == (1, 2)


def test_numpy_integers_are_integers():
    one = np.int64(1)
    dims = conv_dims((2, 4, 9, 9), (4, 2, 3, 3), one, (one, np.uint8(2)), one, np.int32(2), 2)
    assert dims == conv_dims((2, 4, 9, 9), (4, 2, 3, 3), 1, (1, 2), 1, 2, 2)
    assert {type(v) for v in (*dims.stride, *dims.pad_low, dims.groups)} == {int}


def test_transposed_sizes_are_torchs():
    torch = pytest.importorskip("torch")
    compared = 0
    for n, m, s, p, more, d in product(
        (1, 2, 5), (1, 2, 3), (1, 2, 3), (0, 1, 2), (0, 1, 2), (1, 2)
    ):
        x, w = torch.zeros(1, 1, n, n), torch.zeros(1, 1, m, m)
        try:
            y = torch.nn.functional.conv_transpose2d(
                x, w, stride=s, padding=p, output_padding=more, dilation=d
            )
        except RuntimeError:
            with pytest.raises(ValueError, match="padding: "):
                conv_transpose_dims((1, 1, n, n), (1, 1, m, m), s, p, more, d, 1, 2)
            continue
        dims = conv_transpose_dims((1, 1, n, n), (1, 1, m, m), s, p, more, d, 1, 2)
        assert dims.in_size == tuple(y.shape[2:])
        assert dims.out_size == (n, n)
        compared += 1
    assert compared > 100


def test_pool_sizes_are_torchs():
    torch = pytest.importorskip("torch")
    compared = 0
    for n, m, s, p, d, ceil in product(
        range(1, 9), (1, 2, 3, 4), (1, 2, 3, 5), (0, 1, 2), (1, 2), (False, True)
    ):
        if p > m // 2:  # torch's limit; here it is the kernel's span
            continue
        try:
            y = torch.nn.functional.max_pool1d(torch.zeros(1, 1, n), m, s, p, d, ceil)
        except RuntimeError:
            with pytest.raises(ValueError, match="kernel_size: the output would be empty"):
                pool_dims((1, 1, n), m, s, p, d, ceil, rank=1)
            continue
        assert pool_dims((1, 1, n), m, s, p, d, ceil, rank=1).out_size == (y.shape[2],)
        compared += 1
    assert compared > 500


def test_pool_windows_begin_in_the_input_or_its_low_padding():
    for n, m, s, low, high in product(range(1, 9), (2, 3), (1, 2, 3, 5), (0, 1), (0, 1)):
        try:
            dims = pool_dims((1, 1, n), m, s, ((low, high),), 1, True, rank=1)
        except ValueError:
            assert n + low + high + s - 1 < m
            continue
        assert (dims.out_size[0] - 1) * s < n + low
        assert (dims.pad_low, dims.pad_high) == ((low,), (high,))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"padding": 3}, ValueError, "padding: expected less than the 3 .* spans, got 3"),
        ({"padding": ((0, 0), (0, 3))}, ValueError, "padding: expected less than the 3"),
        ({"padding": "full"}, ValueError, 'padding: .*"same" or "valid", got \'full\''),
        ({"padding": "same", "ceil_mode": True}, ValueError, "ceil_mode: expected False"),
        ({"kernel_size": (3, 0)}, ValueError, "kernel_size: expected at least 1, got 0"),
        ({"kernel_size": True}, TypeError, "kernel_size: expected an integer, got True"),
        ({"kernel_size": "3"}, TypeError, "kernel_size: expected an integer, got '3'"),
        ({"stride": 0}, ValueError, "stride: expected at least 1, got 0"),
        ({"dilation": 1.0}, TypeError, "dilation: expected an integer, got 1.0"),
        ({"kernel_size": 10}, ValueError, "kernel_size: the output would be empty"),
        ({"divisor_override": 0}, ValueError, "divisor_override: expected at least 1, got 0"),
        ({"x_shape": (1, 1, 9)}, ValueError, r"x: expected 4 dimensions \(N, C, H, W\), got 3"),
        ({"x_shape": (1, 0, 9, 9)}, ValueError, "x: expected channels and extents"),
    ],
)
def test_bad_pools(change, error, match):
    good = {
        "x_shape": (1, 1, 9, 9),
        "kernel_size": 3,
        "stride": None,
        "padding": 0,
        "dilation": 1,
        "ceil_mode": False,
    }
    assert pool_dims(**good).out_size == (3, 3)
    with pytest.raises(error, match=match):
        pool_dims(**{**good, **change})
