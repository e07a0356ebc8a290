"""A small convolutional network over a sequence of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class Conv1dNet(nn.Module):
    """Convolutions of width `kernel`, each with ReLU and a halving by maximum, then two layers.

    Shapes: inputs (..., inputs); after k convolutions of channels[0..k-1] there are
    channels[-1] * (inputs // 2^k) numbers, from which `hidden` units lead to `classes` outputs.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        channels: Sequence[int] = (16, 32),
        hidden: int = 128,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in pairwise((1, *channels)):
            stages += [
                nn.Conv1d(before, after, kernel, padding=kernel // 2),
                nn.ReLU(),
                nn.MaxPool1d(2),
            ]
        self.features = nn.Sequential(*stages)
        width = channels[-1] * (inputs >> len(channels))
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        found = self.features(x.reshape(-1, 1, x.shape[-1]))
        outputs = self.fc2(self.fc1(found.flatten(1)).relu())
        return outputs.reshape(*x.shape[:-1], outputs.shape[-1])
