"""Convolution on the kernels: every case, bits, memory formats, memory safety, gradients."""

from itertools import product

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.backends import cpu
from convnet.check import runner
from convnet.check.conv import CASES, GEOMETRIES
from convnet.ops._arrays import is_channels_last
from convnet.shapes import conv_dims

RUNS = runner.plan("conv", backends=("cpu",), level=convnet.info()["instruction_set"])
DTYPES = [np.float32, np.float64]
FORMATS = ["nchw", "channels_last"]
formats = pytest.mark.parametrize("memory_format", FORMATS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


@pytest.mark.parametrize("op", sorted({r.case.op for r in RUNS}))
def test_cases(op):
    """Within the bounds, the same bits for any threads, layout and batch; bad input refused."""
    failures = [f for run in RUNS if run.case.op == op for f in [runner.run_one(run)[1]] if f]
    assert not failures, "\n\n".join(failures[:5])


def in_format(a, memory_format):
    if memory_format == "nchw":
        return np.ascontiguousarray(a)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def normal(*shape, dtype=np.float64, memory_format="nchw", seed=0):
    a = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return in_format(a, memory_format) if len(shape) > 2 else a


# A convolution for each kernel there is: (x, w, options, algorithm in float32)
KERNELS = {
    "implicit GEMM": ((2, 9, 9, 19), (6, 9, 3, 3), {"padding": 1}, "implicit_gemm"),
    "few channels, short rows": ((2, 3, 9, 13), (5, 3, 3, 3), {"padding": 1}, "implicit_gemm"),
    "few channels": ((2, 3, 19, 34), (17, 3, 3, 3), {"padding": 1}, "direct"),
    "few, stride 2": ((2, 2, 9, 37), (6, 2, 5, 5), {"padding": 2, "stride": 2}, "direct"),
    "stride 2": ((2, 9, 9, 19), (17, 9, 3, 3), {"padding": 1, "stride": 2}, "implicit_gemm"),
    "few, as pixels": ((2, 5, 9, 19), (17, 5, 3, 3), {"padding": 1, "stride": 2}, "direct"),
    "1x1": ((2, 9, 5, 7), (18, 9, 1, 1), {}, "implicit_gemm"),
    "1x1, copied by the first tile": ((2, 31, 7, 9), (30, 31, 1, 1), {}, "implicit_gemm"),
    "groups": ((2, 4, 9, 10), (6, 2, 3, 3), {"groups": 2, "padding": "full"}, "implicit_gemm"),
    "depthwise": ((2, 17, 9, 19), (17, 1, 3, 3), {"groups": 17, "padding": 1}, "depthwise"),
    "depthwise stride 2": (
        (2, 5, 9, 20),
        (5, 1, 3, 3),
        {"groups": 5, "padding": "same", "stride": 2},
        "depthwise",
    ),
    "Winograd 3x3": ((2, 17, 9, 10), (18, 17, 3, 3), {"padding": "same"}, "winograd_4x4_3x3"),
    "Winograd 3x3, tiles of 5": (
        (2, 33, 9, 10),
        (34, 33, 3, 3),
        {"padding": 1},
        "winograd_5x5_3x3",
    ),
    "Winograd 3x3, tiles of 6": (
        (2, 33, 12, 17),
        (34, 33, 3, 3),
        {"padding": 1},
        "winograd_6x6_3x3",
    ),
    "Winograd 3x3, stride 2": (
        (2, 33, 19, 29),
        (66, 33, 3, 3),
        {"padding": 1, "stride": 2},
        "winograd_5x5_3x3_stride2",
    ),
    "Winograd 5x5, tiles of 4": (
        (2, 33, 8, 11),
        (34, 33, 5, 5),
        {"padding": 2},
        "winograd_4x4_5x5",
    ),
    "Winograd 5x5": ((2, 17, 9, 10), (18, 17, 5, 5), {"padding": "same"}, "winograd_2x2_5x5"),
}
kernels = pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "algorithm"), KERNELS.values(), ids=KERNELS
)


def padded_options(options):
    return {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}


