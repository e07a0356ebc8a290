"""Probes: functions of the weights that are run between epochs, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lowdim.probes.gradient_norms import GradientNorms
from lowdim.probes.gradient_rank import GradientRank
from lowdim.probes.gradient_stats import GradientStats
from lowdim.probes.linear_map import LinearMapErrors, linear_map_errors
from lowdim.probes.weight_spectra import WeightSpectra, effective_rank

if TYPE_CHECKING:
    from lowdim.data.task import Task
    from lowdim.optim import Rule

PROBES: dict[str, Callable[[Task, int, Rule, int | None], Any]] = {
    "linear_map_errors": lambda task, every, *_: LinearMapErrors(task.facts["target_map"], every),
    "gradient_rank": lambda task, every, rule, batch: GradientRank(task, rule, batch, every),
    "gradient_norms": lambda task, every, *_: GradientNorms(task, every),
    "weight_spectra": lambda task, every, *_: WeightSpectra(every),
    "gradient_stats": lambda task, every, _, batch: GradientStats(task, every, batch),
}

__all__ = [
    "PROBES",
    "GradientNorms",
    "GradientRank",
    "GradientStats",
    "LinearMapErrors",
    "WeightSpectra",
    "build_probe",
    "effective_rank",
    "linear_map_errors",
]


def build_probe(name: str, task: Task, every: int, *, rule: Rule, batch_size: int | None) -> Any:
    """Return the probe of that name for a task, a rule and its batches, read every so often."""
    if name not in PROBES:
        raise ValueError(f"probe must be one of {sorted(PROBES)}, got {name!r}")
    return PROBES[name](task, every, rule, batch_size)
