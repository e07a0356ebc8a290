"""Truncated SVDs as torch sees them: derivatives and batching.

With P the change of G in the bases of its singular vectors, an entry of P where one index is kept
and the other is not mixes with its mirror image by the two singular values; the map from the
change of G to that of its best approximation is its own transpose.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lowdim_kernels.ops import Operation, Saved
from lowdim_kernels.rules import folding, pushed_forward
from lowdim_kernels.svd_backends import (
    allocate_low_rank,
    allocate_triplets,
    low_rank_on_cpu,
    low_rank_plain,
    triplets_on_cpu,
    triplets_plain,
    without_autocast,
)
from lowdim_kernels.truncated_svd_cuda import low_rank_on_cuda, triplets_on_cuda

G = 5
LOW_RANK_G, LOW_RANK_RANKS = 4, 5


@without_autocast
def low_rank_change(
    g: Tensor, ranks: Tensor, change: Tensor, check: Callable[[Tensor], None] | None = None
) -> Tensor:
    """Return the change of best approximations for a change of g, in plain torch.

    `check` may raise for the singular values.
    """
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    if check is not None:
        check(s)
    kept = (torch.arange(s.shape[-1], device=g.device) < ranks.unsqueeze(-1)).to(g)
    across = kept.unsqueeze(-1) * (1 - kept).unsqueeze(-2)
    square = s.square()
    gap = square.unsqueeze(-1) - square.unsqueeze(-2)
    weight = across / torch.where(across > 0, gap, 1.0)
    p = u.mT @ change @ vh.mT
    smaller = weight * square.unsqueeze(-2)
    product = weight * s.unsqueeze(-1) * s.unsqueeze(-2)
    mixed = (smaller + smaller.mT) * p + (product + product.mT) * p.mT
    left, right = u * kept.unsqueeze(-2), vh * kept.unsqueeze(-1)
    rows = left @ (u.mT @ change)
    columns = (change @ right.mT) @ right
    return rows + columns - left @ (u.mT @ columns) + u @ mixed @ vh


@without_autocast
def _checked_change(each: bool, g: Tensor, ranks: Tensor, change: Tensor) -> Tensor:
    """Return the change, or raise where singular values that must differ do not."""
    if not g.numel():
        return torch.zeros_like(g)
    finite = torch.isfinite(g).flatten(1).all(1)[:, None, None]
    wide, change = (torch.where(finite, t.double(), 0.0) for t in (g, change))

    def check(s: Tensor) -> None:
        index = torch.arange(1, s.shape[-1], device=g.device)
        last = ranks.unsqueeze(-1)
        needed = (index <= last) if each else (index == last)
        least = torch.finfo(g.dtype).eps * max(g.shape[1:]) * s[:, :1]
        close = needed & (s[:, :-1] - s[:, 1:] <= least) & finite[..., 0]
        if close.any():
            matrix, k = (int(x) for x in close.nonzero()[0])
            raise ValueError(
                f"no derivative: singular values {k + 1} and {k + 2} of matrix {matrix} are both "
                f"{float(s[matrix, k]):.3g}; choose a rank at which they differ"
            )

    result = low_rank_change(wide, ranks, change, check)
    return torch.where(finite, result, torch.nan).to(g.dtype)


@without_autocast
def _change_vjp(
    saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    each, g, ranks, change = saved.inputs
    (gradient,) = gradients
    by_g = by_change = None
    if needed[1]:
        pull_back = torch.func.vjp(lambda a: low_rank_change(a, ranks, change), g)[1]
        (by_g,) = pull_back(gradient)
    if needed[3]:
        by_change = change_operation(each, g, ranks, gradient)
    return [None, by_g, None, by_change]


def _change_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Tensor:
    each, g, ranks, change = saved.inputs
    total = torch.zeros_like(g)
    if tangents[1] is not None:
        own = pushed_forward(lambda a: low_rank_change(a, ranks, change), (g,), (tangents[1],))
        total = total + own
    if tangents[3] is not None:
        total = total + change_operation(each, g, ranks, tangents[3])
    return total


def _low_rank_vjp(
    saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    results: list[Tensor | None] = [None] * len(needed)
    g, ranks = saved.inputs[LOW_RANK_G], saved.inputs[LOW_RANK_RANKS]
    results[LOW_RANK_G] = change_operation(False, g, ranks, gradients[0])
    return results


def _low_rank_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> Tensor:
    g, ranks = saved.inputs[LOW_RANK_G], saved.inputs[LOW_RANK_RANKS]
    return change_operation(False, g, ranks, tangents[LOW_RANK_G])


@without_autocast
def _triplets_of_change(outputs: Sequence[Tensor], change: Tensor) -> tuple[Tensor, ...]:
    """Return the changes of U, S and V for a change of U S V^T that keeps its rank."""
    u, s, v = outputs
    p = u.mT @ change @ v
    square = s.square()
    gap = square.unsqueeze(-2) - square.unsqueeze(-1)
    same = torch.eye(s.shape[-1], dtype=torch.bool, device=s.device)
    weight = torch.where(same, 0.0, 1 / torch.where(same, 1.0, gap))
    rows, columns = s.unsqueeze(-1), s.unsqueeze(-2)
    du = u @ (weight * (p * columns + rows * p.mT))
    dv = v @ (weight * (rows * p + p.mT * columns))
    outside_u = change @ v
    outside_v = change.mT @ u
    du = du + (outside_u - u @ (u.mT @ outside_u)) / columns
    dv = dv + (outside_v - v @ (v.mT @ outside_v)) / columns
    return du, p.diagonal(dim1=-2, dim2=-1), dv


@without_autocast
def _triplets_vjp(
    saved: Saved, needed: Sequence[bool], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    g, outputs = saved.inputs[G], saved.outputs
    given = [torch.zeros_like(o) if d is None else d for o, d in zip(outputs, gradients)]
    pull_back = torch.func.vjp(
        lambda change: _triplets_of_change(outputs, change), torch.zeros_like(g)
    )[1]
    (of_change,) = pull_back(tuple(given))
    results: list[Tensor | None] = [None] * len(needed)
    results[G] = change_operation(True, g, _all_of(outputs[1]), of_change)
    return results


def _triplets_jvp(saved: Saved, tangents: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    outputs = saved.outputs
    change = change_operation(True, saved.inputs[G], _all_of(outputs[1]), tangents[G])
    return _triplets_of_change(outputs, change)


def _all_of(s: Tensor) -> Tensor:
    return torch.full(s.shape[:1], s.shape[-1], dtype=torch.int64, device=s.device)


_OPTIONS = "str method, int oversample, int iterations, bool check, Tensor g"

triplets_operation: Operation = Operation(
    "svd_triplets",
    f"(int k, {_OPTIONS}, Tensor? start) -> (Tensor, Tensor, Tensor)",
    allocate=allocate_triplets,
    kernels={
        "reference": triplets_plain,
        "numba": triplets_on_cpu,
        "cuda": triplets_on_cuda,
    },
    vjp=_triplets_vjp,
    jvp=_triplets_jvp,
    batch=folding(lambda: triplets_operation),
    saves_outputs=True,
)
low_rank_operation: Operation = Operation(
    "low_rank",
    f"({_OPTIONS}, Tensor ranks, Tensor? start) -> Tensor",
    allocate=allocate_low_rank,
    kernels={
        "reference": low_rank_plain,
        "numba": low_rank_on_cpu,
        "cuda": low_rank_on_cuda,
    },
    vjp=_low_rank_vjp,
    jvp=_low_rank_jvp,
    batch=folding(lambda: low_rank_operation),
)
change_operation: Operation = Operation(
    "low_rank_change",
    "(bool each, Tensor g, Tensor ranks, Tensor change) -> Tensor",
    allocate=lambda each, g, ranks, change: torch.empty_like(
        g, memory_format=torch.contiguous_format
    ),
    kernels={
        "reference": _checked_change,
        "numba": _checked_change,
        "cuda": _checked_change,
    },
    vjp=_change_vjp,
    jvp=_change_jvp,
    batch=folding(lambda: change_operation),
)
