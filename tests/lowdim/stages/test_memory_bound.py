"""A stage stays within the memory of the configuration, or says before it starts that it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowdim.config import UserError, load_run, load_study
from lowdim.engine.memory import Need
from lowdim.progress import SilentProgress
from lowdim.records import read_table, study_paths
from lowdim.studies import execute as execute_module
from lowdim.tune import tune_block

ROOT = Path(__file__).parents[3]
STUDY, ARM = "structured_weights", "dense"


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def tuned(folder, cache, **changes):
    """Return the trials of an arm, tuned with settings of the run."""
    settings = {"results": folder, "scale": "smoke", "cache": cache, "threads": 1, **changes}
    run = load_run(ROOT / "config" / "config.yaml", settings)
    study = load_study(STUDY, folder=ROOT / "config" / "studies", scale="smoke", seeds=3)
    paths = study_paths(run, STUDY).block("all")
    tune_block(study, run, [ARM], paths.trials, paths.tuned, SilentProgress())
    return read_table(paths.trials).drop(columns="seconds")


@pytest.mark.parametrize("engine", ["torch", "fused"])
def test_too_little_is_refused_in_one_line_before_anything_trains(engine, tmp_path, data_cache):
    with pytest.raises(UserError) as caught:
        tuned(tmp_path, data_cache, engine=engine, memory_gib=1e-4)
    text = str(caught.value)
    assert text.startswith("memory_gib: 0.0001 is too little: 1 replica of arm dense needs ")
    assert " bytes) are allowed beside the data; raise it" in text
    assert "\n" not in text
    assert not list(tmp_path.rglob("trials.csv"))


def test_what_trains_one_after_the_other_is_handed_out_a_few_at_a_time(
    tmp_path, data_cache, monkeypatch
):
    real, sizes = execute_module.train, []

    def noting(program, task, replicas, **settings):
        sizes.append(len(replicas))
        return real(program, task, replicas, **settings)

    monkeypatch.setattr(execute_module, "train", noting)
    tuned(tmp_path, data_cache, engine="fused")
    assert sizes == [5, 1]


def test_fewer_replicas_train_at_once_where_that_suffices(tmp_path, data_cache, monkeypatch):
    real, sizes = execute_module.train, []

    def noting(program, task, replicas, **settings):
        sizes.append(len(replicas))
        return real(program, task, replicas, **settings)

    def large(label, *_, **__):
        return Need(label, 0, 2**30)

    monkeypatch.setattr(execute_module, "train", noting)
    plenty = tuned(tmp_path / "a", data_cache, engine="torch")
    monkeypatch.setattr(execute_module, "memory_need", large)
    scarce = tuned(tmp_path / "b", data_cache, engine="torch", memory_gib=3.0)
    assert sizes == [6, 2, 2, 2]
    assert scarce.seed.tolist() == plenty.seed.tolist()
    close = pytest.approx(plenty.validation_loss.tolist(), rel=1e-3)
    assert scarce.validation_loss.tolist() == close
