"""A linear layer whose weight is a Kronecker product."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lowdim.layers.base import StructuredLinear, draw_normal, like_dense, recorded_bias
from lowdim.layers.factor_shapes import check_factor_shapes, fewest_parameter_shapes
from lowdim.layers.nearest import nearest_kronecker
from lowdim_kernels import kron_matmul

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Tape


class KroneckerLinear(StructuredLinear):
    """x (A1 ⊗ ... ⊗ Am)^T + b, with rectangular factors (out_k, in_k).

    `factors` gives the shapes, whose product must be (out, in), or their number, in which case
    the shapes with the fewest parameters are chosen.

    Start: every entry of every factor is normal with variance (gain / in)^(1/m). An entry of W is
    a product of m of them, so each has variance gain / in exactly (but heavier tails).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        factors: int | Sequence[Sequence[int]] = 2,
        gain: float = 2.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, gain=gain, device=device, dtype=dtype)
        if isinstance(factors, int):
            shapes = fewest_parameter_shapes(out_features, in_features, factors)
        else:
            shapes = check_factor_shapes(factors, out_features, in_features)
        self.factor_shapes = shapes
        self.factors = nn.ParameterList(
            nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) for shape in shapes
        )
        self.reset_parameters(generator)

    @classmethod
    def from_dense(
        cls, linear: nn.Linear, *, factors: int | Sequence[Sequence[int]] = 2
    ) -> tuple[KroneckerLinear, float]:
        """Return the layer nearest to a dense one, and its relative error (Frobenius).

        Two factors: the best there is (`nearest_kronecker`); more: a local optimum. All factors
        have the same norm. Cost: an SVD of an (out_1 in_1, rest) matrix and some products.
        """
        layer = cls(**like_dense(linear), factors=factors)
        nearest = nearest_kronecker(linear.weight.detach().double(), layer.factor_shapes)
        values = {f"factors.{k}": factor for k, factor in enumerate(nearest)}
        return layer, layer._take_over(linear, values)

    def reset_weight(self, generator: torch.Generator | None = None) -> None:
        variance = (self.gain / self.in_features) ** (1 / len(self.factors))
        for factor in self.factors:
            draw_normal(factor, variance, generator)

    def multiply(self, x: Tensor) -> Tensor:
        return kron_matmul(x, tuple(self.factors))

    def record(self, tape: Tape, prefix: str, y: Buffer, x: Buffer) -> None:
        from lowdim_kernels.tape import products

        factors = [
            tape.parameter(f"{prefix}factors.{k}", shape)
            for k, shape in enumerate(self.factor_shapes)
        ]
        products.kronecker(tape, y, factors, x, recorded_bias(tape, prefix, self))

    def materialize(self) -> Tensor:
        return reduce(torch.kron, self.factors)

    def extra_repr(self) -> str:
        shapes = " ⊗ ".join(f"{rows}x{columns}" for rows, columns in self.factor_shapes)
        return f"{super().extra_repr()}, factors={shapes}"
