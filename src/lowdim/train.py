"""Train every arm at its chosen hyperparameters, over all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lowdim.config import RunConfig, Study, UserError
from lowdim.engine.curves import curve_frame
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
from lowdim.studies.readings import final_record
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
    shelf = TaskShelf(run, study.seeds)
    tuned = read_json(tuned_path) if tuned_path else {}
    work: list[Work] = []
    arms, unavailable = shelf.available({name: study.arms[name] for name in arms})
    tell_unavailable(unavailable, progress)
    for name in arms:
        arm = study.arms[name]
        task = shelf.task(arm.data)
        planned = [
            plan_final(name, arm, run, seed, _chosen(tuned, name, seed) if arm.tuning else {}, task)
            for seed in range(study.seeds)
        ]
        work.append(Work(final_program(arm, task), task, planned))
    execute(work, store, run, partial(final_record, study), progress, f"{study.name}: training")
    final = [planned for item in work for planned in item.planned]
    sizes = {name: model_size(study.arms[name]) for name in arms}
    made_by = provenance("train", study, unavailable=unavailable)
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


def _chosen(tuned: dict[str, Any], arm: str, seed: int) -> dict[str, float]:
    try:
        return tuned[arm][str(seed)]["hyper"]
    except KeyError:
        raise UserError(f"tuned.json has no entry for {arm}, seed {seed}; tune again") from None
