"""DeviceArray and NumPy's functions on it, against the same calls on host arrays."""

import gc

import numpy as np
import pytest
from convnet.gpu import DeviceArray, driver, to_device
from convnet.gpu.memory import Pool, pool, rounded

RNG = np.random.default_rng(0)


def host(shape, dtype="float32"):
    if dtype == "bool":
        return RNG.random(shape) < 0.5
    if dtype.startswith("int"):
        return RNG.integers(-5, 6, shape).astype(dtype)
    return RNG.standard_normal(shape).astype(dtype)


def same(device, expected, exact=True):
    expected = np.asarray(expected)
    assert type(device) is DeviceArray
    assert (device.shape, device.dtype) == (expected.shape, expected.dtype)
    if exact:
        np.testing.assert_array_equal(device.get(), expected)
    else:
        np.testing.assert_allclose(device.get(), expected, rtol=1e-5, atol=1e-6)


VIEWS = {
    "all": lambda a: a,
    "transposed": lambda a: a.transpose(2, 0, 1),
    "swapped": lambda a: a.swapaxes(0, 2),
    "T": lambda a: a.T,
    "row": lambda a: a[1],
    "steps": lambda a: a[::2, 1:, ::-1],
    "backwards": lambda a: a[::-1, ::-1, ::-1],
    "new axis": lambda a: a[:, None, ..., 2],
    "empty": lambda a: a[3:1],
    "reshaped": lambda a: a.reshape(-1, 10),
    "reshaped view": lambda a: a[:, :2].reshape(3, -1),
    "reshaped copy": lambda a: a.swapaxes(0, 1).reshape(-1),
    "squeezed": lambda a: a[:1].squeeze(0),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views(view):
    a = host((3, 4, 5))
    device, expected = view(to_device(a)), view(a)
    same(device, expected)
    assert device.strides == expected.strides or device.size < 2
    assert device.flags.c_contiguous == expected.flags.c_contiguous
    assert device.flags.f_contiguous == expected.flags.f_contiguous
    same(device.copy(), expected)
    if expected.size:
        assert device.copy("K").strides == expected.copy("K").strides
        assert device.empty_like().strides == np.empty_like(expected).strides


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_assignment_writes_into_the_memory_of_a_view(view):
    a = host((3, 4, 5))
    device = to_device(a)
    if view(a).base is None:
        return
    view(device)[...] = 7
    view(a)[...] = 7
    same(device, a)
    values = host(view(a).shape, "float64")
    view(device)[...] = values
    view(a)[...] = values
    same(device, a)


UFUNCS = (
    [(getattr(np, n), 1) for n in ("negative", "absolute", "sign", "exp", "isnan", "isfinite")]
    + [(getattr(np, n), 2) for n in ("add", "subtract", "multiply", "true_divide", "maximum")]
    + [(getattr(np, n), 2) for n in ("minimum", "equal", "not_equal", "less", "less_equal")]
    + [(getattr(np, n), 2) for n in ("greater", "greater_equal")]
)


@pytest.mark.parametrize(("ufunc", "count"), UFUNCS, ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float64", "float32")])
def test_ufunc(ufunc, count, dtypes):
    a, b = host((2, 3, 5), dtypes[0]), host((3, 1), dtypes[1])
    a[0, 0, :2] = b[0] = np.nan
    arrays = (a, b)[:count]
    same(ufunc(*map(to_device, arrays)), ufunc(*arrays), exact=False)


def test_numbers_are_weak_and_types_numpys():
    a, i, b = host(7), host(7, "int64"), host(7, "bool")
    d, di, db = map(to_device, (a, i, b))
    same(d * 2, a * 2)
    same(1 - d, 1 - a)
    same(d * np.float64(2), a * np.float64(2))
    same(di + 1, i + 1)
    same(di / 2, i / 2)
    same(di + d, i + a)
    same(~db, ~b)
    same(db & (d > 0), b & (a > 0))
    same(d**2, a**2, exact=False)
    d += 1
    a += 1
    same(d, a)
    same(np.where(d > 0, d, 0), np.where(a > 0, a, 0))
    same(np.clip(d, -0.5, 0.5), np.clip(a, -0.5, 0.5))
    with pytest.raises(TypeError, match="cannot cast"):
        di += 0.5


REDUCTIONS = [
    (name, axis)
    for name in ("sum", "mean", "max", "min", "argmax", "argmin")
    for axis in (None, 0, -1, 1, (0, 2), (0, 1))
    if "arg" not in name or not isinstance(axis, tuple)
]


@pytest.mark.parametrize(("name", "axis"), REDUCTIONS, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_reduction(name, axis, keepdims):
    a = host((4, 5, 6)).transpose(1, 0, 2)
    a[2, 1, 3] = a[4, 0, 0] = 9  # a tie
    device = getattr(to_device(a), name)(axis, keepdims=keepdims)
    same(device, getattr(a, name)(axis, keepdims=keepdims), exact="arg" in name)


def test_reductions_of_much_to_little_are_made_in_parts():
    a = host((2, 301))
    for name in ("sum", "max", "min", "argmax"):
        same(getattr(to_device(a), name)(1), getattr(a, name)(1), exact=False)
    a[1, 17] = a[1, 200] = np.nan
    assert to_device(a).argmax(1).tolist()[1] == 17
    assert np.isnan(to_device(a).max(1).get()[1])


def test_functions():
    a, b = host((2, 3)), host((2, 3))
    d, e = to_device(a), to_device(b)
    same(np.concatenate([d, e], 1), np.concatenate([a, b], 1))
    same(np.stack([d, e]), np.stack([a, b]))
    same(np.expand_dims(d, (0, 2)), np.expand_dims(a, (0, 2)))
    same(np.broadcast_to(d[:, None], (2, 4, 3)), np.broadcast_to(a[:, None], (2, 4, 3)))
    same(np.zeros_like(d), np.zeros_like(a))
    same(np.full_like(d, 3), np.full_like(a, 3))
    same(np.moveaxis(d, 0, 1), np.moveaxis(a, 0, 1))
    same(d.astype(np.float64), a.astype(np.float64))
    assert np.shares_memory(d, d[1:])
    assert not np.shares_memory(d, e)
    assert np.array_equal(d, d)
    assert (float(d.sum() * 0), int(d.argmax() * 0), bool((d == d).all())) == (0.0, 0, True)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda d: np.asarray(d), TypeError, "the array is on the GPU; call get"),
        (
            lambda d: d + np.ones(3, np.float32),
            TypeError,
            "a GPU array beside a ndarray",
        ),
        (lambda d: np.sin(d), NotImplementedError, "numpy.sin on a GPU: backend 'cuda' has no"),
        (lambda d: np.sort(d), NotImplementedError, "numpy.sort on a GPU"),
        (lambda d: d[np.array([0, 1])], NotImplementedError, "indexing a GPU array by ndarray"),
        (lambda d: d[5], IndexError, "index 5 is out of bounds for an axis of 3"),
        (lambda d: np.add.reduce(d), NotImplementedError, "numpy.add with reduce"),
        (lambda d: d.reshape(2), ValueError, "cannot reshape 3 elements"),
    ],
)
def test_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(to_device(np.ones(3, np.float32)))


