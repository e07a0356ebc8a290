"""Renew the tables and the picture of README.md from results/ (`make readme`).

A table stands between `<!-- results: <study> -->` and `<!-- /results: <study> -->`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lowdim.config import RunConfig, load_run, load_study
from lowdim.records import blocks, read_table, study_paths

ROOT = Path(__file__).resolve().parent.parent
PICTURED, PICTURE = "structured_weights", "accuracy_by_size"
RATES = ("0.001", "0.01", "0.1")


@dataclass(frozen=True)
class Results:
    """What is there of a study: `summary` by arm and metric, `runs` by arm."""

    summary: pd.DataFrame
    runs: pd.DataFrame

    def value(self, arm: str, metric: str, column: str = "mean") -> float:
        """Return a figure of the summary, not a number where there is none."""
        if (arm, metric) not in self.summary.index:
            return float("nan")
        return float(self.summary.loc[(arm, metric), column])


Cell = Callable[[Results, str], str]


@dataclass(frozen=True)
class Table:
    """Rows by their key, an arm or what a column makes of it, and columns by their head."""

    first: str
    rows: Mapping[str, str] | tuple[str, ...]
    columns: Mapping[str, Cell]


def shown(value: float, decimals: int) -> str:
    return "" if pd.isna(value) else f"{value:.{decimals}f}"


def mean(metric: str, decimals: int = 1) -> Cell:
    return lambda found, arm: shown(found.value(arm, metric), decimals)


def with_interval(metric: str, decimals: int = 1) -> Cell:
    def cell(found: Results, arm: str) -> str:
        middle, low, high = (
            shown(found.value(arm, metric, column), decimals)
            for column in ("mean", "ci95_low", "ci95_high")
        )
        return f"{middle} ({low} to {high})"

    return cell


def published(metric: str, decimals: int | None = 1) -> Cell:
    def cell(found: Results, arm: str) -> str:
        told = found.value(arm, metric, "published")
        if decimals is not None:
            return shown(told, decimals)
        return "" if pd.isna(told) else significant(told)

    return cell


def beside_published(metric: str, decimals: int) -> Cell:
    def cell(found: Results, arm: str) -> str:
        told = shown(found.value(arm, metric, "published"), decimals)
        return mean(metric, decimals)(found, arm) + (f" ({told})" if told else "")

    return cell


def median(metric: str) -> Cell:
    """Return the median over seeds, with least and greatest where these lie tenfold apart."""

    def cell(found: Results, arm: str) -> str:
        own = found.runs.loc[found.runs["arm"] == arm, metric].dropna()
        if own.empty:
            return ""
        text = significant(own.median())
        wide = own.max() > 100 * own.min() > 0
        return f"{text} ({significant(own.min())} to {significant(own.max())})" if wide else text

    return cell


def at_rate(rate: str) -> Cell:
    return lambda found, kind: mean("test_accuracy")(found, f"mnist_{kind}_lr{rate}")


def energy(found: Results, kind: str) -> str:
    return f"{100 * found.value(f'mnist_{kind}_lr0.01', 'image_energy_kept'):.0f} %"


def significant(value: float) -> str:
    """Return two or three significant digits, small numbers with an exponent."""
    if value >= 0.01:
        return f"{value:#.3g}"
    return f"{value:#.2g}" if value >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")


TABLES = {
    "structured_weights": Table(
        "network",
        (),
        {
            "parameters": mean("parameters", 0),
            "test accuracy": with_interval("test_accuracy"),
            "published": published("test_accuracy"),
            "fresh draw": with_interval("fresh_accuracy"),
            "learning rate": mean("learning_rate", 3),
        },
    ),
    "nlmf": Table(
        "network",
        (),
        {
            "parameters": mean("parameters", 0),
            "test accuracy": with_interval("test_accuracy"),
            "published": published("test_accuracy", 2),
            "effective rank of the first layer": mean("fc1_effective_rank"),
        },
    ),
    "low_rank_gradients": Table(
        "optimiser",
        {
            "adam": "Adam",
            "lrg_flat": "LRG-Adam, all gradients as one square of 119",
            "lrg_matrix": "LRG-Adam, each matrix by itself",
        },
        {
            "rate (published)": beside_published("learning_rate", 4),
            "rank (published)": beside_published("rank", 0),
            "best loss": mean("best_loss", 3),
            "final loss": mean("final_loss", 3),
            "test accuracy": mean("test_accuracy"),
        },
    ),
    "deep_linear": Table(
        "map",
        {
            "h0_deep_r30": "Deep, r = 30",
            "h0_shallow": "Shallow",
            "h0_shallow_product": "Shallow, from a product's start",
            "h0_deep_r30_large": "Deep, from the shallow map's start",
            "h0_deep_r30_lr5": "Deep, ten times the rate",
            "h0_shallow_lr5": "Shallow, ten times the rate",
            "h1_deep_r5": "Deep, r = 5, Adam",
            "h1_deep_r50": "Deep, r = 50, Adam",
            "h1_deep_r500": "Deep, r = 500, Adam",
            "h1_shallow": "Shallow, Adam",
        },
        {
            "whole error, relative": median("rel_err"),
            "off the support": median("err_null"),
            "published": published("err_null", None),
            "as a share of its start": median("err_null_relative_to_start"),
        },
    ),
    "compressed_inputs": Table(
        "numbers kept",
        {
            "dct": "DCT, 16 x 16 lowest frequencies",
            "gauss": "Gaussian projection",
            "pca": "Principal components",
            "dct_as_published": "the published transform, reconstructed",
        },
        {"energy kept": energy, **{f"rate {rate}": at_rate(rate) for rate in RATES}},
    ),
}


def main() -> None:
    run = load_run(ROOT / "config" / "config.yaml")
    readme = ROOT / "README.md"
    text = readme.read_text()
    for study, table in TABLES.items():
        text = replaced(text, study, markdown(run, study, table))
    readme.write_text(text)
    figures = study_paths(run, PICTURED).figures
    shutil.copy(figures / f"{PICTURE}.svg", ROOT / "docs" / "images" / f"{PICTURE}.svg")


def replaced(text: str, study: str, table: str) -> str:
    """Return a text with what stands between a study's marks replaced."""
    marks = re.compile(rf"(<!-- results: {study} -->\n).*?(<!-- /results: {study} -->)", re.DOTALL)
    changed, count = marks.subn(lambda match: match[1] + table + match[2], text)
    if count != 1:
        raise ValueError(f"README.md must hold the marks of {study} once, holds them {count} times")
    return changed


def markdown(run: RunConfig, study: str, table: Table) -> str:
    """Return a study's table in Markdown; without rows of its own it has all arms."""
    paths = study_paths(run, study)
    whole = load_study(study, folder=ROOT / "config" / "studies", scale=run.scale)
    runs = [read_table(paths.block(block).runs) for block in blocks(whole, run)]
    summary = read_table(paths.summary).set_index(["arm", "metric"])
    found = Results(summary, pd.concat(runs, ignore_index=True))
    rows = table.rows or {arm: config.label for arm, config in whole.arms.items()}
    lines = [
        f"| {' | '.join([table.first, *table.columns])} |",
        f"| --- |{' ---: |' * len(table.columns)}",
    ]
    for key, label in dict(rows).items():
        lines.append(
            f"| {' | '.join([label, *(cell(found, key) for cell in table.columns.values())])} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
