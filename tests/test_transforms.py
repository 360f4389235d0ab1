"""Batch transforms: what each does to the pixels, random numbers, bad input."""

import convnet
import numpy as np
import pytest
from convnet.data import transforms

RAMP = np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6).repeat(5, 0)


def rng(seed=0):
    return np.random.default_rng(seed)


RANDOM = [
    transforms.RandomCrop(3),
    transforms.RandomCrop((4, 6), padding=2),
    transforms.RandomHorizontalFlip(),
    transforms.RandomVerticalFlip(),
    transforms.RandomAffine(20, (0.1, 0.2), (0.8, 1.2)),
    transforms.RandomRotation((-90, 90)),
    transforms.RandomTranslation((1, 2)),
    transforms.Brightness(0.5),
    transforms.Contrast(0.5),
    transforms.GaussianNoise(0.1),
    transforms.Compose([transforms.RandomCrop(3), transforms.RandomRotation(10)]),
]


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_ones_follow_their_generator(transform, dtype):
    x = rng(1).random((40, 3, 4, 6)).astype(dtype)
    kept = x.copy()
    y = transform(x, rng(2))
    np.testing.assert_array_equal(x, kept)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, transform(x, rng(2)))
    assert (y != transform(x, rng(3))).any()
    convnet.manual_seed(8)
    first = transform(x)
    convnet.manual_seed(8)
    np.testing.assert_array_equal(transform(x), first)
    assert transform(x[:0], rng()).shape[0] == 0


def test_crop_takes_windows():
    y = transforms.RandomCrop((2, 3))(RAMP, rng())
    assert y.shape == (5, 1, 2, 3)
    np.testing.assert_array_equal(
        y - y[..., :1, :1], np.broadcast_to([[0, 1, 2], [6, 7, 8]], y.shape)
    )
    assert len(set(y[:, 0, 0, 0])) > 1
    padded = transforms.RandomCrop((6, 8), padding=1, fill=-1)(RAMP, rng())
    assert (padded[:, 0, 1:-1, 1:-1] == RAMP[:, 0]).all()
    assert (padded[:, 0, 0] == -1).all()


def test_flips():
    np.testing.assert_array_equal(transforms.RandomHorizontalFlip(1)(RAMP, rng()), RAMP[..., ::-1])
    np.testing.assert_array_equal(transforms.RandomVerticalFlip(1)(RAMP, rng()), RAMP[..., ::-1, :])
    np.testing.assert_array_equal(transforms.RandomHorizontalFlip(0)(RAMP, rng()), RAMP)


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3), (0, 0)])
def test_a_quarter_turn_is_rot90(degrees, turns):
    x = rng(1).random((2, 3, 5, 5))
    y = transforms.RandomRotation((degrees, degrees))(x, rng())
    np.testing.assert_allclose(y, np.rot90(x, turns, (2, 3)), atol=1e-12)


def test_rotation_and_resize_are_those_of_others():
    ndimage = pytest.importorskip("scipy.ndimage")
    torch = pytest.importorskip("torch")
    x = rng(1).random((2, 1, 9, 9))
    y = transforms.RandomRotation((25, 25))(x, rng())
    for i in range(2):
        want = ndimage.rotate(x[i, 0], 25, reshape=False, order=1, mode="grid-constant")
        np.testing.assert_allclose(y[i, 0], want, atol=1e-12)
    for size in ((4, 7), (13, 9), (1, 20)):
        want = torch.nn.functional.interpolate(torch.from_numpy(x), size, mode="bilinear")
        np.testing.assert_allclose(transforms.Resize(size)(x), want.numpy(), atol=1e-12)


