"""Microseconds a replica-step of the engines on this machine, against the loop a user writes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lowdim.data.task import Split, Task
from lowdim.engine import Program, Replica, train
from lowdim.models import Mlp
from lowdim.optim import Adam, LRGAdam, LrgAdam, Rule

Run = Callable[[], int]
RATE, STEPS = 1e-3, 40


@dataclass(frozen=True)
class Case:
    """A network of layers of one kind, its batch, and the rank of its gradients if they are cut."""

    sizes: tuple[int, ...]
    layers: tuple[tuple[str, dict[str, Any]], ...]
    batch: int = 100
    rank: int | None = None

    def build(self) -> nn.Module:
        """Return the network."""
        return Mlp(self.sizes, self.layers)

    @property
    def rule(self) -> Rule:
        """The update rule: Adam, or LRG-Adam on the flattened gradient."""
        return Adam() if self.rank is None else LrgAdam("flat")

    def task(self) -> Task:
        """Return noise for an epoch of STEPS batches."""
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch * STEPS, self.sizes[0], generator=draw)
        return Task(
            "noise", "cross_entropy", Split(x[None], x[None, :, : self.sizes[-1]].argmax(-1))
        )


def _alike(kind: str, *options: dict[str, Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple((kind, own) for own in options)


_KRONECKER = ({"factors": [(10, 5), (10, 8)]}, {"factors": [(2, 10), (5, 10)]})
CASES: Mapping[str, Case] = {
    "dense": Case((40, 100, 10), _alike("dense", {}, {})),
    "kronecker": Case((40, 100, 10), _alike("kronecker", *_KRONECKER)),
    "lowrank_diag": Case((40, 100, 10), _alike("lowrank_diag", {"rank": 1}, {"rank": 1})),
    "masked": Case((40, 100, 10), _alike("masked", {"density": 0.1}, {"density": 0.1})),
    "nlmf": Case((40, 100, 10), _alike("nlmf", {"rank": 4}, {"rank": 4})),
    "lrg_adam": Case((40, 128, 64, 10), _alike("dense", {}, {}, {}), rank=20),
    "256-128-10": Case((256, 128, 10), _alike("dense", {}, {}), batch=128),
}


def engine_run(case: Case, engine: str, replicas: int, epochs: int = 1) -> Run:
    """Return a function that trains replicas and says how many replica-steps that was."""
    program = Program(case.build, case.rule, epochs=epochs, batch_size=case.batch)
    rank = {} if case.rank is None else {"rank": float(case.rank)}
    chosen = [Replica(s, {"learning_rate": RATE * (1 + s), **rank}) for s in range(replicas)]
    data = case.task()

    def run() -> int:
        train(program, data, chosen, engine=engine)
        return replicas * STEPS * epochs

    return run


def plain_run(case: Case, *, fused: bool = False, epochs: int = 5) -> Run:
    """Return the loop that a user writes: module, optimiser, backward, step."""
    data = case.task().train
    x, y = data.inputs[0], data.targets[0]

    def run() -> int:
        torch.manual_seed(0)
        module = case.build()
        if case.rank is None:
            optimiser: torch.optim.Optimizer = torch.optim.Adam(
                module.parameters(), lr=RATE, fused=fused
            )
        else:
            optimiser = LRGAdam(module.parameters(), lr=RATE, rank=case.rank)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(case.batch):
                optimiser.zero_grad()
                nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
                optimiser.step()
        return STEPS * epochs

    return run


def alternated(runs: Mapping[str, Run], seconds: float) -> dict[str, list[float]]:
    """Return microseconds of CPU time a replica-step of each run, round by round in turn."""
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


def rows(runs: Mapping[str, Run], seconds: float, peer: str = "plain") -> list[dict[str, Any]]:
    """Return a row a run: median, least and most microseconds, and the ratio to a peer's."""
    times = alternated(runs, seconds)
    middle = {name: statistics.median(values) for name, values in times.items()}
    return [
        {
            "variant": name,
            "us_per_replica_step": round(middle[name], 1),
            "least": round(min(values), 1),
            "most": round(max(values), 1),
            f"times_faster_than_{peer}": round(middle[peer] / middle[name], 2),
        }
        for name, values in times.items()
    ]


def bench_lines(seconds: float) -> Iterator[str]:
    """Yield a table of the plain loop and both engines, a line a case, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield f"{'':14}{'plain loop':>12}{'torch R=32':>12}{'fused':>9}{'faster':>9}"
        for name, case in CASES.items():
            runs = {
                "plain": plain_run(case),
                "torch": engine_run(case, "torch", 32),
                "fused": engine_run(case, "fused", 8, epochs=10),
            }
            plain, stacked, fused = rows(runs, seconds)
            key = "us_per_replica_step"
            yield (
                f"{name:14}{plain[key]:12.1f}{stacked[key]:12.1f}{fused[key]:9.1f}"
                f"{fused['times_faster_than_plain']:8.1f}x"
            )
        yield "microseconds of CPU time a replica-step on one thread, medians of runs taken in turn"
    finally:
        torch.set_num_threads(threads)
