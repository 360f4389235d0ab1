"""Memory for results on a GPU: freed blocks are kept for the next result of about that size.

The driver's own allocation takes longer than a small kernel, and giving memory back waits for the
whole device. So a block, when its array is gone, goes to a list by stream and size, and the next
result of that stream takes it from there at once: what the stream still does with the block comes
before whatever it is told to do next.

    sizes   512 B, then eight to a power of two: at most an eighth is wasted
    limit   at most so much is kept: CONVNET_CUDA_CACHE_LIMIT bytes, else half of the GPU's memory

When the driver has no memory left the list is given back and the driver asked once more.
"""

import os
import threading
from collections import defaultdict

from convnet.gpu import driver

_LEAST = 512


def rounded(size: int) -> int:
    """The block's size for so many bytes."""
    if size <= _LEAST:
        return _LEAST
    step = max(_LEAST, 1 << ((size - 1).bit_length() - 4))
    return -(-size // step) * step


class Pool:
    """The kept blocks of one process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a collection within it may drop arrays
        self._free: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._limit: int | None = None
        self.kept = 0  # bytes
        self.in_use = 0

    @property
    def limit(self) -> int:
        """The most bytes that are kept."""
        if self._limit is None:
            text = os.environ.get("CONVNET_CUDA_CACHE_LIMIT", "").strip()
            if text and not (text.isascii() and text.isdigit()):
                raise ValueError(
                    f"CONVNET_CUDA_CACHE_LIMIT: expected a number of bytes, got {text!r}"
                )
            self._limit = int(text) if text else driver.free_and_total()[1] // 2
        return self._limit

    def take(self, size: int, stream: int) -> int:
        """A block for so many bytes, for work in that stream; MemoryError if there is none."""
        size = rounded(size)
        with self._lock:
            blocks = self._free.get((stream, size))
            if blocks:
                self.kept -= size
                self.in_use += size
                return blocks.pop()
        try:
            block = driver.allocate(size)
        except MemoryError:
            self.clear()
            try:
                block = driver.allocate(size)
            except MemoryError:
                free, total = driver.free_and_total()
                raise MemoryError(
                    f"out of GPU memory: {size / 2**20:.0f} MB wanted, {free / 2**20:.0f} of "
                    f"{total / 2**20:.0f} MB are free, {self.in_use / 2**20:.0f} MB are in use here"
                ) from None
        with self._lock:
            self.in_use += size
        return block

    def give(self, block: int, size: int, stream: int) -> None:
        """Keep a block that was taken for `size` bytes, or give it back beyond the limit."""
        size = rounded(size)
        with self._lock:
            self.in_use -= size
            if self.kept + size <= self.limit:
                self.kept += size
                self._free[stream, size].append(block)
                return
        driver.release(block)

    def clear(self) -> None:
        """Give all kept blocks back to the driver."""
        with self._lock:
            blocks = [b for kept in self._free.values() for b in kept]
            self._free.clear()
            self.kept = 0
        for block in blocks:
            driver.release(block)


pool = Pool()


class Block:
    """Memory that goes back to the pool when the last array on it is gone."""

    __slots__ = ("address", "size", "stream")

    def __init__(self, size: int, stream: int) -> None:
        self.address = 0
        self.size, self.stream = size, stream
        if size:
            self.address = pool.take(size, stream)

    def __del__(self) -> None:
        if self.address and pool is not None:  # None: the interpreter is going down
            pool.give(self.address, self.size, self.stream)
            self.address = 0
