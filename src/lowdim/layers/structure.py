"""Replacing a network's dense layers by structured ones, in place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from lowdim.layers.registry import LAYERS, build_layer, check_options

Choice = str | Mapping[str, Any]


@dataclass(frozen=True)
class ReplacedLayer:
    """One layer before and after; `error` is ||W - W'||_F / ||W||_F, or None for a fresh start."""

    name: str
    kind: str
    parameters_before: int
    parameters_after: int
    error: float | None


@dataclass(frozen=True)
class StructureReport:
    """What `structure` replaced; printed, a table."""

    layers: tuple[ReplacedLayer, ...]

    @property
    def parameters_before(self) -> int:
        return sum(layer.parameters_before for layer in self.layers)

    @property
    def parameters_after(self) -> int:
        return sum(layer.parameters_after for layer in self.layers)

    def __str__(self) -> str:
        rows = [("layer", "kind", "before", "after", "error")]
        for layer in self.layers:
            error = "fresh" if layer.error is None else f"{layer.error:.3f}"
            sizes = f"{layer.parameters_before}", f"{layer.parameters_after}"
            rows.append((layer.name, layer.kind, *sizes, error))
        widths = [max(len(row[k]) for row in rows) for k in range(5)]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)


def structure(
    model: nn.Module,
    layers: Mapping[str, Choice],
    *,
    keep_weights: bool = True,
    generator: torch.Generator | None = None,
) -> StructureReport:
    """Replace dense layers of a model in place and return what was replaced.

    Keys are names of `torch.nn.Linear` modules ("fc1", "encoder.0.linear") or patterns
    ("encoder.*"); an exact name overrules patterns. Values are a kind of LAYERS or a mapping with
    `kind` and its options: `{"fc1": {"kind": "lowrank", "rank": 4}}`. New weights are the nearest
    of their structure to the old ones (the class's `from_dense`), or with `keep_weights=False` a
    fresh start from the generator. An optimiser made before still holds the old parameters.
    Raises ValueError, with the model untouched, for a key that matches no dense layer, and for
    a layer whose weight is shared or which has hooks, since a replacement would lose these.
    """
    chosen = _choose(model, layers, keep_weights)
    made: dict[str, nn.Module] = {}
    rows = []
    for name, (kind, options) in chosen.items():
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        try:
            made[name], error = _replacement(linear, kind, options, keep_weights, generator)
        except ValueError as problem:
            raise ValueError(f"layer {name!r}: {problem}") from None
        before, after = (sum(p.numel() for p in m.parameters()) for m in (linear, made[name]))
        rows.append(ReplacedLayer(name, kind, before, after, error))
    replaced = {model.get_submodule(name): layer for name, layer in made.items()}
    for parent in list(model.modules()):
        for child_name, child in list(parent._modules.items()):
            if child in replaced:
                setattr(parent, child_name, replaced[child])
    return StructureReport(tuple(rows))


def _replacement(
    linear: nn.Linear,
    kind: str,
    options: Mapping[str, Any],
    keep_weights: bool,
    generator: torch.Generator | None,
) -> tuple[nn.Module, float | None]:
    if keep_weights:
        return LAYERS[kind].from_dense(linear, **options)  # type: ignore[attr-defined]
    layer = build_layer(
        kind,
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        options=options,
        device=linear.weight.device,
        dtype=linear.weight.dtype,
        generator=generator,
    )
    return layer.train(linear.training), None


def _choose(
    model: nn.Module, layers: Mapping[str, Choice], keep_weights: bool
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return kind and options of every layer to replace, in the model's order."""
    if isinstance(model, nn.Linear):
        raise ValueError("model must contain linear layers, got one, which has no place to change")
    dense = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    by_name: dict[str, str] = {}
    for key in sorted(layers, key=lambda key: key in dense):
        matches = [key] if key in dense else [n for n in dense if fnmatchcase(n, key)]
        if not matches:
            raise ValueError(f"layer {key!r} must match one of {dense}{_what_it_is(model, key)}")
        for name in matches:
            if key not in dense and name in by_name:
                raise ValueError(f"layer {name!r} is matched by both {by_name[name]!r} and {key!r}")
            by_name[name] = key
    for name in by_name:
        _check_replaceable(model, name)
    parsed = {key: _parse(key, choice, keep_weights) for key, choice in layers.items()}
    return {name: parsed[by_name[name]] for name in dense if name in by_name}


def _parse(key: str, choice: Choice, keep_weights: bool) -> tuple[str, dict[str, Any]]:
    options = {"kind": choice} if isinstance(choice, str) else dict(choice)
    kind = options.pop("kind", None)
    kinds = sorted(LAYERS.keys() - {"dense"})
    if kind not in kinds:
        raise ValueError(f"layer {key!r}: kind must be one of {kinds}, got {kind!r}")
    check_options(kind, options)
    fitted = inspect.signature(LAYERS[kind].from_dense).parameters  # type: ignore[attr-defined]
    drawn = sorted(options.keys() - fitted.keys())
    if keep_weights and drawn:
        raise ValueError(f"layer {key!r}: {drawn[0]!r} is of a fresh start, keep_weights=False")
    return kind, options


def _what_it_is(model: nn.Module, key: str) -> str:
    module = dict(model.named_modules()).get(key)
    return "" if module is None else f"; it is {type(module).__name__}"


def _check_replaceable(model: nn.Module, name: str) -> None:
    linear = model.get_submodule(name)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(linear, hook) for hook in hooks):
        raise ValueError(f"layer {name!r} has hooks, which a replacement would lose")
    holders = [
        module
        for module in model.modules()
        if any(p is linear.weight for p in module.parameters(recurse=False))
    ]
    if len(holders) > 1:
        raise ValueError(f"layer {name!r} shares its weight with {type(holders[1]).__name__}")
