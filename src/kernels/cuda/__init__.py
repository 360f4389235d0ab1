"""Kernels for NVIDIA GPUs in Numba. Nothing of it is imported before the first array on a GPU.

A file is one family. Its functions have the names and signatures of the reference's; its kernels
come from factories keyed by element type and tile, and `programs()` lists those that it ships.
"""
