"""Microseconds a replica-step of the engines against the plain PyTorch loop.

    python benchmarks/bench_engine.py [--seconds 2]

CPU time on one thread, network 40-100-10, batch 64, Adam, cross-entropy; engines and loops take
turns in one process and the median over rounds is reported with its range.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lowdim.data.task import Split, Task
from lowdim.engine import Program, Replica, train
from lowdim.models import Mlp
from lowdim.optim import Adam
from reporting import write_results

STRUCTURES = {
    "dense": [("dense", {})] * 2,
    "kronecker": [
        ("kronecker", {"factors": [(10, 5), (10, 8)]}),
        ("kronecker", {"factors": [(2, 10), (5, 10)]}),
    ],
    "lowrank_diag": [("lowrank_diag", {"rank": 1})] * 2,
    "masked": [("masked", {"density": 0.1})] * 2,
}
BATCH, STEPS = 64, 50
REPLICAS = (1, 8, 32)


def build(structure: str) -> nn.Module:
    return Mlp([40, 100, 10], STRUCTURES[structure])


def task() -> Task:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH * STEPS, 40, generator=draw)
    return Task("noise", "cross_entropy", Split(x[None], x[None, :, :10].argmax(-1)))


def engine_run(structure: str, count: int) -> Callable[[], int]:
    """Return a function that trains one epoch and says how many replica-steps that was."""
    program = Program(lambda: build(structure), Adam(), epochs=1, batch_size=BATCH)
    replicas = [Replica(seed, {"learning_rate": 1e-3 * (1 + seed)}) for seed in range(count)]
    data = task()

    def run() -> int:
        train(program, data, replicas, engine="torch")
        return count * STEPS

    return run


def plain_run(structure: str, fused: bool) -> Callable[[], int]:
    """Return the loop that a user writes: module, optimiser, backward, step."""
    x, y = task().train.inputs[0], task().train.targets[0]

    def run() -> int:
        torch.manual_seed(0)
        module = build(structure)
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-3, fused=fused)
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
        return STEPS

    return run


def measured(runs: dict[str, Callable[[], int]], seconds: float) -> dict[str, list[float]]:
    """Return microseconds a replica-step of each run, round by round in turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, run in runs.items():
            began = time.process_time()
            steps = run()
            times[name].append(1e6 * (time.process_time() - began) / steps)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each variant")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for structure in STRUCTURES:
        runs = {
            "plain": plain_run(structure, False),
            "plain, fused Adam": plain_run(structure, True),
        }
        runs |= {f"torch engine, R = {count}": engine_run(structure, count) for count in REPLICAS}
        times = measured(runs, chosen.seconds)
        plain = statistics.median(times["plain"])
        for name, values in times.items():
            middle = statistics.median(values)
            row = {
                "structure": structure,
                "variant": name,
                "us_per_replica_step": round(middle, 1),
                "least": round(min(values), 1),
                "most": round(max(values), 1),
                "times_faster_than_plain": round(plain / middle, 2),
            }
            rows.append(row)
            print(*row.values(), sep="\t")
    write_results(Path(__file__).stem.removeprefix("bench_"), rows)


if __name__ == "__main__":
    main()
