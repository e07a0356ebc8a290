"""Configuration of a network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lowdim.config.base import Count, Positive, Strict
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


class LinearMapModel(Strict):
    """A linear map without bias: A = W U of width `width`, or A itself where there is none.

    Entries start normal with deviation `scale`; `start: product` gives a map without width the
    start that the product of two such factors of width `product_width` has, `zero` starts at zero.
    """

    name: Literal["linear_map"] = "linear_map"
    inputs: Count
    outputs: Count
    width: Count | None = None
    scale: Positive = 0.01
    start: Literal["normal", "product", "zero"] = "normal"
    product_width: Count | None = None

    @model_validator(mode="after")
    def _start_fits(self) -> LinearMapModel:
        if self.start != "normal" and self.width is not None:
            raise ValueError(f"start {self.start!r} is for a map without width")
        if (self.start == "product") != (self.product_width is not None):
            raise ValueError("product_width must be given with start 'product', and only then")
        return self


class Conv1dModel(Strict):
    """A convolutional network over a sequence of `inputs` numbers.

    A convolution of width `kernel`, ReLU and a halving by maximum for each of `channels`, then a
    layer of `hidden` units with ReLU, then the outputs.
    """

    name: Literal["conv1d"] = "conv1d"
    inputs: Count
    outputs: Count
    channels: Annotated[list[Count], Field(min_length=1)]
    hidden: Count
    kernel: Count = 3

    @model_validator(mode="after")
    def _something_is_left(self) -> Conv1dModel:
        if self.inputs >> len(self.channels) == 0:
            raise ValueError(f"{self.inputs} inputs cannot be halved {len(self.channels)} times")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        return self


ModelConfig = Annotated[MlpModel | LinearMapModel | Conv1dModel, Field(discriminator="name")]