def make(x_shape, w_shape, options, dtype=np.float64, memory_format="nchw"):
    """x, w, b and dy."""
    x = normal(*x_shape, dtype=dtype, memory_format=memory_format)
    w = normal(*w_shape, dtype=dtype, seed=1)
    dims = conv_dims(x_shape, w_shape, *padded_options(options).values(), len(x_shape) - 2)
    dy_shape = (x_shape[0], w_shape[0], *dims.out_size)
    dy = normal(*dy_shape, dtype=dtype, memory_format=memory_format, seed=2)
    return x, w, normal(w_shape[0], dtype=dtype, seed=3), dy


@kernels
def test_algorithm_is_the_one_meant_here(x_shape, w_shape, options, algorithm):
    assert ops.conv2d_algorithm(x_shape, w_shape, **options) == algorithm
    winograd = algorithm.startswith("winograd")
    plain = "implicit_gemm" if winograd else algorithm
    with convnet.set_precision("highest"):
        assert ops.conv2d_algorithm(x_shape, w_shape, **options) == plain
    assert ops.conv2d_algorithm(x_shape, w_shape, dtype=np.float64, **options) == plain
    assert ops.conv2d_algorithm((0, *x_shape[1:]), w_shape, **options) == algorithm
    with convnet.use_backend("reference"):
        assert ops.conv2d_algorithm(x_shape, w_shape, **options) == "reference"


@kernels
@dtypes
@formats
def test_results_follow_the_memory_format(
    x_shape, w_shape, options, algorithm, dtype, memory_format
):
    x, w, b, dy = make(x_shape, w_shape, options, dtype, memory_format)
    last = memory_format == "channels_last"
    y = ops.conv2d(x, w, b, **options)
    dx, dw, db = ops.conv2d_backward(dy, x, w, **options)
    assert is_channels_last(y) == is_channels_last(dx) == last
    assert {a.dtype for a in (y, dx, dw, db)} == {np.dtype(dtype)}
    assert not is_channels_last(dw)
    if w.shape[1] > 1 and w.shape[2] > 1:
        turned = in_format(w, "channels_last")
        assert is_channels_last(ops.conv2d_backward(dy, x, turned, **options)[1])
        assert ops.conv2d(x, turned, b, **options).tobytes() == y.tobytes()
    other = in_format(dy, FORMATS[not last])
    for got, expected in zip(
        ops.conv2d_backward(other, x, w, **options), (dx, dw, db), strict=True
    ):
        assert got.strides == expected.strides
        assert got.tobytes() == expected.tobytes()


@kernels
@dtypes
@formats
def test_out_is_written_whole_and_nothing_around_it(
    x_shape, w_shape, options, algorithm, dtype, memory_format
):
    x, w, b, dy = make(x_shape, w_shape, options, dtype, memory_format)
    expected = ops.conv2d(x, w, b, **options)
    for out_format in FORMATS:
        memory = np.full(dy.size + 128, 77, dtype)
        inner = memory[64:-64]
        n, k, p, q = dy.shape
        if out_format == "nchw":
            out = inner.reshape(n, k, p, q)
        else:
            out = np.moveaxis(inner.reshape(n, p, q, k), -1, 1)
        out[...] = np.nan
        assert ops.conv2d(x, w, b, out=out, **options) is out
        if out_format == memory_format:
            assert out.tobytes() == expected.tobytes()
        else:
            np.testing.assert_allclose(
                out, expected, rtol=0, atol=2e-3 if dtype == np.float32 else 1e-12
            )
        assert (memory[:64] == 77).all()
        assert (memory[-64:] == 77).all()


