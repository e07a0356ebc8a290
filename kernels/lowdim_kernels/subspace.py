"""Leading singular triplets of large matrices from a block Krylov space, cold or warm.

G and G^T are applied in turn as in subspace iteration, and the last two blocks of left vectors are
kept, not one: the images of both are known, so the larger space costs no further product (Musco
and Musco, "Randomized Block Krylov Methods for Stronger and Faster Approximate SVD", 2015).
Products with G stay in its dtype; what is narrow is done in float64, where the Gram matrix of a
block is accurate enough for one Cholesky factor. A matrix whose blocks come out too close to
dependent is done again by Householder reflections, by itself.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]
# A pivot of Cholesky, or a singular value, below this part of the largest is not divided by.
LEAST_RATIO = 1e-5
# The square of what a direction of the older block has outside the newer one, to count as new.
LEAST_NEW = 1e-6
# Keeps the Cholesky factor of a singular Gram matrix real.
ROUNDING = 1e-14


def iterated_triplets(
    g: Tensor,
    k: int,
    oversample: int,
    iterations: int,
    start: Tensor | None,
    decompose: Callable[[Tensor, int], Triplets],
) -> Triplets:
    """Return U, S and V after G, `iterations` times G G^T, and G^T on some more than k columns.

    `decompose` gives the leading triplets of small matrices.
    """
    first = first_columns(g, width_of(g, k, oversample), start)
    u, pivots = _by_cholesky(g @ first)
    older = image = None
    for _ in range(iterations):
        older, image = u, g.mT @ u.to(g)
        u, pivots = _by_cholesky(g @ _by_cholesky(image)[0].to(g))
    b = (g.mT @ u.to(g)).double()
    if older is not None and image is not None:
        u, b = _with_older(u, b, older, image.double())
    s, w = _leading_of_gram(b.mT @ b, k, decompose)
    results = ((u @ w).to(g), s.to(g), (b @ (w / s.unsqueeze(-2))).to(g))
    sound = pivots.amin(-1) > LEAST_RATIO * pivots.amax(-1)
    sound &= s[:, -1] > LEAST_RATIO * s[:, 0]
    if not sound.all():
        places = (~sound).nonzero().squeeze(1)
        again = _carefully(g[places], k, first[places], iterations)
        for target, other in zip(results, again):
            target[places] = other.to(target)
    return results


def _with_older(u: Tensor, b: Tensor, older: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return an orthonormal basis of both blocks and its image under G^T; zero where dependent."""
    shared = u.mT @ older
    rest = older - u @ shared
    squares, directions = torch.linalg.eigh(rest.mT @ rest)
    new = squares > LEAST_NEW
    turn = directions * torch.where(new, torch.where(new, squares, 1.0).rsqrt(), 0.0).unsqueeze(-2)
    return torch.cat([u, rest @ turn], -1), torch.cat([b, (image - b @ shared) @ turn], -1)


def _leading_of_gram(
    square: Tensor, k: int, decompose: Callable[[Tensor, int], Triplets]
) -> tuple[Tensor, Tensor]:
    """Return the roots of the leading eigenvalues, and their vectors."""
    total = square.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    lift = ROUNDING * total * torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    lower, failed = torch.linalg.cholesky_ex(square + lift)
    sound = (failed == 0)[:, None, None]
    _, s, w = decompose(torch.where(sound, lower.mT, 0.0), k)
    return s, w


def _carefully(g: Tensor, k: int, first: Tensor, iterations: int) -> Triplets:
    """Return triplets by Householder reflections and LAPACK, of g scaled to entries of one."""
    top = g.abs().amax((1, 2), keepdim=True)
    scale = torch.where(top > 0, top, 1.0)
    g = g / scale
    u, _ = _iterated(g, first, iterations, _by_householder)
    v, s, wh = torch.linalg.svd(g.mT.double() @ u, full_matrices=False)
    return u @ wh.mT[..., :k], s[..., :k] * scale.squeeze(-1), v[..., :k]


def _iterated(
    g: Tensor, columns: Tensor, iterations: int, orthonormal: Callable[..., tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return an orthonormal block in float64, and the pivots that it was divided by."""
    u, pivots = orthonormal(g @ columns)
    for _ in range(iterations):
        v, _ = orthonormal(g.mT @ u.to(g))
        u, pivots = orthonormal(g @ v.to(g))
    return u, pivots


def _by_cholesky(y: Tensor) -> tuple[Tensor, Tensor]:
    wide = y.double()
    lower, _ = torch.linalg.cholesky_ex(wide.mT @ wide)
    identity = torch.eye(y.shape[-1], dtype=wide.dtype, device=y.device)
    inverse = torch.linalg.solve_triangular(lower, identity, upper=False)
    return wide @ inverse.mT, lower.diagonal(dim1=-2, dim2=-1)


def _by_householder(y: Tensor) -> tuple[Tensor, Tensor]:
    q, r = torch.linalg.qr(y.double())
    return q, r.diagonal(dim1=-2, dim2=-1)


def width_of(g: Tensor, k: int, oversample: int) -> int:
    """Return how many columns are iterated; a negative number asks for the default."""
    return min(*g.shape[1:], k + (max(k // 2, 4) if oversample < 0 else oversample))


def first_columns(g: Tensor, width: int, start: Tensor | None) -> Tensor:
    """Return that many columns: the start's first, then fixed random ones of norm about one."""
    kept = g.new_empty(len(g), g.shape[2], 0) if start is None else start[..., :width].to(g)
    noise = _noise(g.shape[2], width - kept.shape[-1]).to(g)
    return torch.cat([kept, noise.expand(len(g), -1, -1)], -1)


@lru_cache(maxsize=8)
def _noise(size: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, count, generator=generator) / size**0.5
