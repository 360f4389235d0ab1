"""The Python twins of the intrinsics, which the simulator runs in their place.

They say what each instruction must do. The instructions themselves are compiled here for no GPU
and run on none: that takes a GPU (tests/test_cuda.py compiles the kernels that use them).
"""

import numpy as np
import pytest
from convnet.kernels.cuda.intrinsics import (
    VECTOR,
    clear_sums,
    copy_async,
    copy_commit,
    copy_vector_async,
    copy_wait,
    lane_xor,
    load_registers,
    multiply_step_tf32,
    shared_array,
    spread_sums_tf32,
    store_registers,
    warp_max,
    warp_sum,
)
from numba import cuda, float32, int32

DTYPES = pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)], ids=str)


def run(kernel, threads, *arrays):
    cuda.jit(kernel)[1, threads](*arrays)


@DTYPES
def test_a_vector_passes_through_registers(dtype):
    lanes = VECTOR[dtype]

    def kernel(a, b):
        r = cuda.local.array(8, dtype)
        load_registers(a, lanes, r, 2, lanes)
        store_registers(b, 0, r, 2, lanes)
        load_registers(a, 1, r, 0, 1)
        store_registers(b, lanes + 1, r, 0, 1)

    a, b = np.arange(8, dtype=dtype), np.zeros(8, dtype)
    run(kernel, 1, a, b)
    expected = np.zeros(8, dtype)
    expected[:lanes], expected[lanes + 1] = a[lanes : 2 * lanes], a[1]
    np.testing.assert_array_equal(b, expected)


def test_a_vector_off_its_place_is_an_error():
    def kernel(a):
        r = cuda.local.array(4, float32)
        load_registers(a, 2, r, 0, 4)

    with pytest.raises(IndexError, match="a vector of 4 at 2"):
        run(kernel, 1, np.zeros(8, np.float32))


def copies(wait):
    def kernel(a, b):
        shared = shared_array(16, float32)
        copy_async(shared, 0, a, 3, 1)
        copy_async(shared, 1, a, 99, 0)
        copy_commit()
        copy_vector_async(shared, 4, a, 4, 3)
        copy_vector_async(shared, 8, a, 4, 4)
        copy_commit()
        copy_wait(wait)
        for i in range(16):
            b[i] = shared[i]

    a, b = np.arange(1, 9, dtype=np.float32), np.zeros(16, np.float32)
    run(kernel, 1, a, b)
    return b


def test_copies_arrive_and_fill_with_zeros():
    b = copies(0)
    np.testing.assert_array_equal(b[[0, 1]], [4, 0])
    np.testing.assert_array_equal(b[4:12], [5, 6, 7, 0, 5, 6, 7, 8])
    assert np.isnan(b[2])  # shared memory begins as rubbish


def test_copies_are_late_until_they_are_waited_for():
    b = copies(1)
    np.testing.assert_array_equal(b[[0, 1]], [4, 0])
    assert np.isnan(b[4:12]).all()


def test_shared_arrays_are_a_block_s_and_apart():
    def kernel(b):
        left = shared_array(2, int32)
        right = shared_array(2, int32)
        t = cuda.threadIdx.x
        left[t] = t
        right[t] = 10 + t
        cuda.syncthreads()
        b[2 * t] = left[1 - t]
        b[2 * t + 1] = right[1 - t]

    b = np.zeros(4, np.int32)
    run(kernel, 2, b)
    assert b.tolist() == [1, 11, 0, 10]


@DTYPES
def test_warps(dtype):
    def kernel(a, b):
        t = cuda.threadIdx.x
        b[0, t] = lane_xor(a[t], 5)
        b[1, t] = warp_sum(a[t])
        b[2, t] = warp_max(a[t])

    a = np.random.default_rng(0).integers(-99, 99, 64).astype(dtype)
    b = np.zeros((3, 64), dtype)
    run(kernel, 64, a, b)
    warps = a.reshape(2, 32)
    np.testing.assert_array_equal(b[0], a[np.arange(64) ^ 5])
    np.testing.assert_array_equal(b[1], warps.sum(1).repeat(32))
    np.testing.assert_array_equal(b[2], warps.max(1).repeat(32))


def test_tf32_keeps_ten_bits():
    """A warp multiplies 16 x 8 by 8 x 8: each factor is rounded, ties away from zero."""

    def kernel(a, b, d):
        shared = shared_array(256, float32)
        sums = cuda.local.array(4, float32)
        t = cuda.threadIdx.x
        for i in range(t, 128, 32):
            shared[i] = a[i]
            if i < 64:
                shared[128 + i] = b[i]
        cuda.syncthreads()
        clear_sums(sums, 4)
        multiply_step_tf32(shared, 0, 16, 128, 8, sums, 8, 16, 8)
        cuda.syncthreads()
        spread_sums_tf32(shared, 0, 8, sums, 0, 16, 8)
        cuda.syncthreads()
        for i in range(t, 128, 32):
            d[i] = shared[i]

    rng = np.random.default_rng(1)
    a, b = (rng.integers(-9, 9, s).astype(np.float32) for s in ((8, 16), (8, 8)))
    a[0, :5] = 1 + np.array([2**-11, 2**-11 - 2**-20, 3 * 2**-11, -(2**-12), 0])
    a[0, 5:7] = -1 - 2**-11, np.inf
    rounded = a.copy()
    rounded[0, :6] = 1 + 2**-10, 1, 1 + 2**-9, 1, 1, -1 - 2**-10
    d = np.zeros(128, np.float32)
    run(kernel, 32, a.ravel(), b.ravel(), d)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(d.reshape(16, 8), rounded.T @ b)
