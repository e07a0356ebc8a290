"""Parts of one kernel call on several threads, as many as torch is told to use."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

# With less to do than this for each, handing over work costs more than it saves.
LEAST_FLOPS = 1 << 25
# Sums over rows are cut into parts of so much on any number of threads, which fixes their order.
PART_FLOPS = 1 << 25
MOST_PARTS = 8
_workers: dict[int, ThreadPoolExecutor] = {}


def thread_count(flops: float) -> int:
    """Return how many threads a call of so many flops is worth, one at least."""
    if flops < 2 * LEAST_FLOPS:
        return 1
    return max(1, min(torch.get_num_threads(), int(flops // LEAST_FLOPS)))


def part_count(flops: float) -> int:
    """Return into how many parts a sum of so many flops is cut, on any number of threads."""
    return max(1, min(MOST_PARTS, int(flops // PART_FLOPS)))


def cuts(total: int, count: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Return at most `count` ranges that cover 0 .. total, their inner ends at multiples."""
    steps = -(-total // multiple)
    ends = [min(total, steps * k // count * multiple) for k in range(count + 1)]
    return [(a, b) for a, b in pairwise(ends) if a < b]


def run_together(parts: Sequence[Callable[[], None]]) -> None:
    """Run every part, the first on this thread; they let go of the GIL for what takes long."""
    if len(parts) == 1:
        return parts[0]()
    waiting = [_pool().submit(part) for part in parts[1:]]
    try:
        parts[0]()
    finally:
        # What the others write must outlive them, whatever happened here.
        results = [future.exception() for future in waiting]
    for error in results:
        if error is not None:
            raise error
    return None


def _pool() -> ThreadPoolExecutor:
    """Return this process's workers: those of a parent do not live on in a fork."""
    pool = _workers.get(os.getpid())
    if pool is None:
        _workers.clear()
        pool = ThreadPoolExecutor(os.cpu_count(), "lowdim_kernels")
        _workers[os.getpid()] = pool
    return pool
