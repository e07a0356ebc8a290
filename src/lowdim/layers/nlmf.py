"""A linear layer whose weight is an element-wise network of a low-rank product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lowdim.layers.base import StructuredLinear, draw_uniform, like_dense, recorded_bias
from lowdim.layers.lowrank import check_rank, draw_low_rank
from lowdim.layers.nearest import nearest_low_rank
from lowdim.layers.nearest_nlmf import nearest_nonlinear
from lowdim_kernels.nlmf import ACTIVATIONS, Activation, ElementwiseNetwork, nlmf_weight

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Tape

Start = Literal["published", "centred"]


class NLMFLinear(StructuredLinear):
    """x W^T + b with W = phi(U V^T), or U V^T + phi(U V^T) if `residual`.

    U is (out, rank), V (in, rank). phi(p) = c + sum_j a2_j activation(a1_j p + b1_j) is one network
    of `units` hidden units for all entries; its numbers lie in one parameter `phi` (3 units + 1,):
    a1, b1, a2 of each unit, then c. Every pass forms W, but not the hidden activations.

    Start: U and V as LowRankLinear's, so that entries of U V^T have variance gain / in.
    `published`: phi as two 1x1 convolutions start, a1 and b1 uniform in (-1, 1), a2 and c within
    1 / sqrt(units); W is then nearly constant. `centred`: of that phi, a2 is scaled and c shifted
    so that W has mean 0 and variance gain / in over its entries; if `residual`, phi starts at zero.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int = 4,
        units: int = 16,
        activation: Activation = "silu",
        residual: bool = False,
        start: Start = "published",
        gain: float = 2.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, gain=gain, device=device, dtype=dtype)
        self.rank = check_rank(rank)
        self.units, self.activation = _check_network(units, activation)
        if start not in get_args(Start):
            raise ValueError(f"start must be one of {get_args(Start)}, got {start!r}")
        self.residual, self.start = residual, start
        self.u = nn.Parameter(torch.empty(out_features, rank, device=device, dtype=dtype))
        self.v = nn.Parameter(torch.empty(in_features, rank, device=device, dtype=dtype))
        self.phi = nn.Parameter(torch.empty(3 * units + 1, device=device, dtype=dtype))
        self.reset_parameters(generator)

    @classmethod
    def from_dense(
        cls,
        linear: nn.Linear,
        *,
        rank: int = 4,
        units: int = 16,
        activation: Activation = "silu",
        residual: bool = False,
    ) -> tuple[NLMFLinear, float]:
        """Return a layer near to a dense one, and its relative error (Frobenius).

        A local optimum (`nearest_nonlinear`), at worst as far as the nearest of that rank. Cost: an
        SVD, and some hundred evaluations of W and its gradients.
        """
        layer = cls(
            **like_dense(linear),
            rank=rank,
            units=units,
            activation=activation,
            residual=residual,
        )
        weight = linear.weight.detach().double()
        u, v, phi = nearest_nonlinear(
            weight,
            *nearest_low_rank(weight, rank),
            units=units,
            activation=activation,
            residual=residual,
        )
        return layer, layer._take_over(linear, {"u": u, "v": v, "phi": phi})

    @property
    def network(self) -> ElementwiseNetwork:
        """phi, as the kernel takes it."""
        return unpacked(self.phi)

    @torch.no_grad()
    def reset_weight(self, generator: torch.Generator | None = None) -> None:
        draw_low_rank(self.u, self.v, self.gain / self.in_features, generator)
        reach = torch.ones_like(self.phi)
        reach[2::3] = reach[-1] = self.units**-0.5
        draw_uniform(self.phi, reach, generator)
        if self.start == "centred":
            self._centre()

    def _centre(self) -> None:
        """Scale and shift phi's outputs, so that W has mean 0 and variance gain / in."""
        _, _, a2, c = self.network
        if self.residual:
            a2.zero_()
            c.zero_()
            return
        weight = self.materialize()
        mean, spread = weight.mean(), weight.std(correction=0)
        scale = (self.gain / self.in_features) ** 0.5 / spread
        # a phi that is constant over all entries has nothing to scale
        scale = torch.where(spread > 0, scale, torch.ones_like(scale))
        a2.mul_(scale)
        c.sub_(mean).mul_(scale)

    def multiply(self, x: Tensor) -> Tensor:
        return linear(x, self.materialize())

    def materialize(self) -> Tensor:
        weight = nlmf_weight(self.u, self.v, self.network, activation=self.activation)
        return weight + self.u @ self.v.mT if self.residual else weight

    def record(self, tape: Tape, prefix: str, y: Buffer, x: Buffer) -> None:
        from lowdim_kernels.tape import products

        u = tape.parameter(f"{prefix}u", tuple(self.u.shape))
        v = tape.parameter(f"{prefix}v", tuple(self.v.shape), transposed=True, padded=True)
        phi = tape.parameter(f"{prefix}phi", tuple(self.phi.shape))
        bias = recorded_bias(tape, prefix, self)
        products.nonlinear_factorisation(
            tape, y, u, v, phi, x, bias, activation=self.activation, residual=self.residual
        )

    def extra_repr(self) -> str:
        form = "U V^T + phi(U V^T)" if self.residual else "phi(U V^T)"
        return (
            f"{super().extra_repr()}, rank={self.rank}, W={form}, "
            f"phi=1-{self.units}-1 {self.activation}"
        )


def unpacked(phi: Tensor) -> ElementwiseNetwork:
    """Return the parts of an element-wise network (3 units + 1,), views of it."""
    a1, b1, a2 = phi[:-1].view(-1, 3).unbind(1)
    return ElementwiseNetwork(a1, b1, a2, phi[-1])


def _check_network(units: int, activation: Activation) -> tuple[int, Activation]:
    if not isinstance(units, int) or units < 1:
        raise ValueError(f"units must be a whole number of at least 1, got {units!r}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
    return units, activation
