"""The same bits: on any number of threads, in any memory layout of the inputs, in any batch.

What DESIGN promises beyond the error bounds, as calls to compare: a case's op is called again with
arguments that mean the same, and everything it returns or writes must have the same bytes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Arguments that an op writes into: they keep their layout.
WRITTEN = {"out", "running_mean", "running_var"}

# Ops whose results for an image do not depend on the rest of the batch: the arguments that hold an
# image each along axis 0, and which of the results do.
_X, _DY = ("x",), ("dy", "x", "y", "indices")
PER_IMAGE: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    **{f"conv{n}d": (_X, (0,)) for n in (1, 2, 3)},
    **{f"conv{n}d_backward": (_DY, (0,)) for n in (1, 2, 3)},
    "conv_transpose2d": (_X, (0,)),
    "conv_transpose2d_backward": (_DY, (0,)),
    **{
        f"{pool}{n}d{end}": (args, (0, 1))
        for pool in ("max_pool", "avg_pool", "global_avg_pool", "adaptive_avg_pool")
        for n in (1, 2, 3)
        for end, args in (("", _X), ("_backward", _DY))
    },
    **{
        f"{f}{end}": (args, (0,))
        for f in ("relu", "sigmoid", "tanh", "leaky_relu", "gelu", "silu")
        for end, args in (("", _X), ("_backward", _DY))
    },
}

Call = Callable[[dict[str, Any]], Any]


def of(call: Call, args: dict[str, Any]) -> list[Any]:
    """Everything that a call returns or writes: arrays as shape, strides and bytes."""
    result = call(args)
    results = result if isinstance(result, tuple) else (result,)
    return [_of_value(a) for a in (*results, *args.values())]


def _of_value(a: Any) -> Any:
    if isinstance(a, np.generic):  # NaN is not equal to itself, its bytes are
        return a.dtype, a.tobytes()
    if not isinstance(a, np.ndarray):
        return a
    return a.shape, a.strides if a.size > 1 else (), a.tobytes()


def every_second(a: np.ndarray) -> np.ndarray:
    """`a` as a read-only view of every second column of a wider array."""
    wide = np.empty((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., 1::2] = a
    wide[..., ::2] = 77
    view = wide[..., 1::2]
    view.flags.writeable = False
    return view


def backwards(a: np.ndarray) -> np.ndarray:
    """`a` with negative strides on all axes."""
    back = (slice(None, None, -1),) * a.ndim
    return a[back].copy()[back]


def misaligned(a: np.ndarray) -> np.ndarray:
    """`a` at an address that is no multiple of its element's size."""
    memory = np.empty(a.nbytes + a.itemsize + 1, np.uint8)
    offset = 1 + -memory.ctypes.data % a.itemsize
    view = memory[offset : offset + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS = {"every second": every_second, "backwards": backwards, "misaligned": misaligned}


def layouts(make: Callable[[], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, arguments in that layout) for contiguous arguments, as make() gives them afresh."""
    for name, change in LAYOUTS.items():
        args = make()
        changed = {
            p: change(a)
            for p, a in args.items()
            if isinstance(a, np.ndarray) and a.ndim and a.size and p not in WRITTEN
        }
        if changed:
            yield name, {**args, **changed}


def differences(op: str, call: Call, make: Callable[[], dict[str, Any]]) -> list[str]:
    """What differs, in words, when the layouts or the batch of a call change.

    make : gives the arguments afresh, C-contiguous or channels-last.
    """
    wrong = []
    args = make()
    result = call(args)
    results = result if isinstance(result, tuple) else (result,)
    contiguous = all(a.flags.c_contiguous for a in args.values() if isinstance(a, np.ndarray))
    if contiguous:
        written = [_of_value(args[p]) for p in args if p in WRITTEN]
        expected = [_of_value(a) for a in results] + written
        for name, changed in layouts(make):
            again = call(changed)
            got = [_of_value(a) for a in (again if isinstance(again, tuple) else (again,))]
            got += [_of_value(changed[p]) for p in changed if p in WRITTEN]
            if got != expected:
                wrong.append(f"the bits differ from a contiguous copy's for inputs {name}")
    if op in PER_IMAGE and not _alone(op, call, make(), results):
        wrong.append("the bits of an image alone differ from those in its batch")
    return wrong


def _alone(op: str, call: Call, args: dict[str, Any], results: tuple[Any, ...]) -> bool:
    """Whether the last image alone gives what it gave in its batch; True without a batch."""
    sliced, which = PER_IMAGE[op]
    arrays = [args[p] for p in sliced if isinstance(args.get(p), np.ndarray)]
    if "out" in args or not arrays or arrays[0].ndim < 2 or len(arrays[0]) < 2:
        return True
    alone = {p: a[-1:] if p in sliced and isinstance(a, np.ndarray) else a for p, a in args.items()}
    if "x_shape" in alone:
        alone["x_shape"] = (1, *alone["x_shape"][1:])
    result = call(alone)
    got = result if isinstance(result, tuple) else (result,)
    return all(
        got[i].tobytes() == results[i][-1:].tobytes()
        for i in which
        if i < len(results) and isinstance(results[i], np.ndarray)
    )
