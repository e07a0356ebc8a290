"""Data of the studies: tensors that all replicas share, and where they are kept."""

from lowdim.data.cache import cache_folder, cached_arrays
from lowdim.data.mnist1d import mnist1d_task
from lowdim.data.task import Split, Task

__all__ = ["Split", "Task", "cache_folder", "cached_arrays", "mnist1d_task"]
