"""From the configuration of an arm to what an engine trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from lowdim.config import ArmConfig, RunConfig
from lowdim.config.training import TuningConfig
from lowdim.data.task import Task
from lowdim.engine import Program, Replica, split_rows
from lowdim.engine.seeds import built
from lowdim.models import build_model
from lowdim.optim import RULES, Rule
from lowdim.probes import build_probe
from lowdim.records import code_digest, content_key

_OF_FINAL_RUNS = ("probes", "crossings", "costs")


@dataclass(frozen=True)
class PlannedReplica:
    """A replica of an arm with the key under which its record is kept."""

    arm: str
    key: str
    replica: Replica


def final_program(arm: ArmConfig, task: Task) -> Program:
    """Return the program of an arm's final runs: watched on `monitor`, the rest read once."""
    training = arm.training
    rule, batch = _rule(arm), _batch(training.batch_size)
    return Program(
        build=partial(build_model, arm.model),
        rule=rule,
        epochs=training.epochs,
        batch_size=batch,
        schedule=training.schedule,
        probes=tuple(
            build_probe(name, task, every, rule=rule, batch_size=batch)
            for name, every in arm.probes.items()
        ),
        watch=tuple(name for name in task.held_out if name == "monitor"),
        final=tuple(name for name in task.held_out if name != "monitor"),
        step_metrics=training.step_metrics,
        costs=arm.costs,
    )


def trial_program(arm: ArmConfig) -> Program:
    """Return the program of an arm's tuning trials, which see training samples alone."""
    tuning = tuning_of(arm)
    return Program(
        build=partial(build_model, arm.model),
        rule=_rule(arm),
        epochs=tuning.epochs,
        batch_size=_batch(tuning.batch_size or arm.training.batch_size),
        schedule=arm.training.schedule,
    )


def plan_final(
    name: str, arm: ArmConfig, run: RunConfig, seed: int, hyper: Mapping[str, float], task: Task
) -> PlannedReplica:
    """Return the final run of an arm with one seed at chosen hyperparameters."""
    settings = {**arm.optimiser.hyper(), **hyper}
    return _planned(name, arm, run, Replica(seed, settings, task.set_of(seed)), "final")


def plan_trial(
    name: str,
    arm: ArmConfig,
    run: RunConfig,
    seed: int,
    hyper: Mapping[str, float],
    task: Task,
) -> PlannedReplica:
    """Return one trial: trained on part of the training samples, scored on the rest."""
    fitted, held = split_rows(task.train.samples, tuning_of(arm).validation, seed)
    settings = {**arm.optimiser.hyper(), **hyper}
    replica = Replica(seed, settings, task.set_of(seed), train_rows=fitted, score_rows=held)
    return _planned(name, arm, run, replica, "trial")


def chosen_hyper(arm: ArmConfig, replica: Replica) -> dict[str, float]:
    """Return learning rate, rank and what else tuning chose; the rest is configuration."""
    chosen = {"learning_rate", "rank", *(arm.tuning.space if arm.tuning else ())}
    return {name: value for name, value in replica.hyper.items() if name in chosen}


def model_size(arm: ArmConfig) -> dict[str, int]:
    """Return `parameters`, the stored trainable scalars, and `effective_parameters`."""
    # not on the device `meta`, whose normal draws make torch load its compiler for two seconds
    module = built(partial(build_model, arm.model), 0)
    stored = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return {"parameters": stored, "effective_parameters": effective_parameters(module)}


def effective_parameters(module: nn.Module) -> int:
    """Return the number of free scalars, as structured layers count their own."""
    own = getattr(module, "effective_parameters", None)
    if own is not None:
        return int(own)
    direct = sum(p.numel() for p in module.parameters(recurse=False) if p.requires_grad)
    return direct + sum(effective_parameters(child) for child in module.children())


def _planned(
    name: str, arm: ArmConfig, run: RunConfig, replica: Replica, stage: str
) -> PlannedReplica:
    deciding: dict[str, Any] = arm.deciding()
    tuning = deciding.pop("tuning", None)
    deciding["optimiser"].pop("learning_rate", None)
    if stage == "trial":
        deciding["tuning"] = {k: v for k, v in tuning.items() if k not in ("trials", "space")}
        deciding["training"].pop("epochs")
        # what is read of final runs alone changes no trial
        deciding = {k: v for k, v in deciding.items() if k not in _OF_FINAL_RUNS}
    key = content_key(
        {
            "arm": deciding,
            "stage": stage,
            "seed": replica.seed,
            "hyper": {k: float(v) for k, v in replica.hyper.items()},
            "engine": run.engine,
            "device": run.device.split(":")[0],
            "precision": run.precision,
            "code": code_digest("replica"),
        }
    )
    return PlannedReplica(name, key, replica)


def tuning_of(arm: ArmConfig) -> TuningConfig:
    """Return the tuning of an arm that is known to have one."""
    if arm.tuning is None:
        raise AssertionError(f"arm {arm.label} is not tuned")
    return arm.tuning


def _rule(arm: ArmConfig) -> Rule:
    return RULES[arm.optimiser.name](**arm.optimiser.options())


def _batch(size: int | str) -> int | None:
    return None if size == "full" else int(size)
