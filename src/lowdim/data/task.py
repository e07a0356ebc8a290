"""What a network is trained and judged on: tensors shared by all replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Loss = Literal["cross_entropy", "mse"]


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
    """A training split, the splits it is judged on, and the loss that belongs to them."""

    name: str
    loss: Loss
    train: Split
    held_out: dict[str, Split] = field(default_factory=dict)
