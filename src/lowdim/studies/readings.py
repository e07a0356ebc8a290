"""What is kept of a final run: scalars for a row, curves, and the first seed's weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import nn

from lowdim.config import ArmConfig, Study
from lowdim.engine import ReplicaResult
from lowdim.engine.job import Curve
from lowdim.models import build_model
from lowdim.records import ReplicaRecord
from lowdim.studies.programs import PlannedReplica


def final_record(study: Study, planned: PlannedReplica, result: ReplicaResult) -> ReplicaRecord:
    """Return the record of a final run."""
    values = {
        **{f"{split}_accuracy": v for (split, m), v in result.metrics.items() if m == "accuracy"},
        **_losses(result),
        **_of_probes(result),
        "diverged_epoch": result.diverged_epoch,
        "engine": result.engine,
        "device": result.device,
        "seconds": result.seconds,
    }
    curves, times = dict(result.curves), dict(result.times)
    if planned.replica.seed == 0 and result.diverged_epoch is None:
        arm = study.arms[planned.arm]
        curves |= (weights := _materialised(arm, result))
        times |= {pair: np.array([[arm.training.epochs, 0]], np.int32) for pair in weights}
    return ReplicaRecord(planned.key, values, curves, times)


def _losses(result: ReplicaResult) -> dict[str, float]:
    """Return the least and the last loss on the monitor draw."""
    monitor = result.curves.get(("monitor", "loss"), np.array([]))
    ended = result.diverged_epoch is None and len(monitor) > 0
    return {
        "best_loss": float(np.nanmin(monitor[1:])) if len(monitor) > 1 else math.nan,
        "final_loss": float(monitor[-1]) if ended else math.nan,
    }


def _of_probes(result: ReplicaResult) -> dict[str, Any]:
    """Return each scalar that a probe read last, and its ratio to what it read first."""
    values = {}
    for (split, metric), curve in result.curves.items():
        if split != "weights" or curve.ndim > 1 or result.diverged_epoch is not None:
            continue
        values[metric] = float(curve[-1])
        if curve[0] != 0:
            values[f"{metric}_relative_to_start"] = float(curve[-1] / curve[0])
    return values


def _materialised(arm: ArmConfig, result: ReplicaResult) -> Curve:
    """Return the final weight matrices by layer and shape, each (1, out * in), row by row."""
    module = build_model(arm.model)
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
