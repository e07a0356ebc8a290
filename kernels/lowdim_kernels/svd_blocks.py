"""Launches of the SVD kernels: one block a matrix, everything narrow in its shared memory."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lowdim_kernels.cuda.launcher import Program, launch, program, shared_limit, storage_name

Triplets = tuple[Tensor, Tensor, Tensor]
# As the kernels report them.
NOT_FINITE, RANK_DOES_NOT_FIT = 1, 2
LANES, LARGEST_SIDE = 16, 128
LEAST_CHUNK, MOST_CHUNK = 8, 96
ASSEMBLING_THREADS = 256


class Plan(NamedTuple):
    """What a launch takes: rows of a matrix that pass by at once, and shared memory."""

    program: Program
    threads: int
    chunk: int
    shared_bytes: int


class Found(NamedTuple):
    """Triplets of matrices, and the status of each."""

    triplets: Triplets
    status: Tensor


def fits(g: Tensor) -> bool:
    """Return whether a block has room for matrices like these."""
    return _chunk(*_tall(g.shape), 2, shared_limit(g.device)) > 0


def decomposed(g: Tensor, k: int, ranks: Tensor | None, *, squared: bool) -> Found:
    """Return k triplets of each matrix, zero beyond its own rank where given.

    `squared` goes by Gram matrices, else by reflections.
    """
    if g.shape[1] < g.shape[2]:
        (v, s, u), status = decomposed(g.mT, k, ranks, squared=squared)
        return Found((u, s, v), status)
    g = g.contiguous()
    u, s, v, status = _outputs(g, k)
    plan = _plan(g, 1, squared)
    arguments = [g, u, s, v, 0 if ranks is None else ranks.contiguous(), status]
    sizes = [g.shape[1], g.shape[2], k, plan.chunk, int(not squared)]
    _launch(plan, "decompose", len(g), [*arguments, *sizes])
    return Found((u, s, v), status)


def iterated(
    g: Tensor,
    k: int,
    ranks: Tensor | None,
    start: Tensor | None,
    oversample: int,
    iterations: int,
) -> Found:
    """Return k triplets of each matrix after that many iterations on some more columns."""
    tall = g if g.shape[1] >= g.shape[2] else g.mT
    data = tall.contiguous()
    batch, m, n = data.shape
    u, s, v, status = _outputs(data, k)
    columns = None if start is None else start.to(g).contiguous()
    y, z = data.new_empty(batch, m, n), data.new_empty(batch, n, n)
    plan = _plan(data, 2, True)
    own = 0 if ranks is None else ranks.contiguous()
    started = 0 if columns is None else columns.shape[2]
    arguments = [data, u, s, v, own, status, 0 if columns is None else columns, y, z]
    sizes = [m, n, k, started, int(tall is not g), oversample, iterations, plan.chunk]
    _launch(plan, "iterate", batch, [*arguments, *sizes])
    return Found((u, s, v) if tall is g else (v, s, u), status)


def inverse_factors(squares: Tensor) -> Tensor:
    """Return L^-T of symmetric L L^T, (batch, n, n); zero in columns that depend on others."""
    squares = squares.contiguous()
    inverses = torch.empty_like(squares)
    plan = _plan(squares, 0, True)
    _launch(plan, "invert", len(squares), [squares, inverses, squares.shape[2]])
    return inverses


def assembled(triplets: Triplets, ranks: Tensor) -> Tensor:
    """Return U S V^T of every matrix with its own rank."""
    u, s, v = (t.contiguous() for t in triplets)
    batch, m, k = u.shape
    x = u.new_empty(batch, m, v.shape[1])
    launch(
        _program(x.dtype, 1),
        "assemble",
        (-(-x.numel() // ASSEMBLING_THREADS),),
        ASSEMBLING_THREADS,
        [u, s, v, x, ranks.contiguous(), x.numel(), m, v.shape[1], k],
    )
    return x


def _launch(plan: Plan, kernel: str, batch: int, arguments: list[Tensor | int]) -> None:
    launch(plan.program, kernel, (batch,), plan.threads, arguments, shared_bytes=plan.shared_bytes)


def _outputs(g: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, m, n = g.shape
    status = torch.empty(batch, dtype=torch.int64, device=g.device)
    return g.new_empty(batch, m, k), g.new_empty(batch, k), g.new_empty(batch, n, k), status


def _tall(shape: torch.Size) -> tuple[int, int]:
    return max(shape[1:]), min(shape[1:])


def _program(dtype: torch.dtype, elements: int) -> Program:
    return program("truncated_svd", SCALAR=storage_name(dtype), ELEMENTS=elements)


def _plan(g: Tensor, loaded: int, squared: bool) -> Plan:
    """Return how matrices (batch, m, n), m >= n, run while `loaded` of them pass by."""
    m, n = g.shape[1:]
    most = _chunk(m, n, loaded, shared_limit(g.device))
    if squared:
        most = min(most, MOST_CHUNK)
    chunk = -(-m // -(-m // most))
    elements = -(-n // LANES)
    return Plan(
        _program(g.dtype, elements),
        64 * elements,
        chunk,
        _shared_doubles(n, loaded, chunk) * 8,
    )


@lru_cache
def _chunk(m: int, n: int, loaded: int, limit: int) -> int:
    """Return how many rows can pass by at once, 0 where too few."""
    if n > LARGEST_SIDE:
        return 0
    room = limit // 8 - _shared_doubles(n, 0, 0)
    most = m if not loaded else min(m, room // (loaded * _whole(n, 8)) - 1)
    return most if room >= 0 and most >= min(m, LEAST_CHUNK) else 0


def _shared_doubles(n: int, loaded: int, chunk: int) -> int:
    length = _whole(n, LANES)
    held = _whole(n, 8)
    return held * length + loaded * held * (chunk | 1) + 7 * length + 40  # 24 for a task


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit
