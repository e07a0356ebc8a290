"""Renew the table and the picture of README.md from results/ (`make readme`)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd

from lowdim.config import load_run, load_study
from lowdim.records import read_table, study_paths

ROOT = Path(__file__).resolve().parent.parent
STUDY, PICTURE = "structured_weights", "accuracy_by_size"


def main() -> None:
    run = load_run(ROOT / "config" / "config.yaml")
    paths = study_paths(run, STUDY)
    readme = ROOT / "README.md"
    marks = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
    text = marks.sub(lambda m: m[1] + table(read_table(paths.summary)) + m[2], readme.read_text())
    readme.write_text(text)
    shutil.copy(paths.figures / f"{PICTURE}.svg", ROOT / "docs" / "images" / f"{PICTURE}.svg")


def table(summary: pd.DataFrame) -> str:
    """Return a Markdown table, a row an arm: size, accuracies with intervals, best rate."""
    arms = load_study(STUDY, folder=ROOT / "config" / "studies").arms
    rows = summary.set_index(["arm", "metric"])
    lines = [
        "| network | parameters | test accuracy | published | fresh draw | learning rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for arm, config in arms.items():
        own = rows.loc[arm]
        published = own.loc["test_accuracy", "published"]
        cells = [
            config.label,
            f"{own.loc['parameters', 'mean']:.0f}",
            _with_interval(own.loc["test_accuracy"]),
            "" if pd.isna(published) else f"{published:.1f}",
            _with_interval(own.loc["fresh_accuracy"]),
            f"{own.loc['learning_rate', 'mean']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _with_interval(row: pd.Series) -> str:
    return f"{row['mean']:.1f} ({row['ci95_low']:.1f} to {row['ci95_high']:.1f})"


if __name__ == "__main__":
    main()
