"""The training samples of each replica in a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from lowdim.data.task import Split
    from lowdim.engine.job import ReplicaView


def own_samples(split: Split, view: ReplicaView) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (R, samples, ...) of the replicas' own sets, with their weights.

    Inputs are in the dtype of the weights; what all share is not copied.
    """
    like = next(iter(view.params.values()))
    inputs, targets = split.inputs, split.targets
    if split.sets > 1:
        places = view.data_set.to(inputs.device)
        inputs, targets = inputs[places], targets[places]
    replicas = len(view.data_set)
    inputs = inputs.to(like.device, like.dtype).expand(replicas, *inputs.shape[1:])
    return inputs, targets.to(like.device).expand(replicas, *targets.shape[1:])
