"""How near to low rank the gradients of batches are, and what an update rule keeps of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from lowdim.probes.samples import own_samples
from lowdim_kernels.truncated_svd import truncated_svd

if TYPE_CHECKING:
    from lowdim.data.task import Task
    from lowdim.engine.job import ReplicaView
    from lowdim.optim import Rule
    from lowdim.optim.rules import Hyper

_BATCHES = 4
_LEAST_NORM = 1e-30


@dataclass(frozen=True)
class GradientRank:
    """Means over four batches of the training split, the same at every reading.

    `stable_rank` is ||G||_F^2 / ||G||_2^2 of the whole gradient as a zero-padded square,
    `stable_rank_of_layers` that of the gradients of single matrices, averaged. With g the gradient
    of a batch, t that of all training samples and u what the rule takes in place of g:
    `energy_kept` = ||u||^2 / ||g||^2, `cosine_of_batch` = cos(g, t), `cosine_of_used` = cos(u, t),
    `cosine_gain` their difference, above zero where truncation filters noise. A rule whose u hangs
    on its state has neither energy nor cosine_of_used.
    """

    task: Task
    rule: Rule
    batch_size: int | None
    every: int = 1

    def __call__(self, view: ReplicaView) -> dict[str, Tensor]:
        inputs, targets = own_samples(self.task.train, view)
        loss = self.task.loss
        true = _joined(view.gradients(loss, inputs, targets, shared=False))
        parts = [
            view.gradients(loss, inputs[:, rows], targets[:, rows], shared=False)
            for rows in self._batches
        ]
        # all batches along one axis, so that many matrices go through each decomposition
        stacked = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        count = len(parts)
        found = self._of_batches(stacked, true.repeat(count, 1), repeated(view.hyper, count))
        return {name: values.view(count, -1).mean(0) for name, values in found.items()}

    @cached_property
    def _batches(self) -> tuple[Tensor, ...]:
        count = self.task.train.samples
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        return order.split(min(self.batch_size or count, count))[:_BATCHES]

    def _of_batches(
        self, gradients: dict[str, Tensor], true: Tensor, hyper: Hyper
    ) -> dict[str, Tensor]:
        whole = _joined(gradients)
        found = {
            "stable_rank": stable_rank(_square(whole)),
            "stable_rank_of_layers": _of_layers(gradients),
            "cosine_of_batch": _cosine(whole, true),
        }
        used = self._used(gradients, hyper)
        if used is not None:
            low = _joined(used)
            energy = low.square().sum(1) / whole.square().sum(1).clamp_min(_LEAST_NORM)
            cosine = _cosine(low, true)
            gain = cosine - found["cosine_of_batch"]
            found |= {"energy_kept": energy, "cosine_of_used": cosine, "cosine_gain": gain}
        return {name: values.double() for name, values in found.items()}

    def _used(self, gradients: dict[str, Tensor], hyper: Hyper) -> dict[str, Tensor] | None:
        if self.rule.elementwise:
            return gradients
        used = getattr(self.rule, "used", None)
        return used(gradients, hyper) if used else None


def repeated(hyper: Hyper, times: int) -> Hyper:
    """Return the hyperparameters of replicas that stand one after the other so many times."""
    return {
        name: value.repeat(times) if isinstance(value, Tensor) and value.dim() else value
        for name, value in hyper.items()
    }


def stable_rank(g: Tensor) -> Tensor:
    """Return ||G||_F^2 / ||G||_2^2 of every matrix g (R, m, n), zero for a zero matrix."""
    largest = truncated_svd(g.contiguous(), 1, check=False)[1][:, 0]  # type: ignore[call-overload]
    return g.square().sum((1, 2)) / largest.square().clamp_min(_LEAST_NORM)


def _of_layers(gradients: dict[str, Tensor]) -> Tensor:
    ranks = [stable_rank(g.flatten(2)) for g in gradients.values() if g.dim() > 2]
    if not ranks:
        raise ValueError("gradient_rank needs a network with matrices, got vectors alone")
    return torch.stack(ranks).mean(0)


def _joined(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([t.flatten(1) for t in tensors.values()], dim=1)


def _square(rows: Tensor) -> Tensor:
    side = isqrt(rows.shape[1] - 1) + 1
    return pad(rows, (0, side * side - rows.shape[1])).view(-1, side, side)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=1, eps=_LEAST_NORM)
