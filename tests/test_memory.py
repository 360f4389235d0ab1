"""Convolutions use bounded workspace: no im2col matrix, nothing kept for a shape."""

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="peak memory is read by the resource module of Unix")

PEAK = """
import resource, sys
import numpy as np
import convnet
from convnet import ops

def peak():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 2**10  # bytes; KiB

def channels_last(a):
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

convnet.set_num_threads(2)
"""

# 4 x 64 x 112 x 112: x, y and dx take 12.25 MB each, im2col's matrix would take 110 MB.
ONE_LAYER = (
    PEAK
    + """
x = np.ones((4, 64, 112, 112), np.float32)
x = channels_last(x) if {channels_last} else x
w = np.ones((64, 64, 3, 3), np.float32)
y, dx = np.empty_like(x), ops.relu(x)  # dx's memory is kept, for the gradient's result
y.fill(0)
convnet.ops.conv2d(x[:1, :, :8, :8].copy("K"), w, padding=1)
before = peak()
del dx
with convnet.set_precision("{precision}"):
    ops.conv2d(x, w, padding=1, out=y)
    ops.conv2d_backward(y, x, w, padding=1)
print(peak() - before)
"""
)

SHAPES = (
    PEAK
    + """
rng = np.random.default_rng(0)

def use(channels, filters, size, kernel):
    x = np.ones((2, channels, size, size), np.float32)
    w = np.ones((filters, channels, kernel, kernel), np.float32)
    y = ops.conv2d(x, w, padding=kernel // 2)
    ops.conv2d_backward(y, x, w, padding=kernel // 2)

for kernel in (1, 3, 5):
    use(32, 32, 24, kernel)
before = peak()
for _ in range({count}):
    use(*rng.integers(1, 32, 2), int(rng.integers(5, 24)), int(rng.choice([1, 3, 5])))
print(peak() - before)
"""
)


def growth(code: str) -> float:
    """MB by which the peak memory of a process grows, as its code prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return float(run.stdout)


@pytest.mark.parametrize("precision", ["high", "highest"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
def test_convolution_takes_its_workspace_and_no_more(channels_last, precision):
    # Two threads' workspace of 8 MB, Winograd's weights and sums (1.2 MB), and slack of malloc's.
    assert growth(ONE_LAYER.format(channels_last=channels_last, precision=precision)) < 20


def test_a_thousand_shapes_leave_nothing_behind():
    assert growth(SHAPES.format(count=1000)) < 8
