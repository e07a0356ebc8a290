"""How large the gradient is, by layer, and how much of it is noise of the batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lowdim.data.task import Task
    from lowdim.engine.job import ReplicaView


@dataclass(frozen=True)
class GradientStats:
    """Statistics of the gradients of several batches at the same weights.

    With g_b the gradients of B disjoint batches of training samples, the same ones at every
    reading: mean_gradient_norm = ||mean g_b||, and that of each layer's parameters by itself;
    gradient_noise, the root of the mean square of ||g_b - mean g_b||; signal_to_noise, their
    ratio, which batches that share nothing leave at B^-1/2; batch_cosine, the mean cosine between
    g_b and g_(b+1). One batch has a norm and nothing else.
    """

    task: Task
    every: int = 1
    batch_size: int | None = None
    batches: int = 16

    def __call__(self, view: ReplicaView) -> dict[str, Tensor]:
        found = [self._of_one(_only(view, place)) for place in range(len(view.data_set))]
        return {name: torch.stack([own[name] for own in found]) for name in found[0]}

    def _of_one(self, view: ReplicaView) -> dict[str, Tensor]:
        """Return the statistics of one replica, numbers each."""
        like = next(iter(view.params.values()))
        batches = self._samples(int(view.data_set), like)
        # batches stand as replicas of one network, so that one pass serves them all
        found = _as_many(view, len(self._rows)).gradients(*batches, shared=False)
        flat = {name: own.flatten(1).double() for name, own in found.items()}
        whole = torch.cat(list(flat.values()), dim=1)  # (batches, parameters)
        stats = {"mean_gradient_norm": whole.mean(0).norm()}
        for layer, own in _by_layer(flat).items():
            stats[f"mean_gradient_norm.{layer}"] = own.mean(0).norm()
        if len(whole) > 1:
            stats |= _noise(whole)
        return stats

    def _samples(self, data_set: int, like: Tensor) -> tuple[str, Tensor, Tensor]:
        """Return the loss and all batches of a set, reals in the dtype of a tensor, where it is."""
        split = self.task.train
        place = data_set if split.sets > 1 else 0
        x, y = split.inputs[place, self._rows].to(like), split.targets[place]
        y = y.to(like) if y.is_floating_point() else y.to(like.device)
        if self.task.loss == "map_mse":
            return "mse", x, x @ y
        return self.task.loss, x, y[self._rows.to(y.device)]

    @cached_property
    def _rows(self) -> Tensor:
        """Rows (batches, size), drawn once for all readings of all replicas."""
        samples = self.task.train.samples
        if self.task.loss == "map_mse" or self.batch_size is None:
            return torch.arange(samples)[None]
        size = min(self.batch_size, samples)
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(0))
        count = min(self.batches, samples // size)
        return order[: count * size].view(count, size)


def _only(view: ReplicaView, place: int) -> ReplicaView:
    """Return the view of one replica among several."""
    here = slice(place, place + 1)
    params, buffers = ({n: t[here] for n, t in own.items()} for own in (view.params, view.buffers))
    return replace(view, params=params, buffers=buffers, data_set=view.data_set[here])


def _as_many(view: ReplicaView, count: int) -> ReplicaView:
    """Return the view of one replica as that of so many alike."""
    params, buffers = (
        {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in own.items()}
        for own in (view.params, view.buffers)
    )
    data_set = view.data_set.expand(count)
    return replace(view, params=params, buffers=buffers, data_set=data_set)


def _noise(whole: Tensor) -> dict[str, Tensor]:
    mean = whole.mean(0)
    noise = (whole - mean).square().sum(1).mean().sqrt()
    lengths = whole.norm(dim=1)
    products = torch.linalg.vecdot(whole[1:], whole[:-1])
    return {
        "gradient_noise": noise,
        "signal_to_noise": mean.norm() / noise,
        "batch_cosine": (products / (lengths[1:] * lengths[:-1])).mean(),
    }


def _by_layer(flat: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the gradients (batches, n) of parameters of one module."""
    layers: dict[str, list[Tensor]] = {}
    for name, own in flat.items():
        layers.setdefault(name.rpartition(".")[0] or name, []).append(own)
    return {layer: torch.cat(own, dim=1) for layer, own in layers.items()}
