"""What a run would train and how long it is expected to take."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from lowdim.cli.options import read_study
from lowdim.config import ArmConfig, RunConfig, Study, study_names
from lowdim.config.layers import KroneckerLayer, LowRankLayer, MaskedLayer
from lowdim.config.model import Conv1dModel, LinearMapModel
from lowdim.progress import duration

# Microseconds of one core on an ordinary machine. Engine torch, by fifty replicas at once: a step.
# Engine fused: a step beside its products, an epoch beside its steps, a replica beside its epochs,
# a sample that is read, and how many multiply-adds are done in one.
TORCH_STEP_US = 450.0
STEP_US, EPOCH_US, REPLICA_US, SAMPLE_US, MULTIPLY_ADDS = 2.0, 1_500.0, 3_000.0, 0.25, 5e4
# Seconds beside training: starting, planning and Snakemake's own report; the stages of a study.
RUN_S, STUDY_S = 15.0, 15.0
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
    samples = arm.data.train_samples
    watched = (training.epochs + 1) * getattr(arm.data, "monitor", samples)
    final = _amount(arm, seeds, samples, training.epochs, training.batch_size, watched, engine)
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
    if engine == "torch":
        return Amount(replicas, replicas * steps, replicas * steps * TORCH_STEP_US * 1e-6)
    work = _multiply_adds(arm) * (_FORWARD_AND_BACK * epochs * samples + read) / MULTIPLY_ADDS
    beside = REPLICA_US + epochs * EPOCH_US + steps * STEP_US + read * SAMPLE_US
    return Amount(replicas, replicas * steps, replicas * (work + beside) * 1e-6)


def _multiply_adds(arm: ArmConfig) -> float:
    """Return about how many multiply-adds a sample takes on its way through an arm's network."""
    model = arm.model
    if isinstance(model, LinearMapModel):
        width = model.width or model.inputs * model.outputs / (model.inputs + model.outputs)
        return width * (model.inputs + model.outputs)
    if isinstance(model, Conv1dModel):
        return _of_convolutions(model)
    pairs = zip(model.layers, model.sizes, model.sizes[1:], strict=False)
    return sum(_of_layer(layer, inner, outer) for layer, inner, outer in pairs)


def _of_convolutions(model: Conv1dModel) -> float:
    total, length = 0.0, model.inputs
    for before, after in pairwise((1, *model.channels)):
        total += length * model.kernel * before * after
        length //= 2
    return total + model.hidden * (model.channels[-1] * length + model.outputs)


def _of_layer(layer: object, inner: int, outer: int) -> float:
    if isinstance(layer, LowRankLayer):
        own = layer.rank * (inner + outer) + min(inner, outer)
        return inner * outer if layer.kind == "nlmf" else own
    if isinstance(layer, MaskedLayer):
        return layer.density * inner * outer
    if isinstance(layer, KroneckerLayer):
        return (inner * outer) ** 0.5 * (inner + outer) ** 0.5
    return inner * outer
