"""A linear layer whose weight is a low-rank matrix plus a diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from lowdim.layers.base import StructuredLinear, draw_normal, like_dense, recorded_bias
from lowdim.layers.lowrank import check_rank, draw_low_rank
from lowdim.layers.nearest import nearest_low_rank, nearest_low_rank_diag

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Tape


class LowRankDiagLinear(StructuredLinear):
    """x (U V^T + D)^T + b, with U (out, rank), V (in, rank) and D diagonal.

    D is (out, in) with min(out, in) numbers d on its main diagonal and zeros elsewhere;
    `diagonal=False` leaves it out.

    Start: entries of U and V are normal with variance sqrt((1 - share) gain / (in rank)) each, so
    every entry of U V^T has variance (1 - share) gain / in; those of d are normal with variance
    share gain out / min(out, in). Whatever the share, the mean over the entries of W is gain / in;
    with the default, `diagonal_share=0`, d starts at zero and each entry of W has it exactly.
    """

    d: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int = 1,
        diagonal: bool = True,
        diagonal_share: float = 0.0,
        gain: float = 2.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if not 0 <= diagonal_share < 1:
            raise ValueError(f"diagonal_share must be in [0, 1), got {diagonal_share}")
        if diagonal_share and not diagonal:
            raise ValueError(f"diagonal_share must be 0 without a diagonal, got {diagonal_share}")
        super().__init__(in_features, out_features, bias, gain=gain, device=device, dtype=dtype)
        self.rank = check_rank(rank)
        self.diagonal_share = diagonal_share
        self.u = nn.Parameter(torch.empty(out_features, rank, device=device, dtype=dtype))
        self.v = nn.Parameter(torch.empty(in_features, rank, device=device, dtype=dtype))
        if diagonal:
            length = min(out_features, in_features)
            self.d = nn.Parameter(torch.empty(length, device=device, dtype=dtype))
        else:
            self.register_parameter("d", None)
        self.reset_parameters(generator)

    @classmethod
    def from_dense(
        cls, linear: nn.Linear, *, rank: int = 1, diagonal: bool = True
    ) -> tuple[LowRankDiagLinear, float]:
        """Return a layer near to a dense one and its relative error (Frobenius).

        Low rank and diagonal are fitted in turn (`nearest_low_rank_diag`): a local optimum, never
        worse than the low rank alone.
        """
        layer = cls(**like_dense(linear), rank=rank, diagonal=diagonal)
        weight = linear.weight.detach().double()
        if diagonal:
            values = dict(zip("uvd", nearest_low_rank_diag(weight, rank), strict=True))
        else:
            values = dict(zip("uv", nearest_low_rank(weight, rank), strict=True))
        return layer, layer._take_over(linear, values)

    def reset_weight(self, generator: torch.Generator | None = None) -> None:
        share = self.diagonal_share
        variance = self.gain / self.in_features
        draw_low_rank(self.u, self.v, (1 - share) * variance, generator)
        if self.d is not None:
            entries = self.out_features * self.in_features
            draw_normal(self.d, share * variance * entries / self.d.numel(), generator)

    def multiply(self, x: Tensor) -> Tensor:
        y = linear(x @ self.v, self.u)
        if self.d is None:
            return y
        on_diagonal = x[..., : self.d.shape[-1]] * self.d
        return y + pad(on_diagonal, (0, self.out_features - on_diagonal.shape[-1]))

    def record(self, tape: Tape, prefix: str, y: Buffer, x: Buffer) -> None:
        from lowdim_kernels.tape import products

        u = tape.parameter(f"{prefix}u", tuple(self.u.shape))
        v = tape.parameter(f"{prefix}v", tuple(self.v.shape), transposed=True)
        d = None if self.d is None else tape.parameter(f"{prefix}d", tuple(self.d.shape))
        products.low_rank(tape, y, u, v, x, recorded_bias(tape, prefix, self), diagonal=d)

    def materialize(self) -> Tensor:
        low_rank = self.u @ self.v.mT
        if self.d is None:
            return low_rank
        rows, columns = self.out_features, self.in_features
        square = torch.diag_embed(self.d)
        return low_rank + pad(square, (0, columns - len(square), 0, rows - len(square)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}, diagonal={self.d is not None}"
