"""What Numba lacks: 16-byte loads and stores, asynchronous copies to shared memory, TF32, warps.

All of it stands in this folder. Each intrinsic has a Python twin of the same name that Numba's
simulator runs; the twin says what the instruction does, but only a GPU shows that it does so.

    a vector is 16 bytes, `VECTOR[dtype]` elements; its first index is a multiple of its length, and
    its array begins at a multiple of 16 bytes
"""

from convnet.kernels.cuda.intrinsics.integers import inside, quotient
from convnet.kernels.cuda.intrinsics.products import multiply_step, spread_sums
from convnet.kernels.cuda.intrinsics.registers import (
    clear_sums,
    load_registers,
    pick,
    store_registers,
)
from convnet.kernels.cuda.intrinsics.shared import (
    barrier,
    copy_async,
    copy_commit,
    copy_vector_async,
    copy_wait,
    shared_array,
)
from convnet.kernels.cuda.intrinsics.tensor_cores import multiply_step_tf32, spread_sums_tf32
from convnet.kernels.cuda.intrinsics.vectors import LANES, VECTOR, begins_at_vector, lanes_of
from convnet.kernels.cuda.intrinsics.warps import WARP, lane_xor, warp_max, warp_sum

__all__ = [
    "LANES",
    "VECTOR",
    "WARP",
    "barrier",
    "begins_at_vector",
    "clear_sums",
    "copy_async",
    "copy_commit",
    "copy_vector_async",
    "copy_wait",
    "inside",
    "lane_xor",
    "lanes_of",
    "load_registers",
    "multiply_step",
    "multiply_step_tf32",
    "pick",
    "quotient",
    "shared_array",
    "spread_sums",
    "spread_sums_tf32",
    "store_registers",
    "warp_max",
    "warp_sum",
]
