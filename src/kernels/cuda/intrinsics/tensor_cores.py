"""The inner loop of a product on tensor cores: factors in TF32, sums in float32."""

import threading
from typing import Any

import numpy as np
from convnet.kernels.cuda.intrinsics.warps import WARP
from convnet.kernels.cuda.launch import SIMULATED
from numba import types

if SIMULATED:
    from convnet.kernels.cuda.intrinsics.common import numpy_of

    def _tf32(x: np.ndarray) -> np.ndarray:
        """x rounded to TF32, 10 bits of fraction; ties away from zero."""
        bits = (x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
        return np.where(np.isfinite(x), bits.view(np.float32), x)

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
        memory, totals = numpy_of(shared), numpy_of(sums).reshape(rows // 16, columns // 8, 4)
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
        totals = numpy_of(sums).reshape(rows // 16, columns // 8, 4)
        numpy_of(shared)[int(at) + i * pitch + j] = totals[int(group)]

else:
    from convnet.kernels.cuda.intrinsics.common import I32, I64, at_offset, literals
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    _MMA = (
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
    )

    def _lane(builder: Any) -> Any:
        read = ir.InlineAsm(ir.FunctionType(I32, []), "mov.u32 $0, %laneid;", "=r")
        return builder.zext(builder.call(read, []), I64)

    @intrinsic
    def multiply_step_tf32(typing, shared, a, a_pitch, b, b_pitch, sums, depth, rows, columns):
        if (
            shared.dtype != types.float32
            or literals(a_pitch, b_pitch, depth, rows, columns) is None
        ):
            return None
        pa, pb, steps, m, n = literals(a_pitch, b_pitch, depth, rows, columns)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[5]).data
            lane = _lane(builder)
            g = builder.lshr(lane, ir.Constant(I64, 2))
            t = builder.and_(lane, ir.Constant(I64, 3))
            real, four = ir.FloatType(), ir.LiteralStructType([ir.FloatType()] * 4)
            rounds = ir.InlineAsm(ir.FunctionType(I32, [real]), "cvt.rna.tf32.f32 $0, $1;", "=r,f")
            kind = ir.FunctionType(four, [I32] * 6 + [real] * 4)
            product = ir.InlineAsm(kind, _MMA, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f")

            def start(base, pitch):
                row = builder.mul(t, ir.Constant(I64, pitch))
                return builder.gep(memory, [builder.add(base, builder.add(row, g))])

            def read(pointer, offset):
                return builder.call(rounds, [builder.load(at_offset(builder, pointer, offset))])

            of_a, of_b = start(args[1], pa), start(args[3], pb)
            count = m // 16 * (n // 8) * 4
            total = [builder.load(at_offset(builder, totals, i)) for i in range(count)]
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
                builder.store(total[i], at_offset(builder, totals, i))
            return context.get_dummy_value()

        return types.void(
            shared, types.int64, a_pitch, types.int64, b_pitch, sums, depth, rows, columns
        ), generate

    @intrinsic
    def spread_sums_tf32(typing, shared, at, pitch, sums, group, rows, columns):
        if literals(pitch, rows, columns) is None:
            return None
        line, m, n = literals(pitch, rows, columns)

        def generate(context, builder, signature, args):
            memory = context.make_array(shared)(context, builder, args[0]).data
            totals = context.make_array(sums)(context, builder, args[3]).data
            lane = _lane(builder)
            row = builder.mul(builder.lshr(lane, ir.Constant(I64, 2)), ir.Constant(I64, line))
            column = builder.shl(builder.and_(lane, ir.Constant(I64, 3)), ir.Constant(I64, 1))
            to = builder.gep(memory, [builder.add(args[1], builder.add(row, column))])
            for i in range(m // 16):
                with builder.if_then(builder.icmp_signed("==", args[4], ir.Constant(I64, i))):
                    for j in range(n // 8):
                        for v in range(4):
                            total = builder.load(
                                at_offset(builder, totals, (i * (n // 8) + j) * 4 + v)
                            )
                            builder.store(
                                total, at_offset(builder, to, v // 2 * 8 * line + 8 * j + v % 2)
                            )
            return context.get_dummy_value()

        return types.void(shared, types.int64, pitch, sums, types.int64, rows, columns), generate
