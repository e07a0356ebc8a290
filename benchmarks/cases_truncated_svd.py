"""Truncated SVDs against torch's decompositions and what one would write by products alone.

A method with settings (columns, iterations) is timed at the quickest of them that stays within
the excess asked for; where none does, at its closest, and it counts for no bar. Matrices: randn
with columns falling from 1 to 0.01, and gradients of networks at work on MNIST-1D: all of
40-100-10 as 72x72, the middle weight of 40-1024-1024-10. Warm runs start from the factors of the
momentum (0.9) a step before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from cases import BOTH, FORWARD, OURS, Bar, Case, bytes_of, drawing, on_gpu
from lowdim_kernels import low_rank, low_rank_reference, truncated_svd
from network_gradients import gradients, momenta
from turns import ON_GPU, clock_for

Triplets = tuple[Tensor, Tensor, Tensor]
Run = Callable[[], Triplets]
Settings = Mapping[str, Run]
SVD, GRAM = "torch.linalg.svd", "torch.linalg.eigh of G^T G"
CHOLESKY, LOWRANK = "warm CholeskyQR", "svd_lowrank"
LOOP = "torch.linalg.svd, one by one"
COLD_BARS = (Bar(5.0, (SVD,)), Bar(3.0, (GRAM,)))
COLD_BARS_ON_GPU = (Bar(20.0, (LOOP,)), Bar(3.0, (SVD,)))
PLAIN = ""


def cases() -> Iterator[Case]:
    """Yield every case, one problem in memory at a time."""
    falling = torch.randn(32, 72, 72, generator=drawing()) * torch.logspace(0, -2, 72)
    yield cold_case("32 of 72x72, rank 20, falling columns", falling, 20, COLD_BARS)
    yield derivative_case("32 of 72x72, rank 20, falling columns", falling, 20)
    runs = small_gradients()
    real = torch.stack([run[-1] for run in runs])
    yield cold_case("32 of 72x72, rank 20, gradients", real, 20, COLD_BARS)
    before, after = (torch.stack(pair) for pair in zip(*map(momenta, runs)))
    bars = (Bar(2.0, (CHOLESKY,)),)
    yield warm_case("32 of 72x72, rank 16, momenta, warm", before, after, 16, 5e-3, bars)
    before, after = (t[None] for t in momenta(_gradients((40, 1024, 1024, 10), 150, 0, 1)))
    bars = (Bar(1.5, (CHOLESKY,)), Bar(6.0, (LOWRANK,)))
    yield warm_case("1024x1024, rank 16, momentum, warm", before, after, 16, 1e-3, bars)


@cache
def small_gradients() -> list[list[Tensor]]:
    """Return the gradients of 32 small networks' training."""
    return [_gradients((40, 100, 10), 200, seed, None) for seed in range(32)]


def _gradients(*settings: Any) -> list[Tensor]:
    """Return gradients from the CPU, where they are the same on every machine."""
    with torch.device("cpu"):
        found = gradients(*settings)
    return [g.to(torch.get_default_device()) for g in found]


def cold_case(shape: str, g: Tensor, k: int, bars: tuple[Bar, ...]) -> Case:
    """Return the case of triplets from nothing, at most 0.1 % above the best error."""
    runs: dict[str, Settings] = {
        OURS: {"auto": lambda: truncated_svd(g, k)},
        SVD: {PLAIN: lambda: by_svd(g, k)},
        GRAM: {PLAIN: lambda: by_gram(g, k)},
        LOWRANK: {
            f"{c} columns, {i}": lambda c=c, i=i: by_svd_lowrank(g, k, c, i)
            for c in (k + 4, k + 12)
            for i in (2, 4)
        },
    }
    if on_gpu():
        runs[LOOP] = {PLAIN: lambda: by_svd_in_a_loop(g, k)}
        bars = COLD_BARS_ON_GPU
    return forward_case(shape, g, k, 1e-3, runs, bars)


def warm_case(
    shape: str, before: Tensor, g: Tensor, k: int, allowed: float, bars: tuple[Bar, ...]
) -> Case:
    """Return the case of triplets from those of the matrices before."""
    start = truncated_svd(before, k, method="exact")
    wide = {columns: widened(start[2], columns) for columns in (k, k + 8, k + 16)}
    runs: dict[str, Settings] = {
        OURS: {
            f"{k + e} columns, {i}": lambda e=e, i=i: truncated_svd(
                g, k, method="iterate", oversample=e, iterations=i, start=start
            )
            for e in (0, 4, 8, 10, 12)
            for i in (1, 2)
        },
        CHOLESKY: {
            f"{columns} columns, {i}": lambda v=v, i=i: by_warm_cholesky_qr(g, k, v, i)
            for columns, v in wide.items()
            for i in (1, 2, 3)
        },
        LOWRANK: {
            f"{c} columns, {i}": lambda c=c, i=i: by_svd_lowrank(g, k, c, i)
            for c in (k, k + 8)
            for i in (2, 3)
        },
        SVD: {PLAIN: lambda: by_svd(g, k)},
        GRAM: {PLAIN: lambda: by_gram(g, k)},
    }
    return forward_case(shape, g, k, allowed, runs, bars)


def forward_case(
    shape: str, g: Tensor, k: int, allowed: float, runs: Mapping[str, Settings], bars: tuple
) -> Case:
    """Return the case of these runs; nothing reaches the excess with less than G V and U^T G."""
    excess = excess_of(g, k)
    chosen = {name: chosen_setting(run, excess, allowed) for name, run in runs.items()}
    return Case(
        operation="truncated_svd",
        shape=shape,
        passes=FORWARD,
        runs={name: runs[name][setting] for name, setting in chosen.items()},
        error=lambda name, triplets: excess(triplets),
        allowed=allowed,
        flops=4.0 * g.numel() * k,
        moved=bytes_of(g) + 4 * len(g) * k * sum(g.shape[1:]),
        bars=bars,
        settings=chosen,
    )


