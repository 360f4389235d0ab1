"""The compiled kernels: one module per instruction-set level and element type, and `cpu`."""
