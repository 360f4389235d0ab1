"""Transforms of whole batches: transform(x, rng) -> a new array.

x is a batch of images (N, C, H, W), or (N, ..., H, W); rng a numpy Generator from which every image
of the batch gets random numbers of its own. DataLoader(transform=...) gives each batch a generator
that follows from (seed, epoch, number of the batch). Called without rng a transform draws from
convnet.manual_seed's.

    transform = Compose([ToFloat(), RandomCrop(28, padding=2), RandomRotation(10)])

Colours and noise want floating-point images: ToFloat turns 0..255 to 0..1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convnet.data.sampling import affine, bilinear
from convnet.random import default_generator
from convnet.shapes import integer

__all__ = [
    "Brightness",
    "Compose",
    "Contrast",
    "GaussianNoise",
    "Normalize",
    "OneHot",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomVerticalFlip",
    "Resize",
    "ToFloat",
]


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self.transforms = list(transforms)
        for t in self.transforms:
            if not callable(t):
                raise TypeError(f"transforms: expected functions, got {type(t).__name__}")

    def __call__(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        rng = rng or default_generator()
        for transform in self.transforms:
            x = transform(x, rng)
        return x

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class Transform:
    """The base: a subclass defines apply(x, rng)."""

    floating = False  # whether x must be floating-point

    def __call__(self, x: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        x = np.asarray(x)
        name = type(self).__name__
        if x.ndim < 3:
            raise ValueError(f"{name}: expected a batch of images (N, ..., H, W), got {x.shape}")
        if self.floating and x.dtype.kind != "f":
            raise TypeError(f"{name}: expected floating-point images, got {x.dtype}; ToFloat first")
        return self.apply(x, rng or default_generator())

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The transformed batch."""
        raise NotImplementedError(f"{type(self).__name__} has no apply")

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({options})"


class ToFloat(Transform):
    """x * scale as float32: 0..255 becomes 0..1."""

    def __init__(self, scale: float = 1 / 255) -> None:
        self.scale = float(scale)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.multiply(x, np.float32(self.scale), dtype=np.float32)


class Normalize(Transform):
    """(x - mean) / std, a number or one for each channel of (N, C, ...)."""

    floating = True

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        if not (self.std > 0).all():
            raise ValueError(f"std: expected numbers above 0, got {std}")

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shape = (-1,) + (1,) * (x.ndim - 2)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values.ndim > 1 or (values.ndim == 1 and len(values) not in (1, x.shape[1])):
                raise ValueError(
                    f"{name}: expected a number or {x.shape[1]}, one a channel, got {values}"
                )
        mean, std = (
            v.astype(x.dtype).reshape(shape if v.ndim else ()) for v in (self.mean, self.std)
        )
        return (x - mean) / std


class RandomCrop(Transform):
    """A window of size (H, W) at a random place of each image, with `padding` of `fill` around."""

    def __init__(self, size: int | tuple[int, int], padding: int = 0, fill: float = 0) -> None:
        self.size = _pair(size, "size")
        self.padding, self.fill = integer(padding, "padding", 0), fill

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        (h, w), p = self.size, self.padding
        if p:
            x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p)] * 2, constant_values=self.fill)
        if h > x.shape[-2] or w > x.shape[-1]:
            raise ValueError(
                f"size: expected at most {x.shape[-2:]}, the images with their padding, "
                f"got {self.size}"
            )
        tops = rng.integers(0, x.shape[-2] - h + 1, len(x)).tolist()
        lefts = rng.integers(0, x.shape[-1] - w + 1, len(x)).tolist()
        out = np.empty((*x.shape[:-2], h, w), x.dtype)
        for i, (t, s) in enumerate(zip(tops, lefts, strict=True)):
            out[i] = x[i, ..., t : t + h, s : s + w]
        return out


class _Flip(Transform):
    axis = -1

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p: expected a number from 0 to 1, got {p}")
        self.p = p

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(x)) < self.p
        out = x.copy()
        out[chosen] = np.flip(x[chosen], self.axis)
        return out


class RandomHorizontalFlip(_Flip):
    """Left and right exchanged, with probability p for each image."""


class RandomVerticalFlip(_Flip):
    """Top and bottom exchanged, with probability p for each image."""

    axis = -2


