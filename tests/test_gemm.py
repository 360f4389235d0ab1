"""Products: every case against the reference, the reference against NumPy, memory safety."""

from itertools import product

import convnet
import numpy as np
import pytest
from convnet import memory, ops
from convnet.backends import cpu
from convnet.check import runner

RUNS = runner.plan("gemm", backends=("cpu",), level=convnet.info()["instruction_set"])
DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("op", sorted({r.case.op for r in RUNS}))
def test_cases(op):
    """Within the bounds, the same bits for any threads and layout; bad input refused."""
    failures = [f for run in RUNS if run.case.op == op for f in [runner.run_one(run)[1]] if f]
    assert not failures, "\n\n".join(failures[:5])


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


SHAPES = [(4,), (3, 4), (4, 3), (2, 3, 4), (2, 4, 3), (1, 4, 2), (5, 1, 3, 4), (0, 4), (0, 3, 4)]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_matmul_follows_numpys_shapes(backend):
    """The same result or an error in both."""
    refused = 0
    for left, right in product(SHAPES, SHAPES):
        a, b = normal(*left), normal(*right, seed=1)
        with convnet.use_backend(backend):
            try:
                expected = np.matmul(a, b)
            except ValueError:
                refused += 1
                with pytest.raises(ValueError, match="b: expected"):
                    ops.matmul(a, b)
                continue
            got = ops.matmul(a, b)
        assert np.shape(got) == expected.shape
        assert type(got) is type(expected)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)
    assert 0 < refused < len(SHAPES) ** 2


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_reference_gemm_is_numpys(ta, tb):
    a, b, c = normal(5, 7), normal(7, 6, seed=1), normal(5, 6, seed=2)
    for given in (c, c[0]):
        with convnet.use_backend("reference"):
            y = ops.gemm(
                a.T if ta else a,
                b.T if tb else b,
                given,
                alpha=2.5,
                beta=-0.5,
                transpose_a=ta,
                transpose_b=tb,
            )
        np.testing.assert_allclose(y, 2.5 * np.dot(a, b) - 0.5 * given, rtol=0, atol=1e-13)


def test_reference_linear_and_its_gradients_are_torchs():
    torch = pytest.importorskip("torch")
    for shape in ((7,), (4, 7), (2, 3, 7)):
        x, w, b = normal(*shape), normal(5, 7, seed=1), normal(5, seed=2)
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
        expected = torch.nn.functional.linear(*tensors)
        dy = normal(*expected.shape, seed=3)
        expected.backward(torch.tensor(dy))
        with convnet.use_backend("reference"):
            y = ops.linear(x, w, b)
            gradients = ops.linear_backward(dy, x, w)
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-13)
        for gradient, tensor in zip(gradients, tensors, strict=True):
            np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides_give_the_bits_of_a_contiguous_copy(dtype):
    a, b = normal(15, 19, dtype=dtype), normal(19, 33, dtype=dtype, seed=1)
    row = normal(33, dtype=dtype)
    expected = ops.matmul(a, b)
    repeated = np.broadcast_to(row, (19, 33))
    views = {
        "transposed": (np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T),
        "negative": (a[::-1, ::-1].copy()[::-1, ::-1], b[::-1].copy()[::-1]),
        "every second": (np.repeat(a, 2, axis=1)[:, ::2], np.repeat(b, 2, axis=0)[::2]),
        "part": (np.pad(a, 3)[3:-3, 3:-3], np.pad(b, 3)[3:-3, 3:-3]),
    }
    for left, right in views.values():
        assert not left.flags.c_contiguous
        assert ops.matmul(left, right).tobytes() == expected.tobytes()
    assert ops.matmul(a, repeated).tobytes() == ops.matmul(a, repeated.copy()).tobytes()
    column = np.broadcast_to(a[:, :1], (15, 19))
    assert ops.matmul(column, b).tobytes() == ops.matmul(column.copy(), b).tobytes()
    one = ops.matmul(a[3:4], b)
    assert ops.matmul(a[3], b).tobytes() == one.tobytes()
    assert ops.matmul(np.repeat(a[3], 2)[::2], b).tobytes() == one.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_b_read_where_it_lies_gives_the_bits_of_copied_panels(dtype):
    for m, n, k in product((20, 50), (784, 816), (24, 65, 300)):
        a, b = normal(m, k, dtype=dtype), memory.empty((k, n), np.dtype(dtype))
        b[...] = normal(k, n, seed=1)
        beside = np.empty(b.size + 1, dtype)[1:].reshape(b.shape)  # in no cache line's place
        beside[...] = b
        y = ops.matmul(a, b)
        assert ops.matmul(a, beside).tobytes() == y.tobytes()
        error = np.abs(y - a.astype(np.float64) @ b.astype(np.float64))
        assert error.max() <= 100 * np.sqrt(k) * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [16, 100])
