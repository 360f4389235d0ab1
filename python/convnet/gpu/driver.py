"""The calls of the CUDA driver that arrays need; in Numba's simulator, plain memory.

Addresses and streams are integers (stream 0 is the legacy default stream). Every call but
`allocate` and `release` is ordered in a stream, and none waits for the device but `download` and
`synchronize`, which wait for their stream.
"""

import ctypes
import functools
import importlib.util
import os
import threading
from typing import Any

from convnet.gpu.errors import GPUError, missing

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")

_ready = threading.local()


def extra_is_installed() -> bool:
    """Whether numba-cuda is there, without importing it."""
    return importlib.util.find_spec("numba_cuda") is not None


def _context() -> Any:
    """The driver's bindings, with the current GPU's context set in this thread."""
    bindings = getattr(_ready, "bindings", None)
    return _start() if bindings is None else bindings


def _start() -> Any:
    if not extra_is_installed():
        raise missing('numba-cuda: pip install "convnet-kernels[cuda]"')
    from numba import cuda
    from numba.cuda.cudadrv.error import CudaSupportError

    try:
        cuda.current_context()
    except CudaSupportError as error:
        reason = " ".join(str(error).split()).rstrip(" :")  # Numba's text has several lines
        raise missing(f"an NVIDIA driver and a GPU ({reason})") from error
    from cuda.bindings import driver

    _ready.bindings = driver
    return driver


def ensure() -> None:
    """GPUError unless kernels can run here (on a GPU, or in the simulator)."""
    if SIMULATED:
        if not extra_is_installed():
            raise missing('numba-cuda: pip install "convnet-kernels[cuda]"')
    else:
        _context()


def _called(result: tuple[Any, ...], what: str) -> Any:
    """What a call of the driver returned beside its status."""
    if result[0].value:
        raise GPUError(f"{what}: the CUDA driver answers {result[0].name}")
    return result[1] if len(result) > 1 else None


def device() -> int:
    """The current GPU's number."""
    if SIMULATED:
        return 0
    return int(_called(_context().cuCtxGetDevice(), "device"))


def _gpus() -> int | None:
    """How many GPUs the driver sees; None without a driver, -1 where it does not start."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return -1
    return number.value


def count() -> int:
    """How many GPUs there are; 0 without a driver."""
    return 1 if SIMULATED else max(0, _gpus() or 0)


def state() -> str:
    """The driver and its GPUs in words."""
    gpus = _gpus()
    if gpus is None:
        return "no driver on this machine"
    if gpus < 0:
        return "a driver without a usable GPU"
    return f"{gpus} GPU{'s' if gpus != 1 else ''}"


# Memory


def allocate(size: int) -> int:
    """Memory of the GPU; MemoryError if there is none left."""
    if SIMULATED:
        return _heap_allocate(size)
    error, address = _context().cuMemAlloc(size)
    if error.name == "CUDA_ERROR_OUT_OF_MEMORY":
        raise MemoryError
    _called((error,), "allocate")
    return int(address)


def release(address: int) -> None:
    """Give memory back."""
    if SIMULATED:
        del _heap[address]
        return
    _called(_context().cuMemFree(address), "release")


def free_and_total() -> tuple[int, int]:
    """Bytes of the GPU's memory that nobody has, and all of it."""
    if SIMULATED:
        return 1 << 30, 1 << 30
    driver = _context()
    error, free, total = driver.cuMemGetInfo()
    _called((error,), "memory")
    return int(free), int(total)


def allocate_pinned(size: int) -> int:
    """Memory of the host that the GPU copies from by itself."""
    if SIMULATED:
        return _heap_allocate(size)
    return int(_called(_context().cuMemHostAlloc(size, 0), "pinned memory"))


def release_pinned(address: int) -> None:
    if SIMULATED:
        del _heap[address]
        return
    _called(_context().cuMemFreeHost(address), "pinned memory")


_heap: dict[int, Any] = {}


def _heap_allocate(size: int) -> int:
    block = (ctypes.c_char * (size + 255))()
    address = -(-ctypes.addressof(block) // 256) * 256
    _heap[address] = block
    return address


def upload(to: int, host: int, size: int, stream: int) -> None:
    """Copy from the host; from pageable memory the call returns once that has been read."""
    if SIMULATED:
        ctypes.memmove(to, host, size)
        return
    _called(_context().cuMemcpyHtoDAsync(to, host, size, stream), "copy to the GPU")


def download(to: int, address: int, size: int, stream: int) -> None:
    """Copy to the host, and wait for it."""
    if SIMULATED:
        ctypes.memmove(to, address, size)
        return
    driver = _context()
    _called(driver.cuMemcpyDtoHAsync(to, address, size, stream), "copy from the GPU")
    _called(driver.cuStreamSynchronize(stream), "copy from the GPU")


def copy(to: int, address: int, size: int, stream: int) -> None:
    """Copy within the GPU's memory."""
    if SIMULATED:
        ctypes.memmove(to, address, size)
        return
    _called(_context().cuMemcpyDtoDAsync(to, address, size, stream), "copy")


def zero(address: int, size: int, stream: int) -> None:
    """Set bytes to 0."""
    if SIMULATED:
        ctypes.memset(address, 0, size)
        return
    _called(_context().cuMemsetD8Async(address, 0, size, stream), "zero")


# Streams and events


@functools.lru_cache(256)
def stream_object(stream: int) -> Any:
    """What a launch wants of a stream."""
    if SIMULATED:
        return stream
    from cuda.core import Stream

    return Stream.from_handle(stream)


def new_stream() -> int:
    """A stream that does not wait for the default stream, nor it for this one."""
    if SIMULATED:
        return 0
    driver = _context()
    flag = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
    return int(_called(driver.cuStreamCreate(flag), "stream"))


def delete_stream(stream: int) -> None:
    """Give a stream of new_stream back."""
    if not SIMULATED:
        _called(_context().cuStreamDestroy(stream), "stream")


def synchronize(stream: int) -> None:
    """Wait until all work of a stream is done."""
    if not SIMULATED:
        _called(_context().cuStreamSynchronize(stream), "synchronize")


class Event:
    """A point in a stream. With timing it can be asked for the time since another."""

    def __init__(self, timing: bool = False) -> None:
        self._handle: Any = None
        if not SIMULATED:
            driver = _context()
            flags = driver.CUevent_flags
            flag = flags.CU_EVENT_DEFAULT if timing else flags.CU_EVENT_DISABLE_TIMING
            self._handle = _called(driver.cuEventCreate(flag), "event")

    def record(self, stream: int) -> None:
        """Mark what the stream has been given so far."""
        if not SIMULATED:
            _called(_context().cuEventRecord(self._handle, stream), "event")

    def hold(self, stream: int) -> None:
        """Let a stream's further work wait for the mark; the host does not wait."""
        if not SIMULATED:
            _called(_context().cuStreamWaitEvent(stream, self._handle, 0), "event")

    def wait(self) -> None:
        """Let the host wait for the mark."""
        if not SIMULATED:
            _called(_context().cuEventSynchronize(self._handle), "event")

    def seconds_since(self, start: "Event") -> float:
        """Between two marks that have both been reached."""
        if SIMULATED:
            return float("nan")
        milliseconds = _called(_context().cuEventElapsedTime(start._handle, self._handle), "event")
        return float(milliseconds) / 1000

    def __del__(self) -> None:
        if self._handle is not None and _ready is not None:
            bindings = getattr(_ready, "bindings", None)
            if bindings is not None:
                bindings.cuEventDestroy(self._handle)
