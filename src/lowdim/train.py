"""Train every arm at its chosen hyperparameters, over all seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from lowdim.config import ArmConfig, RunConfig, Study, UserError
from lowdim.engine import ReplicaResult
from lowdim.engine.curves import curve_frame
from lowdim.engine.job import Curve
from lowdim.models import build_model
from lowdim.progress import Progress
from lowdim.records import (
    ReplicaRecord,
    ReplicaStore,
    provenance,
    read_json,
    study_paths,
    write_table,
)
from lowdim.studies.execute import Work, execute
from lowdim.studies.programs import (
    PlannedReplica,
    chosen_hyper,
    final_program,
    model_size,
    plan_final,
)
from lowdim.studies.tasks import build_task


def train_block(
    study: Study,
    run: RunConfig,
    arms: Sequence[str],
    tuned_path: Path | None,
    runs_path: Path,
    curves_path: Path,
    progress: Progress,
) -> None:
    """Write one row a replica and the curves of a block's final runs."""
    store = ReplicaStore(study_paths(run, study.name).store)
    tuned = read_json(tuned_path) if tuned_path else {}
    work: list[Work] = []
    for name in arms:
        arm = study.arms[name]
        task = build_task(arm.data, run)
        planned = [
            plan_final(name, arm, run, seed, _chosen(tuned, name, seed) if arm.tuning else {})
            for seed in range(study.seeds)
        ]
        work.append(Work(final_program(arm, task), task, planned))
    execute(work, store, run, partial(final_record, study), progress, f"{study.name}: training")
    final = [planned for item in work for planned in item.planned]
    sizes = {name: model_size(study.arms[name]) for name in arms}
    made_by = provenance("train", study)
    rows = [
        {
            "arm": planned.arm,
            "seed": planned.replica.seed,
            **chosen_hyper(study.arms[planned.arm], planned.replica),
            **sizes[planned.arm],
            **store[planned.key].values,
        }
        for planned in final
    ]
    write_table(runs_path, pd.DataFrame(rows), made_by)
    curves = [
        curve_frame(
            store[planned.key].curves,
            store[planned.key].times,
            {"arm": planned.arm, "seed": planned.replica.seed},
        )
        for planned in final
    ]
    write_table(curves_path, pd.concat(curves, ignore_index=True), made_by)


def final_record(study: Study, planned: PlannedReplica, result: ReplicaResult) -> ReplicaRecord:
    """Return what is kept of a final run: metrics, curves, how it ended, seed 0's weights."""
    metric = partial(result.metrics.get)
    monitor = result.curves.get(("monitor", "loss"), np.array([]))
    ended = result.diverged_epoch is None
    values = {
        "test_accuracy": metric(("test", "accuracy"), math.nan),
        "fresh_accuracy": metric(("fresh", "accuracy"), math.nan),
        "best_loss": float(np.nanmin(monitor[1:])) if len(monitor) > 1 else math.nan,
        "final_loss": float(monitor[-1]) if ended and len(monitor) else math.nan,
        "diverged_epoch": result.diverged_epoch,
        "engine": result.engine,
        "device": result.device,
        "seconds": result.seconds,
    }
    curves, times = dict(result.curves), dict(result.times)
    if planned.replica.seed == 0 and ended:
        arm = study.arms[planned.arm]
        curves |= (weights := _materialised(arm, result))
        times |= {pair: np.array([[arm.training.epochs, 0]], np.int32) for pair in weights}
    return ReplicaRecord(planned.key, values, curves, times)


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
            matrices["final", f"weight.{name}.{shape}"] = weight.detach().reshape(1, -1).numpy()
    return matrices


def _chosen(tuned: dict[str, Any], arm: str, seed: int) -> dict[str, float]:
    try:
        return tuned[arm][str(seed)]["hyper"]
    except KeyError:
        raise UserError(f"tuned.json has no entry for {arm}, seed {seed}; tune again") from None