def test_affine_moves_and_scales():
    y = transforms.RandomAffine(translate=(0.5, 0))(np.ones((60, 1, 8, 8)), rng())
    assert (y.min((1, 2, 3)) < 1).all()  # something came in
    assert (y.min((1, 2, 3)) == 0).mean() > 0.5
    same = transforms.RandomAffine(scale=(2, 2))(np.ones((1, 1, 8, 8)), rng())
    np.testing.assert_allclose(same, 1)
    small = transforms.RandomAffine(scale=(0.5, 0.5), fill=-3)(np.ones((1, 1, 8, 8)), rng())
    assert small[0, 0, 0, 0] == -3
    assert small[0, 0, 4, 4] == 1


def test_translation():
    y = transforms.RandomTranslation((1, 2), fill=-1)(RAMP, rng())
    shifts = {(int(24 - (image > -1).sum())) for image in y[:, 0]}
    assert max(shifts) > 0
    for image in y[:, 0]:
        seen = image > -1
        assert len(np.unique((image - RAMP[0, 0])[seen])) == 1


def test_colours():
    x = rng(1).random((50, 3, 4, 4), dtype=np.float32)
    b = transforms.Brightness(0.3)(x, rng()) - x
    assert np.ptp(b[:, 0, 0, 0]) > 0.3
    assert abs(b).max() <= 0.3 + 1e-6
    c = transforms.Contrast(0.5)(x, rng())
    np.testing.assert_allclose(c.mean((1, 2, 3)), x.mean((1, 2, 3)), rtol=1e-5)
    ratio = c.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= ratio.min() < 0.7 < 1.3 < ratio.max() <= 1.5
    noise = transforms.GaussianNoise(0.2)(np.zeros((10, 1, 40, 40), np.float32), rng())
    assert abs(noise.std() - 0.2) < 0.01


def test_scaling():
    x = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    y = transforms.ToFloat()(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.ravel(), [0, 0.2, 1], rtol=1e-6)
    z = transforms.Normalize([0, 0.1, 1], [1, 0.1, 2])(y)
    np.testing.assert_allclose(z.ravel(), [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(transforms.Normalize(0.5, 0.5)(y).ravel(), [-1, -0.6, 1], rtol=1e-6)


def test_one_hot():
    np.testing.assert_array_equal(transforms.OneHot(3)(np.array([2, 0])), [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("call", "exception", "match"),
    [
        (lambda: transforms.RandomCrop(5)(RAMP), ValueError, r"at most \(4, 6\).* got \(5, 5\)"),
        (lambda: transforms.RandomCrop(0), ValueError, "size: expected at least 1"),
        (lambda: transforms.RandomCrop((1, 2, 3)), ValueError, "a number or two"),
        (lambda: transforms.RandomHorizontalFlip(1.5), ValueError, "from 0 to 1"),
        (lambda: transforms.RandomRotation(-5), ValueError, "degrees"),
        (lambda: transforms.RandomAffine(translate=(2, 0)), ValueError, "shares from 0 to 1"),
        (lambda: transforms.RandomAffine(scale=(0, 1)), ValueError, "scale"),
        (lambda: transforms.RandomTranslation(4)(RAMP), ValueError, "less than the image's"),
        (lambda: transforms.Brightness(-1), ValueError, "at least 0"),
        (
            lambda: transforms.Brightness(1)(RAMP.astype(np.uint8)),
            TypeError,
            "uint8; ToFloat first",
        ),
        (lambda: transforms.Normalize(0, 0), ValueError, "std: expected numbers above 0"),
        (lambda: transforms.Normalize([0, 1], 1)(RAMP), ValueError, "mean: expected a number or 1"),
        (lambda: transforms.ToFloat()(np.zeros((2, 3))), ValueError, "a batch of images"),
        (lambda: transforms.OneHot(3)(np.array([3])), ValueError, "0 to 2, got 3"),
        (lambda: transforms.OneHot(3)(np.array([1.0])), TypeError, "integers, got float64"),
        (lambda: transforms.Compose([1]), TypeError, "functions, got int"),
    ],
)
def test_errors(call, exception, match):
    with pytest.raises(exception, match=match):
        call()
