"""How large the gradient of each parameter is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lowdim.probes.samples import own_samples

if TYPE_CHECKING:
    from lowdim.data.task import Task
    from lowdim.engine.job import ReplicaView


@dataclass(frozen=True)
class GradientNorms:
    """The Frobenius norm of the gradient of every parameter but biases.

    It is the gradient of the mean loss of the first `samples` training samples of a replica's set,
    the same at every reading; `<parameter>_gradient_norm`, with the layer's name before the
    parameter's: of `fc1.u` it is `fc1_u_gradient_norm`.
    """

    task: Task
    every: int = 1
    samples: int = 1000

    def __call__(self, view: ReplicaView) -> dict[str, Tensor]:
        inputs, targets = own_samples(self.task.train, view)
        rows = slice(self.samples)
        gradients = view.gradients(self.task.loss, inputs[:, rows], targets[:, rows], shared=False)
        return {
            f"{name.replace('.', '_')}_gradient_norm": torch.linalg.vector_norm(
                gradient.flatten(1).double(), dim=1
            )
            for name, gradient in gradients.items()
            if name.rpartition(".")[2] != "bias"
        }
