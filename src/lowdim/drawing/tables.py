"""The results of one study as tables, read from its files alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lowdim.config import RunConfig, Study
from lowdim.records import blocks, read_json, read_table, study_paths

if TYPE_CHECKING:
    import pandas as pd

_WEIGHT = re.compile(r"weight\.(?P<layer>.+)\.(?P<out>\d+)x(?P<inner>\d+)")


@dataclass(frozen=True)
class ResultFiles:
    """Where the results of one study lie; a study that is not tuned has no trials."""

    runs: Sequence[Path]
    curves: Sequence[Path]
    trials: Sequence[Path]
    summary: Path
    verdicts: Path
    tuned: Sequence[Path] = ()

    @classmethod
    def of(cls, study: Study, run: RunConfig) -> ResultFiles:
        """Return the files that the workflow writes for a study."""
        paths = study_paths(run, study.name)
        every = {name: paths.block(name) for name in blocks(study, run)}
        tuned = [
            every[name]
            for name, arms in blocks(study, run).items()
            if any(study.arms[arm].tuning for arm in arms)
        ]
        return cls(
            runs=[block.runs for block in every.values()],
            curves=[block.curves for block in every.values()],
            trials=[block.trials for block in tuned],
            summary=paths.summary,
            verdicts=paths.verdicts,
            tuned=[block.tuned for block in tuned],
        )

    def all(self) -> list[Path]:
        """Return every file."""
        return [
            *(*self.runs, *self.curves, *self.trials, *self.tuned),
            *(self.summary, self.verdicts),
        ]


@dataclass(frozen=True)
class Tables:
    """The results of one study; each table is read when it is first asked for."""

    study: Study
    files: ResultFiles

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a replica."""
        return _joined(self.files.runs)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Curves in long form."""
        return _joined(self.files.curves)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a tuning trial; empty where nothing is tuned."""
        return _joined(self.files.trials)

    @cached_property
    def tuned(self) -> dict[str, dict[str, Any]]:
        """The chosen setting by arm and seed."""
        found: dict[str, dict[str, Any]] = {}
        for path in self.files.tuned:
            found.update(read_json(path))
        return found

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row an arm and metric."""
        return read_table(self.files.summary)

    @cached_property
    def verdicts(self) -> list[dict[str, Any]]:
        """The hypotheses as they were judged."""
        return read_json(self.files.verdicts)

    def label(self, arm: str) -> str:
        """Return an arm's name for readers."""
        return self.study.arms[arm].label

    def row(self, arm: str, metric: str) -> pd.Series | None:
        """Return an arm's row of the summary, or None where no run reached the metric."""
        found = self.summary[(self.summary["arm"] == arm) & (self.summary["metric"] == metric)]
        return None if found.empty else found.iloc[0]

    def diverged(self, arm: str) -> list[int]:
        """Return the seeds whose runs diverged."""
        if "diverged_epoch" not in self.runs:
            return []
        own = self.runs[(self.runs["arm"] == arm) & self.runs["diverged_epoch"].notna()]
        return sorted(own["seed"].tolist())

    def curve(
        self,
        arm: str,
        split: str,
        metric: str,
        *,
        by: Literal["epoch", "step"] = "epoch",
        index: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return times (points,) and values (seeds, points) of the runs that did not diverge.

        `index` picks one of a metric's several values, such as one singular value.
        """
        own = self.readings(arm, split, metric)
        own = own[~own["seed"].isin(self.diverged(arm)) & (own["index"] == index)]
        table = own.pivot(index="seed", columns=by, values="value")
        return table.columns.to_numpy(float), table.to_numpy(float)

    def readings(self, arm: str, split: str, metric: str) -> pd.DataFrame:
        """Return the rows of the curves that hold one metric of an arm."""
        rows = self._places.get((arm, split, metric), np.array([], int))
        return self.curves.iloc[rows]

    @cached_property
    def _places(self) -> dict[tuple[str, str, str], np.ndarray]:
        """Where each metric's rows are, so that a curve costs no search through all of them."""
        if self.curves.empty:
            return {}
        return self.curves.groupby(["arm", "split", "metric"], sort=False).indices

    def weights(self, arm: str) -> dict[str, np.ndarray]:
        """Return the materialised final weights (out, in) of an arm's seed 0, by layer."""
        found = {}
        for name, split, metric in sorted(self._places):
            if (name, split) == (arm, "final") and (match := _WEIGHT.fullmatch(metric)):
                own = self.readings(arm, split, metric)
                own = own[own["seed"] == 0].sort_values("index")
                values = own["value"].to_numpy(float)
                found[match["layer"]] = values.reshape(int(match["out"]), int(match["inner"]))
        return found


def _joined(paths: Sequence[Path]) -> pd.DataFrame:
    import pandas as pd

    frames = list(map(read_table, paths))
    filled = [frame for frame in frames if not frame.empty]
    if filled:
        return pd.concat(filled, ignore_index=True)
    return frames[0] if frames else pd.DataFrame({"arm": []})
