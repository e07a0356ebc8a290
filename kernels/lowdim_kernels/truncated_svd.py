"""Truncated singular value decompositions of many matrices at once, and best low-rank matrices.

The excess of an approximation X of rank k is ||G - X|| / ||G - G_k|| - 1 in the Frobenius norm,
with G_k the best one. Methods: `exact` is LAPACK's, `gram` the eigenvectors of G^T G in float64,
`iterate` subspace iteration, and `auto` stays below an excess of 0.1 % whatever the matrix is.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lowdim_kernels.ops import autocast_together
from lowdim_kernels.svd_backends import low_rank_plain, triplets_plain
from lowdim_kernels.svd_operations import low_rank_operation, triplets_operation

Method = Literal["auto", "exact", "gram", "iterate"]
METHODS: tuple[Method, ...] = get_args(Method)
Triplets = tuple[Tensor, Tensor, Tensor]
Start = Tensor | Sequence[Tensor] | None


def truncated_svd(
    g: Tensor | Sequence[Tensor],
    rank: int | Tensor,
    *,
    method: Method = "auto",
    oversample: int | None = None,
    iterations: int | None = None,
    start: Start = None,
    check: bool = True,
) -> Triplets | list[Triplets]:
    """Return the leading singular triplets U, S, V of every matrix, S descending.

    Shapes: g (..., m, n) -> (..., m, k), (..., k), (..., n, k), with k at most min(m, n). A tensor
    of ranks, one for each matrix, is computed at the largest and zeroed beyond each. A list of
    matrices of any shapes gives a list. U and V are orthonormal whatever g is.
    `iterate` runs `iterations` (2) times with `oversample` (half of rank, 4 at least) further
    columns, from V or (U, S, V) of an earlier call in `start` where given.
    Raises ValueError if g is not finite; without `check` such a matrix alone becomes NaN.
    Derivatives need separated singular values, and raise where they are not.
    """
    if not isinstance(g, Tensor):
        return _one_by_one(truncated_svd, g, rank, method, oversample, iterations, start, check)
    matrices, start = _prepared(g, start, method)
    k = _largest(g, rank)
    options = _options(k, method, oversample, iterations)
    return _shaped(g, rank, *triplets_operation(*options, check, matrices, start))


def truncated_svd_reference(
    g: Tensor | Sequence[Tensor], rank: int | Tensor, *, check: bool = True
) -> Triplets | list[Triplets]:
    """Return U, S, V of every matrix by the full decomposition, in plain torch."""
    if not isinstance(g, Tensor):
        return [_triplets_by_reference(a, rank, check) for a in g]
    return _triplets_by_reference(g, rank, check)


def _triplets_by_reference(g: Tensor, rank: int | Tensor, check: bool) -> Triplets:
    triplets = triplets_plain(_largest(g, rank), "exact", 0, 0, check, _stacked(g), None)
    return _shaped(g, rank, *triplets)


def low_rank(
    g: Tensor | Sequence[Tensor],
    rank: int | Tensor,
    *,
    method: Method = "auto",
    oversample: int | None = None,
    iterations: int | None = None,
    start: Start = None,
    check: bool = True,
) -> Tensor | list[Tensor]:
    """Return the best approximation of that rank, U S V^T, of every matrix.

    Shapes: g (..., m, n) -> (..., m, n); arguments as for `truncated_svd`. Differentiable to any
    order where singular values `rank` and `rank + 1` differ; raises ValueError where they do not.
    """
    if not isinstance(g, Tensor):
        return _one_by_one(low_rank, g, rank, method, oversample, iterations, start, check)
    matrices, start = _prepared(g, start, method)
    ranks = _ranks(matrices, g, rank)
    options = _options(-1, method, oversample, iterations)
    return low_rank_operation(*options[1:], check, matrices, ranks, start).reshape(g.shape)


def low_rank_reference(
    g: Tensor | Sequence[Tensor], rank: int | Tensor, *, check: bool = True
) -> Tensor | list[Tensor]:
    """Return the best approximation of that rank by the full decomposition, in plain torch."""
    if not isinstance(g, Tensor):
        return [_low_rank_by_reference(a, rank, check) for a in g]
    return _low_rank_by_reference(g, rank, check)


def _low_rank_by_reference(g: Tensor, rank: int | Tensor, check: bool) -> Tensor:
    matrices = _stacked(g)
    ranks = _ranks(matrices, g, rank)
    return low_rank_plain("exact", 0, 0, check, matrices, ranks, None).reshape(g.shape)


def excess_error(g: Tensor, x: Tensor, rank: int | Tensor) -> Tensor:
    """Return ||G - X|| / ||G - G_k|| - 1 of every matrix, computed in float64.

    Shapes: g and x (..., m, n) -> (...). Where the best error is below the rounding of g's dtype,
    that rounding divides instead, so that an exact X of a matrix of low rank has an excess near 0.
    """
    if g.shape != x.shape:
        raise ValueError(f"x must have the shape of g {tuple(g.shape)}, got {tuple(x.shape)}")
    singular = torch.linalg.svdvals(g.double())
    ranks = torch.as_tensor(rank, device=g.device)
    beyond = torch.arange(singular.shape[-1], device=g.device) >= ranks.unsqueeze(-1)
    best = (singular * beyond).norm(dim=-1)
    return _relative_excess(g, x, best)


def excess_error_reference(g: Tensor, x: Tensor, rank: int | Tensor) -> Tensor:
    """Return the excess by forming the best approximation."""
    wide = g.double()
    best = (wide - _low_rank_by_reference(wide, rank, True)).flatten(-2).norm(dim=-1)
    return _relative_excess(g, x, best)


def _relative_excess(g: Tensor, x: Tensor, best: Tensor) -> Tensor:
    size = g.double().flatten(-2).norm(dim=-1)
    error = (g.double() - x.double()).flatten(-2).norm(dim=-1)
    least = torch.finfo(g.dtype).eps * size + torch.finfo(torch.float64).tiny
    return (error - best) / torch.maximum(best, least)


def _one_by_one(
    function: Callable[..., Any],
    g: Sequence[Tensor],
    rank: int | Tensor,
    method: str,
    oversample: int | None,
    iterations: int | None,
    start: Start,
    check: bool,
) -> list[Any]:
    """Return what the function gives for each matrix of a list, with its own start."""
    options = {"method": method, "oversample": oversample, "iterations": iterations, "check": check}
    starts = [None] * len(g) if start is None else start
    return [function(a, rank, start=s, **options) for a, s in zip(g, starts, strict=True)]


def _shaped(g: Tensor, rank: int | Tensor, u: Tensor, s: Tensor, v: Tensor) -> Triplets:
    """Return the triplets with g's leading axes, zero beyond each matrix's own rank."""
    if isinstance(rank, Tensor):
        own = _ranks(u, g, rank).unsqueeze(-1)
        kept = torch.arange(s.shape[-1], device=g.device) < own
        u, s, v = u * kept.unsqueeze(-2), s * kept, v * kept.unsqueeze(-2)
    u, s, v = (t.reshape(*g.shape[:-2], *t.shape[1:]) for t in (u, s, v))
    return u, s, v


def _stacked(g: Tensor) -> Tensor:
    """Return the matrices along one axis."""
    return g.reshape(g.shape[:-2].numel(), *g.shape[-2:])


# Checks


def _prepared(g: Tensor, start: Start, method: str) -> tuple[Tensor, Tensor | None]:
    """Return the matrices along one axis, and the columns to start from."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if g.dim() < 2 or not g.is_floating_point():
        raise ValueError(
            f"g must be matrices (..., m, n) of floats, got {g.dtype} {tuple(g.shape)}"
        )
    if start is not None and not isinstance(start, Tensor):
        start = start[2]
    if start is not None:
        if method not in ("iterate", "auto"):
            raise ValueError(f"start serves method 'iterate', got method {method!r}")
        expected = (*g.shape[:-2], g.shape[-1])
        if start.shape[:-1] != expected:
            raise ValueError(
                f"start must be V (..., n, q) with {expected} before q, got {tuple(start.shape)}"
            )
        start = _stacked(start.detach())
    matrices, start = autocast_together(_stacked(g), start)
    return matrices, start  # type: ignore[return-value]


