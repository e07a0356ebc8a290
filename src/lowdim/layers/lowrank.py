"""A linear layer whose weight has low rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lowdim.layers.base import StructuredLinear, draw_normal, like_dense, recorded_bias
from lowdim.layers.nearest import nearest_low_rank

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Tape


class LowRankLinear(StructuredLinear):
    """x (U V^T)^T + b, with U (out, rank) and V (in, rank).

    Start: entries of U and V are normal with variance sqrt(gain / (in rank)) each. An entry of W
    is a sum of `rank` products, so each has variance gain / in exactly.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int = 1,
        gain: float = 2.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, gain=gain, device=device, dtype=dtype)
        self.rank = check_rank(rank)
        self.u = nn.Parameter(torch.empty(out_features, rank, device=device, dtype=dtype))
        self.v = nn.Parameter(torch.empty(in_features, rank, device=device, dtype=dtype))
        self.reset_parameters(generator)

    @classmethod
    def from_dense(cls, linear: nn.Linear, *, rank: int = 1) -> tuple[LowRankLinear, float]:
        """Return the layer nearest to a dense one, by SVD, and its relative error (Frobenius)."""
        layer = cls(**like_dense(linear), rank=rank)
        u, v = nearest_low_rank(linear.weight.detach().double(), rank)
        return layer, layer._take_over(linear, {"u": u, "v": v})

    def reset_weight(self, generator: torch.Generator | None = None) -> None:
        draw_low_rank(self.u, self.v, self.gain / self.in_features, generator)

    def multiply(self, x: Tensor) -> Tensor:
        return linear(x @ self.v, self.u)

    def record(self, tape: Tape, prefix: str, y: Buffer, x: Buffer) -> None:
        from lowdim_kernels.tape import products

        u = tape.parameter(f"{prefix}u", tuple(self.u.shape))
        v = tape.parameter(f"{prefix}v", tuple(self.v.shape), transposed=True)
        products.low_rank(tape, y, u, v, x, recorded_bias(tape, prefix, self))

    def materialize(self) -> Tensor:
        return self.u @ self.v.mT

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}"


def check_rank(rank: int) -> int:
    """Return the rank; raise ValueError unless it is a whole number of at least 1."""
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"rank must be a whole number of at least 1, got {rank!r}")
    return rank


def draw_low_rank(u: Tensor, v: Tensor, variance: float, generator: torch.Generator | None) -> None:
    """Fill U and V alike so that the entries of U V^T have the given variance."""
    each = (variance / u.shape[-1]) ** 0.5
    draw_normal(u, each, generator)
    draw_normal(v, each, generator)
