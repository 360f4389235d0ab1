"""Sizes beyond 32 bits, a grid or the memory: refused before anything runs, or gone over in pieces.

The large arrays are one element seen through strides of 0.
"""

import gc

import numpy as np
import pytest
from convnet import ops
from convnet.backends import cuda
from convnet.gpu import driver, to_device
from convnet.gpu.memory import pool
from convnet.kernels.cuda import conv, conv_weight_grad, gemm, launch, norm, norm_sums, sums
from convnet.kernels.cuda.engine import Tile
from convnet.shapes import conv_dims, pool_dims

F32 = np.dtype(np.float32)
TILE = Tile(8, 8, 4, 4, 4, 4)
RNG = np.random.default_rng(0)


def large(*shape, dtype=F32):
    return np.broadcast_to(np.zeros((), dtype), shape)


def convolution(name, x, w, groups=1):
    dims = conv_dims(x, w, 1, 0, 1, groups, len(x) - 2)
    y = dims.batch, dims.out_channels, *dims.out_size
    arrays = {
        "conv": (large(*x), large(*w), None, large(*y)),
        "conv_input_grad": (large(*y), large(*w), None, large(*x)),
        "conv_weight_grad": (large(*y), large(*x), large(*w), None),
    }
    rest = (dims, None) if name == "conv" else (dims,)
    return lambda: getattr(cuda, name)(*arrays[name], *rest)


def pooling(name, x, kernel):
    dims = pool_dims(x, kernel, None, 0, 1, False, True, None, len(x) - 2)
    x, y = large(*x), large(*x[:2], *dims.out_size)
    arrays = (x, y) if "avg" in name else (x, y, None)
    return lambda: getattr(cuda, name)(*arrays, dims)


TAPS = large(2, 2, dtype=np.int64), large(2, 2**17, dtype=np.int64), None, None
SLICES = 2**16, 2, 2**16
TARGETS = large(2**16, 2**16, dtype=np.int64)
PLANE = 1, 1, 2**16, 2**16
TALL = 2**31, 1

CALLS = {
    "softmax": lambda: cuda.softmax(large(*SLICES), large(*SLICES)),
    "log_softmax_backward": lambda: cuda.log_softmax_backward(*[large(*SLICES)] * 3),
    "cross_entropy": lambda: cuda.cross_entropy(large(*SLICES), TARGETS, large(2**16, 2**16), 0),
    "gemm rows": lambda: cuda.gemm(large(*TALL), large(1, 8), None, large(2**31, 8), 1, 0, None),
    "gemm depth": lambda: cuda.gemm(large(1, 2**31), large(*TALL), None, large(1, 1), 1, 0, None),
    "conv": convolution("conv", PLANE, (1, 1, 1, 1)),
    "conv pixels": convolution("conv", (2**16, 1, 2**8, 2**8), (1, 1, 1, 1)),
    "conv_input_grad": convolution("conv_input_grad", PLANE, (1, 1, 1, 1)),
    "conv weights": convolution("conv", (1, 2**16, 1, 1), (2**16, 2**16, 1, 1)),
    "conv_weight_grad": convolution("conv_weight_grad", PLANE, (1, 1, 1, 1)),
    "depthwise": convolution("conv", (4, 2, 2**16, 2**16), (2, 1, 3, 3), 2),
    "max_pool": pooling("max_pool", PLANE, 2),
    "avg_pool": pooling("avg_pool", (1, 1, 2**32), 2),
    "adaptive_avg_pool": lambda: cuda.adaptive_avg_pool(large(*PLANE), large(1, 1, 2, 2)),
    "im2col": lambda: cuda.im2col(
        large(*PLANE), large(1, 1, 2**32), conv_dims(PLANE, (1, 1, 1, 1), 1, 0, 1, 1, 2)
    ),
    "interpolate": lambda: cuda.interpolate(
        large(1, 1, 2, 2**17), large(1, 1, 2**16, 2**17), *TAPS
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_more_than_kernels_count_is_refused(call):
    with pytest.raises(ValueError, match="a GPU's kernels take at most"):
        call()


@pytest.mark.parametrize("grid", [2**31, (1, 65536), (1, 1, 65536)])
def test_more_blocks_than_a_gpu_takes_are_refused(grid):
    with pytest.raises(ValueError, match="arrays too large: a GPU takes no grid of"):
        launch.check_grid(grid)
    launch.check_grid((2**31 - 1, 65535, 65535))


@pytest.fixture
def one_block_along_y(monkeypatch):
    for module in (conv, conv_weight_grad, gemm, launch, sums):
        monkeypatch.setattr(module, "MOST_BLOCKS", 1)


@pytest.mark.usefixtures("one_block_along_y")
def test_a_product_of_more_tiles_than_blocks_along_y_and_z(checked):
    a, b = (RNG.standard_normal(s).astype(F32) for s in ((2, 9, 5), (2, 5, 20)))

    class Small:
        @staticmethod
        def gemm(*args):
            gemm.run_gemm(*args, TILE, 1)

    checked(Small).gemm(a, b, None, np.empty((2, 9, 20), F32), 1.0, 0.0, None)


@pytest.mark.usefixtures("one_block_along_y")
def test_a_convolution_of_more_tiles_than_blocks_along_y(checked):
    shapes = (3, 1, 3, 4), (2, 1, 2, 2), (3, 2, 2, 3)
    x, w, dy = (RNG.standard_normal(s).astype(F32) for s in shapes)
    dims = conv_dims(x.shape, w.shape, 1, 0, 1, 1, 2)
    checked(cuda).conv(x, w, None, np.empty_like(dy), dims, None)
    checked(cuda).conv_weight_grad(dy, x, np.empty_like(w), np.empty(2, F32), dims)


def test_statistics_of_more_channels_than_blocks_along_y(checked, monkeypatch):
    """Three channels, and a grid of at most two along y."""
    monkeypatch.setattr(launch, "MOST_BLOCKS", 2)
    monkeypatch.setattr(norm_sums, "PART", 24)
    x, dy = (RNG.standard_normal((2, 3, 8)).astype(F32) for _ in range(2))
    mean, var = np.empty(3, F32), np.empty(3, F32)
    checked(norm).batch_norm_stats(x, mean, var)
    grads = np.empty_like(x), np.empty(3, F32), np.empty(3, F32)
    checked(norm).batch_norm_backward(dy, x, mean, var, None, *grads, 1e-5, True)


def test_no_memory_within_an_op_leaves_nothing_behind(monkeypatch):
    """Whichever of a gradient's arrays the driver has no memory for."""
    x, w, dy = (
        to_device(RNG.standard_normal(s).astype(F32))
        for s in ((2, 2, 4, 4), (3, 2, 3, 3), (2, 3, 2, 2))
    )
    allocate = driver.allocate
    for refused in (1, 2, 3):
        gc.collect()
        pool.clear()
        before, asked = (pool.in_use, len(driver._heap)), []

        def few(size, refused=refused, asked=asked):
            asked.append(size)
            if len(asked) >= refused:
                raise MemoryError
            return allocate(size)

        monkeypatch.setattr(driver, "allocate", few)
        with pytest.raises(MemoryError, match=r"out of GPU memory: .* MB wanted"):
            ops.conv2d_backward(dy, x, w)
        monkeypatch.setattr(driver, "allocate", allocate)
        gc.collect()
        pool.clear()
        assert (pool.in_use, len(driver._heap)) == before
    ops.conv2d_backward(dy, x, w)
