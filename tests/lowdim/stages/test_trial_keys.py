"""What is read of final runs alone leaves the trials of tuning as they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lowdim.config import load_run, load_study
from lowdim.data.task import Split, Task
from lowdim.studies.programs import plan_final, plan_trial

ROOT = Path(__file__).parents[3]
HYPER = {"learning_rate": 0.01, "rank": 3}


def keys(**changes) -> tuple[str, str]:
    """Return the keys of a trial and of a final run of an arm with changes."""
    run = load_run(ROOT / "config" / "config.yaml")
    study = load_study("low_rank_gradients", folder=ROOT / "config" / "studies")
    arm = study.arms["lrg_flat"].model_copy(update=changes)
    task = Task("none", "cross_entropy", Split(torch.zeros(1, 50, 40), torch.zeros(1, 50).long()))
    plans = plan_trial("arm", arm, run, 0, HYPER, task), plan_final("arm", arm, run, 0, HYPER, task)
    return plans[0].key, plans[1].key


@pytest.mark.parametrize("change", [{"probes": {}}, {"crossings": []}, {"costs": False}])
def test_readings_of_final_runs_change_no_trial(change):
    (trial, final), (other_trial, other_final) = keys(), keys(**change)
    assert trial == other_trial
    assert final != other_final


def test_another_batch_size_changes_both():
    arm = load_study("low_rank_gradients", folder=ROOT / "config" / "studies").arms["lrg_flat"]
    other = arm.training.model_copy(update={"batch_size": 16})
    assert not set(keys()) & set(keys(training=other))
