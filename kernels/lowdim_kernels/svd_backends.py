"""How truncated SVDs are computed: by LAPACK, by Gram matrices in lanes, by iteration."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowdim_kernels.loops.workspace import space
from lowdim_kernels.ops import TAG
from lowdim_kernels.subspace import first_columns, iterated_triplets, width_of
from lowdim_kernels.svd_finite import around_infinite, not_finite

Triplets = tuple[Tensor, Tensor, Tensor]
# Smaller sides up to this are faster by Gram matrices in lanes, for eight matrices or more.
LARGEST_IN_LANES = 256
# Halvings of the interval of a singular value, and vectors computed for it, one correcting it.
ROUNDS = {torch.float32: 28, torch.float64: 40}
PASSES = {torch.float32: 1, torch.float64: 2}
# A float64 Gram matrix does not see a float64 tail whose square is below this part of the whole.
LEAST_TAIL = {torch.float32: 0.0, torch.float64: 1e-9}
# As the kernels report them.
_NOT_FINITE, _DOUBTFUL = 1, 2


def without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its matrix products in the dtype of their operands."""

    @wraps(function)
    def wide(*arguments: Any) -> Any:
        if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
            return function(*arguments)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*arguments)

    return wide


def allocate_triplets(
    k: int,
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    start: Tensor | None,
) -> Triplets:
    """Return U, S and V, unwritten."""
    batch, m, n = g.shape
    return g.new_empty((batch, m, k)), g.new_empty((batch, k)), g.new_empty((batch, n, k))


@without_autocast
def triplets_plain(
    k: int,
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    start: Tensor | None,
) -> Triplets:
    """Return U, S and V by the full decomposition, whatever the method."""
    u, s, vh, spoiled = _decomposed(g, check)
    u, s, vh = u[..., :k] + spoiled, s[..., :k] + spoiled[..., 0], vh[..., :k, :] + spoiled
    return u.contiguous(), s.contiguous(), vh.mT.contiguous()


@without_autocast
def triplets_on_cpu(
    k: int,
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    start: Tensor | None,
) -> Triplets:
    """Return U, S and V by the method asked for."""
    tag = TAG[g.dtype]
    in_lanes = min(g.shape[1:]) <= LARGEST_IN_LANES
    if not g.shape[0] or not k or method == "exact" or (method == "auto" and not in_lanes):
        return around_infinite(check, g, lambda finite: _by_lapack(finite, k))
    if method == "iterate" and in_lanes:
        return _iterated_in_lanes(k, oversample, iterations, check, g, start, tag)
    if method == "iterate":
        return _iterated(k, oversample, iterations, check, g, start)
    if in_lanes:
        return _in_lanes(g, k, check, method, tag)
    return around_infinite(check, g, lambda finite: by_wide_gram_matrix(finite, k))


def allocate_low_rank(
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    ranks: Tensor,
    start: Tensor | None,
) -> Tensor:
    """Return the approximation, unwritten."""
    return g.new_empty(g.shape)


@without_autocast
def low_rank_plain(
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    ranks: Tensor,
    start: Tensor | None,
) -> Tensor:
    """Return U S V^T by the full decomposition."""
    u, s, vh, spoiled = _decomposed(g, check)
    s = s * (torch.arange(s.shape[-1], device=g.device) < ranks.unsqueeze(-1))
    return (u * s.unsqueeze(-2)) @ vh + spoiled


@without_autocast
def low_rank_on_cpu(
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    ranks: Tensor,
    start: Tensor | None,
) -> Tensor:
    """Return U S V^T by the method asked for."""
    least, most = (int(x) for x in torch.aminmax(ranks)) if len(ranks) else (0, 0)
    full = min(g.shape[1:])
    if least < 0 or most > full:
        raise ValueError(f"rank must be 0 to {full} for g {tuple(g.shape)}, got {least} to {most}")
    u, s, v = triplets_on_cpu(most, method, oversample, iterations, check, g, start)
    if least < most:
        s = s * (torch.arange(most, device=g.device) < ranks.unsqueeze(-1))
    return (u * s.unsqueeze(-2)) @ v.mT


