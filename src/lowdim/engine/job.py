"""What an engine is asked for and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lowdim.engine.network import replica_losses, stacked_outputs
from lowdim.optim import Rule
from lowdim.optim.rules import Hyper

Curve = dict[tuple[str, str], np.ndarray]


class Probe(Protocol):
    """A function of the weights, run between epochs.

    `every` is the number of epochs between two readings; the start and the end are always read.
    """

    every: int

    def __call__(self, view: ReplicaView) -> dict[str, Tensor]:
        """Return metrics by name, each (R,) or (R, indices)."""
        ...


@dataclass(frozen=True)
class ReplicaView:
    """The weights of R replicas between two epochs, for probes.

    `params` and `buffers` have a leading axis R, `data_set` (R,) says which set each one uses,
    `hyper` holds the update rule's hyperparameters, numbers or (R,).
    """

    module: nn.Module
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    data_set: Tensor
    hyper: Hyper = field(default_factory=dict)

    def outputs(self, x: Tensor) -> Tensor:
        """Return (R, batch, *outputs) of inputs x (batch, *features) that all replicas share."""
        own = {**self.params, **self.buffers}
        return stacked_outputs(self.module, own, {}, x.expand(len(self.data_set), *x.shape))

    def gradients(
        self, loss: str, x: Tensor, y: Tensor, *, shared: bool = True
    ) -> dict[str, Tensor]:
        """Return the gradients (R, *shape) of the mean loss of samples that all replicas share.

        Samples that are not `shared` have a leading axis R.
        """
        leaves = {name: p.detach().requires_grad_() for name, p in self.params.items()}
        if shared:
            x, y = (t.expand(len(self.data_set), *t.shape) for t in (x, y))
        outputs = stacked_outputs(self.module, {**leaves, **self.buffers}, {}, x)
        losses = replica_losses(loss, outputs, y)
        found = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))


@dataclass(frozen=True)
class Program:
    """What the replicas of one arm share.

    `build` returns a network whose start is drawn from torch's global generator. `watch` names
    the held-out splits that are evaluated after every epoch (and before the first), `final` those
    evaluated once, after the last. `step_metrics` keeps each step's loss, squared gradient norm
    and its product with the step before. `costs` measures a step of each replica by itself, in
    plain PyTorch.
    """

    build: Callable[[], nn.Module]
    rule: Rule
    epochs: int
    batch_size: int | None
    schedule: str = "constant"
    probes: tuple[Probe, ...] = ()
    watch: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    step_metrics: bool = False
    costs: bool = False


@dataclass(frozen=True)
class Replica:
    """One training run: a seed and a setting of the update rule's hyperparameters.

    `train_rows` are the rows of the training split that it trains on (all, if absent);
    `score_rows` are scored once, after the last epoch, as split `validation`. `start` replaces the
    drawn parameters, `orders` (epochs, rows) the drawn order of samples.
    """

    seed: int
    hyper: Mapping[str, float]
    data_set: int = 0
    train_rows: Tensor | None = None
    score_rows: Tensor | None = None
    start: Mapping[str, Tensor] | None = None
    orders: Tensor | None = None


@dataclass
class ReplicaResult:
    """What became of a replica.

    `metrics` are scalars read after the last epoch, by (split, metric); `curves` arrays (points,)
    or (points, indices) with their `times` (points, 2) in epochs and steps. `diverged_epoch` is
    None unless a loss was not finite. `state` holds the final parameters and buffers, `costs` what
    `step_costs` measured where that was asked for, `engine_reason` why that engine ran: what the
    fused one has no form for, where `auto` took torch.
    """

    metrics: dict[tuple[str, str], float] = field(default_factory=dict)
    curves: Curve = field(default_factory=dict)
    times: Curve = field(default_factory=dict)
    diverged_epoch: int | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    engine: str = ""
    engine_reason: str = ""
    device: str = ""


OnEpoch = Callable[[int, int], Any]
"""Called with an epoch's number and how many replicas have just finished it."""

OnResult = Callable[[int, ReplicaResult], Any]
"""Called with a replica's place among those asked for and its result, as soon as it is finished."""
