"""Linear maps without bias, shallow and deep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Tape


class DeepLinear(nn.Module):
    """x -> x (W U)^T with W (outputs, width) and U (width, inputs), normal of deviation `scale`."""

    def __init__(self, inputs: int, outputs: int, width: int, scale: float = 0.01) -> None:
        super().__init__()
        self.W = nn.Parameter(scale * torch.randn(outputs, width))
        self.U = nn.Parameter(scale * torch.randn(width, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.U.T) @ self.W.T

    def record_on(self, tape: Tape, x: Buffer) -> Buffer:
        """Record y = W U x on a tape and return y."""
        from lowdim_kernels.tape import products

        inner, y = tape.buffer(self.U.shape[0]), tape.buffer(self.W.shape[0])
        products.linear(tape, inner, tape.parameter("U", tuple(self.U.shape)), x)
        products.linear(tape, y, tape.parameter("W", tuple(self.W.shape)), inner)
        return y

    def end_to_end(self) -> Tensor:
        """Return A = W U (outputs, inputs)."""
        return self.W @ self.U


def shallow_linear(
    inputs: int,
    outputs: int,
    *,
    scale: float = 0.01,
    start: str = "normal",
    product_width: int | None = None,
) -> nn.Linear:
    """Return a linear layer without bias.

    Its weight starts normal of deviation `scale`, at `zero`, or as the `product` of two such
    factors of width `product_width`, drawn as DeepLinear draws its own.
    """
    layer = nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        if start == "normal":
            layer.weight.copy_(scale * torch.randn(outputs, inputs))
        elif start == "zero":
            layer.weight.zero_()
        elif start == "product" and product_width:
            layer.weight.copy_(DeepLinear(inputs, outputs, product_width, scale).end_to_end())
        else:
            raise ValueError(f"start must be normal, zero or product with a width, got {start!r}")
    return layer
