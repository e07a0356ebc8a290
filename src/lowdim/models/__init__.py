"""Networks of the studies, built from their configuration."""

from __future__ import annotations

from torch import nn

from lowdim.config.model import Conv1dModel, LinearMapModel, ModelConfig
from lowdim.models.conv1d import Conv1dNet
from lowdim.models.linear_map import DeepLinear, shallow_linear
from lowdim.models.mlp import Mlp

__all__ = ["Conv1dNet", "DeepLinear", "Mlp", "build_model", "shallow_linear"]


def build_model(config: ModelConfig) -> nn.Module:
    """Return a freshly initialised network; draws come from torch's global generator."""
    if isinstance(config, LinearMapModel):
        return _linear_map(config)
    if isinstance(config, Conv1dModel):
        return Conv1dNet(
            config.inputs,
            config.outputs,
            channels=config.channels,
            hidden=config.hidden,
            kernel=config.kernel,
        )
    layers = [(layer.kind, layer.options()) for layer in config.layers]
    return Mlp(config.sizes, layers, config.activation)


def _linear_map(config: LinearMapModel) -> nn.Module:
    if config.width is not None:
        return DeepLinear(config.inputs, config.outputs, config.width, config.scale)
    return shallow_linear(
        config.inputs,
        config.outputs,
        scale=config.scale,
        start=config.start,
        product_width=config.product_width,
    )
