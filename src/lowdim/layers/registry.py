"""Layers by name, and the one function that builds them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from lowdim.layers.base import StructuredLinear
from lowdim.layers.kronecker import KroneckerLinear
from lowdim.layers.lowrank import LowRankLinear
from lowdim.layers.lowrank_diag import LowRankDiagLinear
from lowdim.layers.masked import MaskedLinear
from lowdim.layers.nlmf import NLMFLinear

LAYERS: dict[str, type[nn.Module]] = {
    "dense": nn.Linear,
    "kronecker": KroneckerLinear,
    "lowrank": LowRankLinear,
    "lowrank_diag": LowRankDiagLinear,
    "masked": MaskedLinear,
    "nlmf": NLMFLinear,
}


@cache
def layer_options(kind: str) -> tuple[str, ...]:
    """Return the names of the options that a kind of layer takes; ValueError for another kind."""
    if kind not in LAYERS:
        raise ValueError(f"layer must be one of {sorted(LAYERS)}, got {kind!r}")
    common = {"device", "dtype", "generator"}
    parameters = inspect.signature(LAYERS[kind]).parameters.values()
    keyword_only = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return tuple(name for name in keyword_only if name not in common)


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError for a kind or an option that does not exist."""
    unknown = sorted(set(options) - set(layer_options(kind)))
    if unknown:
        allowed = list(layer_options(kind)) or "none"
        raise ValueError(f"options of layer {kind!r} may be {allowed}, got {unknown[0]!r}")


def build_layer(
    kind: str,
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    options: Mapping[str, Any] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | None = None,
) -> nn.Linear | StructuredLinear:
    """Return a layer of the kind that LAYERS names, drawn from the generator.

    `options` are the layer's own (`factors`, `rank`, `density`, `gain`, ...). A dense layer is
    torch's own, drawn as torch draws it.
    """
    options = dict(options or {})
    check_options(kind, options)
    if kind == "dense":
        dense = _undrawn_dense(in_features, out_features, bias, device, dtype)
        reset_dense(dense, generator)
        return dense
    layer = LAYERS[kind](
        in_features,
        out_features,
        bias,
        **options,
        device=device,
        dtype=dtype,
        generator=generator,
    )
    assert isinstance(layer, StructuredLinear)
    return layer


def _undrawn_dense(
    in_features: int,
    out_features: int,
    bias: bool,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> nn.Linear:
    """Return a dense layer whose entries are not set, and no random number drawn.

    As `nn.utils.skip_init` does, which loads half a second of torch's modules at its first call.
    """
    dense = nn.Linear(in_features, out_features, bias=bias, device="meta", dtype=dtype)
    for name, parameter in list(dense.named_parameters()):
        own = torch.empty(parameter.shape, device=device, dtype=dtype)
        setattr(dense, name, nn.Parameter(own))
    return dense


def reset_dense(linear: nn.Linear, generator: torch.Generator | None = None) -> None:
    """Draw a dense layer as torch does: weight and bias uniform within 1 / sqrt(in_features)."""
    if generator is None or linear.weight.device == generator.device:
        _uniform_like_torch(linear.weight, linear.bias, linear.in_features, generator)
        return
    with torch.no_grad():
        drawn = [torch.empty_like(p, device=generator.device) for p in linear.parameters()]
        bias = drawn[1] if len(drawn) > 1 else None
        _uniform_like_torch(drawn[0], bias, linear.in_features, generator)
        for parameter, values in zip(linear.parameters(), drawn, strict=True):
            parameter.copy_(values)


def _uniform_like_torch(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    in_features: int,
    generator: torch.Generator | None,
) -> None:
    nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
    if bias is not None:
        nn.init.uniform_(bias, -(in_features**-0.5), in_features**-0.5, generator=generator)
