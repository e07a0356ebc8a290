"""A mistake of the user's is answered by one line that names culprit and remedy, and code 2."""

import sys
from pathlib import Path

import pytest

MISTAKES = {
    "an unknown key of the run": ("config", "threads: 1", "thread: 1", ["thread", "'threads'"]),
    "an unknown scale": ("config", "threads: 1", "scale: big", ["scale", "smoke", "big"]),
    "no study of that name": ("config", "[tiny]", "[huge]", ["huge.yaml", "tiny"]),
    "an unknown key of a study": ("study", "seeds: 2", "sedes: 2", ["sedes", "'seeds'"]),
    "a negative rate": (
        "study",
        "optimiser: {name: adam}",
        "optimiser: {name: adam, learning_rate: -0.1}",
        ["learning_rate", "greater than 0", "-0.1"],
    ),
    "an unknown layer": ("study", "{kind: lowrank, rank: 1}", "{kind: lowrnk}", ["kind", "lowrnk"]),
    "factors that do not multiply to the layer": (
        "study",
        "{kind: lowrank, rank: 1}",
        "{kind: kronecker, factors: [[5, 5], [2, 5]]}",
        ["factors", "10x40", "10x25"],
    ),
    "a density of zero": (
        "study",
        "{kind: lowrank, rank: 1}",
        "{kind: masked, density: 0}",
        ["density", "greater than 0"],
    ),
    "a density above one": (
        "study",
        "{kind: lowrank, rank: 1}",
        "{kind: masked, density: 1.5}",
        ["density", "1.5"],
    ),
    "text that is no YAML": ("study", "seeds: 2", "seeds: [2", ["not valid YAML"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_file_is_named_in_one_line(project, lowdim, mistake):
    which, right, wrong, named = MISTAKES[mistake]
    path = getattr(project, which)
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    code, said = lowdim(project.folder, "plan")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert ".yaml" in said
    for word in named:
        assert word in said


@pytest.mark.parametrize("setting", ["scal=smoke", "threads", "engine=gpu", "threads=[1"])
def test_a_mistake_on_the_command_line_is_named(project, lowdim, setting):
    code, said = lowdim(project.folder, "plan", "--set", setting)
    assert code == 2
    assert setting.split("=")[0] in said
    assert len(said.splitlines()) == 1


def test_a_block_that_is_not_there_is_named_beside_those_that_are(project, lowdim):
    code, said = lowdim(project.folder, "tune", "tiny", "--block", "some")
    assert (code, said) == (2, "lowdim: tiny: has no block 'some', only ['all']\n")


def test_training_before_tuning_says_what_to_run(project, lowdim):
    code, said = lowdim(project.folder, "train", "tiny")
    assert code == 2
    assert "`lowdim tune tiny` writes it" in said


def test_a_run_outside_the_project_is_told_so(project, lowdim):
    (project.folder / "Snakefile").unlink()
    code, said = lowdim(project.folder, "run")
    assert code == 2
    assert "run this in the project's folder" in said


def test_a_results_folder_that_is_a_file_is_named_with_the_remedy(project, lowdim):
    project.results.write_text("")
    code, said = lowdim(project.folder, "run")
    assert code == 2
    assert said.startswith("lowdim: results: cannot be written")
    assert "--set results=FOLDER" in said


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder refuses root but Linux's")
def test_a_results_folder_that_cannot_be_written_is_named(project, lowdim):
    code, said = lowdim(project.folder, "run", "--set", "results=/sys/kernel/lowdim")
    assert code == 2
    assert said.startswith("lowdim: /sys/kernel/lowdim: cannot be written")


def test_our_own_mistakes_have_another_code_and_their_traceback_on_demand(
    project, lowdim, monkeypatch
):
    monkeypatch.setitem(sys.modules, "lowdim.cli.plan", None)
    code, said = lowdim(project.folder, "plan")
    assert code == 1
    assert "--debug" in said
    assert "Traceback" not in said
    with pytest.raises(ImportError):
        lowdim(project.folder, "plan", "--debug")
