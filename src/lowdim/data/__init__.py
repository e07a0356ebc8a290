"""Data of the studies: tensors that all replicas share, and where they are kept."""

from lowdim.config.data_root import cache_folder, data_folder
from lowdim.data.cache import cached_arrays
from lowdim.data.compress import CompressedDataset, Compressor
from lowdim.data.digits import digits_task
from lowdim.data.linear_map import linear_map_task, second_moments
from lowdim.data.mnist import DataUnavailableError, find_mnist, mnist_task
from lowdim.data.mnist1d import mnist1d_task
from lowdim.data.task import Split, Task
from lowdim.data.transforms import TRANSFORMS

__all__ = [
    "TRANSFORMS",
    "CompressedDataset",
    "Compressor",
    "DataUnavailableError",
    "Split",
    "Task",
    "cache_folder",
    "cached_arrays",
    "data_folder",
    "digits_task",
    "find_mnist",
    "linear_map_task",
    "mnist1d_task",
    "mnist_task",
    "second_moments",
]