def _largest(g: Tensor, rank: int | Tensor) -> int:
    """Return the number of triplets to compute."""
    if isinstance(rank, Tensor):
        _ranks(_stacked(g), g, rank)
        rank = int(rank.max()) if rank.numel() else 0
    if not 0 <= rank <= min(g.shape[-2:]):
        raise ValueError(
            f"rank must be 0 to {min(g.shape[-2:])} for g {tuple(g.shape)}, got {rank}"
        )
    return rank


def _ranks(matrices: Tensor, g: Tensor, rank: int | Tensor) -> Tensor:
    """Return the rank of each matrix along the one axis."""
    if isinstance(rank, Tensor):
        if rank.is_floating_point() or rank.dim() > g.dim() - 2:
            raise ValueError(
                f"rank must be integers for the leading axes of g {tuple(g.shape)}, "
                f"got {rank.dtype} {tuple(rank.shape)}"
            )
        return rank.to(g.device, torch.int64).expand(g.shape[:-2]).reshape(-1)
    _largest(g, rank)
    return torch.full((matrices.shape[0],), rank, dtype=torch.int64, device=g.device)


def _options(
    k: int, method: str, oversample: int | None, iterations: int | None
) -> tuple[int, str, int, int]:
    for name, value in (("oversample", oversample), ("iterations", iterations)):
        if value is not None and value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    return (
        k,
        method,
        -1 if oversample is None else oversample,
        2 if iterations is None else iterations,
    )
