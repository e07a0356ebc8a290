"""The table of results in a README, written from the summary so that it cannot go stale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lowdim.config import RunConfig, Study
from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import ResultFiles, Tables
from lowdim.records import write_bytes
from lowdim.report.numbers import is_number

METRICS = ("effective_parameters", "test_accuracy", "fresh_accuracy")


def write_readme(run: RunConfig, study: Study, path: Path) -> None:
    """Write a study's table anew between its two marks in a Markdown file.

    Raises ValueError if the marks `<!-- results: <study> -->` and `<!-- end: <study> -->` are not
    there once each, in that order.
    """
    tables = Tables(study, ResultFiles.of(study, run))
    text = Path(path).read_text()
    write_bytes(Path(path), replaced(text, study.name, markdown_table(tables)).encode())


def replaced(text: str, study: str, table: str) -> str:
    """Return a text with what stands between a study's marks replaced."""
    begin, end = f"<!-- results: {study} -->", f"<!-- end: {study} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the file must hold {begin} and after it {end}, once each")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def markdown_table(tables: Tables, metrics: Sequence[str] = METRICS) -> str:
    """Return one row an arm: means with 95 % intervals, and the published figures of the last."""
    told = [m for m in metrics if any(m in row for row in tables.study.published.values())]
    shown = [m for m in told if quantity(m).decimals != 0]
    heads = [
        "arm",
        *(quantity(metric).axis for metric in metrics),
        *(f"published {quantity(metric).label}" for metric in shown),
    ]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for arm in tables.study.arms:
        figures = tables.study.published.get(arm, {})
        cells = [_cell(tables, arm, metric) for metric in metrics]
        cells += [quantity(m).shown(figures[m]) if m in figures else "" for m in shown]
        lines.append(f"| {' | '.join([tables.label(arm), *cells])} |")
    return "\n".join(lines)


def _cell(tables: Tables, arm: str, metric: str) -> str:
    row, shown = tables.row(arm, metric), quantity(metric)
    if row is None:
        return "–"
    low, high = row["ci95_low"], row["ci95_high"]
    text = shown.shown(row["mean"])
    if is_number(low) and high > low:
        text += f" ({shown.shown(low)} to {shown.shown(high)})"
    return text
