"""Muon: momentum steps on matrices, made nearly orthonormal."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Literal, get_args

import torch
from torch import Tensor

from lowdim.optim.by_matrix import ByMatrix
from lowdim.optim.rules import Hyper, along

Adjust = Literal["original", "match_rms_adamw"]
ADJUSTMENTS: tuple[Adjust, ...] = get_args(Adjust)
# The quintic of the publication, its slope at zero as steep as it goes.
_QUINTIC = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
_LEAST_NORM = 1e-7


class Muon(ByMatrix):
    """B <- lerp(B, G, 1 - momentum); W <- (1 - rate decay) W - rate a O(lerp(G, B, momentum)).

    O comes from five Newton-Schulz iterations and has singular values of about one; a is the
    factor that `adjust` names (Jordan et al., "Muon: An optimizer for hidden layers in neural
    networks", 2024; `match_rms_adamw` by Liu et al., "Muon is Scalable for LLM Training", 2025).
    The update of `torch.optim.Muon`, but in the dtype of the weights instead of bfloat16.
    """

    defaults: Mapping[str, float] = {**ByMatrix.defaults, "momentum": 0.95, "weight_decay": 0.0}

    def __init__(self, adjust: Adjust = "original") -> None:
        if adjust not in ADJUSTMENTS:
            raise ValueError(f"adjust must be one of {ADJUSTMENTS}, got {adjust!r}")
        super().__init__()
        self.adjust = adjust

    def init_matrix(self, matrix: Tensor) -> dict[str, Tensor]:
        return {"momentum": torch.zeros_like(matrix)}

    def step_matrix(
        self, matrix: Tensor, g: Tensor, own: Mapping[str, Tensor], step: int, hyper: Hyper
    ) -> tuple[Tensor, dict[str, Tensor]]:
        share = along(hyper["momentum"], matrix)
        momentum = g + (own["momentum"] - g) * share
        ahead = g + (momentum - g) * share
        rate = along(hyper["learning_rate"], matrix)
        kept = matrix * (1 - rate * along(hyper["weight_decay"], matrix))
        direction = nearly_orthonormal(ahead) * self._factor(*matrix.shape[1:])
        return kept - direction * rate, {"momentum": momentum}

    def _factor(self, rows: int, columns: int) -> float:
        if self.adjust == "original":
            return sqrt(max(1.0, rows / columns))
        return 0.2 * sqrt(max(rows, columns))


def nearly_orthonormal(g: Tensor) -> Tensor:
    """Return matrices (R, m, n) with g's singular vectors and singular values of about one."""
    if g.shape[1] > g.shape[2]:
        return nearly_orthonormal(g.mT).mT
    a, b, c = _QUINTIC
    x = g / g.flatten(1).norm(dim=1).clamp_min(_LEAST_NORM)[:, None, None]
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
