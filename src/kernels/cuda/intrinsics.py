"""What Numba lacks: 16-byte loads and stores, asynchronous copies to shared memory, TF32, warps.

All of it stands in this file. Each intrinsic has a Python twin of the same name that Numba's
simulator runs; the twin says what the instruction does, but only a GPU shows that it does so.

    a vector is 16 bytes, `VECTOR[dtype]` elements; its first index is a multiple of its length, and
    its array begins at a multiple of 16 bytes

Copies to shared memory run beside the arithmetic (cp.async, sm_80 and later). Their twin keeps them
back until `copy_wait` lets them go, so that a kernel that forgets to wait fails on the simulator.
"""

import sys
import threading
from typing import Any

import numpy as np
from numba import config, cuda, types

VECTOR = {np.dtype(np.float32): 4, np.dtype(np.float64): 2, np.dtype(np.int32): 4}
WARP = 32

if not config.ENABLE_CUDASIM:
    from llvmlite import ir
    from numba.cuda.cudadecl import Cuda_shared_array
    from numba.cuda.extending import intrinsic

    _I32, _I64 = ir.IntType(32), ir.IntType(64)
    _GLOBAL, _SHARED = 1, 3  # address spaces

    def _element(context: Any, builder: Any, array: Any, args: Any, position: int) -> Any:
        """A pointer to array[index]: args[position] is the array, the next its index."""
        data = context.make_array(array)(context, builder, args[position]).data
        return builder.gep(data, [args[position + 1]])

    def _in_space(builder: Any, pointer: Any, space: int) -> Any:
        """The number of an address in global or shared memory, for inline assembly."""
        kind = ir.PointerType(pointer.type.pointee, space)
        address = builder.ptrtoint(builder.addrspacecast(pointer, kind), _I64)
        return builder.trunc(address, _I32) if space == _SHARED else address

    def _vector_pointer(context: Any, builder: Any, array: Any, args: Any) -> tuple[Any, int]:
        lanes = 128 // array.dtype.bitwidth
        pointer = _element(context, builder, array, args, 0)
        element = context.get_data_type(array.dtype)
        return builder.bitcast(pointer, ir.PointerType(ir.VectorType(element, lanes))), lanes

    def _assembly(builder: Any, returns: Any, text: str, constraints: str, args: list) -> Any:
        kind = ir.FunctionType(returns, [a.type for a in args])
        return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), args)

    def _copy(context: Any, builder: Any, signature: Any, args: Any, vector: bool) -> Any:
        shared, _, array, _, count = signature.args
        to = _in_space(builder, _element(context, builder, shared, args, 0), _SHARED)
        of = _in_space(builder, _element(context, builder, array, args, 2), _GLOBAL)
        item = array.dtype.bitwidth // 8
        number = context.cast(builder, args[4], count, types.int32)
        length = builder.mul(number, ir.Constant(_I32, item))
        kind = "cg" if vector else "ca"
        text = f"cp.async.{kind}.shared.global [$0], [$1], {16 if vector else item}, $2;"
        _assembly(builder, ir.VoidType(), text, "r,l,r", [to, of, length])
        return context.get_dummy_value()

    @intrinsic
    def load_registers(typing, a, i, registers, at, lanes):
        if not isinstance(lanes, types.IntegerLiteral):
            return None
        count = lanes.literal_value

        def generate(context, builder, signature, args):
            to = context.make_array(registers)(context, builder, args[2]).data
            if count == 1:
                values = [builder.load(_element(context, builder, a, args, 0))]
            else:
                pointer, _ = _vector_pointer(context, builder, a, args)
                vector = builder.load(pointer)
                vector.align = 16
                values = [
                    builder.extract_element(vector, ir.Constant(_I32, v)) for v in range(count)
                ]
            for v, value in enumerate(values):
                builder.store(value, builder.gep(to, [builder.add(args[3], ir.Constant(_I64, v))]))
            return context.get_dummy_value()

        return types.void(a, types.int64, registers, types.int64, lanes), generate

    @intrinsic
    def store_registers(typing, a, i, registers, at, lanes):
        if not isinstance(lanes, types.IntegerLiteral):
            return None
        count = lanes.literal_value

        def generate(context, builder, signature, args):
            of = context.make_array(registers)(context, builder, args[2]).data
            values = [
                builder.load(builder.gep(of, [builder.add(args[3], ir.Constant(_I64, v))]))
                for v in range(count)
            ]
            if count == 1:
                builder.store(values[0], _element(context, builder, a, args, 0))
                return context.get_dummy_value()
            pointer, _ = _vector_pointer(context, builder, a, args)
            vector = ir.Constant(pointer.type.pointee, ir.Undefined)
            for v, value in enumerate(values):
                vector = builder.insert_element(vector, value, ir.Constant(_I32, v))
            builder.store(vector, pointer).align = 16
            return context.get_dummy_value()

        return types.void(a, types.int64, registers, types.int64, lanes), generate

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
            _assembly(builder, ir.VoidType(), "cp.async.commit_group;", "~{memory}", [])
            return context.get_dummy_value()

        return types.void(), generate

    @intrinsic
    def copy_wait(typing, pending):
        if not isinstance(pending, types.IntegerLiteral):
            return None
        text = f"cp.async.wait_group {pending.literal_value};"

        def generate(context, builder, signature, args):
            _assembly(builder, ir.VoidType(), text, "~{memory}", [])
            return context.get_dummy_value()

        return types.void(pending), generate

    @intrinsic
    def to_tf32(typing, x):
        def generate(context, builder, signature, args):
            kind = ir.FunctionType(_I32, [ir.FloatType()])
            rounded = builder.call(ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f"), args)
            return builder.bitcast(rounded, ir.FloatType())

        return types.float32(types.float32), generate

    @intrinsic
    def multiply_tf32(typing, d, a, b):
        def generate(context, builder, signature, args):
            sums, left, right = args
            real = ir.FloatType()
            operands = [builder.extract_value(left, i) for i in range(4)]
            operands += [builder.extract_value(right, i) for i in range(2)]
            operands = [builder.bitcast(o, _I32) for o in operands]
            operands += [builder.extract_value(sums, i) for i in range(4)]
            result = ir.LiteralStructType([real] * 4)
            text = (
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
            )
            constraints = "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"
            values = _assembly(builder, result, text, constraints, operands)
            values = [builder.extract_value(values, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, values)

        return d(d, a, b), generate

    @cuda.jit(device=True, inline="always")
    def lane_xor(value, mask):
        return cuda.shfl_xor_sync(0xFFFFFFFF, value, mask)

    def _literal(*arguments: Any) -> list[int] | None:
        """The values of constants, None where one is not known when the kernel is compiled."""
        if all(isinstance(a, types.IntegerLiteral) for a in arguments):
            return [a.literal_value for a in arguments]
        return None

    def _at(builder: Any, pointer: Any, offset: int) -> Any:
        return builder.gep(pointer, [ir.Constant(_I64, offset)])

    @intrinsic
    def clear_sums(typing, sums, count):
        if _literal(count) is None:
            return None

        def generate(context, builder, signature, args):
            data = context.make_array(sums)(context, builder, args[0]).data
            for i in range(count.literal_value):
                builder.store(ir.Constant(data.type.pointee, 0), _at(builder, data, i))
            return context.get_dummy_value()

        return types.void(sums, count), generate

    @intrinsic
    def multiply_step(typing, shared, a, a_pitch, b, b_pitch, sums, depth, lanes, rows, columns,
                      rows_apart, columns_apart):  # fmt: skip
        constants = a_pitch, b_pitch, depth, lanes, rows, columns, rows_apart, columns_apart
        if _literal(*constants) is None:
            return None
        pa, pb, steps, width, m, n, apart_m, apart_n = _literal(*constants)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[5]).data
            vector = ir.PointerType(ir.VectorType(memory.type.pointee, width))

            def read(base, offset, count, apart):
                values = []
                for g in range(count // width):
                    pointer = builder.bitcast(_at(builder, base, offset + g * apart), vector)
                    loaded = builder.load(pointer)
                    loaded.align = 16
                    values += [
                        builder.extract_element(loaded, ir.Constant(_I32, v)) for v in range(width)
                    ]
                return values

            of_a, of_b = builder.gep(memory, [args[1]]), builder.gep(memory, [args[3]])
            total = [builder.load(_at(builder, totals, i)) for i in range(m * n)]
            for d in range(steps):
                left, right = read(of_a, d * pa, m, apart_m), read(of_b, d * pb, n, apart_n)
                for i in range(m):
                    for j in range(n):
                        total[i * n + j] = builder.fma(left[i], right[j], total[i * n + j])
            for i in range(m * n):
                builder.store(total[i], _at(builder, totals, i))
            return context.get_dummy_value()

        return types.void(
            shared, types.int64, a_pitch, types.int64, b_pitch, sums, depth, lanes, rows, columns,
            rows_apart, columns_apart,
        ), generate  # fmt: skip

    @intrinsic
    def spread_sums(typing, shared, at, pitch, sums, group, lanes, rows, columns, columns_apart):
        if _literal(pitch, lanes, rows, columns, columns_apart) is None:
            return None
        line, width, m, n, apart = _literal(pitch, lanes, rows, columns, columns_apart)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[3]).data
            vector = ir.VectorType(memory.type.pointee, width)
            to = builder.gep(memory, [args[1]])
            for g in range(m // width):
                with builder.if_then(builder.icmp_signed("==", args[4], ir.Constant(_I64, g))):
                    for v in range(width):
                        for h in range(n // width):
                            values = ir.Constant(vector, ir.Undefined)
                            for u in range(width):
                                i = (g * width + v) * n + h * width + u
                                total = builder.load(_at(builder, totals, i))
                                values = builder.insert_element(values, total, ir.Constant(_I32, u))
                            pointer = _at(builder, to, v * line + h * apart)
                            pointer = builder.bitcast(pointer, ir.PointerType(vector))
                            builder.store(values, pointer).align = 16
            return context.get_dummy_value()

        return types.void(
            shared, types.int64, pitch, sums, types.int64, lanes, rows, columns, columns_apart
        ), generate

    @intrinsic
    def shared_array(typing, length, dtype):
        array = types.Function(Cuda_shared_array)
        alignment = types.literal(16)
        made = typing.resolve_function_type(array, (length, dtype, alignment), {})

        def generate(context, builder, signature, args):
            make = context.get_function(array, made)
            return make(builder, [*args, context.get_constant(types.int64, 16)])

        return made.return_type(length, dtype), generate

else:

    def _numpy(a: Any) -> np.ndarray:
        """The NumPy array under the simulator's wrappers, which are slow."""
        return a._item._ary if hasattr(a, "_item") else a

    def _vector(a: np.ndarray, i: int, length: int) -> slice:
        """a[i : i + length], with the instruction's demands checked."""
        if i % length or i < 0 or i + length > a.size:
            raise IndexError(f"a vector of {length} at {i} of {a.size} elements")
        return slice(i, i + length)

    def load_registers(a: Any, i: int, registers: Any, at: int, lanes: int) -> None:
        """registers[at], ... = a[i], ...: a 16-byte load into a local array; lanes 1: of one."""
        a, registers, at = _numpy(a), _numpy(registers), int(at)
        registers[at : at + lanes] = a[_vector(a, int(i), lanes)]

    def store_registers(a: Any, i: int, registers: Any, at: int, lanes: int) -> None:
        """a[i], ... = registers[at], ...: a 16-byte store from a local array; lanes 1: of one."""
        a, registers, at = _numpy(a), _numpy(registers), int(at)
        a[_vector(a, int(i), lanes)] = registers[at : at + lanes]

    # What the thread has asked for: the groups committed, and the copies since.
    _copies = threading.local()

    def _later(shared: Any, to: slice, values: np.ndarray) -> None:
        if not hasattr(_copies, "open"):
            _copies.open, _copies.groups = [], []
        _copies.open.append((_numpy(shared), to, values))

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
        _later(shared, slice(i, i + 1), _values(_numpy(a), int(j), int(count), 1))

    def copy_vector_async(shared: Any, i: int, a: Any, j: int, count: int) -> None:
        """A vector of shared, from i on, = the first count elements of a[j:] and then zeros."""
        shared, a = _numpy(shared), _numpy(a)
        lanes, j = VECTOR[a.dtype], int(j)
        if count and j % lanes:
            raise IndexError(f"a vector of {lanes} at {j}")
        _later(shared, _vector(shared, int(i), lanes), _values(a, j, int(count), lanes))

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

    def to_tf32(x: np.float32) -> np.float32:
        """x rounded to TF32, 10 bits of fraction; ties away from zero."""
        bits = np.float32(x).view(np.uint32)
        if not np.isfinite(x):
            return np.float32(x)
        return np.uint32((int(bits) + 0x1000) & 0xFFFFE000).view(np.float32)

    def _exchange(value: Any) -> list:
        """The values of a warp's threads, in order. All of them call it."""
        thread = threading.current_thread()
        block = thread._manager
        warp, lane = divmod(thread.thread_id, WARP)
        lanes = min(WARP, int(np.prod(block._block_dim)) - warp * WARP)
        state = block.__dict__.setdefault("warps", {})
        slot = state.setdefault(warp, ([None] * lanes, threading.Barrier(lanes, timeout=600)))
        values, barrier = slot
        values[lane] = value
        barrier.wait()
        seen = list(values)
        barrier.wait()
        return seen

    def multiply_tf32(d: tuple, a: tuple, b: tuple) -> tuple:
        """d + A B by a warp's tensor core (mma.sync m16n8k8): A 16x8, B 8x8, d 16x8.

        With g, t = lane // 4, lane % 4 a thread holds
            a = A[g, t], A[g + 8, t], A[g, t + 4], A[g + 8, t + 4]    b = B[t, g], B[t + 4, g]
            d = D[g, 2t], D[g, 2t + 1], D[g + 8, 2t], D[g + 8, 2t + 1]
        """
        left, right = np.empty((16, 8)), np.empty((8, 8))
        for lane, (of_a, of_b) in enumerate(_exchange((a, b))):
            g, t = divmod(lane, 4)
            left[g, t], left[g + 8, t], left[g, t + 4], left[g + 8, t + 4] = of_a
            right[t, g], right[t + 4, g] = of_b
        g, t = divmod(threading.current_thread().thread_id % WARP, 4)
        product = left @ right
        mine = product[[g, g, g + 8, g + 8], [2 * t, 2 * t + 1, 2 * t, 2 * t + 1]]
        return tuple(np.float32(s + p) for s, p in zip(d, mine, strict=True))

    def lane_xor(value: Any, mask: int) -> Any:
        """The value of the thread whose lane is this one's ^ mask; all of a warp call it."""
        seen = _exchange(value)
        lane = threading.current_thread().thread_id % WARP
        return seen[lane ^ mask] if lane ^ mask < len(seen) else value

    def clear_sums(sums: Any, count: int) -> None:
        """sums[:count] = 0."""
        _numpy(sums)[:count] = 0

    def _groups(count: int, lanes: int, apart: int) -> np.ndarray:
        """Where `count` elements lie that are groups of a vector, so far apart."""
        return np.add.outer(np.arange(count // lanes) * apart, np.arange(lanes)).ravel()

    def multiply_step(shared: Any, a: int, a_pitch: int, b: int, b_pitch: int, sums: Any,
                      depth: int, lanes: int, rows: int, columns: int, rows_apart: int,
                      columns_apart: int) -> None:  # fmt: skip
        """sums[i, j] += sum over d < depth of A[d, i] B[d, j], in that order and unrolled.

        A[d] is at a + d a_pitch of shared memory, in rows // lanes vectors that lie rows_apart
        apart, B likewise; sums, (rows, columns) row by row, stay in registers.
        """
        memory, totals = _numpy(shared), _numpy(sums)
        i, j = (
            int(a) + _groups(rows, lanes, rows_apart),
            int(b) + _groups(columns, lanes, columns_apart),
        )
        with np.errstate(all="ignore"):
            for d in range(depth):
                totals += np.outer(memory[i + d * a_pitch], memory[j + d * b_pitch]).ravel()

    def spread_sums(shared: Any, at: int, pitch: int, sums: Any, group: int, lanes: int, rows: int,
                    columns: int, columns_apart: int) -> None:  # fmt: skip
        """Write a group of the sums' rows, `lanes` of them, to shared memory, `pitch` apart.

        Their columns are vectors that lie columns_apart apart, as multiply_step's.
        """
        memory = _numpy(shared)
        lines = _numpy(sums).reshape(rows // lanes, lanes, columns)[int(group)]
        for v, line in enumerate(lines):
            memory[int(at) + v * pitch + _groups(columns, lanes, columns_apart)] = line

    def shared_array(length: int, dtype: Any) -> np.ndarray:
        """An array that a block shares and that begins at 16 bytes; each on a line of its own."""
        caller = sys._getframe(1)
        block = threading.current_thread()._manager
        arrays = block.__dict__.setdefault("shared_arrays", {})
        array = np.empty(length, np.dtype(str(dtype)))
        array.fill(np.nan if array.dtype.kind == "f" else 77)  # nothing may be read unwritten
        return arrays.setdefault((caller.f_code, caller.f_lineno), array)


@cuda.jit(device=True)
def warp_sum(value):
    """The sum over the 32 lanes of a warp, in all of them; in one order."""
    value += lane_xor(value, 16)
    value += lane_xor(value, 8)
    value += lane_xor(value, 4)
    value += lane_xor(value, 2)
    return value + lane_xor(value, 1)


@cuda.jit(device=True)
def warp_max(value):
    """The largest value of a warp, in all lanes; NaN where one of them is NaN."""
    mask = 16
    while mask > 0:
        other = lane_xor(value, mask)
        value = other if other > value or other != other else value
        mask >>= 1
    return value
