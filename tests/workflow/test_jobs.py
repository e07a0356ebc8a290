"""A job is outdated by what decides its output, and by nothing else."""

import json
import shlex
from pathlib import Path

import pytest

from lowdim.cli.jobs import Jobs
from lowdim.config import json_schemas

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"tune": "all", "train": "all", "analyse": None}


def decided(config: dict | None = None) -> dict[str, str]:
    jobs = Jobs(config or {})
    return {stage: jobs.decided(stage, "tiny", block) for stage, block in STAGES.items()}


def outdated_by(project, old: str, new: str) -> set[str]:
    before = decided()
    text = project.study.read_text()
    assert old in text
    project.study.write_text(text.replace(old, new))
    return {stage for stage, digest in decided().items() if digest != before[stage]}


@pytest.fixture(autouse=True)
def _there(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("LOWDIM_CONFIG", raising=False)


def test_a_comment_in_the_study_outdates_nothing(project):
    assert outdated_by(project, "seeds: 2", "seeds: 2  # enough here") == set()


def test_another_label_outdates_the_analysis_alone(project):
    assert outdated_by(project, "label: Dense", "label: All weights") == {"analyse"}


def test_more_seeds_outdate_every_stage_that_uses_them():
    before, after = decided(), decided({"seeds": 3})
    assert all(before[stage] != after[stage] for stage in STAGES)


def test_more_epochs_of_the_final_runs_leave_tuning_alone(project):
    assert outdated_by(project, "{epochs: 2,", "{epochs: 3,") == {"train", "analyse"}


def test_another_tuning_range_outdates_everything(project):
    assert outdated_by(project, "high: 1.0e-1", "high: 0.5") == {"tune", "train", "analyse"}


def test_another_engine_outdates_what_it_computes(project):
    before, after = decided(), decided({"engine": "torch"})
    assert before["analyse"] == after["analyse"]
    assert before["train"] != after["train"]


def test_threads_and_folders_outdate_nothing(project):
    assert decided() == decided({"threads": 2, "results": "elsewhere", "memory_gib": 2})


def test_another_code_digest_outdates_its_stage_alone(project, monkeypatch):
    before = decided()
    monkeypatch.setattr("lowdim.cli.jobs.code_digest", lambda stage: f"new-{stage == 'tune'}")
    first = decided()
    monkeypatch.setattr("lowdim.cli.jobs.code_digest", lambda stage: "new-False")
    second = decided()
    assert all(before[stage] != first[stage] for stage in STAGES)
    assert {stage for stage in STAGES if first[stage] != second[stage]} == {"tune"}


def test_what_the_command_line_changes_is_handed_to_the_stages(project):
    project.study.with_name("other.yaml").write_text(project.study.read_text())
    jobs = Jobs({"scale": "smoke", "results": "a b", "studies": ["other"]})
    assert jobs.options == "--set scale=smoke --set 'results=a b'"
    words = shlex.split(jobs.page_options)
    assert set(words[1::2]) == {"scale=smoke", "results=a b", 'studies=["other"]'}


def test_a_block_whose_arms_are_not_tuned_has_no_tuning_files(project):
    text = project.study.read_text()
    start, end = text.index("  tuning:"), text.index("arms:")
    fixed = text[:start] + text[end:]
    project.study.write_text(fixed.replace("{name: adam}", "{name: adam, learning_rate: 0.01}"))
    jobs = Jobs({})
    assert jobs.tuned("tiny", "all") == []
    assert not [path for path in jobs.everything() if path.name in ("tuned.json", "trials.csv")]


def test_blocks_share_out_the_arms(project):
    jobs = Jobs({"blocks": {"tiny": {"first": ["dense"]}}})
    assert jobs.blocks["tiny"] == {"first": ["dense"], "rest": ["lowrank"]}
    assert [path.parent.name for path in jobs.of_blocks("tiny", "runs")] == ["first", "rest"]


@pytest.mark.parametrize("name", sorted(json_schemas()))
def test_tracked_schemas_are_those_of_the_models(name):
    tracked = json.loads((ROOT / "workflow" / "schemas" / name).read_text())
    assert tracked == json_schemas()[name], "run `make schemas`"
