"""The inner loop of a product, unrolled: a thread's sums stay in registers."""

from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import SIMULATED
from numba import types

if SIMULATED:
    from convnet.kernels.cuda.intrinsics.common import numpy_of

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
        memory, totals = numpy_of(shared), numpy_of(sums)
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
        memory = numpy_of(shared)
        lines = numpy_of(sums).reshape(rows // lanes, lanes, columns)[int(group)]
        for v, line in enumerate(lines):
            memory[int(at) + v * pitch + _groups(columns, lanes, columns_apart)] = line

else:
    from convnet.kernels.cuda.intrinsics.common import I32, I64, at_offset, literals
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    @intrinsic
    def multiply_step(typing, shared, a, a_pitch, b, b_pitch, sums, depth, lanes, rows, columns,
                      rows_apart, columns_apart):  # fmt: skip
        constants = a_pitch, b_pitch, depth, lanes, rows, columns, rows_apart, columns_apart
        if literals(*constants) is None:
            return None
        pa, pb, steps, width, m, n, apart_m, apart_n = literals(*constants)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[5]).data
            vector = ir.PointerType(ir.VectorType(memory.type.pointee, width))

            def read(base, offset, count, apart):
                values = []
                for g in range(count // width):
                    pointer = builder.bitcast(at_offset(builder, base, offset + g * apart), vector)
                    loaded = builder.load(pointer)
                    loaded.align = 16
                    values += [
                        builder.extract_element(loaded, ir.Constant(I32, v)) for v in range(width)
                    ]
                return values

            of_a, of_b = builder.gep(memory, [args[1]]), builder.gep(memory, [args[3]])
            total = [builder.load(at_offset(builder, totals, i)) for i in range(m * n)]
            for d in range(steps):
                left, right = read(of_a, d * pa, m, apart_m), read(of_b, d * pb, n, apart_n)
                for i in range(m):
                    for j in range(n):
                        total[i * n + j] = builder.fma(left[i], right[j], total[i * n + j])
            for i in range(m * n):
                builder.store(total[i], at_offset(builder, totals, i))
            return context.get_dummy_value()

        return types.void(
            shared, types.int64, a_pitch, types.int64, b_pitch, sums, depth, lanes, rows, columns,
            rows_apart, columns_apart,
        ), generate  # fmt: skip

    @intrinsic
    def spread_sums(typing, shared, at, pitch, sums, group, lanes, rows, columns, columns_apart):
        if literals(pitch, lanes, rows, columns, columns_apart) is None:
            return None
        line, width, m, n, apart = literals(pitch, lanes, rows, columns, columns_apart)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[3]).data
            vector = ir.VectorType(memory.type.pointee, width)
            to = builder.gep(memory, [args[1]])
            for g in range(m // width):
                with builder.if_then(builder.icmp_signed("==", args[4], ir.Constant(I64, g))):
                    for v in range(width):
                        for h in range(n // width):
                            values = ir.Constant(vector, ir.Undefined)
                            for u in range(width):
                                i = (g * width + v) * n + h * width + u
                                total = builder.load(at_offset(builder, totals, i))
                                values = builder.insert_element(values, total, ir.Constant(I32, u))
                            pointer = at_offset(builder, to, v * line + h * apart)
                            pointer = builder.bitcast(pointer, ir.PointerType(vector))
                            builder.store(values, pointer).align = 16
            return context.get_dummy_value()

        return types.void(
            shared, types.int64, pitch, sums, types.int64, lanes, rows, columns, columns_apart
        ), generate
