"""Batches copied to the GPU ahead of the step that wants them.

    copy stream      | batch 1 |          | batch 2 |          | batch 3 |
    compute stream             | step 0 ......... | step 1 ......... | step 2 ...

A batch goes through pinned memory, which the GPU reads by itself, in a stream of its own. That
stream waits for what the compute stream had been given when the batch was started (the memory that
the batch is copied to may have been used there), and the step waits for its batch; the host waits
for neither, but for a pinned buffer whose last copy still runs.
"""

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from convnet.gpu import driver
from convnet.gpu.array import DeviceArray, allocate
from convnet.nn.tensor import Tensor

_SLOTS = 3  # batches whose copies may be under way, the one in use counted


class _Pinned:
    """A pinned buffer that grows, and the copy that last read it."""

    def __init__(self) -> None:
        self._address, self._size, self.event = 0, 0, driver.Event()

    def take(self, size: int) -> int:
        """The buffer's address, once its last copy is done."""
        self.event.wait()
        if size > self._size:
            self.close()
            self._address, self._size = driver.allocate_pinned(size), size
        return self._address

    def close(self) -> None:
        if self._address:
            driver.release_pinned(self._address)
        self._address = self._size = 0


def _arrays(batch: Any) -> list[np.ndarray]:
    """The host arrays of a batch, in order."""
    if isinstance(batch, Tensor):
        return [batch.data] if isinstance(batch.data, np.ndarray) else []
    if isinstance(batch, np.ndarray):
        return [batch]
    if isinstance(batch, Mapping):
        return [a for value in batch.values() for a in _arrays(value)]
    if isinstance(batch, (list, tuple)):
        return [a for value in batch for a in _arrays(value)]
    return []


def _replaced(batch: Any, arrays: Iterator[DeviceArray]) -> Any:
    """The batch with Tensors of these arrays in place of its own."""
    if isinstance(batch, Tensor):
        return Tensor.of(next(arrays)) if isinstance(batch.data, np.ndarray) else batch
    if isinstance(batch, np.ndarray):
        return Tensor.of(next(arrays))
    if isinstance(batch, Mapping):
        return {key: _replaced(value, arrays) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [_replaced(value, arrays) for value in batch]
    return batch


def _start(batch: Any, slot: _Pinned, stream: int, compute: int) -> Any:
    """Begin to copy a batch; slot.event marks its end."""
    sources = [a if a.flags.c_contiguous else a.copy() for a in _arrays(batch)]
    offsets = np.cumsum([0, *[-(-a.nbytes // 256) * 256 for a in sources]]).tolist()
    buffer = slot.take(max(offsets[-1], 1))
    free = driver.Event()
    free.record(compute)
    free.hold(stream)
    copies = []
    for a, offset in zip(sources, offsets, strict=False):
        out = allocate(a.shape, a.strides, a.dtype, compute)
        if a.nbytes:
            ctypes.memmove(buffer + offset, a.ctypes.data, a.nbytes)
            driver.upload(out.ptr, buffer + offset, a.nbytes, stream)
        copies.append(out)
    slot.event.record(stream)
    return _replaced(batch, iter(copies))


def ahead(batches: Iterable[Any], device: str) -> Iterator[Any]:
    """The batches with their arrays on `device`; on "cuda" each is copied a batch ahead.

    Batches are Tensors, arrays, or lists, tuples and dicts of them; anything else stays.
    """
    if device == "cpu":
        yield from batches
        return
    driver.ensure()
    stream, compute = driver.new_stream(), 0
    slots = [_Pinned() for _ in range(_SLOTS)]
    try:
        waiting = None
        for i, batch in enumerate(batches):
            slot = slots[i % _SLOTS]
            started = _start(batch, slot, stream, compute), slot
            if waiting is not None:
                waiting[1].event.hold(compute)
                yield waiting[0]
            waiting = started
        if waiting is not None:
            waiting[1].event.hold(compute)
            yield waiting[0]
    finally:
        driver.synchronize(stream)
        for slot in slots:
            slot.close()
        driver.delete_stream(stream)
