"""Networks written on a tape: their layers in order, each by its own recipe."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Tape

Stage = tuple[str, nn.Module, str | None]

_ACTIVATIONS = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.SiLU: "silu"}


class UntapeableError(Exception):
    """A network, rule or task that has no form on the tape; the text says why."""


def record_network(tape: Tape, module: nn.Module, features: int) -> Buffer:
    """Record a network from its samples to its output, and return that.

    A module may do so itself by a method `record_on(tape, x) -> y`, or name its stages by
    `tape_stages()`. Raises UntapeableError for what has no form on the tape.
    """
    x = tape.samples(features)
    if hasattr(module, "record_on"):
        return module.record_on(tape, x)  # type: ignore[operator]
    for prefix, layer, activation in stages_of(module):
        y = tape.buffer(layer.out_features, activation)  # type: ignore[arg-type]
        record_layer(tape, prefix, layer, y, x)
        x = y
    return x


def record_layer(tape: Tape, prefix: str, layer: nn.Module, y: Buffer, x: Buffer) -> None:
    """Record one linear layer, structured or dense."""
    if type(layer) is nn.Linear:
        from lowdim_kernels.tape import products

        shape = layer.out_features, layer.in_features
        weight = tape.parameter(f"{prefix}weight", shape, padded=x.is_samples)
        bias = tape.parameter(f"{prefix}bias", shape[:1]) if layer.bias is not None else None
        products.linear(tape, y, weight, x, bias)
        return
    try:
        layer.record(tape, prefix, y, x)  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        raise UntapeableError(f"{type(layer).__name__} has no form on the tape") from None


def stages_of(module: nn.Module) -> list[Stage]:
    """Return the layers of a network in order, each with the activation that follows it."""
    if hasattr(module, "tape_stages"):
        return module.tape_stages()  # type: ignore[operator]
    if isinstance(module, nn.Sequential):
        return _sequential(module)
    if hasattr(module, "out_features"):
        return [("", module, None)]
    raise UntapeableError(f"{type(module).__name__} has no form on the tape")


def _sequential(module: nn.Sequential) -> list[Stage]:
    children = [(name, child) for name, child in module.named_children()]
    if not children or not hasattr(children[0][1], "out_features"):
        raise UntapeableError("a Sequential has a form on the tape if a linear layer comes first")
    stages: list[Stage] = []
    for (name, child), (_, following) in pairwise([*children, ("", nn.Identity())]):
        if type(child) in _ACTIVATIONS:
            continue
        if not hasattr(child, "out_features"):
            raise UntapeableError(f"{type(child).__name__} has no form on the tape")
        stages.append((f"{name}.", child, _ACTIVATIONS.get(type(following))))
    if type(children[-1][1]) in _ACTIVATIONS:
        raise UntapeableError("an activation after the last layer has no form on the tape")
    return stages
