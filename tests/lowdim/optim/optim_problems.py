"""Small networks and gradients for tests of optimisers, and LRG-Adam as it was published."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

# Relative errors by dtype: after a step or two, and after many steps of training.
ONCE = {torch.float32: 1e-5, torch.float64: 1e-12}
OVER_MANY = {torch.float32: 1e-3, torch.float64: 1e-9}


def network(dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """Return 6-8-8-3, whose two hidden layers differ in shape."""
    torch.manual_seed(seed)
    layers = nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    return nn.Sequential(*layers).to(dtype)


def batches(dtype: torch.dtype = torch.float32, count: int = 20) -> Iterator[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(16, 6, generator=draw, dtype=torch.float64).to(dtype)
        yield x, x[:, :3].argmax(1)


def trained(net: nn.Module, optimiser: torch.optim.Optimizer, count: int = 20) -> list[Tensor]:
    """Return the parameters after so many steps."""
    dtype = next(net.parameters()).dtype
    for x, y in batches(dtype, count):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return [p.detach().clone() for p in net.parameters()]


def as_published(net: nn.Module, rank: int, rate: float, count: int = 20) -> list[Tensor]:
    """Return the parameters after so many steps of LRG-Adam, written out by hand."""
    params = list(net.parameters())
    adam = torch.optim.Adam(params, lr=rate)
    for x, y in batches(params[0].dtype, count):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        flat = torch.cat([p.grad.flatten() for p in params])
        side = int(torch.tensor(len(flat)).sqrt().ceil())
        square = torch.zeros(side * side, dtype=flat.dtype)
        square[: len(flat)] = flat
        u, s, vh = torch.linalg.svd(square.view(side, side))
        low = (u[:, :rank] * s[:rank] @ vh[:rank]).flatten()[: len(flat)]
        for p, piece in zip(params, low.split([p.numel() for p in params]), strict=True):
            p.grad = piece.view(p.shape).clone()
        adam.step()
    return [p.detach().clone() for p in params]


def distance(first: list[Tensor], second: list[Tensor]) -> float:
    """Return the norm of the difference of two lists of tensors over that of the second."""
    a, b = (torch.cat([t.double().flatten() for t in part]) for part in (first, second))
    return float((a - b).norm() / b.norm())


def same_bits(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
