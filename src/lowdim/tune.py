"""Tune every arm, one Optuna study a seed, all seeds' trials trained together."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lowdim.config import ArmConfig, RunConfig, Study
from lowdim.config.training import Range, TuningConfig
from lowdim.engine import ReplicaResult, stream_seed
from lowdim.progress import Progress
from lowdim.records import ReplicaRecord, ReplicaStore, provenance, study_paths, write_json
from lowdim.records import write_table as write_frame
from lowdim.studies.execute import Work, execute
from lowdim.studies.programs import (
    PlannedReplica,
    chosen_hyper,
    plan_trial,
    trial_program,
    tuning_of,
)
from lowdim.studies.tasks import TaskShelf

_log = logging.getLogger(__name__)
_EDGE = 0.05


def tune_block(
    study: Study,
    run: RunConfig,
    arms: Sequence[str],
    trials_path: Path,
    tuned_path: Path,
    progress: Progress,
) -> None:
    """Write the trials of a block's arms and, by arm and seed, the best of them.

    The spread over seeds holds that of tuning, because each seed is tuned by itself. Arms that
    are not tuned appear in neither file.
    """
    store = ReplicaStore(study_paths(run, study.name).store)
    shelf = TaskShelf(run, study)
    work, planned = [], []
    tuned_arms = {name: study.arms[name] for name in arms if study.arms[name].tuning}
    available, unavailable = shelf.available(tuned_arms)
    for name in available:
        arm = study.arms[name]
        task = shelf.task(arm.data)
        trials = [
            (number, plan_trial(name, arm, run, seed, hyper, task))
            for seed in range(study.seeds_of(name))
            for number, hyper in enumerate(propose(tuning_of(arm), seed))
        ]
        work.append(Work(trial_program(arm), task, [trial for _, trial in trials]))
        planned += trials
    label = f"{study.name}: tuning"
    execute(work, store, run, trial_record, progress, label, shelf.held_bytes())
    rows = [
        {
            "arm": trial.arm,
            "seed": trial.replica.seed,
            "trial": number,
            **chosen_hyper(study.arms[trial.arm], trial.replica),
            **store[trial.key].values,
        }
        for number, trial in planned
    ]
    frame = pd.DataFrame(rows, columns=None if rows else ["arm", "seed", "trial"])
    made_by = provenance("tune", study, unavailable=unavailable)
    write_frame(trials_path, frame, made_by)
    write_json(tuned_path, choose(frame, study.arms), made_by)


def propose(tuning: TuningConfig, seed: int) -> list[dict[str, float]]:
    """Return the settings of a seed's trials: scrambled Sobol points of the tuning space."""
    import optuna

    space = {name: _distribution(interval) for name, interval in tuning.space.items()}

    class Sobol(optuna.samplers.QMCSampler):
        """Quasi-random points from the first trial on; Optuna's own draws that one at random."""

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return space

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = Sobol(scramble=True, seed=stream_seed(seed, "trials") % 2**32)
        asker = optuna.create_study(sampler=sampler)
        return [asker.ask(space).params for _ in range(tuning.trials)]


def trial_record(planned: PlannedReplica, result: ReplicaResult) -> ReplicaRecord:
    """Return what is kept of a trial."""
    return ReplicaRecord(
        planned.key,
        {
            "validation_accuracy": result.metrics.get(("validation", "accuracy"), math.nan),
            "validation_loss": result.metrics.get(("validation", "loss"), math.nan),
            "diverged_epoch": result.diverged_epoch,
            "engine": result.engine,
            "engine_reason": result.engine_reason,
            "device": result.device,
            "seconds": result.seconds,
        },
    )


def choose(trials: pd.DataFrame, arms: dict[str, ArmConfig]) -> dict[str, dict[str, Any]]:
    """Return by arm and seed the best trial's hyperparameters; ties go to the lower loss.

    Warns where the best of more than a quarter of the seeds lies at an edge of its range.
    Raises ValueError if every trial of a seed diverged.
    """
    tuned: dict[str, dict[str, Any]] = {}
    for name, group in trials.groupby("arm", sort=False):
        tuning = arms[str(name)].tuning
        if tuning is None:
            raise AssertionError(f"arm {name} has trials but no tuning")
        tuned[str(name)] = {
            str(seed): _best(rows, tuning, f"{name}, seed {seed}")
            for seed, rows in group.groupby("seed")
        }
        _warn_of_edges(str(name), tuned[str(name)], tuning)
    return tuned


def _best(rows: pd.DataFrame, tuning: TuningConfig, where: str) -> dict[str, Any]:
    rows = rows.dropna(subset=["validation_loss"])
    if rows.empty:
        raise ValueError(f"{where}: every trial diverged; lower the ends of tuning.space")
    by_loss = rows.sort_values(["validation_loss", "trial"], kind="stable")
    if tuning.objective == "accuracy":
        by_loss = by_loss.sort_values("validation_accuracy", ascending=False, kind="stable")
    best = by_loss.iloc[0]
    hyper = {n: _number(best[n], interval) for n, interval in tuning.space.items()}
    return {
        "hyper": hyper,
        "trial": int(best["trial"]),
        "validation_accuracy": float(best["validation_accuracy"]),
        "validation_loss": float(best["validation_loss"]),
        "at_edge": sorted(n for n in hyper if _at_edge(hyper[n], tuning.space[n])),
    }


def _warn_of_edges(name: str, tuned: dict[str, Any], tuning: TuningConfig) -> None:
    for hyper, interval in tuning.space.items():
        count = sum(hyper in choice["at_edge"] for choice in tuned.values())
        if count * 4 > len(tuned):
            _log.warning(
                "arm %s: the best %s of %d of %d seeds lies at an edge of %g ... %g; widen it",
                *(name, hyper, count, len(tuned), interval.low, interval.high),
            )


def _at_edge(value: float, interval: Range) -> bool:
    def scaled(x: float) -> float:
        return math.log(x) if interval.scale == "log" else x

    low, high = scaled(interval.low), scaled(interval.high)
    place = (scaled(value) - low) / (high - low)
    return not _EDGE < place < 1 - _EDGE


def _number(value: float, interval: Range) -> float | int:
    return int(value) if interval.scale == "integer" else float(value)


def _distribution(interval: Range) -> Any:
    import optuna

    if interval.scale == "integer":
        return optuna.distributions.IntDistribution(int(interval.low), int(interval.high))
    return optuna.distributions.FloatDistribution(
        interval.low, interval.high, log=interval.scale == "log"
    )
