"""Metrics of finished runs against a number that arms differ in, a line a series of arms."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lowdim.config import ArmConfig, Study
from lowdim.drawing.arms import arithmetic
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log


@dataclass(frozen=True)
class Series:
    """Arms that a line joins, in order; what it is called and how it looks."""

    text: str
    arms: Sequence[str]
    colour: str
    marker: str = "o"
    dash: Any = "-"


def against(
    name: str,
    *,
    title: str,
    series: Callable[[Study], Sequence[Series]],
    value: Callable[[ArmConfig], float],
    axis: str,
    metrics: Sequence[str],
) -> Draw:
    """Return what draws metrics, a panel each, over `value` of an arm on a logarithmic axis."""

    def draw(tables: Tables) -> Picture | None:
        told = [one for one in series(tables.study) if _points(tables, one, metrics[0], value)]
        if not told:
            return None
        shown = [m for m in metrics if any(_points(tables, one, m, value) for one in told)]
        figure = blank(3.6)
        grid = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, metric in zip(grid, shown, strict=True):
            for one in told:
                _line(axes, one, _points(tables, one, metric, value))
            _dress(axes, metric, axis, {value(tables.study.arms[a]) for s in told for a in s.arms})
        handles, texts = grid[0].get_legend_handles_labels()
        figure.legend(
            *(handles, texts),
            loc="outside upper center",
            ncols=4,
            columnspacing=1.2,
            handlelength=1.8,
        )
        return Picture(name, title, *_words(tables, told, shown, value, axis), figure)

    return draw


def _points(
    tables: Tables, one: Series, metric: str, value: Callable[[ArmConfig], float]
) -> list[tuple[float, float, float]]:
    """Return place, mean and half the 95 % t interval (0 for a single run) of each arm."""
    found = []
    for arm in one.arms:
        if metric not in tables.runs or arm not in tables.study.arms:
            continue
        runs = tables.runs.loc[tables.runs["arm"] == arm, metric].to_numpy(float)
        runs = runs[np.isfinite(runs)]
        if len(runs):
            strip = arithmetic(runs)
            half = np.nan_to_num(strip.high - runs.mean())
            found.append((value(tables.study.arms[arm]), float(runs.mean()), float(half)))
    return sorted(found)


def _line(axes: Axes, one: Series, points: Sequence[tuple[float, float, float]]) -> None:
    if points:
        x, y, half = zip(*points, strict=True)
        axes.errorbar(
            *(x, y),
            yerr=half,
            color=one.colour,
            marker=one.marker,
            linestyle=one.dash,
            markersize=4.0,
            linewidth=1.2,
            capsize=2.0,
            label=one.text,
        )


def _dress(axes: Axes, metric: str, axis: str, places: set[float]) -> None:
    axes.set(xscale="log", xlabel=axis, ylabel=textwrap.fill(quantity(metric).axis, 30))
    axes.set_yscale(quantity(metric).scale)
    if quantity(metric).scale == "log":
        plain_log(axes.yaxis, *axes.get_ylim())
    axes.xaxis.set_major_locator(FixedLocator(sorted(places)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _words(
    tables: Tables,
    told: Sequence[Series],
    metrics: Sequence[str],
    value: Callable[[ArmConfig], float],
    axis: str,
) -> tuple[str, str]:
    names = " and ".join(quantity(metric).label for metric in metrics)
    caption = (
        f"{names[0].upper()}{names[1:]} against {axis}: means over seeds with 95 % t intervals."
    )
    parts = []
    for metric in metrics:
        for one in told:
            listed = ", ".join(
                f"{quantity(metric).shown(mean)} at {place:g}"
                for place, mean, _ in _points(tables, one, metric, value)
            )
            parts.append(f"{one.text}, {quantity(metric).axis}: {listed}.")
    return caption, f"Line chart over {axis}. {' '.join(parts)}"
