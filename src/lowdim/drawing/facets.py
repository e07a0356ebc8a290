"""Curves in a grid of panels: a row a metric, a column a group of arms, a line an arm."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lowdim.config import Study
from lowdim.drawing.convergence import Band, band
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log

Spread = Literal["t interval", "standard error"]
_ROW_IN = 2.15


@dataclass(frozen=True)
class Line:
    """An arm in a panel: what it is called there and how it looks."""

    arm: str
    text: str
    colour: str
    dash: Any = "-"


Columns = Callable[[Study], Mapping[str, Sequence[Line]]]
"""Tells the lines of each column by its title."""
_Panels = dict[tuple[str, str], dict[Line, Band]]


def facets(
    name: str,
    *,
    title: str,
    columns: Columns,
    split: str,
    metrics: Sequence[str],
    by: Literal["epoch", "step"] = "epoch",
    spread: Spread = "t interval",
    what: str = "",
) -> Draw:
    """Return what draws a split's metrics in panels that share their axes.

    `what` follows the names of the metrics in the caption.
    """

    def draw(tables: Tables) -> Picture | None:
        told = {head: lines for head, lines in columns(tables.study).items() if lines}
        panels: _Panels = {
            (metric, head): found
            for metric in metrics
            for head, lines in told.items()
            if (found := _bands(tables, lines, split, metric, by, spread))
        }
        if not panels:
            return None
        rows = [m for m in metrics if any(m == metric for metric, _ in panels)]
        heads = [h for h in told if any(h == head for _, head in panels)]
        figure = blank(0.7 + _ROW_IN * len(rows))
        grid = figure.subplots(len(rows), len(heads), sharex=True, sharey="row", squeeze=False)
        for row, metric in zip(grid, rows, strict=True):
            _row(row, [panels.get((metric, head), {}) for head in heads], metric, split)
        for axes, head in zip(grid[0], heads, strict=True):
            axes.set_title(head)
        for axes in grid[-1]:
            axes.set_xlabel(by)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=[1, 2, 5, 10]))
        looks = {line.text: line for found in panels.values() for line in found}
        figure.legend(
            handles=[
                Line2D([], [], color=line.colour, linestyle=line.dash, label=text)
                for text, line in looks.items()
            ],
            loc="outside upper center",
            ncols=min(4, len(looks)),
        )
        return Picture(name, title, *_words(tables, panels, rows, by, spread, what), figure)

    return draw


def standard_error(epochs: np.ndarray, values: np.ndarray) -> Band:
    """Return the mean of curves (seeds, points), one standard error to either side."""
    mean, count = values.mean(0), len(values)
    half = values.std(0, ddof=1) / np.sqrt(count) if count > 1 else np.zeros_like(mean)
    return Band(epochs, mean, mean - half, mean + half)


def _bands(
    tables: Tables, lines: Sequence[Line], split: str, metric: str, by: Any, spread: Spread
) -> dict[Line, Band]:
    make = standard_error if spread == "standard error" else band
    curves = {line: tables.curve(line.arm, split, metric, by=by) for line in lines}
    return {line: make(*curve) for line, curve in curves.items() if curve[1].size}


def _row(row: Sequence[Axes], panels: Sequence[dict[Line, Band]], metric: str, split: str) -> None:
    shown = quantity(metric)
    for axes, bands in zip(row, panels, strict=True):
        for line, curve in bands.items():
            low = np.maximum(curve.low, 0.5 * curve.mean) if shown.scale == "log" else curve.low
            axes.fill_between(curve.epochs, low, curve.high, color=line.colour, alpha=0.2, lw=0)
            axes.plot(curve.epochs, curve.mean, color=line.colour, linestyle=line.dash, lw=1.3)
        axes.margins(x=0.02)
    row[0].set_yscale(shown.scale)
    if shown.scale == "log":
        plain_log(row[0].yaxis, *row[0].get_ylim(), at_most=6)
    place = {"monitor": "validation ", "train": "training "}.get(split, "")
    own = metric.startswith("gradient")
    row[0].set_ylabel(textwrap.fill(shown.axis if own else f"{place}{shown.axis}", 26))


def _words(
    tables: Tables, panels: _Panels, rows: Sequence[str], by: str, spread: Spread, what: str
) -> tuple[str, str]:
    names = " and ".join(quantity(metric).label for metric in rows)
    ends = "one standard error to either side" if spread == "standard error" else "its 95 % t band"
    most = max(tables.study.seeds_of(line.arm) for found in panels.values() for line in found)
    caption = (
        f"{names[0].upper()}{names[1:]} by {by}{what}, the mean over {most} seeds with {ends}."
    )
    arms = {line.arm for found in panels.values() for line in found}
    lost = {tables.label(arm): len(seeds) for arm in arms if (seeds := tables.diverged(arm))}
    if lost:
        told = ", ".join(f"{label} {count}" for label, count in sorted(lost.items()))
        caption += f" Runs that diverged are left out: {told}."
    parts = []
    for (metric, head), found in panels.items():
        shown = quantity(metric)
        listed = ", ".join(f"{line.text} {shown.shown(b.mean[-1])}" for line, b in found.items())
        parts.append(f"{head}, {shown.axis} at the end: {listed}.")
    return caption, f"Line charts of {names} by {by}. {' '.join(parts)}"
