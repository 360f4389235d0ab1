"""How wide the loads and stores of arrays may be.

Kernels hold 16-byte pieces of arrays in local arrays of LANES elements (load_registers). The same
source with 1 in the place of LANES serves arrays that begin anywhere and rows that are no multiple
of 16 bytes.
"""

from typing import Any

import numpy as np
from convnet.kernels.cuda.launch import SIMULATED

LANES = {np.dtype(np.float32): 4, np.dtype(np.float64): 2}
VECTOR = {**LANES, np.dtype(np.int32): 4}


def lanes_of(dtype: np.dtype, *arrays: Any, multiple_of: int = 0) -> int:
    """How many elements the loads of these arrays may take at once.

    multiple_of : where rows begin, in elements from the array's beginning
    """
    lanes = LANES[dtype]
    if multiple_of % lanes or not all(map(begins_at_vector, arrays)):
        return 1
    return lanes


def begins_at_vector(a: Any) -> bool:
    """Whether an array begins at a multiple of 16 bytes."""
    return SIMULATED or a.ptr % 16 == 0
