"""What changes a Tensor's shape and picks its elements, with the gradients."""

from typing import TYPE_CHECKING, Any

import numpy as np

from convnet.nn.conversion import ARRAYS

if TYPE_CHECKING:
    from convnet.nn.tensor import Tensor


def _sizes(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from f(2, 3) or f((2, 3))."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        return tuple(sizes[0])
    return sizes


def _index(key: Any) -> Any:
    """An index with the arrays of its Tensors."""
    if isinstance(key, tuple):
        return tuple(_index(k) for k in key)
    return key.data if isinstance(key, Shaping) else key


def _is_basic(key: Any) -> bool:
    keys = key if isinstance(key, tuple) else (key,)
    plain = (int, slice, np.integer, type(None), type(...))
    return all(isinstance(k, plain) and not isinstance(k, bool) for k in keys)


class Shaping:
    """Mixed into Tensor."""

    __slots__ = ()
    data: np.ndarray

    if TYPE_CHECKING:

        @staticmethod
        def result(data: Any, parents: tuple[Any, ...], backward: Any) -> Tensor: ...

        _version: list[int]

    def _view(self, data: Any, backward: Any) -> "Tensor":
        """A result that shares the memory of this tensor, and the count of changes."""
        t = self.result(data, (self,), backward)
        t._version = self._version
        return t

    def reshape(self, *shape: Any) -> "Tensor":
        """The elements, in logical order, in another shape; one entry may be -1."""
        old = self.data.shape
        return self._view(self.data.reshape(_sizes(shape)), lambda dy: (dy.reshape(old),))

    view = reshape

    def view_as(self, other: "Tensor") -> "Tensor":
        """reshape(other.shape)."""
        return self.reshape(other.shape)

    reshape_as = view_as

    def expand_as(self, other: "Tensor") -> "Tensor":
        """expand(other.shape)."""
        return self.expand(other.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> "Tensor":
        """The axes start_dim to end_dim as one."""
        shape = self.data.shape
        n = max(1, len(shape))
        start, end = start_dim % n, end_dim % n
        if start > end:
            raise ValueError(
                f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in {len(shape)} axes"
            )
        length = 1
        for k in shape[start : end + 1]:
            length *= k
        return self.reshape((*shape[:start], length, *shape[end + 1 :]))

    def unflatten(self, dim: int, sizes: Any) -> "Tensor":
        """Axis dim as several; one of sizes may be -1."""
        shape = self.data.shape
        at = dim % max(1, len(shape))
        return self.reshape((*shape[:at], *sizes, *shape[at + 1 :]))

    def permute(self, *dims: Any) -> "Tensor":
        """The axes in another order."""
        order = _sizes(dims)
        if len(order) != self.data.ndim:
            raise ValueError(f"permute: expected {self.data.ndim} axes, got {order}")
        y = self.data.transpose(order)
        back = np.argsort([d % len(order) for d in order])
        return self._view(y, lambda dy: (dy.transpose(back),))

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Two axes swapped."""
        return self._view(self.data.swapaxes(dim0, dim1), lambda dy: (dy.swapaxes(dim0, dim1),))

    def t(self) -> "Tensor":
        """The transpose of a matrix; fewer axes stay as they are."""
        if self.data.ndim > 2:
            raise ValueError(f"t: expected at most 2 axes, got shape {self.data.shape}")
        return self._view(self.data.T, lambda dy: (dy.T,))

    @property
    def T(self) -> "Tensor":  # noqa: N802 - torch's and NumPy's name
        """The axes in reverse order."""
        return self.permute(*reversed(range(self.data.ndim)))

    def squeeze(self, dim: Any = None) -> "Tensor":
        """Without the axes of length 1; dim names those to look at."""
        shape = self.data.shape
        dims = range(len(shape)) if dim is None else dim if isinstance(dim, tuple) else (dim,)
        gone = {d % max(1, len(shape)) for d in dims}
        return self.reshape(tuple(n for i, n in enumerate(shape) if i not in gone or n != 1))

    def unsqueeze(self, dim: int) -> "Tensor":
        """With one more axis of length 1."""
        return self.reshape(np.expand_dims(self.data, dim).shape)

    def expand(self, *sizes: Any) -> "Tensor":
        """Axes of length 1 repeated, without a copy; -1 keeps an axis's length."""
        wanted, shape = _sizes(sizes), self.data.shape
        extra = len(wanted) - len(shape)
        full = tuple(shape[i - extra] if n == -1 else n for i, n in enumerate(wanted))
        axes = tuple(i for i, n in enumerate(full) if i < extra or shape[i - extra] != n)

        def backward(dy: np.ndarray) -> tuple[Any]:
            return (dy.sum(axes, keepdims=True).reshape(shape),)

        return self._view(np.broadcast_to(self.data, full), backward)

    def contiguous(self) -> Any:
        """itself: operations take any memory order."""
        return self

    def __getitem__(self, key: Any) -> "Tensor":
        key, a = _index(key), self.data

        def backward(dy: np.ndarray) -> tuple[Any]:
            dx = np.zeros_like(a)
            if _is_basic(key):
                dx[key] = dy
            else:
                np.add.at(dx, key, dy)
            return (dx,)

        y = a[key]
        if _is_basic(key) and isinstance(y, ARRAYS):
            return self._view(y, backward)
        return self.result(y, (self,), backward)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check_in_place()  # type: ignore[attr-defined]
        self.data[_index(key)] = _index(value)
