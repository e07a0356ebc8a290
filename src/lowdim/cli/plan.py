"""What a run would train and how long it is expected to take."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from lowdim.cli.multiply_adds import multiply_adds, phi_units
from lowdim.cli.options import read_study
from lowdim.config import ArmConfig, RunConfig, Study, study_names
from lowdim.config.data import LinearMapData
from lowdim.config.model import Conv1dModel
from lowdim.progress import duration

# Microseconds of one core of a 2.6 GHz AVX-512 server, by least squares over the replicas of a
# standard run of all studies. Engine fused: a step, an epoch and a replica by themselves, a step
# that truncates gradients, a hidden activation of phi, a reading of each probe, and how many
# multiply-adds are done in one. Engine torch, many replicas at once: a step, and multiply-adds.
# Seconds: measuring a replica's costs, a run beside its studies, a study beside its training.
STEP_US, EPOCH_US, REPLICA_US, TRUNCATION_US, PHI_US = 28.0, 480.0, 1_000.0, 245.0, 0.002
PROBE_US = {
    "gradient_rank": 20_000.0,
    "gradient_stats": 4_500.0,
    "gradient_norms": 4_800.0,
    "linear_map_errors": 3_800.0,
    "weight_spectra": 1_500.0,
}
MULTIPLY_ADDS, TORCH_STEP_US, TORCH_MULTIPLY_ADDS = 1e5, 450.0, 1.2e4
COSTS_S, RUN_S, STUDY_S = 0.12, 15.0, 24.0
# Rules that the fused engine has no form for.
_ON_TORCH = {"proximal_sgd", "muon", "galore", "dion"}
_FORWARD_AND_BACK = 3


@dataclass(frozen=True)
class Amount:
    """Replicas, the update steps that they take together, and the seconds of one core for them."""

    replicas: int = 0
    steps: int = 0
    seconds: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.replicas + other.replicas, self.steps + other.steps, self.seconds + other.seconds
        )


def amount(arm: ArmConfig, seeds: int, engine: str) -> Amount:
    """Return what an arm trains: the trials of every seed, and the final runs."""
    training, tuning = arm.training, arm.tuning
    samples, epochs = arm.data.train_samples, training.epochs
    watched = (epochs + 1) * getattr(arm.data, "monitor", samples)
    engine = engine if _is_taped(arm) else "torch"
    final = _amount(arm, seeds, samples, epochs, training.batch_size, watched, engine)
    readings = sum(PROBE_US[name] * (epochs // every + 1) for name, every in arm.probes.items())
    beside = seeds * (readings * 1e-6 + COSTS_S * arm.costs)
    final += Amount(seconds=beside)
    if tuning is None:
        return final
    held, batch = round(samples * tuning.validation), tuning.batch_size or training.batch_size
    trials = seeds * tuning.trials
    return final + _amount(arm, trials, samples - held, tuning.epochs, batch, held, engine)


def predicted_s(study: Study, run: RunConfig) -> float:
    """Return the seconds that all stages of a study are expected to take, nothing kept."""
    return STUDY_S + _total(study, run).seconds / run.threads


def plan_lines(run: RunConfig, studies: list[Study]) -> list[str]:
    """Return a line for each study, and one for the time of all if nothing is kept."""
    lines = []
    for study in studies:
        total = _total(study, run)
        lines.append(
            f"{study.name} ({study.scale}): {len(study.arms)} arms, {study.seeds} seeds, "
            f"{total.replicas:,} replicas, {total.steps:,} steps"
        )
    seconds = RUN_S + sum(predicted_s(study, run) for study in studies)
    threads = f"{run.threads} thread{'' if run.threads == 1 else 's'}"
    lines.append(f"about {duration(seconds)} on {threads} if nothing is kept from before")
    return lines


def study_lines(run: RunConfig) -> list[str]:
    """Return name, question and arms of every study there is."""
    lines = []
    for name in study_names(run.study_folder):
        study = read_study(run, name)
        chosen = "configured" if name in run.studies else "not in the key `studies`"
        lines += [f"{name} ({chosen})", f"  {study.question}", f"  arms: {', '.join(study.arms)}"]
    return lines


def _total(study: Study, run: RunConfig) -> Amount:
    engine = "torch" if run.engine == "torch" or run.device != "cpu" else "fused"
    arms = study.arms.items()
    return sum((amount(arm, study.seeds_of(name), engine) for name, arm in arms), Amount())


def _amount(
    arm: ArmConfig,
    replicas: int,
    samples: int,
    epochs: int,
    batch: int | str,
    read: int,
    engine: str,
) -> Amount:
    """Return replicas alike: `read` is how many samples each one is evaluated on in all."""
    size = samples if batch == "full" else int(batch)
    steps = epochs * ceil(samples / size)
    if isinstance(arm.data, LinearMapData) and arm.data.statistics:
        samples, read = arm.data.inputs, 0  # second moments stand for all samples
    work = multiply_adds(arm) * (_FORWARD_AND_BACK * epochs * samples + read)
    if engine == "torch":
        each = work / TORCH_MULTIPLY_ADDS + steps * TORCH_STEP_US
    else:
        step = STEP_US + TRUNCATION_US * _truncates(arm) + PHI_US * phi_units(arm)
        each = work / MULTIPLY_ADDS + REPLICA_US + epochs * EPOCH_US + steps * step
    return Amount(replicas, replicas * steps, replicas * each * 1e-6)


def _is_taped(arm: ArmConfig) -> bool:
    """Whether the fused engine can train an arm, as far as its configuration tells."""
    options = arm.optimiser.options()
    plain = options.get("project", "grad") == "grad" and not options.get("error_feedback")
    return plain and arm.optimiser.name not in _ON_TORCH and not isinstance(arm.model, Conv1dModel)


def _truncates(arm: ArmConfig) -> bool:
    return arm.optimiser.name == "lrg_adam"
