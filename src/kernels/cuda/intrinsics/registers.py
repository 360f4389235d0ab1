"""Elements in registers: loads and stores of 16 bytes, and choices among registers."""

from typing import Any

from convnet.kernels.cuda.launch import SIMULATED
from numba import types

if SIMULATED:
    from convnet.kernels.cuda.intrinsics.common import numpy_of, vector_slice

    def load_registers(a: Any, i: int, registers: Any, at: int, lanes: int) -> None:
        """registers[at], ... = a[i], ...: a 16-byte load into a local array; lanes 1: of one."""
        a, registers, at = numpy_of(a), numpy_of(registers), int(at)
        registers[at : at + lanes] = a[vector_slice(a, int(i), lanes)]

    def store_registers(a: Any, i: int, registers: Any, at: int, lanes: int) -> None:
        """a[i], ... = registers[at], ...: a 16-byte store from a local array; lanes 1: of one."""
        a, registers, at = numpy_of(a), numpy_of(registers), int(at)
        a[vector_slice(a, int(i), lanes)] = registers[at : at + lanes]

    def pick(registers: Any, i: int, count: int) -> Any:
        """registers[i] of `count` (a literal), which a variable i would move to memory."""
        return numpy_of(registers)[:count][int(i)]

    def clear_sums(sums: Any, count: int) -> None:
        """sums[:count] = 0."""
        numpy_of(sums)[:count] = 0

else:
    from convnet.kernels.cuda.intrinsics.common import (
        I32,
        I64,
        at_offset,
        element,
        literals,
        vector_pointer,
    )
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    @intrinsic
    def load_registers(typing, a, i, registers, at, lanes):
        if not isinstance(lanes, types.IntegerLiteral):
            return None
        count = lanes.literal_value

        def generate(context, builder, signature, args):
            to = context.make_array(registers)(context, builder, args[2]).data
            if count == 1:
                values = [builder.load(element(context, builder, a, args, 0))]
            else:
                pointer = vector_pointer(context, builder, a, args)
                vector = builder.load(pointer)
                vector.align = 16
                values = [
                    builder.extract_element(vector, ir.Constant(I32, v)) for v in range(count)
                ]
            for v, value in enumerate(values):
                builder.store(value, builder.gep(to, [builder.add(args[3], ir.Constant(I64, v))]))
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
                builder.load(builder.gep(of, [builder.add(args[3], ir.Constant(I64, v))]))
                for v in range(count)
            ]
            if count == 1:
                builder.store(values[0], element(context, builder, a, args, 0))
                return context.get_dummy_value()
            pointer = vector_pointer(context, builder, a, args)
            vector = ir.Constant(pointer.type.pointee, ir.Undefined)
            for v, value in enumerate(values):
                vector = builder.insert_element(vector, value, ir.Constant(I32, v))
            builder.store(vector, pointer).align = 16
            return context.get_dummy_value()

        return types.void(a, types.int64, registers, types.int64, lanes), generate

    @intrinsic
    def pick(typing, registers, i, count):
        if literals(count) is None:
            return None

        def generate(context, builder, signature, args):
            data = context.make_array(registers)(context, builder, args[0]).data
            value = builder.load(data)
            for j in range(1, count.literal_value):
                here = builder.icmp_signed("==", args[1], ir.Constant(I64, j))
                value = builder.select(here, builder.load(at_offset(builder, data, j)), value)
            return value

        return registers.dtype(registers, types.int64, count), generate

    @intrinsic
    def clear_sums(typing, sums, count):
        if literals(count) is None:
            return None

        def generate(context, builder, signature, args):
            data = context.make_array(sums)(context, builder, args[0]).data
            for i in range(count.literal_value):
                builder.store(ir.Constant(data.type.pointee, 0), at_offset(builder, data, i))
            return context.get_dummy_value()

        return types.void(sums, count), generate
