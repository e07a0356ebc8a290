"""A multilayer perceptron whose linear layers may each have a structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lowdim.layers import build_layer

Stage = tuple[str, nn.Module, str | None]
"""A layer on a tape: what its parameters' names begin with, the layer, its activation."""

ACTIVATIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "none": lambda x: x,
}


class Mlp(nn.Module):
    """Linear layers fc1, fc2, ... with one activation between neighbours.

    Shapes: inputs (..., sizes[0]), trailing axes of an image are flattened; outputs
    (..., sizes[-1]).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        layers: Sequence[tuple[str, Mapping[str, Any]]],
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if len(layers) != len(sizes) - 1:
            raise ValueError(f"layers must have {len(sizes) - 1} entries, got {len(layers)}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        self.activation = activation
        self.names = [f"fc{number}" for number in range(1, len(sizes))]
        for name, inner, outer, (kind, options) in zip(
            self.names, sizes, sizes[1:], layers, strict=False
        ):
            self.add_module(name, build_layer(kind, inner, outer, options=options))

    def tape_stages(self) -> list[Stage]:
        """Return the layers as a tape records them."""
        stages: list[Stage] = []
        for name in self.names:
            layer = self.get_submodule(name)
            last = name == self.names[-1]
            activation = None if last or self.activation == "none" else self.activation
            stages.append((f"{name}.", layer, activation))
        return stages

    def forward(self, x: Tensor) -> Tensor:
        activate = ACTIVATIONS[self.activation]
        *hidden, last = (self.get_submodule(name) for name in self.names)
        for layer in hidden:
            x = activate(layer(x))
        return last(x)
