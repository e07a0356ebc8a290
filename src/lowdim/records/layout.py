"""Where each result file lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lowdim.config import RunConfig, Study, UserError


@dataclass(frozen=True)
class BlockPaths:
    """Files of one block, the arms of a study that one job trains."""

    folder: Path

    @property
    def trials(self) -> Path:
        return self.folder / "trials.csv"

    @property
    def tuned(self) -> Path:
        return self.folder / "tuned.json"

    @property
    def runs(self) -> Path:
        return self.folder / "runs.csv"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.parquet"


@dataclass(frozen=True)
class StudyPaths:
    """Files of one study."""

    folder: Path

    def block(self, name: str) -> BlockPaths:
        return BlockPaths(self.folder / name)

    @property
    def store(self) -> Path:
        return self.folder / ".replicas"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.csv"

    @property
    def verdicts(self) -> Path:
        return self.folder / "verdicts.json"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"


def study_paths(run: RunConfig, study: str) -> StudyPaths:
    """Return where a study's files lie."""
    return StudyPaths(run.results / study)


def blocks(study: Study, run: RunConfig) -> dict[str, list[str]]:
    """Return the arms of each block: as configured, or one block `all` with every arm.

    Arms that no configured block names form a block `rest`.
    """
    configured = run.blocks.get(study.name)
    if not configured:
        return {"all": list(study.arms)}
    named = [arm for arms in configured.values() for arm in arms]
    if len(named) != len(set(named)):
        raise UserError(f"config/config.yaml: blocks.{study.name} names an arm twice")
    kept = {block: [arm for arm in arms if arm in study.arms] for block, arms in configured.items()}
    rest = [arm for arm in study.arms if arm not in named]
    return {block: arms for block, arms in {**kept, "rest": rest}.items() if arms}
