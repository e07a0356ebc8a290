"""Adam whose moments of a matrix live in a subspace of its gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lowdim.optim.by_matrix import ByMatrix
from lowdim.optim.rules import Hyper, along
from lowdim_kernels.truncated_svd import truncated_svd


class Galore(ByMatrix):
    """With P (m, r) the leading left singular vectors of G, found anew every `refresh` steps, Adam
    sees P^T G, and P times its step, `scale` times, goes onto the weights (Zhao et al., "GaLore:
    Memory-Efficient LLM Training by Gradient Low-Rank Projection", 2024, algorithm 2).

    Of a matrix with more rows than columns it is the right singular vectors. Moments go on through
    a change of P, as published.
    """

    defaults: Mapping[str, float] = {**ByMatrix.defaults, "scale": 0.25, "weight_decay": 0.0}

    def __init__(self, rank: int = 16, *, refresh: int = 200) -> None:
        if rank < 1 or refresh < 1:
            raise ValueError(f"rank and refresh must be at least 1, got {rank} and {refresh}")
        super().__init__()
        self.rank, self.refresh = rank, refresh

    def init_matrix(self, matrix: Tensor) -> dict[str, Tensor]:
        low, high = sorted(matrix.shape[1:])
        rank = min(self.rank, low)
        moment = matrix.new_zeros(len(matrix), rank, high)
        basis = matrix.new_zeros(len(matrix), low, rank)
        return {"basis": basis, "low_mean": moment, "low_square": moment}

    def step_matrix(
        self, matrix: Tensor, g: Tensor, own: Mapping[str, Tensor], step: int, hyper: Hyper
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if matrix.shape[1] > matrix.shape[2]:
            turned, own = self.step_matrix(matrix.mT, g.mT, own, step, hyper)
            return turned.mT, own  # type: ignore[return-value]
        g = g + matrix * along(hyper["weight_decay"], matrix)
        basis = own["basis"]
        if step % self.refresh == 0:
            basis = truncated_svd(g.contiguous(), basis.shape[2], check=False)[0]  # type: ignore[assignment]
        seen = {"low": basis.mT @ g}
        state = {"step": step, "mean": {"low": own["low_mean"]}}
        state["square"] = {"low": own["low_square"]}
        hyper = {**hyper, "weight_decay": 0.0}
        zero = {"low": torch.zeros_like(seen["low"])}
        moved, after = self.adam.update(zero, seen, state, hyper)
        stepped = matrix + (basis @ moved["low"]) * along(hyper["scale"], matrix)
        low = {f"low_{key}": after[key]["low"] for key in ("mean", "square")}
        return stepped, {"basis": basis, **low}
