"""Gradients of networks at work on MNIST-1D, and their momenta."""

from __future__ import annotations

import itertools
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

MOMENTUM, BATCH, RATE = 0.9, 64, 3e-3


@cache
def mnist1d() -> tuple[Tensor, Tensor]:
    """Return the 4,000 training samples and their classes."""
    from mnist1d.data import get_dataset_args, make_dataset

    data = make_dataset(get_dataset_args())
    return torch.tensor(data["x"], dtype=torch.float32), torch.tensor(data["y"])


def gradients(sizes: tuple[int, ...], steps: int, seed: int, layer: int | None) -> list[Tensor]:
    """Return the gradients of a training run: of one weight, or of all as a padded square."""
    x, y = mnist1d()
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    parts = [part for one in layers for part in (one, torch.nn.ReLU())]
    network = torch.nn.Sequential(*parts[:-1])
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    found = []
    for _ in range(steps):
        rows = torch.randint(0, len(x), (BATCH,))
        optimiser.zero_grad()
        cross_entropy(network(x[rows]), y[rows]).backward()
        if layer is not None:
            found.append(layers[layer].weight.grad.clone())
        else:
            flat = torch.cat([p.grad.flatten() for p in network.parameters()])
            side = int(len(flat) ** 0.5) + 1
            found.append(pad(flat, (0, side * side - len(flat))).view(side, side))
        optimiser.step()
    return found


def momenta(gradients: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the momentum before the last step and after it."""
    momentum = gradients[0]
    before = momentum
    for gradient in gradients[1:]:
        before, momentum = momentum, MOMENTUM * momentum + (1 - MOMENTUM) * gradient
    return before, momentum
