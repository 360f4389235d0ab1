"""What runs the ops: `reference` (pure NumPy, the definition), `cpu` (compiled kernels), `cuda`."""
