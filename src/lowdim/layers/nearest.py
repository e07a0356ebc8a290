"""The nearest matrix of a structure to a given one, in the Frobenius norm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from lowdim.layers.factor_shapes import Shape


def nearest_kronecker(
    weight: Tensor, shapes: Sequence[Shape], *, sweeps: int = 100
) -> tuple[Tensor, ...]:
    """Return factors of equal norm whose Kronecker product is nearest to a weight (out, in).

    The weight's entries, rearranged into a tensor with one axis of out_k in_k entries a factor,
    make the nearest Kronecker product the best rank-one tensor (Van Loan and Pitsianis, 1993). With
    two factors that is one SVD, exact. With more, SVDs one factor after the other give a start
    that alternating least squares improves, at most `sweeps` times: a local optimum.
    """
    axes = [k + offset for k in range(len(shapes)) for offset in (0, len(shapes))]
    grid = weight.reshape(*(rows for rows, _ in shapes), *(columns for _, columns in shapes))
    tensor = grid.permute(axes).reshape([prod(shape) for shape in shapes])
    vectors, norm = _rank_one_by_svd(tensor)
    if len(shapes) > 2:
        vectors, norm = _rank_one_by_alternation(tensor, vectors, norm, sweeps)
    scale = norm ** (1 / len(shapes))
    return tuple(
        (scale * vector).reshape(shape) for vector, shape in zip(vectors, shapes, strict=True)
    )


def nearest_low_rank(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return U (out, rank) and V (in, rank), of equal scale, with U V^T nearest to a weight.

    Beyond min(out, in) there is nothing to approximate: further columns are zero.
    """
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    kept = s[:rank].sqrt()
    spare = (0, max(rank - len(s), 0))
    pad = torch.nn.functional.pad
    return pad(u[:, :rank] * kept, spare), pad(vt[:rank].mT * kept, spare)


def nearest_low_rank_diag(
    weight: Tensor, rank: int, *, sweeps: int = 200
) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, V and d with U V^T + diag d near to a weight, a local optimum.

    The best d for U V^T and the best U V^T for d in turn, so the error never grows; it starts at
    that of the low rank alone and ends after `sweeps` or when it falls by less than 1e-10 of it.
    """
    u, v = nearest_low_rank(weight, rank)
    d = torch.diagonal(weight - u @ v.mT).clone()
    error = _diagonal_error(weight, u, v, d)
    for _ in range(sweeps):
        without = weight.clone()
        torch.diagonal(without).sub_(d)
        u, v = nearest_low_rank(without, rank)
        d = torch.diagonal(weight - u @ v.mT).clone()
        before, error = error, _diagonal_error(weight, u, v, d)
        if before - error <= 1e-10 * before:
            break
    return u, v, d


def largest_entries(weight: Tensor, count: int) -> Tensor:
    """Return the mask of the entries of largest magnitude; among equals the first in order."""
    order = weight.abs().flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[order[:count]] = True
    return mask.view(weight.shape)


def relative_error(weight: Tensor, approximation: Tensor) -> float:
    """Return ||weight - approximation||_F / ||weight||_F, and 0 for a zero weight met exactly."""
    error, norm = (weight - approximation).norm().item(), weight.norm().item()
    return error / norm if norm else float(error > 0)


def _rank_one_by_svd(tensor: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return unit vectors, one an axis, and the weight of their outer product."""
    if tensor.dim() == 1:
        norm = tensor.norm()
        return [tensor / norm.clamp_min(torch.finfo(tensor.dtype).tiny)], norm
    u, s, vt = torch.linalg.svd(tensor.flatten(1), full_matrices=False)
    rest, share = _rank_one_by_svd(vt[0].view(tensor.shape[1:]))
    return [u[:, 0], *rest], s[0] * share


def _rank_one_by_alternation(
    tensor: Tensor, vectors: list[Tensor], norm: Tensor, sweeps: int
) -> tuple[list[Tensor], Tensor]:
    for _ in range(sweeps):
        before = norm
        for k in range(len(vectors)):
            contracted = tensor
            for axis in reversed(range(len(vectors))):
                if axis != k:
                    contracted = torch.tensordot(contracted, vectors[axis], dims=([axis], [0]))
            norm = contracted.norm()
            if not norm:
                return vectors, norm
            vectors[k] = contracted / norm
        if norm - before <= 1e-12 * norm:
            break
    return vectors, norm


def _diagonal_error(weight: Tensor, u: Tensor, v: Tensor, d: Tensor) -> float:
    difference = weight - u @ v.mT
    torch.diagonal(difference).sub_(d)
    return difference.square().sum().item()
