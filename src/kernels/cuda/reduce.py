"""Sums, extrema and their places along axes of arrays of any strides.

    y[kept] = sum over the reduced axes of a[kept, reduced]

A block makes one element: its threads go through the reduced elements in turns of BLOCK, then fold
their results in shared memory, halves onto halves, in an order that nothing changes. Where there
are few elements to make and much to go through, PARTS blocks make parts of each, and a second
launch reduces those. Floats are added in float64. The first of equal extrema wins, and NaN wins
over every number, as in NumPy.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import SIMULATED, Kernel, flat, kernel, launch, scratch
from convnet.kernels.cuda.strided import _array, _tuples, merged
from numba import cuda

BLOCK = 4 if SIMULATED else 256
PART = 16 if SIMULATED else 8192  # elements of a part, at least
PARTS = 3 if SIMULATED else 512


@functools.cache
def make_sum(y_type: np.dtype, a_type: np.dtype, kept: int, reduced: int) -> Kernel:
    total_type = np.float64 if a_type.kind == "f" else np.int64
    store = y_type.type

    @kernel(
        f"void({_array(y_type)}, {_array(a_type)}, int64, int64, int64, {_tuples(kept, 2)}, "
        f"{_tuples(reduced, 2)}, int64)",
        max_threads=BLOCK,
    )
    def sum(y, a, n, parts, each, kept_shape, kept_strides, shape, strides, start):
        shared = cuda.shared.array(BLOCK, total_type)
        thread = cuda.threadIdx.x
        part = cuda.blockIdx.x % parts
        rest = cuda.blockIdx.x // parts
        for j in range(kept):
            d = kept - 1 - j
            q = rest // kept_shape[d]
            start += (rest - q * kept_shape[d]) * kept_strides[d]
            rest = q
        total = total_type(0)
        for i in range(part * each + thread, min(n, (part + 1) * each), BLOCK):
            rest, at = i, start
            for j in range(reduced):
                d = reduced - 1 - j
                q = rest // shape[d]
                at += (rest - q * shape[d]) * strides[d]
                rest = q
            total += total_type(a[at])
        shared[thread] = total
        cuda.syncthreads()
        half = BLOCK // 2
        while half > 0:
            if thread < half:
                shared[thread] += shared[thread + half]
            cuda.syncthreads()
            half //= 2
        if thread == 0:
            y[cuda.blockIdx.x] = store(shared[0])

    return sum


@functools.cache
def make_extremum(
    largest: bool, place: bool, y_type: np.dtype, a_type: np.dtype, kept: int, reduced: int
) -> Kernel:
    value_type, store = a_type.type, y_type.type

    @kernel(
        f"void({_array(y_type)}, {_array(a_type)}, int64, int64, int64, {_tuples(kept, 2)}, "
        f"{_tuples(reduced, 2)}, int64)",
        max_threads=BLOCK,
    )
    def extremum(y, a, n, parts, each, kept_shape, kept_strides, shape, strides, start):
        values = cuda.shared.array(BLOCK, value_type)
        places = cuda.shared.array(BLOCK, np.int64)
        thread = cuda.threadIdx.x
        part = cuda.blockIdx.x % parts
        rest = cuda.blockIdx.x // parts
        for j in range(kept):
            d = kept - 1 - j
            q = rest // kept_shape[d]
            start += (rest - q * kept_shape[d]) * kept_strides[d]
            rest = q
        best = value_type(0)
        best_place = np.int64(-1)
        for i in range(part * each + thread, min(n, (part + 1) * each), BLOCK):
            rest, at = i, start
            for j in range(reduced):
                d = reduced - 1 - j
                q = rest // shape[d]
                at += (rest - q * shape[d]) * strides[d]
                rest = q
            v = a[at]
            better = v > best if largest else v < best
            if best_place < 0 or ((better or v != v) and best == best):
                best = v
                best_place = i
        values[thread] = best
        places[thread] = best_place
        cuda.syncthreads()
        half = BLOCK // 2
        while half > 0:
            if thread < half:
                v = values[thread + half]
                p = places[thread + half]
                w = values[thread]
                q = places[thread]
                if p >= 0:
                    better = v > w if largest else v < w
                    if v != v:
                        take = w == w or p < q
                    elif w != w:
                        take = False
                    else:
                        take = better or (v == w and p < q)
                    if q < 0 or take:
                        values[thread] = v
                        places[thread] = p
            cuda.syncthreads()
            half //= 2
        if thread == 0:
            if place:
                y[cuda.blockIdx.x] = store(places[0])
            else:
                y[cuda.blockIdx.x] = store(values[0])

    return extremum


def _make(name: str, y_type: np.dtype, a_type: np.dtype, kept: int, reduced: int) -> Kernel:
    if name == "sum":
        return make_sum(y_type, a_type, kept, reduced)
    return make_extremum("max" in name, "arg" in name, y_type, a_type, kept, reduced)


def reduce(name: str, y: Any, a: Any, axes: tuple[int, ...]) -> None:
    """y (dense, the kept axes in order) = name of a over axes; a is not empty along them.

    name : "sum", "max", "min", "argmax" or "argmin" (places count the reduced axes in C order)
    """
    if y.size == 0:
        return
    strides = [s // a.itemsize for s in a.strides]
    kept = [d for d in range(a.ndim) if d not in axes]
    kept_shape = tuple([a.shape[d] for d in kept]) or (1,)
    kept_strides = tuple([strides[d] for d in kept]) or (0,)
    shape = tuple([a.shape[d] for d in axes])
    along = tuple([strides[d] for d in axes])
    if name in ("sum", "max", "min"):  # any order of the elements will do
        shape, along = merged(shape, along)
    n = 1
    for k in shape:
        n *= k
    line, start = a.line()
    parts = 1 if "arg" in name or y.size >= PARTS else min(PARTS // y.size, -(-n // PART))
    each = -(-n // parts)
    out = y if parts == 1 else scratch(y, (y.size, parts), _part_type(name, a.dtype))
    program = _make(name, out.dtype, a.dtype, len(kept_shape), len(shape))
    launch(
        program,
        y.size * parts,
        BLOCK,
        flat(out),
        flat(line),
        n,
        parts,
        each,
        kept_shape,
        kept_strides,
        shape,
        along,
        start,
    )
    if parts > 1:
        reduce(name, y.reshape(-1), out, (1,))


def _part_type(name: str, a_type: np.dtype) -> np.dtype:
    if name != "sum":
        return a_type
    return np.dtype(np.float64 if a_type.kind == "f" else np.int64)


def programs() -> Iterator[Kernel]:
    """What a training loop uses."""
    for t in (np.dtype(np.float32), np.dtype(np.float64)):
        yield make_sum(t, t, 1, 1)
        yield make_sum(t, t, 2, 2)
        yield make_extremum(True, False, t, t, 1, 1)
        yield make_extremum(True, True, np.dtype(np.int64), t, 1, 1)
