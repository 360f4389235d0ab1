"""What the 32 threads of a warp know of one another, by shuffles."""

import threading
from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import SIMULATED
from numba import cuda

WARP = 32

if SIMULATED:

    def _exchange(value: Any) -> list:
        """The values of a warp's threads, in order. All of them call it."""
        thread = threading.current_thread()
        block = thread._manager
        warp, lane = divmod(thread.thread_id, WARP)
        lanes = min(WARP, int(np.prod(block._block_dim)) - warp * WARP)
        state = block.__dict__.setdefault("warps", {})
        slot = state.setdefault(warp, ([None] * lanes, threading.Barrier(lanes, timeout=600)))
        values, barrier = slot
        values[lane] = value
        barrier.wait()
        seen = list(values)
        barrier.wait()
        return seen

    def lane_xor(value: Any, mask: int) -> Any:
        """The value of the thread whose lane is this one's ^ mask; all of a warp call it."""
        seen = _exchange(value)
        lane = threading.current_thread().thread_id % WARP
        return seen[lane ^ mask] if lane ^ mask < len(seen) else value

else:

    @cuda.jit(device=True, inline="always")
    def lane_xor(value, mask):
        return cuda.shfl_xor_sync(0xFFFFFFFF, value, mask)


@cuda.jit(device=True)
def warp_sum(value):
    """The sum over the 32 lanes of a warp, in all of them; in one order."""
    value += lane_xor(value, 16)
    value += lane_xor(value, 8)
    value += lane_xor(value, 4)
    value += lane_xor(value, 2)
    return value + lane_xor(value, 1)


@cuda.jit(device=True)
def warp_max(value):
    """The largest value of a warp, in all lanes; NaN where one of them is NaN."""
    mask = 16
    while mask > 0:
        other = lane_xor(value, mask)
        value = other if other > value or other != other else value
        mask >>= 1
    return value
