"""Engines: (program, task, replicas) in, results out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowdim.data.task import Task
from lowdim.engine.costs import step_costs
from lowdim.engine.fused import FusedRun
from lowdim.engine.job import (
    OnEpoch,
    OnResult,
    Probe,
    Program,
    Replica,
    ReplicaResult,
    ReplicaView,
)
from lowdim.engine.seeds import generator, split_rows, stream_seed
from lowdim.engine.taping import UntapeableError
from lowdim.engine.torch_engine import TorchRun

ENGINES = ("auto", "torch", "fused")

__all__ = [
    "ENGINES",
    "OnEpoch",
    "OnResult",
    "Probe",
    "Program",
    "Replica",
    "ReplicaResult",
    "ReplicaView",
    "generator",
    "split_rows",
    "stream_seed",
    "train",
]


def train(
    program: Program,
    task: Task,
    replicas: Sequence[Replica],
    *,
    engine: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_epoch: OnEpoch | None = None,
    on_result: OnResult | None = None,
) -> list[ReplicaResult]:
    """Return the results of training every replica, in their order, as one program.

    An engine asked for by name runs or raises ValueError; `auto` takes the fastest that can.
    Every result names the engine that ran, and why. `on_result` is told of each as soon as it is
    whole: by fused one after the other, by torch all at the end.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}, got {engine!r}")
    if not replicas:
        return []
    place = torch.device(device)
    fused, why = None, "asked for"
    if engine != "torch":
        try:
            fused = FusedRun(program, task, replicas, place, dtype)
            why = why if engine == "fused" else "the fastest"
        except UntapeableError as reason:
            if engine == "fused":
                raise ValueError(f"engine fused cannot run this: {reason}") from None
            why = str(reason)
    taken = "fused" if fused else "torch"

    def whole(number: int, result: ReplicaResult) -> None:
        result.engine, result.engine_reason = taken, why
        if program.costs and result.diverged_epoch is None:
            result.costs = step_costs(program, task, replicas[number], place, dtype)
        if on_result:
            on_result(number, result)

    if fused:
        return fused.run(on_epoch, whole)
    results = TorchRun(program, task, replicas, place, dtype).run(on_epoch)
    for number, result in enumerate(results):
        whole(number, result)
    return results
