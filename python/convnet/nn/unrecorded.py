"""What has no gradient: comparisons, places of extrema, changes in place."""

from typing import Any

import numpy as np

from convnet.nn import tape
from convnet.nn.conversion import ARRAYS, as_ndarray


def _plain(value: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return value.data if isinstance(value, Unrecorded) else value


class Unrecorded:
    """Mixed into Tensor."""

    __slots__ = ()
    data: np.ndarray
    requires_grad: bool
    of: Any
    _version: list[int]

    def _compared(self, ufunc: np.ufunc, other: Any) -> Any:
        other = _plain(other)
        if not isinstance(other, (*ARRAYS, np.generic, float, int)):
            return NotImplemented
        return self.of(ufunc(self.data, other))

    def __eq__(self, other: object) -> Any:
        return self._compared(np.equal, other)

    def __ne__(self, other: object) -> Any:
        return self._compared(np.not_equal, other)

    def __lt__(self, other: Any) -> Any:
        return self._compared(np.less, other)

    def __le__(self, other: Any) -> Any:
        return self._compared(np.less_equal, other)

    def __gt__(self, other: Any) -> Any:
        return self._compared(np.greater, other)

    def __ge__(self, other: Any) -> Any:
        return self._compared(np.greater_equal, other)

    def __invert__(self) -> Any:
        return self.of(~self.data)

    def __and__(self, other: Any) -> Any:
        return self._compared(np.bitwise_and, other)

    def __or__(self, other: Any) -> Any:
        return self._compared(np.bitwise_or, other)

    def __floordiv__(self, other: Any) -> Any:
        return self._compared(np.floor_divide, other)

    def eq(self, other: Any) -> Any:
        """self == other, element by element."""
        return self == other

    def ne(self, other: Any) -> Any:
        """self != other, element by element."""
        return self != other

    def lt(self, other: Any) -> Any:
        """self < other, element by element."""
        return self < other

    def le(self, other: Any) -> Any:
        """self <= other, element by element."""
        return self <= other

    def gt(self, other: Any) -> Any:
        """self > other, element by element."""
        return self > other

    def ge(self, other: Any) -> Any:
        """self >= other, element by element."""
        return self >= other

    def all(self) -> Any:
        return self.of(self.data.all())

    def any(self) -> Any:
        return self.of(self.data.any())

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The (first) place of the maximum, over all elements or along dim."""
        return self.of(self.data.argmax(dim, keepdims=keepdim))

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The (first) place of the minimum, over all elements or along dim."""
        return self.of(self.data.argmin(dim, keepdims=keepdim))

    # In place.

    def _check_in_place(self) -> None:
        """RuntimeError where the tape forbids the change; else the change is counted."""
        if self.requires_grad and tape.enabled.get():
            raise RuntimeError(
                "a tensor that requires a gradient cannot be changed in place while operations are "
                "recorded; do it within nn.no_grad()"
            )
        self._version[0] += 1

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Any:
        self._check_in_place()
        ufunc(self.data, _plain(other), out=self.data, casting="same_kind")
        return self

    def _rebinds(self, other: Any) -> bool:
        """Whether `a += b` has to make a new, recorded tensor instead of writing into a."""
        if not self.is_leaf:  # type: ignore[attr-defined]
            return True
        return not self.requires_grad and tape.enabled.get() and _requires_grad(other)

    def __iadd__(self, other: Any) -> Any:
        return self + other if self._rebinds(other) else self._in_place(np.add, other)

    def __isub__(self, other: Any) -> Any:
        return self - other if self._rebinds(other) else self._in_place(np.subtract, other)

    def __imul__(self, other: Any) -> Any:
        return self * other if self._rebinds(other) else self._in_place(np.multiply, other)

    def __itruediv__(self, other: Any) -> Any:
        return self / other if self._rebinds(other) else self._in_place(np.true_divide, other)

    def add_(self, other: Any, alpha: Any = 1) -> Any:
        """self += alpha * other."""
        return self._in_place(np.add, _plain(other) if alpha == 1 else alpha * _plain(other))

    def sub_(self, other: Any, alpha: Any = 1) -> Any:
        """self -= alpha * other."""
        return self.add_(other, -alpha)

    def mul_(self, other: Any) -> Any:
        """self *= other."""
        return self._in_place(np.multiply, other)

    def div_(self, other: Any) -> Any:
        """self /= other."""
        return self._in_place(np.true_divide, other)

    def copy_(self, other: Any) -> Any:
        """Take other's elements."""
        self._check_in_place()
        np.copyto(self.data, as_ndarray(_plain(other), None), casting="same_kind")
        return self

    def fill_(self, value: Any) -> Any:
        """Set every element."""
        self._check_in_place()
        self.data.fill(value)
        return self

    def zero_(self) -> Any:
        """Set every element to 0."""
        return self.fill_(0)


def _requires_grad(value: Any) -> bool:
    return isinstance(value, Unrecorded) and value.requires_grad
