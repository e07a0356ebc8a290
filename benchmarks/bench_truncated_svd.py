"""Milliseconds of truncated SVDs against torch's decompositions and a warm CholeskyQR beside them.

    python benchmarks/bench_truncated_svd.py [--seconds 4]

CPU time on one thread, float32, one process, runs in turn; every row has the largest excess over
the best error of its matrices, and a run that misses the excess asked for is not a bar. Matrices:
randn with columns falling from 1 to 0.01, and gradients of networks at work on MNIST-1D: all of
40-100-10 as 72x72, the middle weight of 40-1024-1024-10. Momenta (0.9) start from the factors of
the step before. The floor is the multiply-adds of the method over the measured matrix rate.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from lowdim_kernels.truncated_svd import excess_error, truncated_svd
from reporting import write_results
from turns import alternated, matrix_rate, summary

MOMENTUM, BATCH, RATE = 0.9, 64, 3e-3
Triplets = tuple[Tensor, Tensor, Tensor]


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
    """Return triplets by torch's randomised decomposition."""
    u, s, v = torch.svd_lowrank(g, columns, niter=iterations)
    return u[..., :k], s[..., :k], v[..., :k]


def widened(start: Tensor, columns: int) -> Tensor:
    """Return the columns and as many random ones as are wanting, orthonormal."""
    noise = torch.randn(*start.shape[:-1], columns - start.shape[-1])
    return torch.linalg.qr(torch.cat([start, noise], -1))[0]


def cold_runs(g: Tensor, k: int) -> dict[str, Callable[[], Triplets]]:
    """Return runs that start from nothing."""
    return {
        "auto": lambda: truncated_svd(g, k),
        "torch.linalg.svd": lambda: by_svd(g, k),
        "torch.linalg.eigh of G^T G": lambda: by_gram(g, k),
    }


def warm_runs(before: Tensor, g: Tensor, k: int) -> dict[str, Callable[[], Triplets]]:
    """Return runs that start from the factors of the matrices before."""
    start = truncated_svd(before, k, method="exact")
    runs: dict[str, Callable[[], Triplets]] = {}
    for extra in (4, 8, 10, 12):
        for iterations in (1, 2):
            runs[f"iterate {k}+{extra}, {iterations}"] = lambda e=extra, i=iterations: (
                truncated_svd(g, k, method="iterate", oversample=e, iterations=i, start=start)
            )
    for columns in (k, k + 8, k + 16):
        v = widened(start[2], columns)
        for iterations in (1, 2, 3):
            runs[f"warm CholeskyQR {columns}, {iterations}"] = lambda v=v, i=iterations: (
                by_warm_cholesky_qr(g, k, v, i)
            )
    if len(g) == 1:
        for columns, iterations in ((k, 2), (k + 8, 2), (k + 8, 3)):
            runs[f"svd_lowrank {columns}, {iterations}"] = lambda c=columns, i=iterations: (
                by_svd_lowrank(g, k, c, i)
            )
    else:
        runs["auto"] = lambda: truncated_svd(g, k)
    return runs


def floor_flops(g: Tensor, k: int, run: str) -> float:
    """Return the flops that a run cannot do without, 0 where none are counted."""
    batch, m, n = g.shape
    if run == "auto":
        return batch * (m * n * n + 4 / 3 * n**3 + 2 * n * n * k + 2 * m * n * k)
    if run.startswith("iterate"):
        extra, iterations = map(int, run.split("+")[1].split(", "))
        return batch * 2.0 * m * n * (k + extra) * (2 + 2 * iterations)
    return 0.0


def rows_of(
    case: str,
    g: Tensor,
    k: int,
    allowed: float,
    runs: Mapping[str, Callable[[], Triplets]],
    seconds: float,
    rate: float,
) -> list[dict[str, Any]]:
    """Return a row a run; `times_slower` is against our quickest run within the excess allowed."""
    rows = []
    for run, times in alternated(runs, seconds).items():
        u, s, v = runs[run]()
        excess = float(excess_error(g, (u * s.unsqueeze(-2)) @ v.mT, k).max())
        rows.append({"case": case, "run": run, **summary(times), "excess": f"{excess:.1e}"})
        rows[-1]["within"] = excess <= allowed
        rows[-1]["floor_ms"] = round(floor_flops(g, k, run) / rate, 4) or ""
    ours = min(r["ms"] for r in rows if r["within"] and r["run"].startswith(("auto", "iterate")))
    for row in rows:
        row["times_slower"] = round(row["ms"] / ours, 2)
        print(*row.values(), sep="\t", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each case")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    rate = matrix_rate()
    torch.manual_seed(0)
    falling = torch.randn(32, 72, 72) * torch.logspace(0, -2, 72)
    runs = [gradients((40, 100, 10), 200, seed, None) for seed in range(32)]
    real = torch.stack([run[-1] for run in runs])
    before, after = (torch.stack(pair) for pair in zip(*map(momenta, runs)))
    large = [t.unsqueeze(0) for t in momenta(gradients((40, 1024, 1024, 10), 150, 0, 1))]
    cases = [
        ("32 of 72x72, rank 20, falling columns", falling, 20, 1e-3, cold_runs(falling, 20)),
        ("32 of 72x72, rank 20, gradients", real, 20, 1e-3, cold_runs(real, 20)),
        ("32 of 72x72, rank 16, momenta, warm", after, 16, 5e-3, warm_runs(before, after, 16)),
        ("1024x1024, rank 16, momentum, warm", large[1], 16, 1e-3, warm_runs(*large, 16)),
    ]
    rows = [row for case in cases for row in rows_of(*case, seconds, rate)]
    print(f"floor by {rate / 1e6:.0f} GFLOP/s")
    write_results("truncated_svd", rows)


if __name__ == "__main__":
    main()
