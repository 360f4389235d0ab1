"""Elementary functions of one number, in the number's own type, and what goes into kernels.

Numba takes `math`'s functions for the GPU's (libdevice: exp and log within 1 ulp, tanh within 2);
the simulator runs NumPy's, which keep float32 and do not raise where a result overflows.

A literal is a float64 to Numba: in these functions and in kernels write `real(0.5)`, where `real`
is the type of an argument (`real = type(x)`).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import SIMULATED

if SIMULATED:
    exp, log, log1p, sqrt, tanh = np.exp, np.log, np.log1p, np.sqrt, np.tanh

    def inline(function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of numbers that kernels call; factories may close over it.

        It stays a plain function: its name, not its state, enters a kernel's name in the cache.
        """
        return function

    def fused(a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once."""
        wide = np.longdouble
        return type(a)(wide(a) * wide(b) + wide(c))

else:
    from numba import cuda
    from numba.cuda.extending import register_jitable as inline

    exp, log, log1p, sqrt, tanh = math.exp, math.log, math.log1p, math.sqrt, math.tanh

    @inline
    def fused(a, b, c):
        """a b + c, rounded once."""
        return cuda.fma(a, b, c)


@inline
def larger(a, b):
    """The larger number; `a` where b is NaN."""
    return b if b > a else a


@inline
def clamp(x, limit):
    """x brought to [-limit, limit]; NaN stays."""
    if x > limit:
        return limit
    return -limit if x < -limit else x


@inline
def logistic(x):
    """1 / (1 + exp(-x)): the small terms carry the quotient's rounding errors."""
    one = type(x)(1)
    z = exp(-abs(x))
    q = z / (one + z)
    return z - z * q if x < type(x)(0) else one - q
