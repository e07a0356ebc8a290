"""A linear layer whose weight is zero outside a fixed random mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lowdim.layers.base import StructuredLinear, draw_normal, like_dense, recorded_bias
from lowdim.layers.nearest import largest_entries
from lowdim_kernels import SparsePattern, masked_matmul

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Tape


class MaskedLinear(StructuredLinear):
    """x (M * W)^T + b with a fixed mask M; the round(density out in) weights it keeps are stored.

    The mask is drawn with the layer, from the same generator, and held in buffers: it moves, copies
    and is saved with the layer, and a state dict brings its own mask of as many entries.

    Start: stored values are normal with variance gain out / nnz, that is gain / (in density). With
    the zeros counted, each entry of the materialised weight, over draws of mask and values, has
    variance gain / in, so activations keep their scale at any density. A dense weight of variance
    gain / in times a mask, whose activations shrink with the density, is `gain=2 * density`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        density: float = 0.1,
        gain: float = 2.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, gain=gain, device=device, dtype=dtype)
        self.stored = stored_values(density, out_features, in_features)
        draw = torch.default_generator if generator is None else generator
        pattern = SparsePattern.random(out_features, in_features, density, draw)
        self._pattern_names = tuple(pattern.tensors())
        for name, tensor in pattern.tensors().items():
            self.register_buffer(name, tensor.to(device=device or torch.get_default_device()))
        self.values = nn.Parameter(torch.empty(self.stored, device=device, dtype=dtype))
        self.reset_parameters(generator)

    @classmethod
    def from_dense(cls, linear: nn.Linear, *, density: float = 0.1) -> tuple[MaskedLinear, float]:
        """Return a dense layer's largest weights by magnitude, and the relative error (Frobenius).

        No mask of that density is nearer. The stored values are the weights themselves.
        """
        layer = cls(**like_dense(linear), density=density)
        weight = linear.weight.detach()
        mask = largest_entries(weight, layer.stored)
        for name, tensor in SparsePattern.from_mask(mask).tensors().items():
            layer.get_buffer(name).copy_(tensor)
        return layer, layer._take_over(linear, {"values": weight[mask]})

    def reset_weight(self, generator: torch.Generator | None = None) -> None:
        """Draw the stored values anew; the mask stays."""
        draw_normal(self.values, self.gain * self.out_features / self.stored, generator)

    @property
    def density(self) -> float:
        """The share of weights that are stored."""
        return self.stored / (self.out_features * self.in_features)

    @property
    def pattern(self) -> SparsePattern:
        """The mask, as the kernels take it."""
        tensors = {name: getattr(self, name) for name in self._pattern_names}
        return SparsePattern(self.out_features, self.in_features, **tensors)

    def multiply(self, x: Tensor) -> Tensor:
        return masked_matmul(x, self.values, self.pattern)

    def record(self, tape: Tape, prefix: str, y: Buffer, x: Buffer) -> None:
        from lowdim_kernels.tape import products

        values = tape.parameter(f"{prefix}values", (self.stored,))
        tables = products.pattern_tables(
            tape, prefix.rstrip("."), self.out_features, self.in_features, self.stored
        )
        products.masked(tape, y, values, tables, x, recorded_bias(tape, prefix, self))

    def materialize(self) -> Tensor:
        return self.pattern.dense(self.values)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, stored={self.stored}, density={self.density:.4g}"


def stored_values(density: float, out_features: int, in_features: int) -> int:
    """Return round(density out in); raise ValueError for a density outside (0, 1] or too small."""
    if not 0 < density <= 1:
        raise ValueError(f"density must be in (0, 1], got {density}")
    stored = round(density * out_features * in_features)
    if stored < 1:
        raise ValueError(
            f"density must keep at least one of {out_features} x {in_features} weights, "
            f"got {density}"
        )
    return stored
