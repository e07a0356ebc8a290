"""Runs that are timed in turn, and the rates of the machine that they are held against."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

LEAST_MS, SHORT_MS = 2.0, 20.0
ON_GPU = 0  # in place of a number of threads
LEAST_ROUNDS = 5
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def alternated(
    runs: Mapping[str, Callable[[], Any]],
    seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Return milliseconds of each run, round by round in turn, after a warm-up.

    A short run is repeated to fill two milliseconds. One of less than twenty is called half as
    often before that, once at least, untimed: what others left in the caches does not count.
    The clock is CPU time of the process unless another is given.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    repeats = {name: _repeats(run, clock) for name, run in runs.items()}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < LEAST_ROUNDS:
        for name, run in runs.items():
            times_before, repeated = repeats[name]
            for _ in range(times_before):
                run()
            began = clock()
            for _ in range(repeated):
                run()
            times[name].append(1e3 * (clock() - began) / repeated)
    return times


def clock_for(threads: int) -> Callable[[], float]:
    """Return CPU time for one thread, else the clock on the wall; a GPU's work is waited for."""
    if threads == ON_GPU:
        return _after_the_gpu
    return time.process_time if threads == 1 else time.perf_counter


def _after_the_gpu() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _repeats(run: Callable[[], Any], clock: Callable[[], float]) -> tuple[int, int]:
    """Return how many calls come before, and how many fill the least time.

    By the quickest of some calls: once caches are warm.
    """
    run()
    took: list[float] = []
    end = time.perf_counter() + 0.05
    while not took or time.perf_counter() < end:
        began = clock()
        run()
        took.append(clock() - began)
    repeated = max(1, min(500, round(1e-3 * LEAST_MS / max(min(took), 1e-6))))
    return (repeated + 1) // 2 if 1e3 * min(took) < SHORT_MS else 0, repeated


def summary(times: list[float]) -> dict[str, float]:
    """Return median, least and most, rounded."""
    found = {"ms": statistics.median(times), "least": min(times), "most": max(times)}
    return {name: round(value, 4) for name, value in found.items()}


def times_slower(times: list[float], ours: list[float]) -> float:
    """Return the median over rounds of a run's time over ours in the same round."""
    return statistics.median(theirs / mine for theirs, mine in zip(times, ours))


def keep_freed_memory() -> None:
    """Let glibc's malloc return no memory to the system, as far as it can be told.

    Otherwise the page faults of a large result, a third of a product's time, fall on whichever run
    the heap's layout chooses.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def peak_mib(run: Callable[[], Any], threads: int = 1) -> float:
    """Return by how much a call raises the memory in use at most, NaN where nothing tells.

    Buffers that a library keeps from call to call are there before and do not count.
    """
    if threads == ON_GPU:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    refs, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not refs.exists():
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)
    refs.write_text("5")
    before = _kib(status, "VmRSS")
    run()
    return max(0, _kib(status, "VmHWM") - before) / 1024


def _kib(status: Path, key: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


@cache
def matrix_rate(
    size: int = 1024,
    dtype: torch.dtype = torch.float32,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Return the flops a millisecond of a large product."""
    where = "cuda" if clock is _after_the_gpu else "cpu"
    a, b = (torch.randn(size, size, dtype=dtype, device=where) for _ in range(2))
    best = min(alternated({"product": lambda: a @ b}, 1.0, clock)["product"])
    return 2 * size**3 / best


@cache
def copy_rate(moved: int, clock: Callable[[], float] = time.process_time) -> float:
    """Return the bytes a millisecond, read and written, of a copy that moves this many."""
    where = "cuda" if clock is _after_the_gpu else "cpu"
    source = torch.zeros(max(1, moved // 8), device=where)
    target = torch.zeros_like(source)
    best = min(alternated({"copy": lambda: target.copy_(source)}, 0.2, clock)["copy"])
    return 8 * source.numel() / best
