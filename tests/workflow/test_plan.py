"""`lowdim plan` says how much there is to train, how long that takes, and which stages are due."""

from pathlib import Path

import pytest

from lowdim.cli.outdated import outdated
from lowdim.cli.plan import Amount, amount, plan_lines, predicted_s
from lowdim.config import ArmConfig, load_run, load_study

STUDIES = Path(__file__).parents[2] / "config" / "studies"
RESULTS = Path("out")
HEAD = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"


@pytest.fixture
def tiny(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    run = load_run(project.config, {})
    return run, load_study("tiny", folder=run.study_folder, scale=run.scale)


def row(path: str, rule: str, plan: str) -> str:
    return f"out/{path}\t-\t{rule}\t\tmissing\t{plan}\n"


def test_replicas_and_steps_are_those_of_the_trials_and_of_the_final_runs(tiny):
    _, study = tiny
    # 160 samples: 2 epochs of 5 batches; of 128 of them 1 epoch of 4 batches, twice
    found = amount(study.arms["dense"], seeds=2, engine="fused")
    assert (found.replicas, found.steps) == (2 + 4, 2 * 10 + 4 * 4)
    assert found + found == Amount(12, 72, 2 * found.seconds)


def test_more_seeds_take_longer_more_threads_less_and_structure_less_than_dense(tiny):
    run, study = tiny
    dense, lowrank = (amount(study.arms[arm], 2, "fused").seconds for arm in study.arms)
    assert lowrank < dense
    more = study.model_copy(update={"seeds": 20})
    assert predicted_s(more, run) > predicted_s(study, run)
    assert predicted_s(study, run.model_copy(update={"threads": 2})) < predicted_s(study, run)


def full(study: str) -> dict[str, ArmConfig]:
    return load_study(study, folder=STUDIES, scale="full").arms


def test_what_is_measured_beside_training_takes_time_of_its_own():
    arm = full("low_rank_gradients")["adam"]
    bare = arm.model_copy(update={"probes": {}})
    cheap = bare.model_copy(update={"costs": False})
    took = [amount(one, 10, "fused").seconds for one in (arm, bare, cheap)]
    assert took[0] > took[1] > took[2]


def test_second_moments_take_no_time_for_the_samples_they_stand_for():
    arm = full("deep_linear")["h1_deep_r50"]
    many = arm.model_copy(update={"data": arm.data.model_copy(update={"samples": 10**6})})
    assert amount(arm, 1, "fused") == amount(many, 1, "fused")


def test_what_only_torch_trains_is_predicted_as_torch():
    arms = full("low_rank_gradients")
    for name, is_taped in {"muon": False, "lrg_flat_momentum": False, "lrg_flat": True}.items():
        same = amount(arms[name], 10, "fused") == amount(arms[name], 10, "torch")
        assert same != is_taped


def test_truncated_gradients_and_networks_on_every_entry_take_longer():
    arms, other = full("low_rank_gradients"), full("nlmf")
    assert amount(arms["lrg_flat"], 10, "fused").seconds > amount(arms["adam"], 10, "fused").seconds
    assert amount(other["nlmf"], 10, "fused").seconds > amount(other["dense"], 10, "fused").seconds


def test_a_plan_names_every_study_and_one_time(tiny):
    run, study = tiny
    *studies, time = plan_lines(run, [study])
    assert studies == ["tiny (standard): 2 arms, 2 seeds, 12 replicas, 72 steps"]
    assert time.startswith("about ")
    assert time.endswith("on 1 thread if nothing is kept from before")


def test_what_snakemake_would_make_is_told_by_study_in_the_order_of_the_stages():
    table = HEAD + "".join(
        [
            row("report.html", "report", "update pending"),
            row("a/summary.csv", "analyse", "update pending"),
            row("a/all/runs.csv", "train", "update pending"),
            row("a/all/curves.parquet", "train", "update pending"),
            row("a/all/tuned.json", "tune", "no update"),
            row("b/summary.csv", "analyse", "no update"),
        ]
    )
    assert outdated(table, RESULTS) == {"a": ["train", "analyse"]}


def test_nothing_is_told_where_every_result_is_up_to_date():
    assert outdated(HEAD + row("a/summary.csv", "analyse", "no update"), RESULTS) == {}
