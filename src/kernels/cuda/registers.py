"""16-byte pieces of arrays in a thread's registers.

    load_registers(x, i, r, at, LANES)      r[at : at + LANES] = x[i : i + LANES]   one load
    store_registers(y, i, r, at, LANES)     the other way round                     one store

r is a local array, which the compiler keeps in registers once the loops over it are unrolled; i is
a multiple of LANES and the array begins at a multiple of 16 bytes. LANES = 1 moves one element, so
that one kernel's source serves arrays that begin anywhere. The twins below are what the simulator
runs.
"""

from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import SIMULATED

LANES = {np.dtype(np.float32): 4, np.dtype(np.float64): 2}


def lanes_of(dtype: np.dtype, *arrays: Any, multiple_of: int = 0) -> int:
    """How many elements the loads of these arrays may take at once.

    multiple_of : where rows begin, in elements from the array's beginning
    """
    lanes = LANES[dtype]
    if multiple_of % lanes or not all(map(begins_at_vector, arrays)):
        return 1
    return lanes


def begins_at_vector(a: Any) -> bool:
    """Whether an array begins at a multiple of 16 bytes."""
    return SIMULATED or a.ptr % 16 == 0


if SIMULATED:

    def _memory(a: Any) -> np.ndarray:
        """The NumPy array under the simulator's wrappers, which are slow."""
        return a._item._ary if hasattr(a, "_item") else a

    def _piece(a: np.ndarray, i: int, lanes: int) -> slice:
        if i % lanes or i < 0 or i + lanes > a.size:
            raise IndexError(f"a vector of {lanes} at {i} of {a.size} elements")
        return slice(i, i + lanes)

    def load_registers(a: Any, i: int, registers: Any, at: int, lanes: int) -> None:
        """registers[at], ... = a[i], ..."""
        a, registers, at = _memory(a), _memory(registers), int(at)
        registers[at : at + lanes] = a[_piece(a, int(i), lanes)]

    def store_registers(a: Any, i: int, registers: Any, at: int, lanes: int) -> None:
        """a[i], ... = registers[at], ..."""
        a, registers, at = _memory(a), _memory(registers), int(at)
        a[_piece(a, int(i), lanes)] = registers[at : at + lanes]

else:
    from llvmlite import ir
    from numba import types
    from numba.cuda.extending import intrinsic

    _I32, _I64 = ir.IntType(32), ir.IntType(64)

    def _pointers(context: Any, builder: Any, types_: Any, args: Any, lanes: int) -> Any:
        """(of the piece of the array, as a vector or a number; of each of its registers)."""
        array, _, registers, *_ = types_
        data = context.make_array(array)(context, builder, args[0]).data
        piece = builder.gep(data, [args[1]])
        if lanes > 1:
            vector = ir.VectorType(context.get_data_type(array.dtype), lanes)
            piece = builder.bitcast(piece, vector.as_pointer())
        held = context.make_array(registers)(context, builder, args[2]).data
        return piece, [builder.gep(held, [builder.add(args[3], _I64(v))]) for v in range(lanes)]

    @intrinsic
    def load_registers(typing, a, i, registers, at, lanes):
        if not isinstance(lanes, types.IntegerLiteral):
            return None
        count = lanes.literal_value

        def generate(context, builder, signature, args):
            piece, to = _pointers(context, builder, signature.args, args, count)
            value = builder.load(piece)
            if count > 1:
                value.align = 16
            for v, register in enumerate(to):
                element = builder.extract_element(value, _I32(v)) if count > 1 else value
                builder.store(element, register)
            return context.get_dummy_value()

        return types.void(a, types.int64, registers, types.int64, lanes), generate

    @intrinsic
    def store_registers(typing, a, i, registers, at, lanes):
        if not isinstance(lanes, types.IntegerLiteral):
            return None
        count = lanes.literal_value

        def generate(context, builder, signature, args):
            piece, of = _pointers(context, builder, signature.args, args, count)
            if count == 1:
                builder.store(builder.load(of[0]), piece)
                return context.get_dummy_value()
            vector = ir.Constant(piece.type.pointee, ir.Undefined)
            for v, register in enumerate(of):
                vector = builder.insert_element(vector, builder.load(register), _I32(v))
            builder.store(vector, piece).align = 16
            return context.get_dummy_value()

        return types.void(a, types.int64, registers, types.int64, lanes), generate
