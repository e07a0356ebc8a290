"""How truncated SVDs run on the GPU: in one block a matrix where it fits, else by torch's products.

In blocks nothing waits for the GPU unless `check` is set, and bits depend on the matrix alone. Of
larger matrices, triplets by iteration don't wait either; `low_rank`, whose ranks are on the GPU,
and torch's own decompositions do.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lowdim_kernels.subspace import noise_columns, width_of
from lowdim_kernels.svd_backends import (
    allocate_triplets,
    by_wide_gram_matrix,
    not_finite,
    triplets_plain,
    without_autocast,
)
from lowdim_kernels.svd_blocks import (
    NOT_FINITE,
    RANK_DOES_NOT_FIT,
    Found,
    assembled,
    decomposed,
    fits,
    inverse_factors,
    iterated,
)

Triplets = tuple[Tensor, Tensor, Tensor]
_HALVES = (torch.float16, torch.bfloat16)


class _Options(NamedTuple):
    method: str
    oversample: int
    iterations: int
    check: bool


@without_autocast
def triplets_on_cuda(
    k: int,
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    start: Tensor | None,
) -> Triplets:
    """Return U, S and V by the method asked for; float16 and bfloat16 are computed in float32."""
    options = _Options(method, oversample, iterations, check)
    if g.dtype in _HALVES:
        u, s, v = triplets_on_cuda(k, *options, g.float(), start)
        return u.to(g.dtype), s.to(g.dtype), v.to(g.dtype)
    if not k or not g.numel():
        _finite(g, check)
        return allocate_triplets(k, *options, g, start)
    if not fits(g):
        return _of_large(k, options, g, start)
    found = _in_blocks(k, options, g, None, start)
    if check:
        _raise_for(found.status, g)
    return found.triplets


@without_autocast
def low_rank_on_cuda(
    method: str,
    oversample: int,
    iterations: int,
    check: bool,
    g: Tensor,
    ranks: Tensor,
    start: Tensor | None,
) -> Tensor:
    """Return U S V^T by the method asked for.

    In blocks a matrix whose rank does not fit is NaN if nothing is checked.
    """
    options = _Options(method, oversample, iterations, check)
    if g.dtype in _HALVES:
        return low_rank_on_cuda(*options, g.float(), ranks, start).to(g.dtype)
    full, ranks = min(g.shape[1:]), ranks.to(g.device)
    if g.numel() and fits(g):
        # Each block works on columns of its matrix's own rank: the largest stays on the GPU.
        found = _in_blocks(full, options, g, ranks, start)
        if check:
            _raise_for(found.status, g)
            _raise_for_ranks((found.status == RANK_DOES_NOT_FIT).any(), g, ranks)
        return assembled(found.triplets, ranks)
    _raise_for_ranks(((ranks < 0) | (ranks > full)).any(), g, ranks)
    most = int(ranks.max()) if len(ranks) else 0
    u, s, v = triplets_on_cuda(most, *options, g, start)
    s = s * (torch.arange(most, device=g.device) < ranks.unsqueeze(-1))
    return (u * s.unsqueeze(-2)) @ v.mT


def _in_blocks(
    k: int, options: _Options, g: Tensor, ranks: Tensor | None, start: Tensor | None
) -> Found:
    if options.method == "iterate":
        return iterated(g, k, ranks, start, options.oversample, options.iterations)
    return decomposed(g, k, ranks, squared=options.method == "gram" or g.dtype == torch.float32)


def _of_large(k: int, options: _Options, g: Tensor, start: Tensor | None) -> Triplets:
    if options.method == "gram":
        return _around_infinite(options.check, g, lambda finite: by_wide_gram_matrix(finite, k))
    if options.method != "iterate":
        return triplets_plain(k, *options, g, start)
    first = _first_columns(g, width_of(g, k, options.oversample), start)
    return _around_infinite(
        options.check, g, lambda finite: iterated_of_large(finite, first, k, options.iterations)
    )


# Checks


def _raise_for(status: Tensor, g: Tensor) -> None:
    if (status == NOT_FINITE).any():
        raise not_finite(status != NOT_FINITE)


def _raise_for_ranks(wrong: Tensor, g: Tensor, ranks: Tensor) -> None:
    if wrong.any():
        least, most = (int(x) for x in torch.aminmax(ranks))
        full = min(g.shape[1:])
        raise ValueError(f"rank must be 0 to {full} for g {tuple(g.shape)}, got {least} to {most}")


def _finite(g: Tensor, check: bool) -> Tensor:
    """Return which matrices are finite, or raise if all should be."""
    finite = torch.isfinite(g).flatten(1).all(1)
    if check and not finite.all():
        raise not_finite(finite)
    return finite


def _around_infinite(check: bool, g: Tensor, compute: Callable[[Tensor], Triplets]) -> Triplets:
    """Return what finite matrices give, NaN for the others, without waiting for which they are."""
    finite = _finite(g, check)[:, None, None]
    u, s, v = compute(torch.where(finite, g, 0.0))
    spoiled = torch.where(finite, 0.0, torch.nan).to(g)
    return u + spoiled, s + spoiled[..., 0], v + spoiled


# Subspace iteration on large matrices: see subspace.py


def iterated_of_large(g: Tensor, first: Tensor, k: int, iterations: int) -> Triplets:
    """Return U, S and V after G, `iterations` times G G^T, and G^T, on some columns.

    Products with G stay in its dtype; what is narrow is in float64.
    """
    top = g.abs().amax((1, 2), keepdim=True)
    scale = torch.where(top > 0, top, 1.0)
    g = g / scale
    u = _orthonormal((g @ first).double())
    image = (g.mT @ u.to(g)).double()
    older: tuple[Tensor, Tensor] | None = None
    for _ in range(iterations):
        older = u, image
        u = _orthonormal((g @ _orthonormal(image).to(g)).double())
        image = (g.mT @ u.to(g)).double()
    if older is not None and fits(u.new_empty(1, 2 * u.shape[2], 2 * u.shape[2])):
        u, image = torch.cat([u, older[0]], -1), torch.cat([image, older[1]], -1)
        for _ in range(2):
            inverse = inverse_factors(u.mT @ u)
            u, image = u @ inverse, image @ inverse
    w = _leading_vectors(image.mT @ image, k)
    images = image @ w
    s = torch.cummin(images.norm(dim=-2), -1).values * scale.squeeze(-1)
    return _orthonormal(u @ w).to(g), s.to(g), _orthonormal(images).to(g)


def _leading_vectors(square: Tensor, k: int) -> Tensor:
    if fits(square):
        return decomposed(square, k, None, squared=False).triplets[2]
    return torch.linalg.eigh(square)[1][..., -k:].flip(-1)


def _orthonormal(y: Tensor) -> Tensor:
    """Return an orthonormal basis, with noise in place of columns that depend on earlier ones."""
    size, count = y.shape[1:]
    if not fits(y.new_empty(1, count, count)):
        return torch.linalg.qr(y)[0]
    for attempt in range(3):
        inverse = inverse_factors(y.mT @ y)
        y = y @ inverse
        if attempt < 2:
            depends = inverse.diagonal(dim1=-2, dim2=-1) == 0
            y = torch.where(depends.unsqueeze(-2), noise_columns(y, size, count), y)
    return y


def _first_columns(g: Tensor, width: int, start: Tensor | None) -> Tensor:
    """Return the start's columns where they are finite, then noise."""
    kept = g.new_empty(len(g), g.shape[2], 0) if start is None else start[..., :width].to(g)
    noise = noise_columns(g, g.shape[2], width - kept.shape[-1])
    kept = torch.where(torch.isfinite(kept), kept, 0.0)
    return torch.cat([kept, noise.expand(len(g), -1, -1)], -1)
