"""Output sizes and paddings: plain integers, written once, with every check of them.

n input, m kernel, s stride, d dilation, all per spatial dimension. A kernel of m elements spans
d(m-1) + 1 inputs.
"""

from collections.abc import Sequence
from operator import index
from typing import Any, NamedTuple, TypeAlias

Sizes = tuple[int, ...]
Ints: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[tuple[int, int]]

LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
_WEIGHTS = {1: "(K, C/groups, S)", 2: "(K, C/groups, R, S)", 3: "(K, C/groups, T, R, S)"}
_TRANSPOSED = {1: "(C, K/groups, S)", 2: "(C, K/groups, R, S)", 3: "(C, K/groups, T, R, S)"}


class ConvDims(NamedTuple):
    """A checked convolution. Tuples have an entry per spatial dimension."""

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    in_size: Sizes
    kernel_size: Sizes
    out_size: Sizes
    stride: Sizes
    pad_low: Sizes
    pad_high: Sizes  # as far as the last window reaches: negative where the last inputs are unused
    dilation: Sizes


class PoolDims(NamedTuple):
    """A checked pooling. Tuples have an entry per spatial dimension."""

    batch: int
    channels: int
    in_size: Sizes
    kernel_size: Sizes
    out_size: Sizes
    stride: Sizes
    pad_low: Sizes
    pad_high: Sizes  # as asked for; with ceil_mode the last window may reach beyond it
    dilation: Sizes
    count_include_pad: bool = True
    divisor_override: int | None = None


# Arguments

MOST = 2**31 - 1  # of a stride, a dilation, a padding, a kernel
_MOST_PADDED = 2**40  # elements of a padded plane: what is computed with them stays within 63 bits


def integer(value: Any, name: str, least: int) -> int:
    """`value` as an int from `least` to MOST; TypeError for bools, floats and the like."""
    if type(value) is not int:
        try:
            if isinstance(value, bool):
                raise TypeError
            value = index(value)
        except TypeError:
            raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    if value > MOST:
        raise ValueError(f"{name}: expected at most {MOST}, got {value}")
    return value


def sizes(value: Ints, name: str, rank: int, least: int = 1) -> Sizes:
    """An int for all spatial dimensions, or a sequence of one for each, as a tuple."""
    if type(value) is int and least <= value <= MOST:
        return (value,) * rank
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != rank:
            raise ValueError(f"{name}: expected an integer or {rank} of them, got {value!r}")
        return tuple([integer(v, name, least) for v in value])
    return (integer(value, name, least),) * rank


