"""Networks of the studies, built from their configuration."""

from __future__ import annotations

from torch import nn

from lowdim.config.model import ModelConfig
from lowdim.models.mlp import Mlp

__all__ = ["Mlp", "build_model"]


def build_model(config: ModelConfig) -> nn.Module:
    """Return a freshly initialised network; draws come from torch's global generator."""
    layers = [(layer.kind, layer.options()) for layer in config.layers]
    return Mlp(config.sizes, layers, config.activation)
