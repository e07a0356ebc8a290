"""Regression on a known linear map of low rank, the problem of deep linear networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lowdim.data.task import Split, Task


def linear_map_task(
    samples: int = 20_000,
    inputs: int = 50,
    outputs: int = 50,
    *,
    singular_values: Sequence[float] = (5.0, 4.0, 3.0, 2.0, 1.0),
    monitor: int = 2_000,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Return Y = X A*^T with A* = U diag(singular_values) V^T: a set for each generator.

    X is normal with variance 1 / inputs; U (outputs, k) and V (inputs, k) are the Q factors of
    normal matrices. The maps A* (sets, outputs, inputs) stand in `facts` as `target_map`. A
    generator draws X, U, V and then the inputs of `monitor`, in this order and
    in `dtype`. The targets carry no noise, so the least possible loss is zero.
    """
    rank = len(singular_values)
    if not 1 <= rank <= min(inputs, outputs):
        raise ValueError(f"singular_values must be 1 to {min(inputs, outputs)} numbers, got {rank}")
    for name, size in (("samples", samples), ("monitor", monitor)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if not generators:
        raise ValueError("generators must hold one generator at least")
    values = torch.tensor(singular_values, dtype=dtype)
    draws = [_draw(g, samples, monitor, (outputs, inputs), values) for g in generators]
    x, a, held_x = (torch.stack(parts) for parts in zip(*draws, strict=True))
    held_out = {"monitor": Split(held_x, held_x @ a.mT)}
    facts = {"target_map": a}
    return Task("linear_map", "mse", Split(x, x @ a.mT), held_out, facts)


def second_moments(task: Task) -> Task:
    """Return the same least-squares problem with samples replaced by their second moments.

    For full batches it has the same loss and gradient: the R factor of X = Q R, scaled by
    sqrt(inputs / samples), stands for X, and the loss is judged on the gap A - A* itself
    (`map_mse`). A step then costs inputs^2 outputs multiply-adds instead of
    samples inputs outputs.
    """
    target = task.facts["target_map"]

    def compact(split: Split) -> Split:
        samples, inputs = split.inputs.shape[1:]
        if samples < inputs:
            raise ValueError(f"second moments need {inputs} samples at least, got {samples}")
        factor = torch.linalg.qr(split.inputs.double(), mode="r").R * (inputs / samples) ** 0.5
        return Split(factor.to(split.inputs.dtype), target.mT)

    held_out = {name: compact(split) for name, split in task.held_out.items()}
    return Task(f"{task.name}_moments", "map_mse", compact(task.train), held_out, task.facts)


def _draw(
    generator: torch.Generator,
    samples: int,
    monitor: int,
    shape: tuple[int, int],
    values: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    outputs, inputs = shape

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=values.dtype)

    x = normal(samples, inputs) / inputs**0.5
    u = torch.linalg.qr(normal(outputs, len(values))).Q
    v = torch.linalg.qr(normal(inputs, len(values))).Q
    return x, (u * values) @ v.mT, normal(monitor, inputs) / inputs**0.5
