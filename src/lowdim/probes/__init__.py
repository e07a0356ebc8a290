"""Probes: functions of the weights that are run between epochs, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lowdim.probes.linear_map import LinearMapErrors, linear_map_errors

if TYPE_CHECKING:
    from lowdim.data.task import Task

PROBES: dict[str, Callable[[Task, int], Any]] = {
    "linear_map_errors": lambda task, every: LinearMapErrors(task.facts["target_map"], every),
}

__all__ = ["PROBES", "LinearMapErrors", "build_probe", "linear_map_errors"]


def build_probe(name: str, task: Task, every: int) -> Any:
    """Return the probe of that name for a task, read every so many epochs."""
    if name not in PROBES:
        raise ValueError(f"probe must be one of {sorted(PROBES)}, got {name!r}")
    return PROBES[name](task, every)
