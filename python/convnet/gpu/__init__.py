"""Arrays on NVIDIA GPUs. Importing this loads nothing of CUDA; the first array does.

array.py      DeviceArray: what ops and layers see of an array on a GPU
layout.py     shapes and strides, as plain numbers
functions.py  NumPy's functions on DeviceArrays, through NumPy's own protocols
foreign.py    arrays of torch, CuPy and others, in and out without a copy
memory.py     where results live: freed blocks are kept for the next
driver.py     the few calls of the CUDA driver, and what takes their place in the simulator
"""

from convnet.gpu.array import DeviceArray, to_device
from convnet.gpu.errors import GPUError

__all__ = ["DeviceArray", "GPUError", "to_device"]
