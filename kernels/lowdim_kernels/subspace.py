"""Leading singular triplets by subspace iteration with CholeskyQR, cold or warm.

Products with G stay in its dtype; what is narrow (orthonormalisation, the last small
decomposition) is done in float64, where the Gram matrix of a block is accurate enough for one
Cholesky factor. Blocks too close to dependent go through Householder reflections, each by itself.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]
# A pivot of Cholesky, or a singular value, below this part of the largest is not divided by.
LEAST_RATIO = 1e-5


def iterated_triplets(
    g: Tensor, k: int, oversample: int, iterations: int, start: Tensor | None
) -> Triplets:
    """Return U, S and V after G, `iterations` times G G^T, and G^T on some more than k columns."""
    u = _orthonormal(g @ first_columns(g, width_of(g, k, oversample), start))
    for _ in range(iterations):
        u = _orthonormal(g @ _orthonormal(g.mT @ u))
    b = (g.mT @ u).double()
    values, w = torch.linalg.eigh(b.mT @ b)
    w = w.flip(-1)[..., :k]
    s = values.flip(-1)[..., :k].clamp_min(0).sqrt()
    v = (b @ w) / s.unsqueeze(-2)
    doubtful = ~(s[:, -1] > LEAST_RATIO * s[:, 0])
    s, v, w = _again(doubtful, lambda i: _decomposed(b[i], k), (s, v, w))
    return (u.double() @ w).to(g), s.to(g), v.to(g)


def width_of(g: Tensor, k: int, oversample: int) -> int:
    """Return how many columns are iterated; a negative number asks for the default."""
    return min(*g.shape[1:], k + (max(k // 2, 4) if oversample < 0 else oversample))


def first_columns(g: Tensor, width: int, start: Tensor | None) -> Tensor:
    """Return that many columns: the start's first, then fixed random ones."""
    kept = g.new_empty(len(g), g.shape[2], 0) if start is None else start[..., :width].to(g)
    generator = torch.Generator(device=g.device).manual_seed(0)
    shape = (g.shape[2], width - kept.shape[-1])
    others = torch.randn(shape, generator=generator, dtype=g.dtype, device=g.device)
    others = (others / g.shape[2] ** 0.5).expand(len(g), -1, -1)
    return torch.cat([kept, others], -1)


def _orthonormal(y: Tensor) -> Tensor:
    wide = y.double()
    lower, failed = torch.linalg.cholesky_ex(wide.mT @ wide)
    pivots = lower.diagonal(dim1=-2, dim2=-1)
    doubtful = (failed > 0) | ~(pivots.amin(-1) > LEAST_RATIO * pivots.amax(-1))
    identity = torch.eye(y.shape[-1], dtype=wide.dtype, device=y.device)
    q = wide @ torch.linalg.solve_triangular(lower, identity, upper=False).mT
    (q,) = _again(doubtful, lambda i: (torch.linalg.qr(wide[i])[0],), (q,))
    return q.to(y)


def _decomposed(b: Tensor, k: int) -> Triplets:
    v, s, w = torch.linalg.svd(b, full_matrices=False)
    return s[..., :k], v[..., :k], w.mT[..., :k]


def _again(
    doubtful: Tensor, compute: Callable[[Tensor], tuple[Tensor, ...]], results: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the results with those of doubtful matrices computed another way."""
    if doubtful.any():
        places = doubtful.nonzero().squeeze(1)
        for target, other in zip(results, compute(places)):
            target[places] = other
    return results
