"""What is kept of a final run: scalars for a row, curves, and the first seed's weights."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from lowdim.config import ArmConfig, Study
from lowdim.config.study import Crossing
from lowdim.data import Task
from lowdim.engine import ReplicaResult
from lowdim.engine.job import Curve
from lowdim.engine.seeds import built
from lowdim.models import build_model
from lowdim.records import ReplicaRecord
from lowdim.studies.programs import PlannedReplica
from lowdim.studies.settling import by_window, settled

_ROUNDING = 1e-6
_IMAGES = ("images", "kept_images")


def final_record(study: Study, planned: PlannedReplica, result: ReplicaResult) -> ReplicaRecord:
    """Return the record of a final run."""
    arm = study.arms[planned.arm]
    values = {
        **{f"{split}_accuracy": v for (split, m), v in result.metrics.items() if m == "accuracy"},
        **_losses(result),
        **readings_of_probes(result),
        **readings_at_crossings(arm, result),
        **result.costs,
        **_settled(arm, result),
        "diverged_epoch": result.diverged_epoch,
        "engine": result.engine,
        "engine_reason": result.engine_reason,
        "device": result.device,
        "seconds": result.seconds,
    }
    curves, times = by_window(result, arm.training.step_window)
    if planned.replica.seed == 0 and result.diverged_epoch is None:
        curves |= (weights := _materialised(arm, result))
        times |= {pair: np.array([[arm.training.epochs, 0]], np.int32) for pair in weights}
    return ReplicaRecord(planned.key, values, curves, times)


def known_values(task: Task, data_set: int) -> dict[str, float]:
    """Return what is known of a set of a task in one number each, by name."""
    return {
        name: float(fact[data_set] if len(fact) > 1 else fact[0])
        for name, fact in task.facts.items()
        if fact.dim() == 1
    }


def known_images(task: Task) -> Curve:
    """Return images of a task's first set and what is kept of them, each (1, images * pixels)."""
    found = {name: task.facts[name] for name in _IMAGES if name in task.facts}
    return {("final", name): fact[0].reshape(1, -1).numpy() for name, fact in found.items()}


def _losses(result: ReplicaResult) -> dict[str, float]:
    """Return the least and the last loss on the monitor draw."""
    monitor = result.curves.get(("monitor", "loss"), np.array([]))
    ended = result.diverged_epoch is None and len(monitor) > 0
    return {
        "best_loss": float(np.nanmin(monitor[1:])) if len(monitor) > 1 else math.nan,
        "final_loss": float(monitor[-1]) if ended else math.nan,
    }


def readings_of_probes(result: ReplicaResult) -> dict[str, Any]:
    """Return each scalar that a probe read last, and the ratio of errors to their start.

    A start under a millionth of the greatest error's is rounding, of which no ratio tells.
    """
    values = {}
    starts = {
        pair: curve[0]
        for pair, curve in result.curves.items()
        if pair[0] == "weights" and "err" in pair[1].split("_")
    }
    floor = _ROUNDING * max(starts.values(), default=0.0)
    for (split, metric), curve in result.curves.items():
        if split != "weights" or curve.ndim > 1 or result.diverged_epoch is not None:
            continue
        values[metric] = float(curve[-1])
        if starts.get((split, metric), 0.0) > floor:
            values[f"{metric}_relative_to_start"] = float(curve[-1] / curve[0])
    return values


def readings_at_crossings(arm: ArmConfig, result: ReplicaResult) -> dict[str, float]:
    """Return what an arm's crossings read, NaN at one that is not reached."""
    values: dict[str, float] = {}
    for crossing in arm.crossings:
        level_of = _read_by_crossings(result, crossing.metric)
        for name in crossing.read:
            found = crossed(level_of, _read_by_crossings(result, name), crossing)
            metric = f"{name}_at_{crossing.metric}_{crossing.level:g}"
            values[metric] = math.nan if found is None else found
    return values


def _read_by_crossings(result: ReplicaResult, name: str) -> np.ndarray:
    """Return the curve of a name that crossings know."""
    monitor = "monitor", "loss"
    if name == "epoch":
        return result.times[monitor][:, 0].astype(np.float64)
    return result.curves[monitor if name == "loss" else ("weights", name)]


def _settled(arm: ArmConfig, result: ReplicaResult) -> dict[str, float]:
    """Return how a run settled, where that is asked for and it came to its end."""
    if arm.settling is None or result.diverged_epoch is not None:
        return {}
    loss, accuracy = (result.curves["monitor", metric] for metric in ("loss", "accuracy"))
    return settled(arm.settling, loss, accuracy)


def crossed(curve: np.ndarray, other: np.ndarray, crossing: Crossing) -> float | None:
    """Return the value of another curve where a curve first falls to a level, None if never.

    Both are taken as straight in the logarithm between readings; a zero is taken as it is.
    """
    below = np.flatnonzero(curve <= crossing.level)
    if not len(below):
        return None
    first = below[0]
    near = slice(max(first - 1, 0), first + 1)
    if len(curve[near]) < 2 or curve[near].min() <= 0 or other[near].min() <= 0:
        return float(other[first])
    (high, low), ends = np.log(curve[near]), np.log(other[near])
    share = (high - np.log(crossing.level)) / (high - low)
    return float(np.exp(ends[0] + share * (ends[1] - ends[0])))


def _materialised(arm: ArmConfig, result: ReplicaResult) -> Curve:
    """Return the final weight matrices by layer and shape, each (1, out * in), row by row."""
    # not by itself: what it draws would be missing in a network that another thread builds
    module = built(partial(build_model, arm.model), seed=0)
    module.load_state_dict(result.state)
    matrices = {}
    for name, layer in module.named_modules():
        weight = layer.materialize() if hasattr(layer, "materialize") else None
        if isinstance(layer, nn.Linear):
            weight = layer.weight
        if weight is not None:
            shape = "x".join(map(str, weight.shape))
            pair = "final", f"weight.{name or 'map'}.{shape}"
            matrices[pair] = weight.detach().reshape(1, -1).numpy()
    return matrices
