"""Tuning and training are resumable, incremental and blind to test data until the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lowdim.analyse import analyse
from lowdim.config import Study, UserError, load_run, load_study
from lowdim.config.training import Range, TuningConfig
from lowdim.engine import train
from lowdim.progress import SilentProgress
from lowdim.records import ReplicaStore, read_json, read_table, study_paths
from lowdim.studies import execute as execute_module
from lowdim.studies.programs import final_program, plan_final
from lowdim.studies.readings import final_record
from lowdim.studies.tasks import TaskShelf
from lowdim.train import train_block
from lowdim.tune import choose, propose, tune_block

ROOT = Path(__file__).parents[3]
ARMS = ["dense", "lowrank_diag"]


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, data_cache):
    changes = {"results": tmp_path / "results", "scale": "smoke", "cache": data_cache}
    return load_run(ROOT / "config" / "config.yaml", changes)


def smoke(seeds: int = 2) -> Study:
    folder = ROOT / "config" / "studies"
    study = load_study("structured_weights", folder=folder, scale="smoke", seeds=seeds)
    return study.model_copy(update={"hypotheses": []})


class _Told(SilentProgress):
    def __init__(self) -> None:
        self.replicas = 0
        self.messages: list[str] = []

    def start(self, replicas: int, epochs: int, label: str) -> None:
        self.replicas += replicas

    def message(self, text: str) -> None:
        self.messages.append(text)


def _stages(study, run, arms=ARMS) -> tuple[int, pd.DataFrame]:
    """Run all stages; return how many replicas were trained and the table of runs."""
    paths, told = study_paths(run, study.name), _Told()
    block = paths.block("all")
    tune_block(study, run, arms, block.trials, block.tuned, told)
    train_block(study, run, arms, block.tuned, block.runs, block.curves, told)
    analyse(study, [block.runs], paths.summary, paths.verdicts)
    return told.replicas, read_table(block.runs)


def test_every_stage_writes_what_it_owes(run):
    study = smoke()
    trained, runs = _stages(study, run)
    assert trained == 2 * (2 * 2 + 2)
    paths = study_paths(run, study.name)
    trials, tuned = read_table(paths.block("all").trials), read_json(paths.block("all").tuned)
    assert len(trials) == 8
    assert trials["validation_accuracy"].between(0, 100).all()
    for row in runs.itertuples():
        choice = tuned[row.arm][str(row.seed)]
        assert row.learning_rate == choice["hyper"]["learning_rate"]
        own = trials[(trials.arm == row.arm) & (trials.seed == row.seed)]
        assert choice["validation_accuracy"] == own.validation_accuracy.max()
    curves = read_table(paths.block("all").curves)
    assert list(curves.columns) == [
        *("arm", "seed", "epoch", "step", "split", "metric", "index", "value")
    ]
    summary = read_table(paths.summary)
    mean = summary[(summary.arm == "dense") & (summary.metric == "test_accuracy")]["mean"].item()
    assert mean == pytest.approx(runs[runs.arm == "dense"].test_accuracy.mean())


def test_the_first_seeds_final_weights_are_kept_by_layer(run):
    _stages(smoke(), run)
    curves = read_table(study_paths(run, "structured_weights").block("all").curves)
    final = curves[curves.split == "final"]
    assert set(final.metric) == {"weight.fc1.100x40", "weight.fc2.10x100"}
    assert set(final.seed) == {0}
    own = final[(final.arm == "lowrank_diag") & (final.metric == "weight.fc1.100x40")]
    values = np.linalg.svd(own.value.to_numpy().reshape(100, 40)[40:], compute_uv=False)
    assert values[1] < 1e-5 * values[0], "below its diagonal the weight has rank one"


def test_a_second_run_trains_nothing_and_writes_the_same_numbers(run):
    first = _stages(smoke(), run)[1]
    trained, second = _stages(smoke(), run)
    assert trained == 0
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_more_seeds_and_a_new_arm_train_only_what_is_missing(run):
    _, before = _stages(smoke(), run)
    assert _stages(smoke(seeds=3), run)[0] == 2 * (2 + 1)
    trained, after = _stages(smoke(seeds=3), run, ["dense", "kronecker", "lowrank_diag"])
    assert trained == 3 * (2 + 1)
    same = after.merge(before[["arm", "seed"]])
    pd.testing.assert_frame_equal(same, before, check_exact=True)


def test_a_run_that_dies_between_chunks_keeps_the_finished_ones(run, monkeypatch):
    study = smoke()
    real, calls = execute_module.train, []

    def dies_from_the_third_on(*args, **settings):
        calls.append(1)
        if len(calls) >= 3:  # the worker may take another before it is stopped
            raise KeyboardInterrupt
        return real(*args, **settings)

    monkeypatch.setattr(execute_module, "train", dies_from_the_third_on)
    monkeypatch.setattr(execute_module, "AT_ONCE", 2)
    with pytest.raises(KeyboardInterrupt):
        _stages(study, run.model_copy(update={"threads": 1}))
    monkeypatch.setattr(execute_module, "train", real)
    trained, _ = _stages(study, run)
    assert trained == 12 - 4


def test_an_interrupt_keeps_every_replica_that_was_finished(run, monkeypatch):
    one = run.model_copy(update={"threads": 1})
    study, real, finished = smoke(), execute_module.train, []

    def interrupted_after_the_third(*args, on_result, **settings):
        def told(number, result):
            on_result(number, result)
            finished.append(result)
            if len(finished) >= 3:  # the worker may take another before it is stopped
                raise KeyboardInterrupt

        return real(*args, on_result=told, **settings)

    monkeypatch.setattr(execute_module, "train", interrupted_after_the_third)
    with pytest.raises(KeyboardInterrupt):
        _stages(study, one)
    assert {result.engine for result in finished} == {"fused"}
    monkeypatch.setattr(execute_module, "train", real)
    trained, resumed = _stages(study, one)
    assert trained == 12 - len(finished)
    _, undisturbed = _stages(study, run.model_copy(update={"results": run.results / "other"}))
    pd.testing.assert_frame_equal(
        resumed.drop(columns="seconds"), undisturbed.drop(columns="seconds"), check_exact=True
    )


def test_a_record_is_made_without_a_draw_that_another_threads_network_would_miss(run):
    study = smoke()
    arm = study.arms["dense"]
    task = TaskShelf(run, study).task(arm.data)
    planned = plan_final("dense", arm, run, 0, {"learning_rate": 0.01}, task)
    with torch.random.fork_rng(devices=[]):
        [result] = train(final_program(arm, task), task, [planned.replica])
        before = torch.random.get_rng_state()
        assert final_record(study, planned, result).curves
        assert torch.equal(torch.random.get_rng_state(), before)


def test_results_do_not_depend_on_what_was_trained_beside(run, tmp_path):
    _, together = _stages(smoke(), run)
    alone = run.model_copy(update={"results": tmp_path / "alone"})
    _, dense = _stages(smoke(), alone, ["dense"])
    columns = ["seed", "learning_rate", "test_accuracy", "best_loss"]
    beside = together[together.arm == "dense"][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(beside, dense[columns], check_exact=True)


def test_training_without_tuned_rates_says_what_to_do(run):
    study = smoke()
    block = study_paths(run, study.name).block("all")
    tune_block(study, run, ["dense"], block.trials, block.tuned, SilentProgress())
    with pytest.raises(UserError, match="lowrank_diag, seed 0; tune again"):
        train_block(study, run, ARMS, block.tuned, block.runs, block.curves, SilentProgress())


def test_a_device_that_is_not_there_is_said_before_training(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device: cuda:1 is asked for, but torch sees no GPU"):
        _stages(smoke(), run.model_copy(update={"device": "cuda:1"}))


def test_a_damaged_shard_is_trained_again(run):
    study = smoke()
    _, before = _stages(study, run)
    shard = next(study_paths(run, study.name).store.glob("*.shard"))
    shard.write_bytes(shard.read_bytes()[:100])
    trained, after = _stages(study, run)
    assert trained > 0
    columns = ["arm", "seed", "learning_rate", "test_accuracy"]
    pd.testing.assert_frame_equal(before[columns], after[columns], check_exact=True)
    assert len(ReplicaStore(study_paths(run, study.name).store)._records) == 12


def _tuning(**changes) -> TuningConfig:
    space = {"learning_rate": Range(low=1e-3, high=1e-1)}
    return TuningConfig(trials=10, epochs=1, space=space, **changes)


def test_trials_are_spread_evenly_on_the_log_scale():
    rates = [trial["learning_rate"] for trial in propose(_tuning(), seed=0)]
    tenths = np.floor(np.log10(np.array(rates) / 1e-3) / 2 * 8)
    assert len(set(tenths[:8])) == 8, "eight Sobol points fall into eight cells"
    assert propose(_tuning(), seed=0) == propose(_tuning(), seed=0)
    assert propose(_tuning(), seed=0) != propose(_tuning(), seed=1)


def test_integers_are_drawn_as_integers():
    space = {"rank": Range(low=2, high=32, scale="integer")}
    ranks = [t["rank"] for t in propose(TuningConfig(trials=8, epochs=1, space=space), seed=0)]
    assert all(isinstance(rank, int) and 2 <= rank <= 32 for rank in ranks)


def _trials(accuracy, loss, rates) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": "dense",
            "seed": 0,
            "trial": range(len(rates)),
            "learning_rate": rates,
            "validation_accuracy": accuracy,
            "validation_loss": loss,
        }
    )


def test_the_best_trial_wins_and_ties_go_to_the_lower_loss():
    arms = smoke().arms
    trials = _trials([50, 60, 60, np.nan], [1.0, 0.9, 0.8, np.nan], [0.01, 0.02, 0.03, 0.04])
    best = choose(trials, arms)["dense"]["0"]
    assert best["trial"] == 2
    assert best["hyper"] == {"learning_rate": 0.03}
    assert best["at_edge"] == []


def test_an_optimum_at_the_edge_is_warned_of(caplog):
    choose(_trials([10, 60], [2.0, 1.0], [0.01, 0.099]), smoke().arms)
    assert "lies at an edge of 0.001 ... 0.1" in caplog.text


def test_trials_that_all_diverged_are_an_error_that_says_so():
    with pytest.raises(ValueError, match="dense, seed 0: every trial diverged"):
        choose(_trials([np.nan], [np.nan], [0.1]), smoke().arms)