@kernels
@dtypes
@formats
def test_kernels_stay_within_their_arrays(
    x_shape, w_shape, options, algorithm, dtype, memory_format
):
    """Gradients too: the memory around each result keeps its bits."""
    dims = conv_dims(x_shape, w_shape, *padded_options(options).values(), 2)
    x, w, b, dy = make(x_shape, w_shape, options, dtype, memory_format)

    def guarded(like):
        memory = np.full(like.size + 128, 77, dtype)
        inner = memory[64:-64]
        if like.flags.c_contiguous:
            return memory, inner.reshape(like.shape)
        n, c, *spatial = like.shape
        return memory, np.moveaxis(inner.reshape(n, *spatial, c), -1, 1)

    results = [guarded(a) for a in (dy, x, w, b)]
    y, dx, dw, db = (a for _, a in results)
    cpu.conv(x, w, b, y, dims, "relu")
    cpu.conv_input_grad(dy, w, None, dx, dims)
    cpu.conv_weight_grad(dy, x, dw, db, dims)
    for memory, a in results:
        assert (memory[:64] == 77).all()
        assert (memory[-64:] == 77).all()
        assert not (a == 77).any()


@kernels
@dtypes
def test_nothing_but_the_result_changes(x_shape, w_shape, options, algorithm, dtype):
    arrays = make(x_shape, w_shape, options, dtype)
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    x, w, b, dy = arrays
    ops.conv2d(x, w, b, **options)
    ops.conv2d_backward(dy, x, w, **options)
    for a, copy in zip(arrays, copies, strict=True):
        assert a.tobytes() == copy.tobytes()


@kernels
@dtypes
def test_broadcast_input(x_shape, w_shape, options, algorithm, dtype):
    """One image for all of a batch: strides of 0."""
    x, w, b, dy = make(x_shape, w_shape, options, dtype)
    same = np.broadcast_to(x[:1], x.shape)
    y = ops.conv2d(same, w, b, **options)
    assert y.tobytes() == ops.conv2d(same.copy(), w, b, **options).tobytes()
    assert y[0].tobytes() == y[1].tobytes()
    one = np.broadcast_to(dtype(1), dy.shape)
    for got, expected in zip(
        ops.conv2d_backward(one, same, w, **options),
        ops.conv2d_backward(one.copy(), same.copy(), w, **options),
        strict=True,
    ):
        assert got.tobytes() == expected.tobytes()


@kernels
@dtypes
@formats
def test_any_part_of_a_batch_gives_the_same_bits(
    x_shape, w_shape, options, algorithm, dtype, memory_format
):
    x, w, b, dy = make((7, *x_shape[1:]), w_shape, options, dtype, memory_format)
    y = ops.conv2d(x, w, b, **options)
    dx = ops.conv2d_backward(dy, x, w, **options)[0]
    for part in (slice(0, 1), slice(2, 5), slice(6, 7)):
        assert ops.conv2d(x[part], w, b, **options).tobytes() == y[part].tobytes()
        got = ops.conv2d_backward(dy[part], x[part], w, needs=(True, False, False), **options)
        assert got[0].tobytes() == dx[part].tobytes()
        assert got[1:] == (None, None)


