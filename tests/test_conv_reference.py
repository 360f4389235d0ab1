"""The reference's convolutions against torch, SciPy, NumPy and ONNX's reference."""

from itertools import product

import convnet
import numpy as np
import pytest
from convnet import ops
from convnet.check.conv import CASES


def close(got, expected, terms=100):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14 * terms)


def torch_padding(x, padding, kernel, stride, dilation, torch):
    """x padded by torch as `padding` says, by formulas of this test's own."""
    amounts = []
    for axis in reversed(range(len(kernel))):
        n, m, s, d = x.shape[axis + 2], kernel[axis], stride[axis], dilation[axis]
        if padding == "valid":
            low = high = 0
        elif padding == "full":
            low = high = d * (m - 1)
        elif padding == "same":
            outputs = (n + s - 1) // s
            total = max(0, (outputs - 1) * s + d * (m - 1) + 1 - n)
            low, high = total // 2, (total + 1) // 2
        elif isinstance(padding, int):
            low = high = padding
        else:
            low, high = np.broadcast_to(padding[axis], 2).tolist()
        amounts += [low, high]
    return torch.nn.functional.pad(x, amounts)


def every(value, rank):
    return (value,) * rank if isinstance(value, int) else value


CONVOLUTIONS = [c for c in CASES if c.op in ("conv1d", "conv2d", "conv3d")]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolution_and_its_gradients_are_torchs(rank):
    """Over the whole case list: padding modes, strides, dilations, groups."""
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, f"conv{rank}d")
    compared = 0
    for case in CONVOLUTIONS:
        args = case.materialise(np.float64)
        x, w, b = args.pop("x"), args.pop("w"), args.pop("b")
        if x.ndim != rank + 2 or case.prepare or "activation" in args or x.size == 0:
            continue
        stride = every(args.get("stride", 1), rank)
        dilation = every(args.get("dilation", 1), rank)
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, w)]
        bias = None if b is None else torch.tensor(b, requires_grad=True)
        padded = torch_padding(
            tensors[0], args.get("padding", 0), w.shape[2:], stride, dilation, torch
        )
        expected = function(
            padded, tensors[1], bias, stride=stride, dilation=dilation, groups=args.get("groups", 1)
        )
        dy = np.random.default_rng(1).standard_normal(expected.shape)
        expected.backward(torch.tensor(dy))
        with convnet.use_backend("reference"):
            y = getattr(ops, case.op)(x, w, b, **args)
            dx, dw, db = getattr(ops, f"{case.op}_backward")(dy, x, w, **args)
        close(y, expected.detach().numpy(), w[0].size)
        close(dx, tensors[0].grad.numpy(), w[:, 0].size)
        close(dw, tensors[1].grad.numpy(), dy[:, 0].size)
        if bias is not None:
            close(db, bias.grad.numpy(), dy[:, 0].size)
        compared += 1
    assert compared > {1: 7, 2: 100, 3: 8}[rank]


def test_transposed_convolution_and_its_gradients_are_torchs():
    torch = pytest.importorskip("torch")
    compared = 0
    for case in CASES:
        args = case.materialise(np.float64)
        if case.op != "conv_transpose2d" or isinstance(args.get("padding", 0), tuple):
            continue
        arrays = args.pop("x"), args.pop("w"), args.pop("b")
        if arrays[0].size == 0:
            continue
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        expected = torch.nn.functional.conv_transpose2d(*tensors, **args)
        dy = np.random.default_rng(1).standard_normal(expected.shape)
        expected.backward(torch.tensor(dy))
        with convnet.use_backend("reference"):
            y = ops.conv_transpose2d(*arrays, **args)
            gradients = ops.conv_transpose2d_backward(dy, *arrays[:2], **args)
        close(y, expected.detach().numpy())
        for gradient, tensor in zip(gradients, tensors, strict=True):
            close(gradient, tensor.grad.numpy(), dy[:, 0].size)
        compared += 1
    assert compared >= 10


def test_asymmetric_transposed_padding_cuts_the_result():
    x, w = np.random.default_rng(0).standard_normal((2, 2, 3, 4, 5))[:, :, :2, :3, :3]
    w = w[:, :, :2, :2]
    with convnet.use_backend("reference"):
        whole = ops.conv_transpose2d(x, w, stride=2)
        cut = ops.conv_transpose2d(x, w, stride=2, padding=((0, 1), (2, 0)))
    np.testing.assert_array_equal(cut, whole[:, :, :-1, 2:])


