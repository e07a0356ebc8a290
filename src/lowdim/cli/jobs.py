"""What the workflow's rules need to know of a run: files, arms, and digests of what decides."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowdim.cli.lacking import wants_mnist
from lowdim.cli.options import config_file, read_study, settings_beyond
from lowdim.config import load_run
from lowdim.config.data_root import mnist_lacks
from lowdim.records import StudyPaths, blocks, code_digest, content_key, study_paths


class Jobs:
    """The jobs of one run; `config` is what Snakemake read, its command line included.

    `options` hand on to a study's stages what the command line sets over the file, `page_options`
    to the page, which also needs to know of which studies it is.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.run = load_run(config_file(), config)
        self.studies = {name: read_study(self.run, name) for name in self.run.studies}
        self.blocks = {name: blocks(study, self.run) for name, study in self.studies.items()}
        beyond = settings_beyond(self.run, load_run(config_file()))
        self.options = _as_options(beyond, without=("studies", "threads"))
        self.page_options = _as_options(beyond, without=("threads",))

    def paths(self, study: str) -> StudyPaths:
        """Return where a study's files lie."""
        return study_paths(self.run, study)

    def is_tuned(self, study: str, block: str) -> bool:
        """Whether any arm of a block is tuned."""
        arms = self.studies[study].arms
        return any(arms[arm].tuning for arm in self.blocks[study][block])

    def tuned(self, study: str, block: str) -> list[Path]:
        """Return the chosen hyperparameters of a block, no file where nothing is tuned."""
        return [self.paths(study).block(block).tuned] if self.is_tuned(study, block) else []

    def of_blocks(self, study: str, kind: str) -> list[Path]:
        """Return one kind of file, `trials`, `tuned`, `runs` or `curves`, of every block."""
        tuning = kind in ("trials", "tuned")
        return [
            getattr(self.paths(study).block(block), kind)
            for block in self.blocks[study]
            if self.is_tuned(study, block) or not tuning
        ]

    def decided(self, stage: str, study: str | None = None, block: str | None = None) -> str:
        """Return a digest of the code and the configuration that decide a job's output."""
        return f"{code_digest(stage)}-{content_key(self._content(stage, study, block))}"

    def _content(self, stage: str, study: str | None, block: str | None) -> Any:
        if study is None:
            return [self._content(stage, name, None) for name in self.studies]
        whole = self.studies[study]
        if block is None:
            return whole.model_dump(mode="json")
        arms = {arm: whole.arms[arm].deciding() for arm in self.blocks[study][block]}
        seeds = [whole.seeds_of(arm) for arm in arms]
        if stage == "tune":
            for content in arms.values():
                content["training"].pop("epochs")
        run = self.run
        sought = []
        if any(wants_mnist(whole.arms[arm].data) for arm in arms):
            sought = [str(run.data_root), run.download, mnist_lacks(run.data_root) is None]
        return [arms, seeds, run.engine, run.device, run.precision, *sought]

    def everything(self) -> list[Path]:
        """Return every file that the run makes, so that each is made again where it is missing."""
        files = [self.run.results / "report.html"]
        for name in self.studies:
            paths = self.paths(name)
            files += [paths.summary, paths.verdicts, paths.figures]
            for kind in ("trials", "tuned", "runs", "curves"):
                files += self.of_blocks(name, kind)
        return files


def _as_options(settings: Mapping[str, str], *, without: Sequence[str]) -> str:
    kept = {key: value for key, value in settings.items() if key not in without}
    return " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in kept.items())


def put_commands_on_path() -> None:
    """Let rules call the `lowdim` of this environment although it may not be activated."""
    here = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != here:
        os.environ["PATH"] = os.pathsep.join([here, os.environ.get("PATH", "")])