def _decomposed(g: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return full U, S and V^T, and NaN or zero to add for each matrix, (batch, 1, 1)."""
    finite = torch.isfinite(g).all(-1).all(-1)
    if check and not finite.all():
        raise not_finite(finite)
    finite = finite[..., None, None]
    spoiled = torch.where(finite, 0.0, torch.nan).to(g)
    return *torch.linalg.svd(torch.where(finite, g, 0.0), full_matrices=False), spoiled


def _by_lapack(g: Tensor, k: int) -> Triplets:
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    return u[..., :k].contiguous(), s[..., :k].contiguous(), vh[..., :k, :].mT.contiguous()


def by_wide_gram_matrix(g: Tensor, k: int) -> Triplets:
    """Return triplets from eigenvectors of the smaller Gram matrix, those of U made orthonormal."""
    if g.shape[1] < g.shape[2]:
        v, s, u = by_wide_gram_matrix(g.mT, k)
        return u, s, v
    top = g.abs().amax((1, 2), keepdim=True)
    scale = torch.where(top > 0, top, 1.0)
    wide = (g / scale).double()
    _, vectors = torch.linalg.eigh(wide.mT @ wide)
    v = vectors[..., -k:].flip(-1)
    u, r = torch.linalg.qr(wide @ v)
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    sign = torch.where(diagonal < 0, -1.0, 1.0)
    s = torch.cummin(diagonal.abs(), -1).values * scale.squeeze(-1)
    return (u * sign.unsqueeze(-2)).to(g), s.to(g), v.to(g).contiguous()


def _in_lanes(g: Tensor, k: int, check: bool, method: str, tag: Any) -> Triplets:
    if g.shape[1] < g.shape[2]:
        v, s, u = _in_lanes(g.mT, k, check, method, tag)
        return u, s, v
    from lowdim_kernels.loops.truncated_svd import DECOMPOSE, gram_places, gram_svd

    least_tail = LEAST_TAIL[g.dtype] if method == "auto" else 0.0
    decomposing = DECOMPOSE.address(np.float64(0))
    options = (ROUNDS[g.dtype], PASSES[g.dtype], least_tail, decomposing, tag)
    return _run(
        gram_svd, gram_places(g.shape[1], g.shape[2], k), (g.contiguous(),), k, check, options
    )


def _iterated(
    k: int, oversample: int, iterations: int, check: bool, g: Tensor, start: Tensor | None
) -> Triplets:
    first = first_columns(g, width_of(g, k, oversample), start)
    found = [iterated_triplets(one, f, k, iterations) for one, f in zip(g, first)]
    u, s, v = (torch.stack(parts) for parts in zip(*found))
    broken = s[:, 0].isnan()
    if check and broken.any():
        raise not_finite(~broken)
    return u, s, v


def _iterated_in_lanes(
    k: int, oversample: int, iterations: int, check: bool, g: Tensor, start: Tensor | None, tag: Any
) -> Triplets:
    from lowdim_kernels.loops.truncated_svd import DECOMPOSE, iterated_places, iterated_svd

    width = width_of(g, k, oversample)
    start = g.new_empty(len(g), g.shape[2], 0) if start is None else start[..., :width]
    columns = start.to(g).contiguous()
    sizes = iterated_places(g.shape[1], g.shape[2], k, width)
    rounds = ROUNDS[g.dtype], PASSES[g.dtype], DECOMPOSE.address(np.float64(0))
    options = (width, columns.shape[2], iterations, *rounds, tag)
    return _run(iterated_svd, sizes, (g.contiguous(), columns), k, check, options)


def _run(
    kernel: Callable[..., None],
    sizes: Sequence[int],
    read: Sequence[Tensor],
    k: int,
    check: bool,
    options: Any,
) -> Triplets:
    """Return what a kernel with scratch of these sizes writes, LAPACK's where it is in doubt."""
    g = read[0]
    batch, m, n = g.shape
    u, s, v = allocate_triplets(k, "", 0, 0, check, g, None)
    status = torch.empty(batch, dtype=torch.int64)
    addresses = np.array([t.data_ptr() for t in (g, u, s, v, status, *read[1:])])
    ends = np.cumsum([0, *sizes])
    places = space(int(ends[-1])) + ends[:-1]
    kernel(addresses, places, batch, m, n, k, *options)
    if status.any():
        if check and (status == _NOT_FINITE).any():
            raise not_finite(status != _NOT_FINITE)
        again = (status == _DOUBTFUL).nonzero().squeeze(1)
        for target, r in zip((u, s, v), _by_lapack(g[again], k)):
            target[again] = r
    return u, s, v
