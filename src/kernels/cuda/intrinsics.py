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
    _MMA = (
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
    )

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
    def inside(typing, i, n):
        def generate(context, builder, signature, args):
            i, n = (builder.trunc(a, _I32) if a.type.width > 32 else a for a in args)
            return builder.icmp_unsigned("<", i, n)

        return types.boolean(i, n), generate

    @intrinsic
    def quotient(typing, i, n):
        def generate(context, builder, signature, args):
            i, n = (builder.trunc(a, _I32) if a.type.width > 32 else a for a in args)
            return builder.udiv(i, n)

        return types.int32(i, n), generate

    @intrinsic
    def pick(typing, registers, i, count):
        if _literal(count) is None:
            return None

        def generate(context, builder, signature, args):
            data = context.make_array(registers)(context, builder, args[0]).data
            value = builder.load(data)
            for j in range(1, count.literal_value):
                here = builder.icmp_signed("==", args[1], ir.Constant(_I64, j))
                value = builder.select(here, builder.load(_at(builder, data, j)), value)
            return value

        return registers.dtype(registers, types.int64, count), generate

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
    def multiply_step_tf32(typing, shared, a, a_pitch, b, b_pitch, sums, depth, rows, columns):
        if (
            shared.dtype != types.float32
            or _literal(a_pitch, b_pitch, depth, rows, columns) is None
        ):
            return None
        pa, pb, steps, m, n = _literal(a_pitch, b_pitch, depth, rows, columns)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[5]).data
            lane = builder.call(
                ir.InlineAsm(ir.FunctionType(_I32, []), "mov.u32 $0, %laneid;", "=r"), []
            )
            lane = builder.zext(lane, _I64)
            g, t = (
                builder.lshr(lane, ir.Constant(_I64, 2)),
                builder.and_(lane, ir.Constant(_I64, 3)),
            )
            real, four = ir.FloatType(), ir.LiteralStructType([ir.FloatType()] * 4)
            rounds = ir.InlineAsm(ir.FunctionType(_I32, [real]), "cvt.rna.tf32.f32 $0, $1;", "=r,f")
            kind = ir.FunctionType(four, [_I32] * 6 + [real] * 4)
            product = ir.InlineAsm(kind, _MMA, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f")

            def start(base, pitch):
                row = builder.mul(t, ir.Constant(_I64, pitch))
                return builder.gep(memory, [builder.add(base, builder.add(row, g))])

            def read(pointer, offset):
                return builder.call(rounds, [builder.load(_at(builder, pointer, offset))])

            of_a, of_b = start(args[1], pa), start(args[3], pb)
            count = m // 16 * (n // 8) * 4
            total = [builder.load(_at(builder, totals, i)) for i in range(count)]
            for d in range(0, steps, 8):
                right = [
                    [read(of_b, (d + 4 * q) * pb + 8 * j) for q in range(2)] for j in range(n // 8)
                ]
                for i in range(m // 16):
                    left = [
                        read(of_a, (d + 4 * q) * pa + 16 * i + 8 * h)
                        for q in range(2)
                        for h in range(2)
                    ]
                    for j in range(n // 8):
                        at = (i * (n // 8) + j) * 4
                        result = builder.call(product, [*left, *right[j], *total[at : at + 4]])
                        for v in range(4):
                            total[at + v] = builder.extract_value(result, v)
            for i in range(count):
                builder.store(total[i], _at(builder, totals, i))
            return context.get_dummy_value()

        return types.void(
            shared, types.int64, a_pitch, types.int64, b_pitch, sums, depth, rows, columns
        ), generate

    @intrinsic
    def spread_sums_tf32(typing, shared, at, pitch, sums, group, rows, columns):
        if _literal(pitch, rows, columns) is None:
            return None
        line, m, n = _literal(pitch, rows, columns)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[3]).data
            lane = builder.call(
                ir.InlineAsm(ir.FunctionType(_I32, []), "mov.u32 $0, %laneid;", "=r"), []
            )
            lane = builder.zext(lane, _I64)
            row = builder.mul(builder.lshr(lane, ir.Constant(_I64, 2)), ir.Constant(_I64, line))
            column = builder.shl(builder.and_(lane, ir.Constant(_I64, 3)), ir.Constant(_I64, 1))
            to = builder.gep(memory, [builder.add(args[1], builder.add(row, column))])
            for i in range(m // 16):
                with builder.if_then(builder.icmp_signed("==", args[4], ir.Constant(_I64, i))):
                    for j in range(n // 8):
                        for v in range(4):
                            total = builder.load(_at(builder, totals, (i * (n // 8) + j) * 4 + v))
                            builder.store(
                                total, _at(builder, to, v // 2 * 8 * line + 8 * j + v % 2)
                            )
            return context.get_dummy_value()

        return types.void(shared, types.int64, pitch, sums, types.int64, rows, columns), generate

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

    def inside(i: int, n: int) -> bool:
        """0 <= i < n for 32-bit numbers: one comparison."""
        return 0 <= i < n

    def quotient(i: int, n: int) -> int:
        """i // n for 32-bit numbers that are not negative: Numba divides in 64 bits."""
        return int(i) // int(n)

    def pick(registers: Any, i: int, count: int) -> Any:
        """registers[i] of `count` (a literal), which a variable i would move to memory."""
        return _numpy(registers)[:count][int(i)]

    def _tf32(x: np.ndarray) -> np.ndarray:
        """x rounded to TF32, 10 bits of fraction; ties away from zero."""
        bits = (x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
        return np.where(np.isfinite(x), bits.view(np.float32), x)

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

    def _of_lane(columns: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows and columns that a lane holds of 16 rows: [column // 8, 4]."""
        g, t = divmod(threading.current_thread().thread_id % WARP, 4)
        rows = np.array([g, g, g + 8, g + 8])
        places = 8 * np.arange(columns // 8)[:, None] + 2 * t + np.array([0, 1, 0, 1])
        return np.broadcast_to(rows, places.shape), places

    def multiply_step_tf32(shared: Any, a: int, a_pitch: int, b: int, b_pitch: int, sums: Any,
                           depth: int, rows: int, columns: int) -> None:  # fmt: skip
        """A warp's rows x columns += A B, both rounded to TF32, in steps of 8 by tensor cores.

        As multiply_step, but a and b are the warp's first elements. With g, t = lane // 4, lane % 4
        and of every 16 x 8 of the result a thread holds (mma.sync m16n8k8)
            [g, 2t], [g, 2t + 1], [g + 8, 2t], [g + 8, 2t + 1]
        """
        memory, totals = _numpy(shared), _numpy(sums).reshape(rows // 16, columns // 8, 4)
        i, j = _of_lane(columns)
        with np.errstate(all="ignore"):
            for d in range(depth):
                left = _tf32(memory[int(a) + d * a_pitch :][:rows]).reshape(-1, 16)
                right = _tf32(memory[int(b) + d * b_pitch :][:columns])
                totals += left[:, i] * right[j]

    def spread_sums_tf32(shared: Any, at: int, pitch: int, sums: Any, group: int, rows: int,
                         columns: int) -> None:  # fmt: skip
        """Write 16 of the warp's rows, a group, to shared memory, `pitch` apart."""
        i, j = _of_lane(columns)
        totals = _numpy(sums).reshape(rows // 16, columns // 8, 4)
        _numpy(shared)[int(at) + i * pitch + j] = totals[int(group)]

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