# Memory


def test_freed_blocks_come_back_and_nothing_leaks():
    gc.collect()
    pool.clear()
    before = pool.in_use, len(driver._heap)
    a = to_device(host(1000))
    address = a.ptr
    view = a[10:]
    del a
    assert pool.in_use > before[0]
    del view
    assert pool.in_use == before[0]
    assert to_device(host(1001)).ptr == address  # of the same size class
    assert pool.kept > 0
    pool.clear()
    assert (pool.in_use, len(driver._heap)) == before


@pytest.mark.parametrize("size", [1, 512, 513, 4096, 4097, 10**6, 2**30 + 1])
def test_an_eighth_is_wasted_at_most(size):
    assert size <= rounded(size) <= max(512, size + max(512, size // 8 + 1))
    assert rounded(rounded(size)) == rounded(size)


def test_no_more_is_kept_than_the_limit(monkeypatch):
    monkeypatch.setenv("CONVNET_CUDA_CACHE_LIMIT", "2048")
    small = Pool()
    blocks = [small.take(1024, 0) for _ in range(4)]
    for block in blocks:
        small.give(block, 1024, 0)
    assert (small.kept, small.in_use) == (2048, 0)
    small.clear()


def test_other_streams_do_not_share_blocks():
    two = Pool()
    block = two.take(100, 1)
    two.give(block, 100, 1)
    other = two.take(100, 2)
    assert other != block
    assert two.take(100, 1) == block


def test_out_of_memory_says_so_after_giving_back_what_was_kept(monkeypatch):
    tight, asked = Pool(), []
    kept = tight.take(512, 0)
    tight.give(kept, 512, 0)

    def none_left(size):
        asked.append(tight.kept)
        raise MemoryError

    monkeypatch.setattr(driver, "allocate", none_left)
    with pytest.raises(MemoryError, match="out of GPU memory: 10 MB wanted"):
        tight.take(10 << 20, 0)
    assert asked == [512, 0]
    assert tight.in_use == 0
