"""A project folder of one's own, whose only study is small."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

CONFIG = """\
studies: [tiny]
threads: 1
"""
STUDY = """\
question: Does the workflow work?
seeds: 2
defaults:
  data: {name: mnist1d, samples: 200, monitor: 50, fresh: 50}
  model: {name: mlp, sizes: [40, 10, 10], layers: [{kind: dense}, {kind: dense}]}
  optimiser: {name: adam}
  training: {epochs: 2, batch_size: 32}
  tuning:
    trials: 2
    epochs: 1
    space: {learning_rate: {low: 1.0e-3, high: 1.0e-1}}
arms:
  dense: {label: Dense}
  lowrank:
    label: Low rank
    model: {layers: [{kind: lowrank, rank: 1}, {kind: lowrank, rank: 1}]}
"""


class Project:
    """A copy of the workflow with a small study in a folder of its own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LOWDIM_")},
            "LOWDIM_CACHE": str(cache),
            "OMP_NUM_THREADS": "1",
        }
        for name in ("workflow", "profiles"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "Snakefile", folder)
        self.config = folder / "config" / "config.yaml"
        self.study = folder / "config" / "studies" / "tiny.yaml"
        self.study.parent.mkdir(parents=True)
        self.config.write_text(CONFIG)
        self.study.write_text(STUDY)
        self.results = folder / "results"

    def start(self, command: str, *arguments: str) -> subprocess.Popen:
        """Start a program of this environment in the project's folder."""
        return subprocess.Popen(
            [str(BIN / command), *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def call(self, command: str, *arguments: str) -> tuple[int, str]:
        """Return exit code and output of a program that ran to its end."""
        process = self.start(command, *arguments)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def outdated(self, *arguments: str) -> set[str]:
        """Return the rules that a run would call."""
        code, output = self.call("snakemake", "--dry-run", "--quiet", "rules", *arguments)
        assert code == 0, output
        names = ("tune", "train", "analyse", "figures", "report")
        return {line.split()[0] for line in output.splitlines() if line.startswith(names)}


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One data cache for all projects of these tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def new_project(cache):
    """A function from a folder to a project in it that was never run."""
    return lambda folder: Project(folder, cache)


@pytest.fixture
def project(tmp_path, cache) -> Project:
    """A project that was never run."""
    return Project(tmp_path, cache)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache) -> Project:
    """A project that was run to its end; tests that share it leave it so."""
    project = Project(tmp_path_factory.mktemp("finished"), cache)
    code, output = project.call("lowdim", "run")
    assert code == 0, output
    return project


@pytest.fixture
def lowdim(monkeypatch, capsys):
    """Call the command line in this process; return exit code and what it said on both streams."""
    from lowdim.cli import main

    def call(folder: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["lowdim", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call
