"""Gradient descent with a proximal step for the nuclear norm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lowdim.optim.rules import Hyper, Params, State, along


class ProximalSgd:
    """W <- prox(W - rate g): singular values shrink by rate * nuclear_norm, down to zero.

    It minimises loss + nuclear_norm * ||W||_* over matrices (Cai, Candes and Shen, "A Singular
    Value Thresholding Algorithm for Matrix Completion", 2010); vectors take a plain step. Matrices
    are the last two axes of a parameter whose replica axis, if any, leads.
    """

    elementwise = False
    defaults: Mapping[str, float] = {}

    def init(self, params: Params) -> State:
        return {}

    def update(
        self, params: Params, grads: Params, state: State, hyper: Hyper
    ) -> tuple[Params, State]:
        rate, weight = hyper["learning_rate"], hyper["nuclear_norm"]
        new = {}
        for name, p in params.items():
            stepped = p - grads[name] * along(rate, p)
            new[name] = shrunk(stepped, rate * weight) if p.dim() > 1 else stepped
        return new, state


def shrunk(matrix: Tensor, amount: float | Tensor) -> Tensor:
    """Return the matrix with its singular values lowered by an amount, one or one a replica."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    s = (s - along(amount, s)).clamp_min(0)
    return (u * s[..., None, :]) @ vh
