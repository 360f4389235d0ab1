"""What Tensors compute: operators, element-wise functions, reductions, with their gradients.

The operators follow NumPy's broadcasting; a gradient is summed over what was broadcast.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from convnet import ops
from convnet.nn.conversion import ARRAYS

if TYPE_CHECKING:
    from convnet.nn.tensor import Tensor

_NUMBERS = (float, int)


def sum_to(g: Any, like: np.ndarray) -> Any:
    """g summed over the axes along which `like` was broadcast to g's shape, in like's type."""
    shape = like.shape
    if g.dtype != like.dtype:
        g = g.astype(like.dtype)
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = (*range(extra), *(i + extra for i, n in enumerate(shape) if n == 1))
    return g.sum(axes, keepdims=True).reshape(shape)


def _operand(value: Any, like: np.ndarray) -> Any:
    """A number as it is; an array of like's type where only their kinds differ."""
    if type(value) in _NUMBERS:
        return value
    a = value.data if isinstance(value, Arithmetic) else value
    if isinstance(a, np.generic) or type(a) is bool:
        return a.item() if isinstance(a, np.generic) else int(a)
    if not isinstance(a, ARRAYS):
        return NotImplemented
    if a.dtype != like.dtype and like.dtype.kind == "f" and a.dtype.kind in "iub":
        return a.astype(like.dtype)
    return a


def _from_integers(y: Any, a: np.ndarray) -> Any:
    """What integers and a Python number (or a division) give is float32, as in torch."""
    return y.astype(np.float32) if a.dtype.kind in "iub" and y.dtype.kind == "f" else y


def _power_of_base(dy: np.ndarray, a: Any, b: Any) -> np.ndarray:
    """dy b a^(b-1); 0 where b is 0, whatever a."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return dy * np.where(np.equal(b, 0), 0, b * a ** np.subtract(b, 1))


def _power_of_exponent(dy: np.ndarray, a: Any, b: Any) -> np.ndarray:
    """dy a^b log(a); 0 at a = 0 for b >= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return dy * np.where(np.equal(a, 0) & np.greater_equal(b, 0), 0, a**b * np.log(a))


def _axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim


