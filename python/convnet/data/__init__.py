"""Data sets and the loader that makes batches of them; idx.py reads MNIST's files."""

from convnet.data.dataset import Dataset, Subset, TensorDataset, random_split
from convnet.data.loader import DataLoader, collate

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "collate", "random_split"]