@kernels
@formats
def test_gradients_are_the_adjoints(x_shape, w_shape, options, algorithm, memory_format):
    """<dy, conv(x, w)> = <dx, x> = <dw, w>, in float64."""
    x, w, _, dy = make(x_shape, w_shape, options, np.float64, memory_format)
    dx, dw, db = ops.conv2d_backward(dy, x, w, **options)
    product_ = np.sum(dy * ops.conv2d(x, w, **options))
    scale = np.sum(np.abs(dy)) * 1e-13 * w[0].size
    assert np.sum(dx * x) == pytest.approx(product_, abs=scale)
    assert np.sum(dw * w) == pytest.approx(product_, abs=scale)
    np.testing.assert_allclose(db, dy.sum(axis=(0, 2, 3)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["implicit GEMM", "stride 2", "groups", "depthwise stride 2"])
def test_gradients_are_differences_of_the_output(name):
    """Along random directions, in float64. conv is linear: only rounding is left of the error."""
    x_shape, w_shape, options, _ = KERNELS[name]
    x, w, b, dy = make(x_shape, w_shape, options)
    gradients = ops.conv2d_backward(dy, x, w, **options)
    for i, gradient in enumerate(gradients):
        step = 1e-3 * normal(*gradient.shape, seed=9)
        ends = []
        for sign in (1, -1):
            moved = [x, w, b]
            moved[i] = moved[i] + sign * step
            ends.append(np.sum(dy * ops.conv2d(*moved, **options)))
        assert (ends[0] - ends[1]) / 2 == pytest.approx(np.sum(gradient * step), rel=1e-8)


def test_transposed_gradients_are_the_adjoints():
    x, w = normal(2, 4, 5, 6), normal(4, 3, 3, 3, seed=1)
    options = {"stride": 2, "padding": ((1, 0), (0, 2)), "output_padding": 1, "groups": 2}
    y = ops.conv_transpose2d(x, w, **options)
    assert y.shape == (2, 6, 11, 12)
    dy = normal(*y.shape, seed=2)
    dx, dw, db = ops.conv_transpose2d_backward(dy, x, w, **options)
    assert np.sum(dx * x) == pytest.approx(np.sum(dy * y), rel=1e-12)
    assert np.sum(dw * w) == pytest.approx(np.sum(dy * y), rel=1e-12)
    np.testing.assert_allclose(db, dy.sum(axis=(0, 2, 3)), rtol=1e-12)


def test_transposed_results_follow_the_memory_format():
    x, w = normal(2, 4, 5, 6, memory_format="channels_last"), normal(4, 3, 3, 3, seed=1)
    y = ops.conv_transpose2d(x, w, stride=2)
    dx, dw, _ = ops.conv_transpose2d_backward(y, x, w, stride=2)
    assert [is_channels_last(a) for a in (y, dx, dw)] == [True, True, False]
    needed = ops.conv_transpose2d_backward(y, x, w, stride=2, needs=(False, True, False))
    assert [g is None for g in needed] == [True, False, True]
    assert needed[1].tobytes() == dw.tobytes()


@dtypes
def test_empty_batch(dtype):
    x, w = np.empty((0, 4, 5, 6), dtype), normal(6, 2, 3, 3, dtype=dtype)
    y = ops.conv2d(x, w, groups=2, activation="relu")
    assert (y.shape, y.dtype) == ((0, 6, 3, 4), np.dtype(dtype))
    dx, dw, db = ops.conv2d_backward(y, x, w, groups=2)
    assert dx.shape == x.shape
    assert (dw == np.zeros_like(w)).all()
    assert (db == np.zeros(6)).all()
    y = ops.conv_transpose2d(x, normal(4, 3, 2, 2, dtype=dtype))
    assert y.shape == (0, 3, 6, 7)
    dx, dw, db = ops.conv_transpose2d_backward(y, x, normal(4, 3, 2, 2, dtype=dtype))
    assert dx.shape == x.shape
    assert not dw.any()
    assert not db.any()
    assert ops.im2col(x, 2).shape == (0, 16, 20)
    assert ops.col2im(np.empty((0, 16, 20), dtype), (0, 4, 5, 6), 2).shape == (0, 4, 5, 6)
    with pytest.raises(ValueError, match="w: expected 2 input channels"):
        ops.conv2d(x, normal(6, 3, 3, 3, dtype=dtype), groups=2)


@pytest.mark.parametrize(("c", "k", "m"), [(4, 5, 3), (16, 16, 3)], ids=["direct", "Winograd"])
def test_highest_precision_keeps_the_tight_bound(c, k, m):
    """Without Winograd every element is within (8 + 2 sqrt(K)) eps sum |x||w|."""
    x, w = normal(1, c, 12, 12, dtype="f4"), normal(k, c, m, m, dtype="f4", seed=1)
    exact = ops.conv2d(x.astype("f8"), w.astype("f8"))
    magnitude = ops.conv2d(np.abs(x).astype("f8"), np.abs(w).astype("f8"))
    bound = (8 + 2 * np.sqrt(c * m * m)) * np.finfo("f4").eps * magnitude
    with convnet.set_precision("highest"):
        assert (np.abs(ops.conv2d(x, w) - exact) <= bound).all()


ACTIVATIONS = ["relu", "sigmoid", "tanh", "silu", "leaky_relu", "gelu"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@formats
@dtypes
def test_activation_is_the_op_of_that_name(activation, memory_format, dtype):
    function = getattr(ops, activation)
    for x_shape, w_shape, options, _ in KERNELS.values():
        x, w, b, _ = make(x_shape, w_shape, options, dtype, memory_format)
        y = ops.conv2d(x, w, b, activation=activation, **options)
        assert y.tobytes() == function(ops.conv2d(x, w, b, **options)).tobytes()


def test_padding_modes_are_explicit_pads():
    x = normal(2, 3, 8, 9)
    for (r, s), stride, dilation in product(((3, 3), (2, 4)), (1, 2), (1, 2)):
        w = normal(4, 3, r, s, seed=1)
        for mode in ("valid", "same", "full"):
            args = (stride, mode, dilation, 1, 2)
            dims = conv_dims(x.shape, w.shape, *args)
            pads = tuple(
                (low, max(high, 0)) for low, high in zip(dims.pad_low, dims.pad_high, strict=True)
            )
            y = ops.conv2d(x, w, stride=stride, dilation=dilation, padding=mode)
            padded = np.pad(x, ((0, 0), (0, 0), *pads))
            for expected in (
                ops.conv2d(x, w, stride=stride, dilation=dilation, padding=pads),
                ops.conv2d(padded, w, stride=stride, dilation=dilation),
            ):
                np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)


def test_one_dimension_is_two_with_one_row():
    x, w, b = normal(2, 4, 30), normal(6, 2, 5, seed=1), normal(6, seed=2)
    for padding, pads in (("same", "same"), (((3, 1),), ((0, 0), (3, 1)))):
        y = ops.conv1d(x, w, b, stride=2, padding=padding, groups=2)
        expected = ops.conv2d(
            x[:, :, None], w[:, :, None], b, stride=(1, 2), padding=pads, groups=2
        )
        np.testing.assert_allclose(y, expected[:, :, 0], rtol=0, atol=1e-13)


def test_im2col_times_weights_is_the_convolution():
    x, w = normal(2, 3, 7, 8), normal(5, 3, 3, 2, seed=1)
    options = {"stride": 2, "padding": 1, "dilation": (1, 2)}
    y = ops.conv2d(x, w, **options)
    cols = ops.im2col(x, (3, 2), **options)
    product_ = ops.matmul(w.reshape(5, -1), cols)
    np.testing.assert_allclose(product_.reshape(y.shape), y, rtol=0, atol=1e-13)
    counts = ops.col2im(np.ones_like(cols), x.shape, (3, 2), **options)
    np.testing.assert_array_equal(
        counts,
        ops.conv2d_backward(np.ones((2, 1, *y.shape[2:])), x, np.ones((1, 3, 3, 2)), **options)[0],
    )


@pytest.mark.parametrize("function", ["conv", "conv_input_grad", "conv_weight_grad"])
def test_a_wrong_tap_is_found(monkeypatch, function):
    """A kernel that takes its padding one off is caught by the cases."""
    real = getattr(cpu, function)

    def faulty(*args):
        i = next(i for i, a in enumerate(args) if hasattr(a, "pad_low"))
        low = args[i].pad_low
        shifted = args[i]._replace(pad_low=(*low[:-1], low[-1] + 1))
        real(*args[:i], shifted, *args[i + 1 :])

    monkeypatch.setattr(cpu, function, faulty)
    op = "conv2d" if function == "conv" else "conv2d_backward"
    run = next(r for r in RUNS if r.case.op == op and r.case.id == "W16")
    assert f"CrossCheckError: {function} on cpu" in runner.run_one(run)[1]


def test_cases_hold_every_public_function_and_kernel():
    ops_here = {n for n in ops.__all__ if "conv" in n or "col" in n} - {"conv2d_algorithm"}
    assert ops_here == {c.op for c in CASES}
    algorithms = set()
    for _, x, k, kernel, options, _ in GEOMETRIES:
        if len(x) == 4:
            w = (k, x[1] // options.get("groups", 1), *kernel)
            algorithms.add(ops.conv2d_algorithm(x, w, **options))
    assert algorithms == {a for *_, a in KERNELS.values()}
