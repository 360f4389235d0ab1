"""What only a GPU shows: other libraries' arrays, streams, memory, and that nothing waits."""

import gc

import convnet
import numpy as np
import pytest
from convnet import nn, ops, optim
from convnet.data import DataLoader, TensorDataset
from convnet.gpu import DeviceArray, driver, to_device
from convnet.gpu.memory import pool
from convnet.nn.conversion import host

RNG = np.random.default_rng(0)


def test_torch_in_and_out():
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 3, 8, 8, device="cuda")
    y = ops.relu(x)
    assert type(y) is torch.Tensor
    assert y.is_cuda
    torch.testing.assert_close(y, torch.relu(x))
    out = torch.empty_like(x)
    assert ops.relu(x, out=out) is out
    view = x.permute(0, 2, 3, 1)
    torch.testing.assert_close(ops.relu(view), torch.relu(view))
    last = x.to(memory_format=torch.channels_last)
    assert ops.relu(last).stride() == last.stride()
    loss = ops.mse_loss(x, y)
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(x, y))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        big = torch.randn(1 << 24, device="cuda")
        for _ in range(50):
            big = ops.relu(big)
        result = big.sum()
    stream.synchronize()
    assert torch.isfinite(result)


def test_cupy_in_and_out():
    cupy = pytest.importorskip("cupy")
    x = cupy.random.standard_normal((3, 5), dtype=cupy.float32)
    y = ops.relu(x)
    assert type(y) is cupy.ndarray
    cupy.testing.assert_array_equal(y, cupy.maximum(x, 0))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        z = ops.relu(y[:, ::2])
        stream.synchronize()
    cupy.testing.assert_array_equal(z, y[:, ::2])


def test_numba_in():
    from numba import cuda

    x = RNG.standard_normal((4, 4)).astype(np.float32)
    y = ops.relu(cuda.to_device(x))
    assert type(y) is DeviceArray
    np.testing.assert_array_equal(cuda.as_cuda_array(y).copy_to_host(), np.maximum(x, 0))


def test_calls_return_before_the_gpu_is_done():
    x = to_device(RNG.standard_normal(1 << 26).astype(np.float32))
    for _ in range(3):
        ops.gelu(x)
    driver.synchronize(0)
    start, end = driver.Event(timing=True), driver.Event(timing=True)
    import time

    start.record(0)
    begin = time.perf_counter()
    for _ in range(200):
        x = ops.gelu(x)
    given = time.perf_counter() - begin
    end.record(0)
    end.wait()
    assert given < end.seconds_since(start)


def test_out_of_memory_is_an_error_and_leaks_nothing():
    gc.collect()
    in_use = pool.in_use
    total = driver.free_and_total()[1]
    with pytest.raises(MemoryError, match="out of GPU memory"):
        to_device(np.ones(1, np.float32)).empty((total,))
    gc.collect()
    assert pool.in_use == in_use
    np.testing.assert_array_equal(ops.relu(to_device(np.ones(5))).get(), np.ones(5))


def test_memory_comes_back():
    x = to_device(np.ones(1 << 20, np.float32))
    ops.relu(x)
    gc.collect()
    before = pool.in_use
    for _ in range(100):
        ops.relu(ops.relu(x))
    assert pool.in_use == before
    assert pool.kept <= pool.limit
    convnet.cuda.empty_cache()
    assert pool.kept == 0


def test_a_cnn_trains_as_on_the_cpu():
    x = RNG.standard_normal((96, 1, 12, 12)).astype(np.float32)
    target = (x.mean((1, 2, 3)) > 0).astype(np.int64)
    losses = {}
    for device in ("cpu", "cuda"):
        convnet.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(8 * 36, 2),
        ).to(device)
        optimizer = optim.Adam(net.parameters(), 1e-3)
        loader = DataLoader(TensorDataset(x, target), 32, device=device)
        losses[device] = []
        for _ in range(5):
            for batch, t in loader:
                optimizer.zero_grad()
                loss = nn.CrossEntropyLoss()(net(batch), t)
                loss.backward()
                optimizer.step()
                losses[device].append(float(host(loss)))
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=1e-3)
    assert losses["cuda"][-1] < losses["cuda"][0]
