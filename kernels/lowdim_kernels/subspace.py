"""Leading singular triplets of large matrices from a block Krylov space, cold or warm.

G and G^T are applied in turn as in subspace iteration, and the last two blocks of left vectors are
kept, not one: the images of both are known, so the larger space costs no further product (Musco
and Musco, "Randomized Block Krylov Methods for Stronger and Faster Approximate SVD", 2015).
Products with G stay in its dtype, and G is always read along its rows; what is narrow is done in
float64, where the Gram matrix of a block is accurate enough for one Cholesky factor. A matrix whose
blocks come out too close to dependent is done again by Householder reflections, by itself.
"""

from functools import lru_cache

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]
# A column that keeps less than this of its length beside those before it is not divided by, nor
# a singular value below this part of the largest.
LEAST_RATIO = 1e-5
# Columns that lose all but this of their length to others are not orthogonal to them at once.
LEAST_REST = 1e-3


def iterated_triplets(g: Tensor, first: Tensor, k: int, iterations: int) -> Triplets:
    """Return U, S and V of one matrix after G, `iterations` times G G^T, and G^T, on some columns.

    NaN where the matrix is not finite.
    """
    y = g @ first
    # Whatever in G is not finite shows here: these are few numbers to look at.
    if not torch.isfinite(y.sum()) and not torch.isfinite(g).all():
        shapes = (len(g), k), (k,), (g.shape[1], k)
        return tuple(g.new_full(shape, torch.nan) for shape in shapes)  # type: ignore[return-value]
    u, kept = _orthonormal(y.double())
    blocks, images = [u], [_image(u, g)]
    for number in range(iterations):
        y = (g @ _orthonormal_rows(images[-1]).to(g).mT).double()
        if number < iterations - 1:
            blocks, images = [], []
        u, kept = _orthonormal(y, beside=blocks[0] if blocks else None)
        blocks.append(u)
        images.append(_image(u, g))
    if kept.min() > LEAST_RATIO:  # NaN is not
        results = _leading(torch.cat(blocks, -1), torch.cat(images, -2), k, g)
        if results[1][-1] > LEAST_RATIO * results[1][0]:
            return results
    return _carefully(g, first, k, iterations)


def _image(u: Tensor, g: Tensor) -> Tensor:
    """Return U^T G in float64."""
    return (u.mT.to(g) @ g).double()


def _leading(q: Tensor, image: Tensor, k: int, like: Tensor) -> Triplets:
    """Return the leading triplets of Q Q^T G for orthonormal Q and its image Q^T G."""
    values, vectors = torch.linalg.eigh(image @ image.mT)
    s = values[..., -k:].flip(-1).clamp_min(0).sqrt()
    w = vectors[..., -k:].flip(-1)
    v = image.mT @ (w / s.unsqueeze(-2))
    return (q @ w).to(like), s.to(like), v.to(like)


def _carefully(g: Tensor, first: Tensor, k: int, iterations: int) -> Triplets:
    """Return triplets by Householder reflections and LAPACK, of g scaled to entries of one."""
    top = g.abs().max()
    scale = torch.where(top > 0, top, 1.0)
    scaled = g / scale
    u = torch.linalg.qr((scaled @ first).double())[0]
    for _ in range(iterations):
        v = torch.linalg.qr((scaled.mT @ u.to(g)).double())[0]
        u = torch.linalg.qr((scaled @ v.to(g)).double())[0]
    v, s, wh = torch.linalg.svd(scaled.mT.double() @ u, full_matrices=False)
    return (u @ wh.mT[:, :k]).to(g), (s[:k] * scale).to(g), v[:, :k].to(g)


def _orthonormal(y: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return a basis, and what part of its length each column kept beside those before it.

    The basis is orthogonal to that of `beside`, where given.
    """
    if beside is not None:
        shared = beside.mT @ y
        y = torch.addmm(y, beside, shared, alpha=-1)
    square = y.mT @ y
    if beside is not None:
        squares = square.diagonal()
        if (squares < LEAST_REST**2 * shared.square().sum(0)).any():
            # What little is left of a column is not orthogonal yet.
            y = y / squares.sqrt()
            y = torch.addmm(y, beside, beside.mT @ y, alpha=-1)
            square = y.mT @ y
    lower, _ = torch.linalg.cholesky_ex(square)
    basis = torch.linalg.solve_triangular(lower.mT, y, upper=True, left=False)
    return basis, lower.diagonal() / square.diagonal().sqrt()


def _orthonormal_rows(z: Tensor) -> Tensor:
    lower, _ = torch.linalg.cholesky_ex(z @ z.mT)
    return torch.linalg.solve_triangular(lower, z, upper=False)


def width_of(g: Tensor, k: int, oversample: int) -> int:
    """Return how many columns are iterated; a negative number asks for the default."""
    return min(*g.shape[1:], k + (max(k // 2, 4) if oversample < 0 else oversample))


def first_columns(g: Tensor, width: int, start: Tensor | None) -> Tensor:
    """Return that many columns: the start's first, then fixed random ones of norm about one."""
    kept = g.new_empty(len(g), g.shape[2], 0) if start is None else start[..., :width].to(g)
    if kept.shape[-1] == width:
        return kept
    noise = noise_columns(g, g.shape[2], width - kept.shape[-1])
    return torch.cat([kept, noise.expand(len(g), -1, -1)], -1)


def noise_columns(like: Tensor, size: int, count: int) -> Tensor:
    """Return fixed random columns of norm about one, on the device and in the dtype of `like`."""
    return _noise(size, count, like.dtype, like.device)


@lru_cache(maxsize=32)
def _noise(size: int, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(size, count, generator=generator) / size**0.5).to(device, dtype)