class Arithmetic:
    """Mixed into Tensor."""

    __slots__ = ()
    data: np.ndarray
    requires_grad: bool

    if TYPE_CHECKING:

        @staticmethod
        def result(
            data: Any,
            parents: tuple[Any, ...],
            backward: Any,
            keeps: tuple[Any, ...] = (),
            keeps_result: bool = False,
        ) -> Tensor: ...

    def _binary(self, other: Any, forward: Any, backward: Any, keeps: bool = True) -> Any:
        """forward(a, b); backward(dy, a, b) gives (da, db) before the sum over broadcast axes.

        keeps : whether backward reads the elements of a and b
        """
        a = self.data
        b = _operand(other, a)
        if b is NotImplemented:
            return NotImplemented
        if isinstance(b, ARRAYS) and b.dtype.kind == "f" and a.dtype.kind in "iub":
            a = a.astype(b.dtype)
        y = _from_integers(forward(a, b), a)
        if isinstance(other, Arithmetic):

            def both(dy: np.ndarray) -> tuple[Any, Any]:
                da, db = backward(dy, a, b)
                return (
                    sum_to(da(), a) if self.requires_grad else None,
                    sum_to(db(), b) if other.requires_grad else None,
                )

            return self.result(y, (self, other), both, (self, other) if keeps else ())
        kept = (self,) if keeps else ()
        return self.result(y, (self,), lambda dy: (sum_to(backward(dy, a, b)[0](), a),), kept)

    def _reversed(self, other: Any, forward: Any, derivative: Any) -> Any:
        """forward(other, self) for an other that is no Tensor."""
        a = self.data
        b = _operand(other, a)
        if b is NotImplemented:
            return NotImplemented
        y = _from_integers(forward(b, a), a)
        return self.result(y, (self,), lambda dy: (sum_to(derivative(dy, b, a), a),), (self,))

    def __add__(self, other: Any) -> Any:
        return self._binary(other, np.add, lambda dy, a, b: (lambda: dy, lambda: dy), False)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._binary(other, np.subtract, lambda dy, a, b: (lambda: dy, lambda: -dy), False)

    def __rsub__(self, other: Any) -> Any:
        return self._reversed(other, np.subtract, lambda dy, b, a: -dy)

    def __mul__(self, other: Any) -> Any:
        return self._binary(other, np.multiply, lambda dy, a, b: (lambda: dy * b, lambda: dy * a))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._binary(
            other,
            np.true_divide,
            lambda dy, a, b: (lambda: dy / b, lambda: -dy * a / (b * b)),
        )

    def __rtruediv__(self, other: Any) -> Any:
        return self._reversed(other, np.true_divide, lambda dy, b, a: -dy * b / (a * a))

    def __pow__(self, other: Any) -> Any:
        return self._binary(
            other,
            np.power,
            lambda dy, a, b: (
                lambda: _power_of_base(dy, a, b),
                lambda: _power_of_exponent(dy, a, b),
            ),
        )

    def __rpow__(self, other: Any) -> Any:
        return self._reversed(other, np.power, lambda dy, b, a: dy * b**a * np.log(b))

    def __mod__(self, other: Any) -> Any:
        """What floor division leaves; as a constant divisor's, the gradient is dy."""
        b = _operand(other, self.data)
        if b is NotImplemented:
            return NotImplemented
        a = self.data
        return self.result(np.mod(a, b), (self,), lambda dy: (sum_to(dy, a),))

    def __neg__(self) -> "Tensor":
        return self.result(-self.data, (self,), lambda dy: (-dy,))

    def __pos__(self) -> Any:
        return self

    def __matmul__(self, other: Any) -> Any:
        if not isinstance(other, Arithmetic):
            if not isinstance(other, ARRAYS):
                return NotImplemented
            other = type(self).of(other)  # type: ignore[attr-defined]
        a, b = self.data, other.data

        def backward(dy: np.ndarray) -> tuple[Any, Any]:
            a2 = a[None] if a.ndim == 1 else a
            b2 = b[:, None] if b.ndim == 1 else b
            dy = dy[..., None] if b.ndim == 1 else dy
            dy = dy[..., None, :] if a.ndim == 1 else dy
            da = db = None
            if self.requires_grad:
                da = sum_to(ops.matmul(dy, b2.swapaxes(-1, -2)), a2).reshape(a.shape)
            if other.requires_grad:
                db = sum_to(ops.matmul(a2.swapaxes(-1, -2), dy), b2).reshape(b.shape)
            return da, db

        return self.result(ops.matmul(a, b), (self, other), backward, (self, other))

    def __rmatmul__(self, other: Any) -> Any:
        if not isinstance(other, ARRAYS):
            return NotImplemented
        return type(self).of(other) @ self  # type: ignore[attr-defined]

    def matmul(self, other: Any) -> "Tensor":
        """self @ other, with numpy.matmul's shapes."""
        return self @ other

    mm = matmul

    def softmax(self, dim: int) -> "Tensor":
        """exp(x) over its sum along dim."""
        y = ops.softmax(self.data, dim)
        return self.result(
            y, (self,), lambda dy: (ops.softmax_backward(dy, y, dim),), keeps_result=True
        )

    def log_softmax(self, dim: int) -> "Tensor":
        """The logarithm of softmax."""
        y = ops.log_softmax(self.data, dim)
        return self.result(
            y, (self,), lambda dy: (ops.log_softmax_backward(dy, y, dim),), keeps_result=True
        )

    def add(self, other: Any, alpha: Any = 1) -> "Tensor":
        """self + alpha * other."""
        return self + (other if alpha == 1 else other * alpha)

    def sub(self, other: Any, alpha: Any = 1) -> "Tensor":
        """self - alpha * other."""
        return self - (other if alpha == 1 else other * alpha)

    def mul(self, other: Any) -> "Tensor":
        """self * other."""
        return self * other

    def div(self, other: Any) -> "Tensor":
        """self / other."""
        return self / other

    def square(self) -> "Tensor":
        """self * self."""
        return self * self

    def norm(self) -> "Tensor":
        """The square root of the sum of squares of all elements."""
        return (self * self).sum().sqrt()

    def pow(self, exponent: Any) -> "Tensor":
        """self ** exponent."""
        return self**exponent

    # Element by element.

    def exp(self) -> "Tensor":
        y = np.exp(self.data)
        return self.result(y, (self,), lambda dy: (dy * y,), keeps_result=True)

    def log(self) -> "Tensor":
        a = self.data
        return self.result(np.log(a), (self,), lambda dy: (dy / a,), (self,))

    def sqrt(self) -> "Tensor":
        y = np.sqrt(self.data)
        return self.result(y, (self,), lambda dy: (dy / (2 * y),), keeps_result=True)

    def abs(self) -> "Tensor":
        a = self.data
        return self.result(np.abs(a), (self,), lambda dy: (dy * np.sign(a),), (self,))

    __abs__ = abs

    def clamp(self, min: Any = None, max: Any = None) -> "Tensor":
        """Values below min become min, above max max; their gradient is 0."""
        a = self.data
        y = np.clip(a, min, max)

        def backward(dy: np.ndarray) -> tuple[Any]:
            inside = np.ones_like(a, bool)
            if min is not None:
                inside &= a >= min
            if max is not None:
                inside &= a <= max
            return (np.where(inside, dy, 0),)

        return self.result(y, (self,), backward, (self,))

    def relu(self) -> "Tensor":
        y = ops.relu(self.data)
        return self.result(y, (self,), lambda dy: (ops.relu_backward(dy, y),), keeps_result=True)

    def sigmoid(self) -> "Tensor":
        y = ops.sigmoid(self.data)
        return self.result(y, (self,), lambda dy: (ops.sigmoid_backward(dy, y),), keeps_result=True)

    def tanh(self) -> "Tensor":
        y = ops.tanh(self.data)
        return self.result(y, (self,), lambda dy: (ops.tanh_backward(dy, y),), keeps_result=True)

    # Reductions: over all axes, or over dim (an int or several).

    def sum(self, dim: Any = None, keepdim: bool = False) -> "Tensor":
        """The sum over dim, or of all elements."""
        shape, dim = self.data.shape, _axes(dim)

        def backward(dy: np.ndarray) -> tuple[Any]:
            return (np.broadcast_to(_with_axes(dy, shape, dim, keepdim), shape),)

        return self.result(self.data.sum(dim, keepdims=keepdim), (self,), backward)

    def mean(self, dim: Any = None, keepdim: bool = False) -> "Tensor":
        """The mean over dim, or of all elements."""
        shape, dim = self.data.shape, _axes(dim)
        y = self.data.mean(dim, keepdims=keepdim)
        count = self.data.size // max(1, np.size(y))

        def backward(dy: np.ndarray) -> tuple[Any]:
            return (np.broadcast_to(_with_axes(dy, shape, dim, keepdim) / count, shape),)

        return self.result(y, (self,), backward)

    def var(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> "Tensor":
        """The variance over dim, or of all elements: squares over their number - correction."""
        d = self - self.mean(dim, True)
        total = (d * d).sum(dim, keepdim)
        count = self.data.size // max(1, total.data.size)
        return total / (count - correction)

    def std(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> "Tensor":
        """The square root of var."""
        return self.var(dim, correction, keepdim).sqrt()

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The maximum of all elements; with dim (values, indices) over that axis, as torch."""
        return self._extremum(np.argmax, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The minimum of all elements; with dim (values, indices) over that axis, as torch."""
        return self._extremum(np.argmin, dim, keepdim)

    def _extremum(self, arg: Any, dim: int | None, keepdim: bool) -> Any:
        a = self.data
        if dim is None:
            place = np.unravel_index(arg(a), a.shape)
            return self[place]  # type: ignore[index]
        at = np.expand_dims(arg(a, axis=dim), dim)
        y = np.take_along_axis(a, at, dim)

        def backward(dy: np.ndarray) -> tuple[Any]:
            dx = np.zeros_like(a)
            np.put_along_axis(dx, at, dy if keepdim else np.expand_dims(dy, dim), dim)
            return (dx,)

        if not keepdim:
            y, at_shown = np.squeeze(y, dim), np.squeeze(at, dim)
        else:
            at_shown = at
        values = self.result(y, (self,), backward)
        return values, type(values).of(at_shown)


def _with_axes(dy: Any, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Any:
    """dy with the axes that a reduction removed, of length 1."""
    if keepdim or dim is None:
        return dy
    dims = dim if isinstance(dim, tuple) else (dim,)
    return np.expand_dims(dy, tuple(d % len(shape) for d in dims))
