"""Means of metrics as maps of numbers: rows and columns of arms, a panel a metric and group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lowdim.config import Study
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.style import INK
from lowdim.drawing.tables import Tables

Cells = Mapping[tuple[str, str], str]
"""Which arm stands in a row and a column."""


def stability_map(
    name: str,
    *,
    title: str,
    groups: Callable[[Study], Mapping[str, Cells]],
    metrics: Sequence[str],
    within: float,
    columns: str,
) -> Draw:
    """Return what draws metrics of arms; those that are stable have a frame.

    An arm is stable if no run of it diverged and the mean of the first metric lies at most
    `within` below the best of its row. `columns` names what the columns differ in.
    """

    def draw(tables: Tables) -> Picture | None:
        told = {head: _present(tables, own) for head, own in groups(tables.study).items()}
        told = {head: own for head, own in told.items() if own}
        if not told:
            return None
        heights = [len({row for row, _ in own}) for own in told.values()]
        figure = blank(0.6 + sum(0.33 * count + 0.65 for count in heights))
        grid = figure.subplots(len(told), len(metrics), squeeze=False, height_ratios=heights)
        stable = {head: _stable(tables, own, metrics[0], within) for head, own in told.items()}
        for row, (head, own) in zip(grid, told.items(), strict=True):
            for axes, metric in zip(row, metrics, strict=True):
                _panel(axes, tables, own, metric, stable[head])
                axes.set_title(f"{head}: {quantity(metric).axis}", size=8.5)
                axes.set_xlabel(columns)
            for axes in row[1:]:
                axes.tick_params(labelleft=False)
        return Picture(name, title, *_words(tables, told, stable, metrics, within, columns), figure)

    return draw


def _present(tables: Tables, own: Cells) -> Cells:
    there = set(tables.runs["arm"])
    return {place: arm for place, arm in own.items() if arm in there}


def _mean(tables: Tables, arm: str, metric: str) -> float:
    """Return the mean over seeds, geometric on a log scale; NaN where there is none."""
    if metric not in tables.runs:
        return np.nan
    runs = tables.runs.loc[tables.runs["arm"] == arm, metric].to_numpy(float)
    runs = runs[np.isfinite(runs)]
    if not len(runs):
        return np.nan
    return float(np.exp(np.log(runs).mean()) if quantity(metric).scale == "log" else runs.mean())


def _stable(tables: Tables, own: Cells, metric: str, within: float) -> set[tuple[str, str]]:
    means = {place: _mean(tables, arm, metric) for place, arm in own.items()}
    found = set()
    for (row, column), mean in means.items():
        best = np.nanmax([other for (r, _), other in means.items() if r == row])
        if mean >= best - within and not tables.diverged(own[row, column]):
            found.add((row, column))
    return found


def _panel(
    axes: Axes, tables: Tables, own: Cells, metric: str, stable: set[tuple[str, str]]
) -> None:
    rows = list(dict.fromkeys(row for row, _ in own))
    heads = list(dict.fromkeys(column for _, column in own))
    table = np.full((len(rows), len(heads)), np.nan)
    for (row, column), arm in own.items():
        table[rows.index(row), heads.index(column)] = _mean(tables, arm, metric)
    is_log = quantity(metric).scale == "log"
    shade = np.log(table) if is_log else table
    colours = "cividis_r" if quantity(metric).better == "less" else "cividis"
    axes.imshow(shade, cmap=colours, aspect="auto", alpha=0.55)
    for (row, column), value in np.ndenumerate(table):
        text = f"{value:.1e}" if is_log and np.isfinite(value) else quantity(metric).shown(value)
        axes.text(column, row, text, ha="center", va="center", size=8, color=INK)
    for row, column in stable:
        corner = heads.index(column) - 0.47, rows.index(row) - 0.44
        axes.add_patch(Rectangle(corner, 0.94, 0.88, fill=False, edgecolor=INK, linewidth=1.4))
    axes.set_xticks(range(len(heads)), heads)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _words(
    tables: Tables,
    told: Mapping[str, Cells],
    stable: Mapping[str, set[tuple[str, str]]],
    metrics: Sequence[str],
    within: float,
    columns: str,
) -> tuple[str, str]:
    names = " and ".join(quantity(metric).label for metric in metrics)
    first = quantity(metrics[0])
    unit = first.difference.removesuffix("s") if within == 1 else first.difference
    caption = (
        f"{names[0].upper()}{names[1:]}, means over seeds. A frame marks what is stable: no run "
        f"diverged, and {first.label} is within {within:g} {unit} of the best in its "
        f"row. Stable: {_ranges(told, stable, columns)}."
    )
    parts = [
        f"{head}, {row}, {columns} {column}: "
        + ", ".join(f"{quantity(m).label} {_mean(tables, arm, m):.4g}" for m in metrics)
        for head, own in told.items()
        for (row, column), arm in own.items()
    ]
    return caption, f"Maps of {names} by scheme and {columns}. {'; '.join(parts)}."


def _ranges(
    told: Mapping[str, Cells], stable: Mapping[str, set[tuple[str, str]]], columns: str
) -> str:
    parts = []
    for head, own in told.items():
        for row in dict.fromkeys(row for row, _ in own):
            kept = [column for r, column in own if r == row and (r, column) in stable[head]]
            parts.append(f"{head}, {row} at {columns} {', '.join(kept) or 'none'}")
    return "; ".join(parts)
