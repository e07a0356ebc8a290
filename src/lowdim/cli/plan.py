"""What a run would train and how long it is expected to take."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from lowdim.cli.options import read_study
from lowdim.config import ArmConfig, RunConfig, Study, study_names
from lowdim.progress import duration

# Microseconds a replica-step on one core of an ordinary machine, evaluation included, as measured
# on 40-100-10 networks with batches of 64; a coarse guess for anything else.
STEP_US = {"auto": 450.0, "torch": 450.0, "fused": 60.0}
# Seconds that a job costs before its first step: starting Python, importing torch.
JOB_S = 3.0


@dataclass(frozen=True)
class Amount:
    """Replicas and the update steps that they take together."""

    replicas: int = 0
    steps: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.replicas + other.replicas, self.steps + other.steps)


def amount(arm: ArmConfig, seeds: int) -> Amount:
    """Return what an arm trains: the trials of every seed, and the final runs."""
    training, tuning = arm.training, arm.tuning
    samples = arm.data.train_samples
    final = seeds * training.epochs * _steps(samples, training.batch_size)
    if tuning is None:
        return Amount(seeds, final)
    kept = samples - round(samples * tuning.validation)
    trials = seeds * tuning.trials
    steps = tuning.epochs * _steps(kept, tuning.batch_size or training.batch_size)
    return Amount(seeds + trials, final + trials * steps)


def predicted_s(total: Amount, run: RunConfig) -> float:
    """Return the expected seconds of two jobs that train an amount on the run's threads."""
    return 2 * JOB_S + total.steps * STEP_US[run.engine] * 1e-6 / run.threads


def plan_lines(run: RunConfig, studies: list[Study]) -> list[str]:
    """Return a line for each study: arms, seeds, replicas, steps, seconds if nothing is kept."""
    lines = []
    for study in studies:
        total = sum(
            (amount(arm, study.seeds_of(name)) for name, arm in study.arms.items()), Amount()
        )
        lines.append(
            f"{study.name} ({study.scale}): {len(study.arms)} arms, {study.seeds} seeds, "
            f"{total.replicas:,} replicas, {total.steps:,} replica-steps, "
            f"about {duration(predicted_s(total, run))} if none is kept from before "
            f"(a guess from {STEP_US[run.engine]:.0f} us a step)"
        )
    return lines


def study_lines(run: RunConfig) -> list[str]:
    """Return name, question and arms of every study there is."""
    lines = []
    for name in study_names(run.study_folder):
        study = read_study(run, name)
        chosen = "configured" if name in run.studies else "not in the key `studies`"
        lines += [f"{name} ({chosen})", f"  {study.question}", f"  arms: {', '.join(study.arms)}"]
    return lines


def _steps(samples: int, batch: int | str) -> int:
    return 1 if batch == "full" else ceil(samples / int(batch))
