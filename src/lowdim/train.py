"""Train every arm at its chosen hyperparameters, over all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowdim.config import RunConfig, Study, UserError
from lowdim.data import Task
from lowdim.engine.curves import CURVE_COLUMNS, curve_frame
from lowdim.progress import Progress
from lowdim.records import (
    ReplicaStore,
    provenance,
    read_json,
    study_paths,
    write_table,
)
from lowdim.studies.execute import Work, execute
from lowdim.studies.programs import (
    chosen_hyper,
    final_program,
    model_size,
    plan_final,
)
from lowdim.studies.readings import final_record, known_images, known_values
from lowdim.studies.tasks import TaskShelf, tell_unavailable


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
    shelf = TaskShelf(run, study)
    tuned = read_json(tuned_path) if tuned_path else {}
    available, unavailable = shelf.available({name: study.arms[name] for name in arms})
    tell_unavailable(unavailable, progress)
    rows: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    for number, part in enumerate(shelf.parts({name: study.arms[name] for name in available})):
        work = [_work(study, run, name, shelf.task(study.arms[name].data), tuned) for name in part]
        label = f"{study.name}: training" + (f", part {number + 1}" if number else "")
        record = partial(final_record, study)
        execute(work, store, run, record, progress, label, shelf.held_bytes())
        for item in work:
            rows += _rows(study, item, store)
            curves += _curves(item, store)
        curves += _of_data(study, work)
    made_by = provenance("train", study, unavailable=unavailable)
    rows.sort(key=lambda row: (available.index(row["arm"]), row["seed"]))
    runs = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["arm", "seed"])
    write_table(runs_path, runs, made_by)
    empty = pd.DataFrame(columns=CURVE_COLUMNS)
    write_table(curves_path, pd.concat(curves or [empty], ignore_index=True), made_by)


def _work(study: Study, run: RunConfig, name: str, task: Task, tuned: dict[str, Any]) -> Work:
    arm = study.arms[name]
    planned = [
        plan_final(name, arm, run, seed, _chosen(tuned, name, seed) if arm.tuning else {}, task)
        for seed in range(study.seeds_of(name))
    ]
    return Work(final_program(arm, task), task, planned)


def _rows(study: Study, item: Work, store: ReplicaStore) -> list[dict[str, Any]]:
    """Return a row a replica: its setting, what was known of its data, and its metrics."""
    arm = study.arms[item.planned[0].arm]
    size = model_size(arm)
    return [
        {
            "arm": planned.arm,
            "seed": planned.replica.seed,
            **chosen_hyper(arm, planned.replica),
            **size,
            **known_values(item.task, planned.replica.data_set),
            **store[planned.key].values,
        }
        for planned in item.planned
    ]


def _curves(item: Work, store: ReplicaStore) -> list[pd.DataFrame]:
    return [
        curve_frame(
            store[planned.key].curves,
            store[planned.key].times,
            {"arm": planned.arm, "seed": planned.replica.seed},
        )
        for planned in item.planned
    ]


def _of_data(study: Study, work: Sequence[Work]) -> list[pd.DataFrame]:
    """Return what the data of seed 0 look like, once for each task, under its first arm."""
    firsts = {id(item.task): item for item in reversed(work)}
    frames = []
    for item in work:
        if firsts[id(item.task)] is item and (shown := known_images(item.task)):
            name = item.planned[0].arm
            end = np.array([[study.arms[name].training.epochs, 0]], np.int32)
            frames.append(curve_frame(shown, dict.fromkeys(shown, end), {"arm": name, "seed": 0}))
    return frames


def _chosen(tuned: dict[str, Any], arm: str, seed: int) -> dict[str, float]:
    try:
        return tuned[arm][str(seed)]["hyper"]
    except KeyError:
        raise UserError(f"tuned.json has no entry for {arm}, seed {seed}; tune again") from None
