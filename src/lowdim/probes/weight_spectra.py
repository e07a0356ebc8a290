"""The singular values of every linear layer's weight, and how many of them count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

if TYPE_CHECKING:
    from lowdim.engine.job import ReplicaView


@dataclass(frozen=True)
class WeightSpectra:
    """Of each linear layer `<name>`, dense or structured, its materialised weight's spectrum.

    `<name>_singular_values` (R, min(out, in)) descending, `<name>_effective_rank` and
    `<name>_first_energy`, the share of the largest one in the sum of their squares. A weight that
    is not finite has none: NaN. The only layer of a map without a name is called `map`.
    """

    every: int = 1

    def __call__(self, view: ReplicaView) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, layer in linear_layers(view.module).items():
            values = singular_values(materialised(view, name, layer))
            known = name.replace(".", "_") or "map"
            found[f"{known}_singular_values"] = values
            found[f"{known}_effective_rank"] = effective_rank(values)
            found[f"{known}_first_energy"] = first_energy(values)
        if not found:
            raise ValueError(f"weight_spectra needs linear layers, {type(view.module)} has none")
        return found


def effective_rank(values: Tensor) -> Tensor:
    """Return e^H, H the entropy of singular values (..., k) as shares of their sum; 0 for zeros.

    Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (2007).
    """
    total = values.sum(-1, keepdim=True)
    entropy = torch.special.entr(values / total.clamp_min(torch.finfo(values.dtype).tiny)).sum(-1)
    return torch.where(total[..., 0] == 0, torch.zeros_like(entropy), entropy.exp())


def first_energy(values: Tensor) -> Tensor:
    """Return the share of the largest singular value in the sum of squares; 0 for zeros."""
    squares = values.square()
    return squares[..., 0] / squares.sum(-1).clamp_min(torch.finfo(values.dtype).tiny)


def singular_values(weights: Tensor) -> Tensor:
    """Return the float64 singular values (R, k) of weights (R, out, in), NaN if not finite."""
    weights = weights.detach().double()
    finite = weights.isfinite().all(-1).all(-1)[:, None]
    values = torch.linalg.svdvals(weights.nan_to_num(0.0, 0.0, 0.0))
    return torch.where(finite, values, torch.full_like(values, torch.nan))


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a network that stand for an (out, in) matrix, by name."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or hasattr(layer, "materialize")
    }


def materialised(view: ReplicaView, name: str, layer: nn.Module) -> Tensor:
    """Return the weights (R, out, in) that a layer of R replicas stands for."""
    start = f"{name}." if name else ""
    tensors = {**view.params, **view.buffers}
    own = {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}
    if isinstance(layer, nn.Linear):
        return own["weight"]
    own = {f"layer.{key}": t for key, t in own.items()}
    weight = _Weight(layer)
    if len(view.data_set) == 1:
        return functional_call(weight, {key: t[0] for key, t in own.items()}, ())[None]
    return vmap(lambda tensors: functional_call(weight, tensors, ()))(own)


class _Weight(nn.Module):
    """A layer whose call returns its weight, so that its parameters can be handed in."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self) -> Tensor:
        return self.layer.materialize()  # type: ignore[operator]
