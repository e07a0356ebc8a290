"""Orthonormal steps of low rank from a power iteration on a momentum."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

from lowdim.optim.by_matrix import ByMatrix
from lowdim.optim.rules import Hyper, along

_LEAST_NORM = 1e-30


class Dion(ByMatrix):
    """B = M + G; P = orth(B Q), R = B^T P; M <- B - (1 - momentum) P R^T; Q <- R with columns of
    length one; W <- (1 - rate decay) W - rate sqrt(m / n) P Q^T (Ahn et al., "Dion: Distributed
    Orthonormalized Updates", 2025, algorithm 1).

    Q (n, r) goes on from step to step and starts the same in every replica. Where R has a zero
    column, Q keeps its own.
    """

    defaults: Mapping[str, float] = {**ByMatrix.defaults, "momentum": 0.95, "weight_decay": 0.0}

    def __init__(self, rank: int = 16) -> None:
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        super().__init__()
        self.rank = rank

    def init_matrix(self, matrix: Tensor) -> dict[str, Tensor]:
        replicas, rows, columns = matrix.shape
        draw = torch.Generator().manual_seed(0)
        start = torch.randn(columns, min(self.rank, rows, columns), generator=draw)
        basis = (start / start.norm(dim=0)).to(matrix.device, matrix.dtype)
        return {"momentum": torch.zeros_like(matrix), "basis": basis.repeat(replicas, 1, 1)}

    def step_matrix(
        self, matrix: Tensor, g: Tensor, own: Mapping[str, Tensor], step: int, hyper: Hyper
    ) -> tuple[Tensor, dict[str, Tensor]]:
        whole = own["momentum"] + g
        left = torch.linalg.qr(whole @ own["basis"]).Q
        right = whole.mT @ left
        momentum = whole - (left @ right.mT) * along(1 - hyper["momentum"], matrix)
        length = right.norm(dim=1, keepdim=True)
        basis = torch.where(length == 0, own["basis"], right / length.clamp_min(_LEAST_NORM))
        # a direction that B lacks takes no step
        low = left @ torch.where(length == 0, 0, basis).mT
        rate = along(hyper["learning_rate"], matrix)
        kept = matrix * (1 - rate * along(hyper["weight_decay"], matrix))
        scale = sqrt(matrix.shape[1] / matrix.shape[2])
        return kept - low * (rate * scale), {"momentum": momentum, "basis": basis}
