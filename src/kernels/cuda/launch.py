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
(`float32[::1]`, from `flat`) or tuples of them, arrays first, then numbers and tuples of numbers,
which are converted to the signature's types, in the simulator too. There is no None: give any
array and a number that says not to read it.

On Numba's simulator (NUMBA_ENABLE_CUDASIM=1) arrays are NumPy's, and options of the compiler mean
nothing.
"""

import ctypes
import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import cuda, types
from numba.core import sigutils

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
_STATIC_SHARED = 48 << 10  # bytes of shared memory that a launch may have without asking
MOST_BLOCKS = 65535  # along a grid's y, and z

if SIMULATED:
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
else:
    from cuda.core import LaunchConfig
    from cuda.core import launch as _launch


class Kernel:
    """A function that runs on the GPU, with the one signature it is compiled for.

    name : what the compiler's report calls it; max_threads : the most threads of a block;
    min_blocks : so many of them are to fit a multiprocessor, which limits the registers;
    shared : bytes of dynamic shared memory a block.
    """

    def __init__(
        self,
        function: Callable[..., None],
        signature: str,
        max_threads: int | None,
        min_blocks: int | None,
        shared: int,
        options: dict[str, Any],
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.signature = signature
        self.types = sigutils.normalize_signature(signature)[0]
        self.max_threads = max_threads
        self.min_blocks = min_blocks
        self.shared = shared
        self.options = options
        self._loaded: dict[int, Any] = {}

    @functools.cached_property
    def dispatcher(self) -> Any:
        """Numba's own object."""
        if SIMULATED:
            return cuda.jit(self.function)
        made = cuda.jit(
            cache=True,
            launch_bounds=self.launch_bounds,
            **self.options,
        )(self.function)
        # Numba takes what is on disk while the kernel's own file is unchanged; but much of a kernel
        # stands in others.
        made._cache._cache_file._source_stamp = sources()
        return made

    @property
    def launch_bounds(self) -> int | tuple[int, int] | None:
        """What the compiler is told of blocks."""
        if self.max_threads and self.min_blocks:
            return self.max_threads, self.min_blocks
        return self.max_threads

    @functools.cached_property
    def convert(self) -> tuple[Callable[[Any], tuple[Any, ...]], ...]:
        """For each argument, what makes the driver's parameters of it."""
        return tuple(_parameters(t) for t in self.types)

    def loaded(self, device: int) -> Any:
        """The compiled kernel on a GPU: compiled, or read from the disk, at its first use there."""
        kernel = self._loaded.get(device)
        if kernel is None:
            function = self.dispatcher.compile(self.types)._codelibrary.get_cufunc()
            if self.shared > _STATIC_SHARED:
                _allow_shared(function, self.shared)
            kernel = self._loaded[device] = function.kernel
        return kernel

    def __repr__(self) -> str:
        return f"<kernel {self.name} {self.signature}>"


@functools.cache
def sources() -> str:
    """A digest of all that kernels are made of: with another one nothing on disk is valid."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(
    signature: str,
    *,
    max_threads: int | None = None,
    min_blocks: int | None = None,
    shared: int = 0,
    **options: Any,
) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a Kernel; `options` are numba.cuda.jit's."""

    def decorate(function: Callable[..., None]) -> Kernel:
        return Kernel(function, signature, max_threads, min_blocks, shared, options)

    return decorate


def device(function: Callable[..., Any]) -> Any:
    """Make a function one that kernels call.

    Define it in the module, not in a factory: what a kernel closes over is part of its name in
    the cache on disk, and a device function's changes with every process.
    """
    return cuda.jit(device=True)(function)


def flat(a: Any) -> Any:
    """An array as a 1-D argument of a kernel: its memory from the first element to the last.

    No copy. Of a dense array these are its elements in memory order; of any other, what its
    strides count in. Strides are not negative.
    """
    if not SIMULATED:
        return a
    if type(a) is not np.ndarray:
        a = a.host()
    if a.flags.c_contiguous:
        return a.reshape(-1)
    return np.lib.stride_tricks.as_strided(a, (span(a),), (a.itemsize,))


