"""Element-wise functions on the simulator: sizes around a block, special values."""

import numpy as np
import pytest
from convnet.kernels.cuda import activation

BLOCK = activation.BLOCK


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1])
def test_relu(checked, n, dtype):
    x = np.random.default_rng(n).standard_normal(n).astype(dtype)
    x[:: max(n // 3, 1)] = np.nan
    checked(activation).relu(x, np.empty_like(x))
