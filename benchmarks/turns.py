"""Runs that are timed in turn on one thread, and the machine's rate that they are held against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def alternated(runs: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Return milliseconds of CPU time of each run, round by round in turn, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, run in runs.items():
            began = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - began))
    return times


def summary(times: list[float]) -> dict[str, float]:
    """Return median, least and most, rounded."""
    found = {"ms": statistics.median(times), "least": min(times), "most": max(times)}
    return {name: round(value, 4) for name, value in found.items()}


def matrix_rate(size: int = 1024) -> float:
    """Return the flops a millisecond of a large float32 product on one thread."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = min(alternated({"product": lambda: a @ b}, 1.0)["product"])
    return 2 * size**3 / best