def span(a: Any) -> int:
    """How many elements of memory there are from the first of an array to the last."""
    if a.size == 0:
        return 0
    return 1 + sum((n - 1) * s // a.itemsize for n, s in zip(a.shape, a.strides, strict=True))


def scratch(like: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Memory for a kernel's partial results, on the device of `like` and in its stream."""
    dtype = like.dtype if dtype is None else np.dtype(dtype)
    if type(like) is np.ndarray:
        return np.empty(shape, dtype)
    return like.scratch(shape, dtype)


def launch(
    kernel: Kernel, grid: int | tuple[int, ...], block: int | tuple[int, ...], *arguments: Any
) -> None:
    """Run a kernel on the stream of its first array.

    grid, block : blocks and threads of a block, as a number or (x, y[, z])
    """
    if SIMULATED:
        check_grid(grid)
        arguments = tuple(_simulated(t, a) for t, a in zip(kernel.types, arguments, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a GPU does not warn of NaN
            kernel.dispatcher[grid, block, 0, kernel.shared](*arguments)
        return
    parameters: list[Any] = []
    for convert, argument in zip(kernel.convert, arguments, strict=True):
        parameters += convert(argument)
    first = arguments[0]  # kernels take their arrays first
    if type(first) is tuple:
        first = first[0]
    config = _config(grid, block, kernel.shared)
    _launch(first.stream, config, kernel.loaded(first.device), *parameters)


def check_grid(grid: int | tuple[int, ...]) -> None:
    """ValueError for more blocks than any GPU takes."""
    x, y, z = (*((grid,) if isinstance(grid, int) else grid), 1, 1)[:3]
    if x > 2**31 - 1 or max(y, z) > MOST_BLOCKS:
        raise ValueError(f"arrays too large: a GPU takes no grid of {x} x {y} x {z} blocks")


def check_size(what: str, size: int, most: int = 2**31 - 1) -> None:
    """ValueError where a kernel counts in 32 bits and there is more to count."""
    if size > most:
        raise ValueError(f"{what}: a GPU's kernels take at most {most}, got {size}")


@functools.lru_cache(4096)
def _config(grid: Any, block: Any, shared: int) -> Any:
    check_grid(grid)
    return LaunchConfig(grid=grid, block=block, shmem_size=shared)


def _allow_shared(function: Any, size: int) -> None:
    from cuda.bindings import driver

    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (error,) = driver.cuKernelSetAttribute(
        attribute, size, function.handle, int(cuda.get_current_device().id)
    )
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{size} bytes of shared memory a block: {error.name}")


def _parameters(type_: Any) -> Callable[[Any], tuple[Any, ...]]:
    """What turns an argument of a Numba type into the driver's parameters.

    A 1-D array is Numba's structure: two pointers for its memory management (none here), the
    number of elements, their size, the address, the shape and the stride.
    """
    if isinstance(type_, types.Array):
        item = np.dtype(type_.dtype.name.replace("boolean", "bool")).itemsize

        def array(a: Any) -> tuple[Any, ...]:
            n = a.span
            return 0, 0, n, item, a.ptr, n, item

        return array
    if isinstance(type_, types.UniTuple):
        each = _parameters(type_.dtype)
        return lambda values: tuple([p for v in values for p in each(v)])
    name = {"float32": "float", "float64": "double"}.get(str(type_), str(type_))
    scalar = getattr(ctypes, f"c_{name}")
    return lambda value: (scalar(value),)


def _simulated(type_: Any, argument: Any) -> Any:
    if isinstance(type_, types.Array):
        wanted = np.dtype(type_.dtype.name.replace("boolean", "bool"))
        assert argument.dtype == wanted, (argument.dtype, type_)
        assert argument.ndim == 1, argument.shape
        return FakeCUDAArray(argument)
    if isinstance(type_, types.Float):
        return np.dtype(type_.name).type(argument)
    if isinstance(type_, types.UniTuple):
        return tuple(_simulated(type_.dtype, v) for v in argument)
    return int(argument)


@functools.cache
def multiprocessors() -> int:
    """How many multiprocessors the GPU has: what a grid should be a multiple of."""
    return 2 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


def grid_for(n: int, block: int, most: int = 2**31 - 1) -> int:
    """Blocks of `block` threads for n elements, at least 1 and at most `most`."""
    return max(1, min(-(-n // block), most))
