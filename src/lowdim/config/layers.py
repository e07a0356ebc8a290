"""Configuration of one linear layer, by kind."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field

from lowdim.config.base import Count, Positive, Strict


class _Layer(Strict):
    """A linear layer; `options` is what the layer's class takes beyond its two widths."""

    def options(self) -> dict[str, Any]:
        return self.model_dump(exclude={"kind"}, exclude_none=True)

    def check(self, in_features: int, out_features: int) -> None:
        """Raise ValueError if the layer cannot map in_features to out_features."""


class DenseLayer(_Layer):
    """torch.nn.Linear with torch's own initialisation."""

    kind: Literal["dense"] = "dense"


class KroneckerLayer(_Layer):
    """W = A1 ⊗ ... ⊗ Am; factors are pairs (out_k, in_k), chosen by fewest parameters if absent."""

    kind: Literal["kronecker"] = "kronecker"
    factors: list[tuple[Count, Count]] | None = None
    gain: Positive = 2.0

    def check(self, in_features: int, out_features: int) -> None:
        if self.factors is None:
            return
        shape = prod(out for out, _ in self.factors), prod(inner for _, inner in self.factors)
        if shape != (out_features, in_features):
            raise ValueError(
                f"factors must multiply to {out_features}x{in_features}, "
                f"got {[f'{out}x{inner}' for out, inner in self.factors]} = {shape[0]}x{shape[1]}"
            )


class LowRankLayer(_Layer):
    """W = U V^T."""

    kind: Literal["lowrank"] = "lowrank"
    rank: Count
    gain: Positive = 2.0

    def check(self, in_features: int, out_features: int) -> None:
        if self.rank > min(in_features, out_features):
            raise ValueError(
                f"rank must be at most {min(in_features, out_features)}, got {self.rank}"
            )


class LowRankDiagLayer(LowRankLayer):
    """W = U V^T + diag(d), d of length min(out, in)."""

    kind: Literal["lowrank_diag"] = "lowrank_diag"  # type: ignore[assignment]


class MaskedLayer(_Layer):
    """A fixed random mask; only the values under it are stored."""

    kind: Literal["masked"] = "masked"
    density: Annotated[float, Field(gt=0, le=1)]
    gain: Positive = 2.0


class NlmfLayer(LowRankLayer):
    """W = phi(U V^T), or U V^T + phi(U V^T), phi a 1-units-1 network that acts entry by entry.

    `start` is how phi begins: `published`, or `centred`, where W has mean 0 and variance gain / in.
    """

    kind: Literal["nlmf"] = "nlmf"  # type: ignore[assignment]
    units: Count = 16
    activation: Literal["silu", "relu", "tanh"] = "silu"
    residual: bool = False
    start: Literal["published", "centred"] = "published"


LayerConfig = Annotated[
    DenseLayer | KroneckerLayer | LowRankLayer | LowRankDiagLayer | MaskedLayer | NlmfLayer,
    Field(discriminator="kind"),
]
