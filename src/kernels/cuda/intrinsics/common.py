"""What the intrinsics are made of: pointers and inline assembly, or NumPy arrays."""

from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import SIMULATED
from numba import types

if SIMULATED:

    def numpy_of(a: Any) -> np.ndarray:
        """The NumPy array under the simulator's wrappers, which are slow."""
        return a._item._ary if hasattr(a, "_item") else a

    def vector_slice(a: np.ndarray, i: int, length: int) -> slice:
        """a[i : i + length], with the instruction's demands checked."""
        if i % length or i < 0 or i + length > a.size:
            raise IndexError(f"a vector of {length} at {i} of {a.size} elements")
        return slice(i, i + length)

else:
    from llvmlite import ir

    I32, I64 = ir.IntType(32), ir.IntType(64)
    GLOBAL, SHARED = 1, 3  # address spaces

    def element(context: Any, builder: Any, array: Any, args: Any, position: int) -> Any:
        """A pointer to array[index]: args[position] is the array, the next its index."""
        data = context.make_array(array)(context, builder, args[position]).data
        return builder.gep(data, [args[position + 1]])

    def in_space(builder: Any, pointer: Any, space: int) -> Any:
        """The number of an address in global or shared memory, for inline assembly."""
        kind = ir.PointerType(pointer.type.pointee, space)
        address = builder.ptrtoint(builder.addrspacecast(pointer, kind), I64)
        return builder.trunc(address, I32) if space == SHARED else address

    def vector_pointer(context: Any, builder: Any, array: Any, args: Any) -> Any:
        """A pointer to the 16 bytes of array[index] on, the first of the args."""
        kind = ir.VectorType(context.get_data_type(array.dtype), 128 // array.dtype.bitwidth)
        return builder.bitcast(element(context, builder, array, args, 0), ir.PointerType(kind))

    def assembly(builder: Any, returns: Any, text: str, constraints: str, args: list) -> Any:
        kind = ir.FunctionType(returns, [a.type for a in args])
        return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), args)

    def literals(*arguments: Any) -> list[int] | None:
        """The values of constants, None where one is not known when the kernel is compiled."""
        if all(isinstance(a, types.IntegerLiteral) for a in arguments):
            return [a.literal_value for a in arguments]
        return None

    def at_offset(builder: Any, pointer: Any, offset: int) -> Any:
        return builder.gep(pointer, [ir.Constant(I64, offset)])
