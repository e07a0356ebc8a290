"""What a step of one network costs in plain PyTorch, whatever engine trained it."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from lowdim.data.task import Task
from lowdim.engine.job import Program, Replica
from lowdim.engine.torch_engine import TorchRun
from lowdim.optim import Adam

_EPOCHS, _STEPS = 3, 8


def step_costs(
    program: Program, task: Task, asked: Replica, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Return what a step of a replica by itself takes: loss, gradients and update.

    `step_us` is CPU time of this thread on a CPU, elapsed time on a device, the median of three
    short epochs; `step_over_adam` its ratio to Adam's step on the same parameters, timed in turn;
    `optimiser_kib` the size of the update rule's state. Empty for a replica that diverges in them.
    """
    size = program.batch_size or task.train.samples
    rows = torch.arange(min(task.train.samples, _STEPS * size))
    own = replace(asked, train_rows=rows, score_rows=None, orders=None)
    plain = replace(own, hyper={"learning_rate": asked.hyper["learning_rate"]})
    bare = replace(program, probes=(), watch=(), final=(), step_metrics=False)
    # what differs is then the rule, not whether it sees all parameters as one tensor
    adam = Adam()
    adam.elementwise = program.rule.elementwise
    runs = (
        TorchRun(bare, task, [own], device, dtype),
        TorchRun(replace(bare, rule=adam), task, [plain], device, dtype),
    )
    times: tuple[list[float], list[float]] = ([], [])
    for epoch in range(1, _EPOCHS + 2):
        for run, taken in zip(runs, times, strict=True):
            began = _seconds(device)
            run.epoch(epoch)
            taken.append(_seconds(device) - began)
            if not len(run.network):
                return {}
    steps = -(-len(rows) // size)
    # the first epoch warms up
    ours, adams = (1e6 * median(taken[1:]) / steps for taken in times)
    state = sum(map(_bytes, runs[0].state.values()))
    return {"step_us": ours, "step_over_adam": ours / adams, "optimiser_kib": state / 1024}


def _seconds(device: torch.device) -> float:
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def _bytes(part: object) -> int:
    if isinstance(part, dict):
        return sum(map(_bytes, part.values()))
    return part.nbytes if isinstance(part, Tensor) else 0