def test_im2col_and_col2im_are_torchs():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 8))
    for k, s, p, d in product((1, 2, (3, 2)), (1, 2), (0, 1), (1, 2)):
        options = {"kernel_size": k, "stride": s, "padding": p, "dilation": d}
        expected = torch.nn.functional.unfold(torch.tensor(x), **options)
        folded = torch.nn.functional.fold(expected, x.shape[2:], **options)
        with convnet.use_backend("reference"):
            cols = ops.im2col(x, **options)
            np.testing.assert_array_equal(cols, expected.numpy())
            close(ops.col2im(cols, x.shape, **options), folded.numpy())


SIZES = list(product(range(1, 8), range(1, 8)))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolve_is_numpys(mode, backend):
    rng = np.random.default_rng(0)
    for n, m in SIZES:
        x, w = rng.standard_normal(n), rng.standard_normal(m)
        with convnet.use_backend(backend):
            y = ops.convolve(x, w, mode)
        expected = np.convolve(x, w, mode)
        assert y.shape == expected.shape
        close(y, expected)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolve_is_scipys_in_two_dimensions(mode, backend):
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    refused = 0
    for (h, r), (w, s) in product(SIZES[::4], SIZES[::5]):
        image, kernel = rng.standard_normal((h, w)), rng.standard_normal((r, s))
        with convnet.use_backend(backend):
            try:
                expected = signal.convolve2d(image, kernel, mode)
            except ValueError:
                refused += 1
                with pytest.raises(ValueError, match="w: expected to lie within x"):
                    ops.convolve(image, kernel, mode)
                continue
            y = ops.convolve(image, kernel, mode)
        assert y.shape == expected.shape
        close(y, expected)
    assert (refused > 0) == (mode == "valid")


def test_correlation_is_scipys():
    """conv2d's sum over channels, against scipy's correlation of one channel after another."""
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 7, 9)), rng.standard_normal((4, 3, 3, 2))
    for mode in ("full", "valid"):
        with convnet.use_backend("reference"):
            y = ops.conv2d(x, w, padding=mode)
        for n, k in np.ndindex(2, 4):
            expected = sum(signal.correlate2d(x[n, c], w[k, c], mode) for c in range(3))
            close(y[n, k], expected)


@pytest.mark.parametrize("mode", ["same", "valid"])
def test_modes_are_onnxs(mode):
    """SAME_UPPER with strides and dilations: what torch lacks."""
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    names = {"same": "SAME_UPPER", "valid": "VALID"}
    rng = np.random.default_rng(0)
    compared = 0
    for m, s, d, n in product((1, 2, 3, 4), (1, 2, 3), (1, 2), (7, 8)):
        if d * (m - 1) + 1 > n:
            continue
        x = rng.standard_normal((1, 2, n, n + 1)).astype(np.float32)
        w = rng.standard_normal((3, 2, m, m)).astype(np.float32)
        node = onnx.helper.make_node(
            "Conv",
            ["x", "w"],
            ["y"],
            kernel_shape=[m, m],
            strides=[s, s],
            dilations=[d, d],
            auto_pad=names[mode],
        )
        (expected,) = reference.ReferenceEvaluator(node).run(None, {"x": x, "w": w})
        with convnet.use_backend("reference"):
            y = ops.conv2d(x, w, stride=s, dilation=d, padding=mode)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
        compared += 1
    assert compared > 20


def test_transposed_convolution_is_onnxs():
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 4, 4, 5)).astype(np.float32)
    # Between no groups and one channel each, ONNX's reference (1.23) fails on shapes of its own.
    for s, (low, high), more, groups in product((1, 2), ((0, 0), (1, 1), (0, 1)), (0, 1), (1, 4)):
        if more >= s:
            continue
        w = rng.standard_normal((4, 2 if groups == 1 else 1, 3, 3)).astype(np.float32)
        node = onnx.helper.make_node(
            "ConvTranspose",
            ["x", "w"],
            ["y"],
            kernel_shape=[3, 3],
            strides=[s, s],
            pads=[low, low, high, high],
            output_padding=[more, more],
            group=groups,
        )
        (expected,) = reference.ReferenceEvaluator(node).run(None, {"x": x, "w": w})
        with convnet.use_backend("reference"):
            y = ops.conv_transpose2d(
                x, w, stride=s, padding=((low, high),) * 2, output_padding=more, groups=groups
            )
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
