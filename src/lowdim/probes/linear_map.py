"""How far a learned linear map is from its target, split by the target's singular subspaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lowdim.engine.job import ReplicaView


@dataclass(frozen=True)
class LinearMapErrors:
    """Errors of the map that a network computes, and its singular values.

    `target` (sets, outputs, inputs) holds the target A* of every set. With P_L, P_R the projectors
    onto its left and right singular subspaces and E = A - A*: err_support = ||P_L E P_R||,
    err_null = ||(1 - P_L) E (1 - P_R)||, err_mixed the norm of the two cross terms together,
    rel_err = ||E|| / ||A*||, support_frac and null_frac their shares of ||E||, all Frobenius;
    singular_values of A (min(outputs, inputs)) descending, nuclear_norm their sum.
    """

    target: Tensor
    every: int = 1

    def __call__(self, view: ReplicaView) -> dict[str, Tensor]:
        any_param = next(iter(view.params.values()))
        device = any_param.device
        unit = torch.eye(self.target.shape[-1], dtype=any_param.dtype, device=device)
        own = (tensor.to(device)[view.data_set] for tensor in self._known)
        return _errors(view.outputs(unit).mT.double(), *own)

    @cached_property
    def _known(self) -> tuple[Tensor, Tensor, Tensor]:
        """The targets in float64 and the bases of their supports, found once for all readings."""
        target = self.target.double()
        return target, *_subspaces(target)


def linear_map_errors(a: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the errors of maps a against targets, both (R, outputs, inputs), as (R,) each."""
    return _errors(a, target, *_subspaces(target))


def _errors(a: Tensor, target: Tensor, left: Tensor, right: Tensor) -> dict[str, Tensor]:
    gap = a - target
    into = left @ (left.mT @ gap)
    both = into @ right @ right.mT
    across = gap @ right @ right.mT
    support = _norm(both)
    mixed = torch.hypot(_norm(into - both), _norm(across - both))
    null = _norm(gap - into - across + both)
    whole = _norm(gap)
    singular_values = torch.linalg.svdvals(a)
    return {
        "rel_err": whole / _norm(target),
        "err_support": support,
        "err_null": null,
        "err_mixed": mixed,
        "support_frac": support / whole,
        "null_frac": null / whole,
        "nuclear_norm": singular_values.sum(-1),
        "singular_values": singular_values,
    }


def _subspaces(target: Tensor) -> tuple[Tensor, Tensor]:
    """Return orthonormal bases (R, outputs, k) and (R, inputs, k) of the target's supports."""
    u, s, vh = torch.linalg.svd(target, full_matrices=False)
    rank = int((s > 1e-5 * s[..., :1]).sum(-1).max())
    return u[..., :rank], vh[..., :rank, :].mT


def _norm(matrix: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrix)
