"""What a network is trained and judged on: tensors shared by all replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Loss = Literal["cross_entropy", "mse", "map_mse"]


@dataclass(frozen=True)
class Split:
    """Samples of one or several sets; a replica names the set that it uses.

    Shapes: inputs (sets, samples, *features), targets (sets, samples) of class indices or
    (sets, samples, outputs) of reals. A set may differ by seed (a projection, a regression
    problem); what all replicas share is one set.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if self.inputs.shape[:2] != self.targets.shape[:2]:
            raise ValueError(
                f"inputs and targets must agree in (sets, samples), got "
                f"{tuple(self.inputs.shape[:2])} and {tuple(self.targets.shape[:2])}"
            )

    @property
    def sets(self) -> int:
        return self.inputs.shape[0]

    @property
    def samples(self) -> int:
        return self.inputs.shape[1]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Split:
        """Return the split on a device; inputs, and targets that are real, in a dtype."""
        inputs = self.inputs.to(device=device, dtype=dtype)
        real = self.targets.is_floating_point()
        return Split(inputs, self.targets.to(device=device, dtype=dtype if real else None))


@dataclass(frozen=True)
class Task:
    """A training split, the splits it is judged on, and the loss that belongs to them.

    `facts` are what is known of the problem beyond its samples, by name, each with a leading axis
    of sets (the target map of a regression, say), for probes.

    Under `map_mse` the network is a linear map A (outputs, inputs) that is judged as such: inputs
    of a split are a factor F (sets, rows, inputs), targets the transposed map A*^T (sets, inputs,
    outputs), and the loss is the mean square of F (A - A*)^T over rows and outputs. The rows of
    F are then no samples and every step takes them all.
    """

    name: str
    loss: Loss
    train: Split
    held_out: dict[str, Split] = field(default_factory=dict)
    facts: dict[str, Tensor] = field(default_factory=dict)

    def set_of(self, seed: int) -> int:
        """Return the set that a seed uses: its own where there are several, else the only one."""
        return seed if self.train.sets > 1 else 0