def test_where_b_begins_in_a_line_does_not_change_bits(m, dtype):
    """For many rows a small B is copied if its vectors lie in two lines, else read in place."""
    a, b = normal(m, 96, dtype=dtype), normal(96, 96, dtype=dtype, seed=1)
    line = 64 // b.itemsize
    room = np.empty(b.size + 2 * line, dtype)
    start = -room.ctypes.data // b.itemsize % line
    results = set()
    for moved in (0, 1, line // 4):
        placed = room[start + moved :][: b.size].reshape(b.shape)
        placed[:] = b
        results.add(ops.matmul(a, placed).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_is_written_whole_and_nothing_around_it(dtype):
    for m, n, k in product((1, 7, 15), (1, 9, 23, 33), (0, 5, 300)):
        a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype)
        around = np.full(m * n + 128, 77, dtype)
        out = around[64 : 64 + m * n].reshape(m, n)
        out[...] = np.nan
        assert ops.matmul(a, b, out=out) is out
        assert out.tobytes() == ops.matmul(a, b).tobytes()
        out[...] = np.nan
        assert ops.gemm(a, b, out, alpha=2.0, out=out) is out  # beta = 0: c is not read
        np.testing.assert_array_equal(out, 2 * ops.matmul(a, b))
        assert (around[:64] == 77).all()
        assert (around[-64:] == 77).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemm_accumulates_in_place(dtype):
    for m, n, k in ((15, 33, 19), (7, 2, 300), (350, 3, 20)):
        a, b, c = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype), normal(m, n, dtype=dtype)
        expected = ops.gemm(a, b, c, alpha=0.5, beta=2.0)
        assert ops.gemm(a, b, c, alpha=0.5, beta=2.0, out=c) is c
        assert c.tobytes() == expected.tobytes()


def test_results_of_nothing():
    assert ops.matmul(np.ones((3, 0)), np.ones((0, 4))).tolist() == [[0.0] * 4] * 3
    assert ops.gemm(np.ones((2, 0)), np.ones((0, 2)), np.ones(2), beta=3.0).tolist() == [[3, 3]] * 2
    assert ops.linear(np.ones((2, 0)), np.ones((2, 0)), np.array([-1.0, 2.0]), activation="relu")[
        0
    ].tolist() == [0, 2]
    dx, dw, db = ops.linear_backward(np.ones((0, 2)), np.ones((0, 3)), np.ones((2, 3)))
    assert dx.shape == (0, 3)
    assert not dw.any()
    assert not db.any()
    assert not ops.linear_backward(np.ones((4, 0)), np.ones((4, 3)), np.ones((0, 3)))[0].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_come_through(dtype):
    a, b = np.ones((3, 40), dtype), np.ones((40, 5), dtype)
    a[1, 7], b[30, 2] = np.nan, np.inf
    y = ops.matmul(a, b)
    assert np.isnan(y[1]).all()
    assert np.isinf(y[[0, 2], 2]).all()
    assert (y[[0, 2]][:, [0, 1, 3, 4]] == 40).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "silu", "leaky_relu", "gelu"])
def test_activation_is_the_op_of_that_name(activation, dtype):
    w, b = normal(5, 7, dtype=dtype, seed=1), normal(5, dtype=dtype, seed=2)
    for shape in ((7,), (4, 7), (2, 3, 7)):
        x = normal(*shape, dtype=dtype)
        y = ops.linear(x, w, b, activation=activation)
        assert y.tobytes() == getattr(ops, activation)(ops.linear(x, w, b)).tobytes()


def test_linear_gradients_are_the_adjoints():
    x, w, dy = normal(9, 7), normal(5, 7, seed=1), normal(9, 5, seed=2)
    dx, dw, db = ops.linear_backward(dy, x, w)
    y = np.vdot(dy, ops.linear(x, w))
    assert np.vdot(dx, x) == pytest.approx(y, rel=1e-12)
    assert np.vdot(dw, w) == pytest.approx(y, rel=1e-12)
    assert np.vdot(db, np.ones(5)) == pytest.approx(dy.sum(), rel=1e-12)


def test_a_wrong_product_is_found(monkeypatch):
    real = cpu.gemm

    def faulty(a, b, c, out, *rest):
        real(a, b[..., ::-1, :].copy(), c, out, *rest)

    monkeypatch.setattr(cpu, "gemm", faulty)
    run = next(r for r in RUNS if r.case.op == "matmul")
    assert "CrossCheckError: gemm on cpu" in runner.run_one(run)[1]