def excess_of(g: Tensor, k: int) -> Callable[[Triplets], float]:
    """Return what gives the largest excess over the best error among the matrices."""
    best = torch.linalg.svdvals(g.double())[:, k:].norm(dim=1)

    def excess(triplets: Triplets) -> float:
        u, s, v = (t.double() for t in triplets)
        error = (g - (u * s.unsqueeze(-2)) @ v.mT).flatten(1).norm(dim=1)
        return float((error / best - 1).max())

    return excess


def chosen_setting(settings: Settings, excess: Callable[[Triplets], float], allowed: float) -> str:
    """Return the quickest setting within the excess, or the one that comes closest to it."""
    if len(settings) == 1:
        return next(iter(settings))
    found = {name: excess(run()) for name, run in settings.items()}
    within = [name for name, value in found.items() if value <= allowed]
    if not within:
        return min(found, key=lambda name: found[name])
    return min(within, key=lambda name: _least_seconds(settings[name]))


def _least_seconds(run: Run) -> float:
    clock = clock_for(ON_GPU if on_gpu() else 1)
    took = []
    for _ in range(7):
        began = clock()
        run()
        took.append(clock() - began)
    return min(took)


def derivative_case(shape: str, g: Tensor, k: int) -> Case:
    """Return the case of the best approximations and the gradient of g through them.

    Its error is the larger one of the excess and the gradient's distance from the reference.
    """
    weights = torch.randn(g.shape, generator=drawing(1))
    wide = g.double().requires_grad_()
    (expected,) = torch.autograd.grad(low_rank_reference(wide, k), wide, weights.double())
    best = torch.linalg.svdvals(g.double())[:, k:].norm(dim=1)

    def both(function: Callable[[Tensor], Tensor]) -> Callable[[], list[Tensor]]:
        leaf = g.clone().requires_grad_()

        def run() -> list[Tensor]:
            x = function(leaf)
            return [x.detach(), *torch.autograd.grad(x, leaf, weights)]

        return run

    def error(name: str, result: list[Tensor]) -> float:
        x, gradient = result
        excess = (g.double() - x).flatten(1).norm(dim=1) / best - 1
        return max(float(excess.max()), float((gradient - expected).norm() / expected.norm()))

    def multiplied(triplets: Callable[[Tensor, int], Triplets]) -> Callable[[Tensor], Tensor]:
        def product(leaf: Tensor) -> Tensor:
            u, s, v = triplets(leaf, k)
            return (u * s.unsqueeze(-2)) @ v.mT

        return product

    return Case(
        operation="truncated_svd",
        shape=shape,
        passes=BOTH,
        runs={
            OURS: both(lambda leaf: low_rank(leaf, k)),
            SVD: both(multiplied(by_svd)),
            GRAM: both(multiplied(by_gram)),
        },
        error=error,
        allowed=1e-3,
        flops=12.0 * g.numel() * k,
        moved=4.0 * bytes_of(g),
    )


def by_gram(g: Tensor, k: int) -> Triplets:
    """Return triplets by torch's eigenvectors of G^T G."""
    _, v = torch.linalg.eigh(g.mT @ g)
    v = v[..., -k:]
    y = g @ v
    s = y.norm(dim=-2)
    return y / s.unsqueeze(-2), s, v


def by_svd(g: Tensor, k: int) -> Triplets:
    """Return triplets by torch's full decomposition."""
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    return u[..., :k], s[..., :k], vh[..., :k, :].mT


def by_svd_in_a_loop(g: Tensor, k: int) -> Triplets:
    """Return triplets by torch's full decomposition of one matrix after the other."""
    u, s, v = zip(*(by_svd(matrix, k) for matrix in g))
    return torch.stack(u), torch.stack(s), torch.stack(v)


def cholesky_qr(y: Tensor) -> Tensor:
    """Return an orthonormal basis by the Cholesky factor of the Gram matrix."""
    lower = torch.linalg.cholesky(y.mT @ y)
    return torch.linalg.solve_triangular(lower.mT, y, upper=True, left=False)


def by_warm_cholesky_qr(g: Tensor, k: int, start: Tensor, iterations: int) -> Triplets:
    """Return triplets by subspace iteration in plain torch."""
    v = start
    for _ in range(iterations):
        v = cholesky_qr(g.mT @ cholesky_qr(g @ v))
    b = g @ v
    values, w = torch.linalg.eigh(b.mT @ b)
    s, w = values[..., -k:].sqrt(), w[..., -k:]
    return (b @ w) / s.unsqueeze(-2), s, v @ w


def by_svd_lowrank(g: Tensor, k: int, columns: int, iterations: int) -> Triplets:
    """Return triplets by torch's randomised decomposition, with the same numbers at each call."""
    torch.manual_seed(0)
    u, s, v = torch.svd_lowrank(g, columns, niter=iterations)
    return u[..., :k], s[..., :k], v[..., :k]


def widened(start: Tensor, columns: int) -> Tensor:
    """Return the columns and as many random ones as are wanting, orthonormal."""
    shape = (*start.shape[:-1], columns - start.shape[-1])
    noise = torch.randn(shape, generator=drawing(2))
    return torch.linalg.qr(torch.cat([start, noise], -1))[0]
