"""Small tasks and networks for tests of the engines."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lowdim.data.task import Split, Task
from lowdim.engine import Program, Replica
from lowdim.optim import Adam, Rule


def classification(samples: int = 300, features: int = 12, classes: int = 4) -> Task:
    """Return a learnable problem with one set, and splits monitor and test."""
    draw = torch.Generator().manual_seed(1)
    centres = torch.randn(classes, features, generator=draw)

    def split(count: int) -> Split:
        y = torch.randint(0, classes, (count,), generator=draw)
        x = centres[y] + torch.randn(count, features, generator=draw)
        return Split(x[None], y[None])

    held_out = {"monitor": split(97), "test": split(101)}
    return Task("blobs", "cross_entropy", split(samples), held_out)


def regression(sets: int = 3, samples: int = 60) -> Task:
    """Return linear regression with a problem of its own in every set."""
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(sets, samples, 5, generator=draw)
    y = x @ torch.randn(sets, 5, 2, generator=draw)
    return Task("linear", "mse", Split(x, y), {"test": Split(x, y)})


def network(features: int = 12, classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, classes))


def program(build=network, rule: Rule | None = None, **changes) -> Program:
    settings = {
        "epochs": 2,
        "batch_size": 32,
        "watch": ("monitor",),
        "final": ("test",),
        **changes,
    }
    return Program(build=build, rule=rule or Adam(), **settings)


def replicas(count: int, rate: float = 1e-2, **changes) -> list[Replica]:
    return [Replica(seed, {"learning_rate": rate}, **changes) for seed in range(count)]


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Return the norm of the difference of two sets of parameters over that of the first."""
    a, b = _joined(first), _joined(second)
    return float((a - b).norm() / a.norm())


def _joined(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    floats: Sequence[torch.Tensor] = [t for t in tensors.values() if t.is_floating_point()]
    return torch.cat([t.double().reshape(-1) for t in floats])
