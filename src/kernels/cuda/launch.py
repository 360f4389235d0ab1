"""Kernels and their launch: the only file that knows Numba's decorators and the driver's launch.

    @functools.cache
    def make_relu(dtype):                            a factory: one kernel a type (and tile)
        zero = dtype.type(0)

        @kernel(f"void({dtype}[::1], {dtype}[::1], int64)", max_threads=256)
        def relu(x, y, n):
            ...

        return relu

    launch(make_relu(x.dtype), blocks, 256, flat(x), flat(y), x.size)

A kernel is compiled for the one signature that it names, at its first launch, and cached on disk;
what the tests compile for GPUs that are not there is what runs. Arguments are 1-D arrays
(`float32[::1]`, from `flat`) and numbers; numbers are converted to the signature's types, in the
simulator too. There is no None: give any array and a number that says not to read it.

On Numba's simulator (NUMBA_ENABLE_CUDASIM=1) arrays are NumPy's, and options of the compiler mean
nothing.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda, types
from numba.core import sigutils

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")

if SIMULATED:
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray


class Kernel:
    """A function that runs on the GPU, with the one signature it is compiled for.

    name : what the compiler's report calls it; max_threads : the most threads of a block;
    shared : bytes of dynamic shared memory a block.
    """

    def __init__(
        self,
        function: Callable[..., None],
        signature: str,
        max_threads: int | None,
        max_registers: int | None,
        shared: int,
        options: dict[str, Any],
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.signature = signature
        self.types = sigutils.normalize_signature(signature)[0]
        self.max_threads = max_threads
        self.max_registers = max_registers
        self.shared = shared
        self.options = options

    @functools.cached_property
    def dispatcher(self) -> Any:
        if SIMULATED:
            return cuda.jit(self.function)
        return cuda.jit(
            cache=True,
            launch_bounds=self.max_threads,
            max_registers=self.max_registers,
            **self.options,
        )(self.function)

    def __repr__(self) -> str:
        return f"<kernel {self.name} {self.signature}>"


def kernel(
    signature: str,
    *,
    max_threads: int | None = None,
    max_registers: int | None = None,
    shared: int = 0,
    **options: Any,
) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a Kernel; `options` are numba.cuda.jit's."""

    def decorate(function: Callable[..., None]) -> Kernel:
        return Kernel(function, signature, max_threads, max_registers, shared, options)

    return decorate


def device(function: Callable[..., Any]) -> Any:
    """Make a function one that kernels call.

    Define it in the module, not in a factory: what a kernel closes over is part of its name in
    the cache on disk, and a device function's changes with every process.
    """
    return cuda.jit(device=True)(function)


def flat(a: Any) -> Any:
    """The elements of a dense array as a 1-D argument of a kernel, in memory order; no copy."""
    if type(a) is np.ndarray:
        return a.transpose(np.argsort([-s for s in a.strides], kind="stable")).reshape(-1)
    return a


def launch(
    kernel: Kernel, grid: int | tuple[int, ...], block: int | tuple[int, ...], *arguments: Any
) -> None:
    """Run a kernel on the current stream.

    grid, block : blocks and threads of a block, as a number or (x, y[, z])
    """
    if SIMULATED:
        arguments = tuple(_simulated(t, a) for t, a in zip(kernel.types, arguments, strict=True))
    kernel.dispatcher[grid, block, 0, kernel.shared](*arguments)


def _simulated(type_: Any, argument: Any) -> Any:
    if isinstance(type_, types.Array):
        assert argument.dtype == np.dtype(type_.dtype.name), (argument.dtype, type_)
        return FakeCUDAArray(argument)
    if isinstance(type_, types.Float):
        return np.dtype(type_.name).type(argument)
    return int(argument)


@functools.cache
def multiprocessors() -> int:
    """How many multiprocessors the GPU has: what a grid should be a multiple of."""
    return 2 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


def grid_for(n: int, block: int, most: int = 2**31 - 1) -> int:
    """Blocks of `block` threads for n elements, at least 1 and at most `most`."""
    return max(1, min(-(-n // block), most))
