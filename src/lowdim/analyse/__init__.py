"""From the runs of a study to a summary with intervals and verdicts on its hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lowdim.analyse.summary import summarise
from lowdim.analyse.verdicts import judge
from lowdim.config import Study
from lowdim.records import provenance, read_table, write_json, write_table

__all__ = ["analyse", "judge", "summarise"]


def analyse(
    study: Study, runs_paths: Sequence[Path], summary_path: Path, verdicts_path: Path
) -> None:
    """Write summary.csv and verdicts.json from the runs of all blocks of a study."""
    runs = pd.concat([read_table(path) for path in runs_paths], ignore_index=True)
    made_by = provenance("analyse", study)
    write_table(summary_path, summarise(runs, study), made_by)
    write_json(verdicts_path, judge(runs, study.hypotheses), made_by)
