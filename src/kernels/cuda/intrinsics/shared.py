"""Shared memory: arrays that begin at 16 bytes, and copies to them beside the arithmetic.

Copies are cp.async (sm_80 and later). Their twin keeps them back until `copy_wait` lets them go,
so that a kernel that forgets to wait fails on the simulator.
"""

import sys
import threading
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics.vectors import VECTOR
from convnet.kernels.cuda.launch import SIMULATED
from numba import cuda, types

if SIMULATED:
    from convnet.kernels.cuda.intrinsics.common import numpy_of, vector_slice

    def shared_array(length: int, dtype: Any) -> np.ndarray:
        """An array that a block shares and that begins at 16 bytes; each on a line of its own."""
        caller = sys._getframe(1)
        block = threading.current_thread()._manager
        arrays = block.__dict__.setdefault("shared_arrays", {})
        array = np.empty(length, np.dtype(str(dtype)))
        array.fill(np.nan if array.dtype.kind == "f" else 77)  # nothing may be read unwritten
        return arrays.setdefault((caller.f_code, caller.f_lineno), array)

    def barrier() -> None:
        """All threads of the block come here before one goes on."""
        threading.current_thread().syncthreads()

    # What the thread has asked for: the groups committed, and the copies since.
    _copies = threading.local()
    groups_of_threads: list[list] = []  # a kernel must not end, or reuse memory, with any in it

    def _later(shared: Any, to: slice, values: np.ndarray) -> None:
        if not hasattr(_copies, "open"):
            _copies.open, _copies.groups = [], []
            groups_of_threads.append(_copies.groups)
        _copies.open.append((numpy_of(shared), to, values))

    def _values(a: np.ndarray, j: int, count: int, length: int) -> np.ndarray:
        values = np.zeros(length, a.dtype)
        if count:
            if not (0 < count <= length and 0 <= j <= a.size - count):
                raise IndexError(f"{count} of {length} elements at {j} of {a.size}")
            values[:count] = a[j : j + count]
        return values

    def copy_async(shared: Any, i: int, a: Any, j: int, count: int) -> None:
        """shared[i] = a[j] if count == 1, 0 if count == 0 (nothing is read), once waited for."""
        i = int(i)
        _later(shared, slice(i, i + 1), _values(numpy_of(a), int(j), int(count), 1))

    def copy_vector_async(shared: Any, i: int, a: Any, j: int, count: int) -> None:
        """A vector of shared, from i on, = the first count elements of a[j:] and then zeros."""
        shared, a = numpy_of(shared), numpy_of(a)
        lanes, j = VECTOR[a.dtype], int(j)
        if count and j % lanes:
            raise IndexError(f"a vector of {lanes} at {j}")
        _later(shared, vector_slice(shared, int(i), lanes), _values(a, j, int(count), lanes))

    def copy_commit() -> None:
        """The copies that this thread has asked for since the last commit are a group."""
        _later(np.empty(0), slice(0), np.empty(0))
        _copies.groups.append(_copies.open)
        _copies.open = []

    def copy_wait(pending: int) -> None:
        """Wait until at most `pending` (a literal) of this thread's groups are under way."""
        while len(_copies.groups) > pending:
            for shared, to, values in _copies.groups.pop(0):
                shared[to] = values

else:
    from convnet.kernels.cuda.intrinsics.common import (
        GLOBAL,
        I32,
        SHARED,
        assembly,
        element,
        in_space,
    )
    from llvmlite import ir
    from numba.cuda.cudadecl import Cuda_shared_array
    from numba.cuda.extending import intrinsic

    @intrinsic
    def shared_array(typing, length, dtype):
        array = types.Function(Cuda_shared_array)
        alignment = types.literal(16)
        made = typing.resolve_function_type(array, (length, dtype, alignment), {})

        def generate(context, builder, signature, args):
            make = context.get_function(array, made)
            return make(builder, [*args, context.get_constant(types.int64, 16)])

        return made.return_type(length, dtype), generate

    @cuda.jit(device=True, inline="always")
    def barrier():
        cuda.syncthreads()

    def _copy(context: Any, builder: Any, signature: Any, args: Any, vector: bool) -> Any:
        shared, _, array, _, count = signature.args
        to = in_space(builder, element(context, builder, shared, args, 0), SHARED)
        of = in_space(builder, element(context, builder, array, args, 2), GLOBAL)
        item = array.dtype.bitwidth // 8
        number = context.cast(builder, args[4], count, types.int32)
        length = builder.mul(number, ir.Constant(I32, item))
        kind = "cg" if vector else "ca"
        text = f"cp.async.{kind}.shared.global [$0], [$1], {16 if vector else item}, $2;"
        assembly(builder, ir.VoidType(), text, "r,l,r", [to, of, length])
        return context.get_dummy_value()

    @intrinsic
    def copy_async(typing, shared, i, a, j, count):
        def generate(context, builder, signature, args):
            return _copy(context, builder, signature, args, vector=False)

        return types.void(shared, types.int64, a, types.int64, types.int32), generate

    @intrinsic
    def copy_vector_async(typing, shared, i, a, j, count):
        def generate(context, builder, signature, args):
            return _copy(context, builder, signature, args, vector=True)

        return types.void(shared, types.int64, a, types.int64, types.int32), generate

    @intrinsic
    def copy_commit(typing):
        def generate(context, builder, signature, args):
            assembly(builder, ir.VoidType(), "cp.async.commit_group;", "~{memory}", [])
            return context.get_dummy_value()

        return types.void(), generate

    @intrinsic
    def copy_wait(typing, pending):
        if not isinstance(pending, types.IntegerLiteral):
            return None
        text = f"cp.async.wait_group {pending.literal_value};"

        def generate(context, builder, signature, args):
            assembly(builder, ir.VoidType(), text, "~{memory}", [])
            return context.get_dummy_value()

        return types.void(pending), generate
