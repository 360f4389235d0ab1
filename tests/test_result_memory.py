"""Memory of results: kept for the next ones up to a limit, given back on demand, never leaked."""

import gc
import os
import subprocess
import sys
import threading
import tracemalloc

import convnet
import numpy as np
import pytest
from convnet import memory, ops

MB = 1 << 20
F32 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def _own_limit():
    former = convnet.get_cache_limit()
    convnet.set_cache_limit(64 * MB)
    convnet.empty_cache()
    yield
    convnet.set_cache_limit(former)
    convnet.empty_cache()


def result(megabytes: float) -> np.ndarray:
    return ops.relu(np.ones(int(megabytes * MB / 4), np.float32))


def address(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


def test_freed_memory_serves_the_next_result_of_that_size():
    a = result(8)
    first = address(a)
    del a
    assert 8 * MB <= memory.cached() <= 10 * MB
    assert address(result(4)) != first, "half of a block would be wasted"
    b = result(8)
    assert address(b) == first
    assert (b == 1).all()


@pytest.mark.parametrize("megabytes", [1 / 64, 0.1, 0.9, 1, 8])
def test_results_own_their_memory(megabytes):
    a = result(megabytes)
    assert a.base is None
    assert a.flags.owndata
    assert a.ctypes.data % 64 == 0


@pytest.mark.parametrize("shape", [(3, 5, 400, 201), (0, 3, 4, 4), (2, 3, 5), (1, 7, 1, 1)])
def test_channels_last_arrays_are_laid_out_as_numpy_does(shape):
    expected = np.empty((shape[0], *shape[2:], shape[1]), F32)
    expected = expected.transpose(0, len(shape) - 1, *range(1, len(shape) - 1))
    a = memory.empty(shape, F32, True)
    assert a.shape == shape
    assert a.flags.c_contiguous == expected.flags.c_contiguous
    assert a.strides == expected.strides or a.size == 0
    like = memory.empty_like(a, np.dtype(np.int64))
    assert like.shape == shape
    assert like.dtype == np.int64
    assert like.transpose(0, *range(2, a.ndim), 1).flags.c_contiguous


def test_numpy_alone_is_not_served():
    before = memory.cached()
    a = np.empty(8 * MB, np.uint8)
    del a
    assert memory.cached() == before


def test_at_most_the_limit_is_kept_and_the_oldest_goes_first():
    blocks = [result(20) for _ in range(5)]
    addresses = [address(b) for b in blocks]
    while blocks:
        del blocks[0]
    assert 40 * MB <= memory.cached() <= 64 * MB
    assert address(result(20)) in addresses[-3:]
    del blocks
    result(100)
    assert memory.cached() <= 64 * MB, "more than the limit is never kept"


def test_a_lower_limit_and_empty_cache_give_memory_back():
    result(20)
    result(10)
    assert memory.cached() >= 30 * MB
    convnet.set_cache_limit(15 * MB)
    assert 10 * MB <= memory.cached() <= 15 * MB
    convnet.empty_cache()
    assert memory.cached() == 0


def test_zero_turns_it_off():
    kept = result(8)
    convnet.set_cache_limit(0)
    other = result(8)
    del kept, other
    assert memory.cached() == 0


def test_small_results_can_be_resized():
    a = result(0.1)
    n = a.size
    a.resize(3 * n)
    assert (a[:n] == 1).all()
    assert not a[n:].any()
    a.resize(10)
    assert (a == 1).all()


def test_arrays_can_be_resized():
    a = result(4)
    a.resize(3 * MB)
    assert (a[:MB] == 1).all()
    assert not a[MB:].any()
    a.resize(10)
    assert (a == 1).all()


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (2**63, ValueError), (1.5, TypeError), ("1", TypeError)]
)
def test_bad_limit(value, error):
    with pytest.raises(error, match="bytes: expected"):
        convnet.set_cache_limit(value)


@pytest.mark.parametrize(
    ("text", "printed"), [("0", "0"), ("12345678", "12345678"), ("", None), ("1 MB", "ValueError")]
)
def test_environment(text, printed):
    environment = {**os.environ, "CONVNET_CACHE_LIMIT": text}
    run = subprocess.run(
        [sys.executable, "-c", "import convnet; print(convnet.get_cache_limit())"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if printed == "ValueError":
        assert "CONVNET_CACHE_LIMIT: expected a number of bytes, got '1 MB'" in run.stderr
    else:
        assert run.stdout.strip() == (printed or str(memory._default()))


def test_results_of_many_threads_never_share_memory():
    wrong = []

    def work(value: float) -> None:
        x = np.full(MB // 2, value, np.float32)
        for _ in range(50):
            a, b = ops.relu(x), ops.relu(x)
            if not ((a == value).all() and (b == value).all()):
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(i + 1),)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_cache_of_its_own():
    result(8)
    mine = result(8)
    child = os.fork()
    if child == 0:
        a, b = ops.relu(np.full(2 * MB, 2, np.float32)), result(8)
        ok = (a == 2).all() and (b == 1).all() and (mine == 1).all()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (mine == 1).all()


def test_tracemalloc_sees_what_is_alive_and_nothing_else():
    x = np.ones(2 * MB, np.float32)
    tracemalloc.start()
    try:
        a = ops.relu(x)
        with_a = tracemalloc.get_traced_memory()[0]
        del a
        without = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            ops.relu(x)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0 <= with_a - without - 8 * MB < 1000
    assert abs(after - without) < 50_000


LEAK = """
import resource, sys
import numpy as np
import convnet
from convnet import ops

convnet.set_num_threads(1)
rng = np.random.default_rng(0)
xs = [np.ones(int(n), np.float32) for n in rng.integers(200_000, 600_000, 7)]
def use(count):
    for i in range(count):
        y = ops.relu(xs[i % 7])
        ops.relu_backward(y, y)
def peak():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 2**10
use(50)
before = peak()
use(10_000)
print(peak() - before)
"""


def test_ten_thousand_calls_leave_nothing_behind():
    pytest.importorskip("resource", reason="peak memory is read by the resource module of Unix")
    run = subprocess.run(
        [sys.executable, "-c", LEAK], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(run.stdout) < 4
