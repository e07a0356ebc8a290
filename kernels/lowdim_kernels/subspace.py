"""Leading singular triplets by subspace iteration with CholeskyQR2, cold or warm."""

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]


def iterated_triplets(
    g: Tensor, k: int, oversample: int, iterations: int, start: Tensor | None
) -> Triplets:
    """Return U, S and V after so many multiplications by G^T G of a few more than k columns."""
    if g.shape[1] < g.shape[2] and start is None:
        v, s, u = iterated_triplets(g.mT, k, oversample, iterations, None)
        return u, s, v
    width = min(*g.shape[1:], k + (max(k // 2, 4) if oversample < 0 else oversample))
    v = first_columns(g, width, start)
    for _ in range(iterations):
        v = _orthonormal(g.mT @ _orthonormal(g @ v))
    u, s, w = torch.linalg.svd(g @ v, full_matrices=False)
    return u[..., :k].contiguous(), s[..., :k].contiguous(), (v @ w.mT[..., :k]).contiguous()


def first_columns(g: Tensor, width: int, start: Tensor | None) -> Tensor:
    """Return that many orthonormal columns, the start's first and then fixed random ones."""
    generator = torch.Generator(device=g.device).manual_seed(0)
    v = torch.randn(g.shape[2], width, generator=generator, dtype=g.dtype, device=g.device)
    v = v.expand(len(g), -1, -1)
    if start is not None:
        kept = start[..., :width].to(g)
        v = torch.cat([kept, v[..., kept.shape[-1] :]], -1)
    return torch.linalg.qr(v)[0]


def _orthonormal(y: Tensor) -> Tensor:
    return torch.linalg.qr(y)[0]
