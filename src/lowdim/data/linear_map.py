"""Regression on a known linear map of low rank, the problem of deep linear networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lowdim.data.task import Split, Task


@dataclass(frozen=True)
class LinearMap:
    """A regression task and the maps A* (sets, outputs, inputs) behind its sets."""

    task: Task
    target: Tensor


def linear_map_task(
    samples: int = 20_000,
    inputs: int = 50,
    outputs: int = 50,
    *,
    singular_values: Sequence[float] = (5.0, 4.0, 3.0, 2.0, 1.0),
    monitor: int = 2_000,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float32,
) -> LinearMap:
    """Return Y = X A*^T with A* = U diag(singular_values) V^T: a set for each generator.

    X is normal with variance 1 / inputs; U (outputs, k) and V (inputs, k) are the Q factors of
    normal matrices. A generator draws X, U, V and then the inputs of `monitor`, in this order and
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
    return LinearMap(Task("linear_map", "mse", Split(x, x @ a.mT), held_out), a)


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