class RandomAffine(Transform):
    """Each image turned, moved and scaled about its centre; bilinear, `fill` outside.

    degrees : the largest angle either way, or (low, high); counterclockwise
    translate : the largest shift either way, as shares of (H, W)
    scale : (low, high), or None for none
    """

    floating = True

    def __init__(
        self,
        degrees: float | tuple[float, float] = 0,
        translate: tuple[float, float] = (0, 0),
        scale: tuple[float, float] | None = None,
        fill: float = 0,
    ) -> None:
        low, high = degrees if isinstance(degrees, (tuple, list)) else (-degrees, degrees)
        if not low <= high:
            raise ValueError(f"degrees: expected at least 0, or (low, high), got {degrees}")
        if len(translate) != 2 or not all(0 <= t <= 1 for t in translate):
            raise ValueError(f"translate: expected two shares from 0 to 1, got {translate}")
        if scale is not None and not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale: expected (low, high) above 0, got {scale}")
        self.degrees, self.translate, self.scale, self.fill = (low, high), translate, scale, fill

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, (h, w) = len(x), x.shape[-2:]
        angle = np.deg2rad(rng.uniform(*self.degrees, n))
        dy, dx = (
            rng.uniform(-s * t, s * t, n) for s, t in zip((h, w), self.translate, strict=True)
        )
        scale = np.ones(n) if self.scale is None else rng.uniform(*self.scale, n)
        return affine(x, angle, dy, dx, scale, self.fill)


class RandomRotation(RandomAffine):
    """Each image turned about its centre by a random angle; see RandomAffine."""

    def __init__(self, degrees: float | tuple[float, float], fill: float = 0) -> None:
        super().__init__(degrees, fill=fill)


class RandomTranslation(Transform):
    """Each image moved by up to `pixels` (H, W) whole pixels either way; `fill` comes in."""

    def __init__(self, pixels: int | tuple[int, int], fill: float = 0) -> None:
        self.pixels, self.fill = _pair(pixels, "pixels", 0), fill

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w = x.shape[-2:]
        if self.pixels[0] >= h or self.pixels[1] >= w:
            raise ValueError(f"pixels: expected less than the image's {(h, w)}, got {self.pixels}")
        out = np.full(x.shape, self.fill, x.dtype)
        shifts = np.stack([rng.integers(-p, p + 1, len(x)) for p in self.pixels], 1)
        for i, (a, b) in enumerate(shifts.tolist()):
            to, source = zip(_overlap(a, h), _overlap(b, w), strict=True)
            out[(i, ..., *to)] = x[(i, ..., *source)]
        return out


class Brightness(Transform):
    """x + b, one b from -amount to amount for each image."""

    floating = True

    def __init__(self, amount: float) -> None:
        self.amount = _amount(amount)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return x + _each(rng.uniform(-self.amount, self.amount, len(x)), x)


class Contrast(Transform):
    """mean + f (x - mean), f from 1 - amount to 1 + amount and the mean over each image."""

    floating = True

    def __init__(self, amount: float) -> None:
        self.amount = _amount(amount)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean = x.mean(tuple(range(1, x.ndim)), keepdims=True, dtype=np.float64).astype(x.dtype)
        return mean + _each(rng.uniform(1 - self.amount, 1 + self.amount, len(x)), x) * (x - mean)


class GaussianNoise(Transform):
    """x + std * a standard normal number for each element."""

    floating = True

    def __init__(self, std: float) -> None:
        self.std = _amount(std)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wide = np.float64 if x.dtype == np.float64 else np.float32
        noise = rng.standard_normal(x.shape, wide)
        noise *= wide(self.std)
        return (x + noise).astype(x.dtype, copy=False)


class Resize(Transform):
    """Bilinear to size (H, W), pixel centres at half-integers (torch's align_corners=False)."""

    floating = True

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = _pair(size, "size")

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w = x.shape[-2:]
        rows, columns = (
            (np.arange(m) + 0.5) * (n / m) - 0.5 for m, n in zip(self.size, (h, w), strict=True)
        )
        rows, columns = rows.clip(0, h - 1), columns.clip(0, w - 1)
        return bilinear(x, *np.broadcast_arrays(rows[None, :, None], columns[None, None]))


class OneHot:
    """Labels (N,) -> (N, classes), 1 at the label and 0 elsewhere."""

    def __init__(self, classes: int, dtype: Any = np.float32) -> None:
        self.classes, self.dtype = integer(classes, "classes", 1), np.dtype(dtype)

    def __call__(self, labels: Any, rng: Any = None) -> np.ndarray:
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels: expected integers, got {labels.dtype}")
        if labels.size and (labels.min() < 0 or labels.max() >= self.classes):
            raise ValueError(f"labels: expected 0 to {self.classes - 1}, got {labels.max()}")
        return (labels[..., None] == np.arange(self.classes)).astype(self.dtype)

    def __repr__(self) -> str:
        return f"OneHot({self.classes})"


def _pair(value: Any, name: str, low: int = 1) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{name}: expected a number or two, got {value!r}")
    return integer(values[0], name, low), integer(values[1], name, low)


def _amount(value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"expected a number of at least 0, got {value!r}")
    return float(value)


def _each(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One value an image, in x's type and shaped to meet x."""
    return values.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))


def _overlap(shift: int, n: int) -> tuple[slice, slice]:
    """Where an axis of n, moved by shift, is written to and read from."""
    length = n - abs(shift)
    to, source = max(shift, 0), max(-shift, 0)
    return slice(to, to + length), slice(source, source + length)
