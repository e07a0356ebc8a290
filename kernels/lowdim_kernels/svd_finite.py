"""Matrices that are not finite: an error that names one, or NaN for these alone."""

from collections.abc import Callable

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]


def around_infinite(check: bool, g: Tensor, compute: Callable[[Tensor], Triplets]) -> Triplets:
    """Return what finite matrices give, and NaN for the others unless they are to raise."""
    # A sum is fifteen times faster than a test of every entry, and rarely overflows.
    if torch.isfinite(g.flatten(1).sum(1)).all():
        return compute(g)
    finite = torch.isfinite(g).flatten(1).all(1)
    if check and not finite.all():
        raise not_finite(finite)
    kept = finite.nonzero().squeeze(1)
    if len(kept) == len(g):
        return compute(g)
    results = compute(g[kept])
    filled = [r.new_full((len(g), *r.shape[1:]), torch.nan) for r in results]
    for target, r in zip(filled, results):
        target[kept] = r
    return tuple(filled)  # type: ignore[return-value]


def not_finite(finite: Tensor) -> ValueError:
    """Return the error that names the first matrix that is not finite."""
    first = int((~finite).nonzero()[0])
    return ValueError(
        f"g must be finite, matrix {first} of {len(finite)} is not "
        "(check=False makes such a matrix alone NaN)"
    )