def shape(value: Sequence[int], name: str, rank: int) -> Sizes:
    """The shape of an input as plain integers; N may be 0, nothing else may."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{name}: expected {rank + 2} integers, got {value!r}")
    result = tuple([integer(v, name, 0) for v in value])
    _check_input(result, name, rank, LAYOUTS[rank])
    return result


def _check_input(x_shape: Sizes, name: str, rank: int, layout: str) -> None:
    if len(x_shape) != rank + 2:
        raise ValueError(
            f"{name}: expected {rank + 2} dimensions {layout}, got {len(x_shape)}: shape {x_shape}"
        )
    if 0 in x_shape[1:]:
        raise ValueError(
            f"{name}: expected channels and extents of at least 1 in {layout}, got shape {x_shape}"
        )


def _explicit(padding: Padding, rank: int, allowed: str) -> tuple[Sizes, Sizes]:
    """(low, high) from an int, one for each dimension, or a pair for each dimension."""
    if type(padding) is int and 0 <= padding <= MOST:
        pads = (padding,) * rank
        return pads, pads
    if not isinstance(padding, Sequence) or isinstance(padding, (str, bytes)):
        if isinstance(padding, str):
            raise ValueError(f"padding: expected {allowed}, got {padding!r}")
        try:
            index(padding)
        except TypeError:
            raise TypeError(f"padding: expected {allowed}, got {padding!r}") from None
        pads = sizes(padding, "padding", rank, 0)
        return pads, pads
    if len(padding) != rank:
        raise ValueError(
            f"padding: expected {allowed} for {rank} spatial dimensions, got {padding!r}"
        )
    if not any(isinstance(p, Sequence) for p in padding):
        pads = sizes(padding, "padding", rank, 0)
        return pads, pads
    if not all(isinstance(p, Sequence) and len(p) == 2 for p in padding):
        raise ValueError(f"padding: expected {rank} pairs (low, high), got {padding!r}")
    low, high = zip(*[sizes(p, "padding", 2, 0) for p in padding], strict=True)
    return low, high


_PADS = "a size of at least 0, one for each dimension, a (low, high) pair for each dimension"
_MODES = ', "same", "valid" or "full"'
_MODES_OF_POOLS = ', "same" or "valid"'


def _pads(
    padding: Padding, n: Sizes, m: Sizes, s: Sizes, d: Sizes, full: bool
) -> tuple[Sizes, Sizes]:
    """The low and high padding, modes resolved.

    "valid" none; "full" d(m-1) on each side; "same" max((ceil(n/s)-1)s + d(m-1) + 1 - n, 0) in all,
    the odd one at the end, so that the output is ceil(n/s).
    """
    rank = len(n)
    mode = padding if isinstance(padding, str) else None
    if mode == "valid":
        return (0,) * rank, (0,) * rank
    if mode == "same":
        total = [
            max((-(-n[i] // s[i]) - 1) * s[i] + d[i] * (m[i] - 1) + 1 - n[i], 0)
            for i in range(rank)
        ]
        low = tuple([t // 2 for t in total])
        return low, tuple([t - t // 2 for t in total])
    if mode == "full" and full:
        pads = tuple([d[i] * (m[i] - 1) for i in range(rank)])
        return pads, pads
    return _explicit(padding, rank, _PADS + (_MODES if full else _MODES_OF_POOLS))


def check_padding(padding: Padding, rank: int, full: bool = True) -> None:
    """TypeError or ValueError for what no input could be padded with; full: "full" is a mode."""
    if padding not in ("same", "valid") and not (full and padding == "full"):
        _explicit(padding, rank, _PADS + (_MODES if full else _MODES_OF_POOLS))


def _does_not_fit(
    n: Sizes, m: Sizes, low: Sizes, high: Sizes, d: Sizes, i: int, kernel: str
) -> ValueError:
    return ValueError(
        f"{kernel}: the output would be empty: {m[i]} elements with dilation {d[i]} span "
        f"{d[i] * (m[i] - 1) + 1}, but axis {i + 2} of the input has {n[i]} "
        f"and padding {low[i]} + {high[i]}"
    )


# Convolution


def _windows(
    n: Sizes, m: Sizes, stride: Ints, padding: Padding, dilation: Ints, kernel: str
) -> tuple[Sizes, Sizes, Sizes, Sizes, Sizes]:
    """(out_size, stride, pad_low, pad_high, dilation): floor((n + low + high - d(m-1) - 1)/s) + 1.

    kernel: the argument that gives m.
    """
    rank = len(n)
    s = sizes(stride, "stride", rank)
    d = sizes(dilation, "dilation", rank)
    low, high = _pads(padding, n, m, s, d, True)
    out, reach = [], []
    for i in range(rank):
        beyond = low[i] + n[i] - d[i] * (m[i] - 1) - 1  # of the first window
        room = beyond + high[i]
        if room < 0:
            raise _does_not_fit(n, m, low, high, d, i, kernel)
        last = room // s[i]
        out.append(last + 1)
        reach.append(last * s[i] - beyond)
    _check_padded(n, low, high)
    return tuple(out), _used(s, out), low, tuple(reach), _used(d, m)


def _used(step: Sizes, count: Sequence[int]) -> Sizes:
    """The steps between `count` positions, 1 where there is only one: no kernel sees the others."""
    if 1 not in count:
        return step
    return tuple([1 if c == 1 else s for s, c in zip(step, count, strict=True)])


def _check_padded(n: Sizes, low: Sizes, high: Sizes) -> None:
    padded = 1
    for i in range(len(n)):
        padded *= n[i] + low[i] + high[i]
    if padded > _MOST_PADDED:
        raise ValueError(
            f"padding: expected at most {_MOST_PADDED} elements of a padded plane, got {low} and "
            f"{high} around {n}"
        )


def conv_dims(
    x_shape: Sizes,
    w_shape: Sizes,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    rank: int,
) -> ConvDims:
    """The convolution of x (N, C, spatial...) with w (K, C/groups, taps...).

    padding: an int, one for each dimension, a (low, high) pair for each, "valid", "same" or "full".
    Raises TypeError or ValueError naming the argument, what came and what would be right.
    """
    _check_input(x_shape, "x", rank, LAYOUTS[rank])
    _check_weights(w_shape, rank, _WEIGHTS[rank])
    if type(groups) is not int or groups < 1:
        groups = integer(groups, "groups", 1)
    c, k = x_shape[1], w_shape[0]
    if c != w_shape[1] * groups:
        if c % groups:
            raise ValueError(f"groups: expected a divisor of x's {c} channels, got {groups}")
        raise ValueError(
            f"w: expected {c // groups} input channels (x has {c} in {groups} "
            f"group{'s' * (groups > 1)}), got shape {w_shape}"
        )
    if k % groups:
        raise ValueError(f"groups: expected a divisor of w's {k} filters, got {groups}")
    n, m = x_shape[2:], w_shape[2:]
    out, s, low, high, d = _windows(n, m, stride, padding, dilation, "w")
    return ConvDims(x_shape[0], c, k, groups, n, m, out, s, low, high, d)


def _check_weights(w_shape: Sizes, rank: int, layout: str) -> None:
    if len(w_shape) != rank + 2:
        raise ValueError(
            f"w: expected {rank + 2} dimensions {layout}, got {len(w_shape)}: shape {w_shape}"
        )
    if 0 in w_shape:
        raise ValueError(f"w: expected extents of at least 1 in {layout}, got shape {w_shape}")


def im2col_dims(
    x_shape: Sizes, kernel_size: Ints, stride: Ints, padding: Padding, dilation: Ints
) -> ConvDims:
    """The windows that im2col reads: those of a convolution with one filter."""
    rank = 2
    _check_input(x_shape, "x", rank, LAYOUTS[rank])
    n, m = x_shape[2:], sizes(kernel_size, "kernel_size", rank)
    out, s, low, high, d = _windows(n, m, stride, padding, dilation, "kernel_size")
    return ConvDims(x_shape[0], x_shape[1], 1, 1, n, m, out, s, low, high, d)


def conv_transpose_dims(
    x_shape: Sizes,
    w_shape: Sizes,
    stride: Ints,
    padding: Padding,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
    rank: int,
) -> ConvDims:
    """The convolution whose input gradient is the transposed convolution of x with w.

    x (N, C, spatial...) takes the place of dy, w is (C, K/groups, taps...), and the result, in the
    place of dx, has (n-1)s - low - high + d(m-1) + output_padding + 1 elements an axis.
    """
    _check_input(x_shape, "x", rank, LAYOUTS[rank])
    _check_weights(w_shape, rank, _TRANSPOSED[rank])
    groups = integer(groups, "groups", 1)
    c = x_shape[1]
    if c != w_shape[0]:
        raise ValueError(f"w: expected {c} in front, like x's channels, got shape {w_shape}")
    if c % groups:
        raise ValueError(f"groups: expected a divisor of x's {c} channels, got {groups}")
    n, m = x_shape[2:], w_shape[2:]
    s = sizes(stride, "stride", rank)
    d = sizes(dilation, "dilation", rank)
    more = sizes(output_padding, "output_padding", rank, 0)
    low, high = _explicit(padding, rank, _PADS)
    out = []
    for i in range(rank):
        if more[i] >= max(s[i], d[i]):
            raise ValueError(
                f"output_padding: expected less than the stride {s[i]} or the dilation {d[i]}, "
                f"got {more[i]}"
            )
        out.append((n[i] - 1) * s[i] - low[i] - high[i] + d[i] * (m[i] - 1) + more[i] + 1)
        if out[i] < 1:
            raise ValueError(
                f"padding: the output would be empty: {low[i]} + {high[i]} are cut off the "
                f"{out[i] + low[i] + high[i]} elements of axis {i + 2}"
            )
    reach = tuple([high[i] - more[i] for i in range(rank)])
    k = w_shape[1] * groups
    _check_padded(tuple(out), low, high)
    s, d = _used(s, n), _used(d, m)
    return ConvDims(x_shape[0], k, c, groups, tuple(out), m, n, s, low, reach, d)


# Pooling


def pool_dims(
    x_shape: Sizes,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    rank: int = 2,
) -> PoolDims:
    """The pooling of x (N, C, spatial...); stride None is kernel_size.

    Output floor((n + low + high - d(m-1) - 1)/s) + 1; with ceil_mode ceil, less one where the last
    window would begin beyond the input and its low padding (torch's rule). padding: as for
    convolution, but no "full", each smaller than the dilated kernel; "same" excludes ceil_mode.
    Raises TypeError or ValueError naming the argument, what came and what would be right.
    """
    _check_input(x_shape, "x", rank, LAYOUTS[rank])
    n, m = x_shape[2:], sizes(kernel_size, "kernel_size", rank)
    s = m if stride is None else sizes(stride, "stride", rank)
    d = sizes(dilation, "dilation", rank)
    if ceil_mode and isinstance(padding, str) and padding == "same":
        raise ValueError('ceil_mode: expected False with padding="same", got True')
    low, high = _pads(padding, n, m, s, d, False)
    out = []
    for i in range(rank):
        span = d[i] * (m[i] - 1) + 1
        if max(low[i], high[i]) >= span:
            raise ValueError(
                f"padding: expected less than the {span} elements that the kernel spans, "
                f"got {max(low[i], high[i])}"
            )
        room = n[i] + low[i] + high[i] - span
        size = (-(-room // s[i]) if ceil_mode else room // s[i]) + 1
        if ceil_mode and (size - 1) * s[i] >= n[i] + low[i]:
            size -= 1
        if size < 1:
            raise _does_not_fit(n, m, low, high, d, i, "kernel_size")
        out.append(size)
    _check_padded(n, low, high)
    s, d = _used(s, out), _used(d, m)
    if divisor_override is not None:
        divisor_override = integer(divisor_override, "divisor_override", 1)
    channels = x_shape[1]
    return PoolDims(
        x_shape[0], channels, n, m, tuple(out), s, low, high, d, count_include_pad, divisor_override
    )
