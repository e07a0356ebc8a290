"""How much arithmetic a sample is on its way through an arm's network."""

from __future__ import annotations

from itertools import pairwise

from lowdim.config import ArmConfig
from lowdim.config.layers import KroneckerLayer, LowRankLayer, MaskedLayer
from lowdim.config.model import Conv1dModel, LinearMapModel


def multiply_adds(arm: ArmConfig) -> float:
    """Return about how many multiply-adds a sample takes on its way through an arm's network."""
    model = arm.model
    if isinstance(model, LinearMapModel):
        width = model.width or model.inputs * model.outputs / (model.inputs + model.outputs)
        return width * (model.inputs + model.outputs)
    if isinstance(model, Conv1dModel):
        return _of_convolutions(model)
    pairs = zip(model.layers, model.sizes, model.sizes[1:], strict=False)
    return sum(_of_layer(layer, inner, outer) for layer, inner, outer in pairs)


def _of_convolutions(model: Conv1dModel) -> float:
    total, length = 0.0, model.inputs
    for before, after in pairwise((1, *model.channels)):
        total += length * model.kernel * before * after
        length //= 2
    return total + model.hidden * (model.channels[-1] * length + model.outputs)


def _of_layer(layer: object, inner: int, outer: int) -> float:
    if isinstance(layer, LowRankLayer):
        own = layer.rank * (inner + outer) + min(inner, outer)
        return inner * outer if layer.kind == "nlmf" else own
    if isinstance(layer, MaskedLayer):
        return layer.density * inner * outer
    if isinstance(layer, KroneckerLayer):
        return (inner * outer) ** 0.5 * (inner + outer) ** 0.5
    return inner * outer


def phi_units(arm: ArmConfig) -> int:
    """Return how many hidden activations of phi a step computes, whatever the batch."""
    model = arm.model
    if isinstance(model, LinearMapModel | Conv1dModel):
        return 0
    pairs = zip(model.layers, model.sizes, model.sizes[1:], strict=False)
    return sum(inner * outer * getattr(layer, "units", 0) for layer, inner, outer in pairs)
