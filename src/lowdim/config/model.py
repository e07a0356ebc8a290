"""Configuration of a network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lowdim.config.base import Count, Strict
from lowdim.config.layers import LayerConfig

Activation = Literal["relu", "tanh", "silu", "none"]


class MlpModel(Strict):
    """A multilayer perceptron: sizes[0] inputs, sizes[-1] outputs, one layer between neighbours."""

    name: Literal["mlp"] = "mlp"
    sizes: Annotated[list[Count], Field(min_length=2)]
    activation: Activation = "relu"
    layers: list[LayerConfig]

    @model_validator(mode="after")
    def _layers_fit(self) -> MlpModel:
        if len(self.layers) != len(self.sizes) - 1:
            raise ValueError(
                f"layers must have {len(self.sizes) - 1} entries to match sizes {self.sizes}, "
                f"got {len(self.layers)}"
            )
        for index, layer in enumerate(self.layers):
            try:
                layer.check(self.sizes[index], self.sizes[index + 1])
            except ValueError as error:
                raise ValueError(f"layers.{index}: {error}") from None
        return self


ModelConfig = MlpModel
