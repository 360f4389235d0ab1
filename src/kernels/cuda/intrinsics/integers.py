"""Arithmetic of 32 bits, where Numba's is of 64."""

from convnet.kernels.cuda.launch import SIMULATED
from numba import types

if SIMULATED:

    def inside(i: int, n: int) -> bool:
        """0 <= i < n for 32-bit numbers: one comparison."""
        return 0 <= i < n

    def quotient(i: int, n: int) -> int:
        """i // n for 32-bit numbers that are not negative: Numba divides in 64 bits."""
        return int(i) // int(n)

else:
    from convnet.kernels.cuda.intrinsics.common import I32
    from numba.cuda.extending import intrinsic

    @intrinsic
    def inside(typing, i, n):
        def generate(context, builder, signature, args):
            i, n = (builder.trunc(a, I32) if a.type.width > 32 else a for a in args)
            return builder.icmp_unsigned("<", i, n)

        return types.boolean(i, n), generate

    @intrinsic
    def quotient(typing, i, n):
        def generate(context, builder, signature, args):
            i, n = (builder.trunc(a, I32) if a.type.width > 32 else a for a in args)
            return builder.udiv(i, n)

        return types.int32(i, n), generate
