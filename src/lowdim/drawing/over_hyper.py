"""Metrics against a hyperparameter: a sweep of it, tuned runs beside, and an arm without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from lowdim.drawing.arms import point
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.style import INK, ArmStyle, arm_styles
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log

_PANEL_IN, _MARGIN_IN = 2.1, 0.9


@dataclass(frozen=True)
class Swept:
    """An arm's value of a hyperparameter, and the middle of its metric with its interval."""

    arm: str
    value: float
    found: np.ndarray
    middle: float
    low: float
    high: float


def over_hyper(
    name: str,
    *,
    title: str,
    hyper: str,
    metrics: Sequence[str],
    swept: Sequence[str],
    tuned: Sequence[str] = (),
    without: str | None = None,
) -> Draw:
    """Return what draws metrics against a hyperparameter, one panel below another.

    `swept` arms, one value each, are joined by a line; every seed of a `tuned` arm stands at the
    value chosen for it; `without` is an arm that has no such hyperparameter, drawn as a level.
    """

    def draw(tables: Tables) -> Picture | None:
        panels = {metric: _sweep(tables, hyper, metric, swept) for metric in metrics}
        panels = {metric: points for metric, points in panels.items() if len(points) > 1}
        if not panels:
            return None
        figure = blank(_MARGIN_IN + _PANEL_IN * len(panels))
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (metric, points) in zip(grid, panels.items(), strict=True):
            _level(axes, tables, metric, without)
            _line(axes, tables, points)
            for arm in tuned:
                _cloud(axes, tables, hyper, metric, arm)
            axes.set_xscale("log")
            if quantity(metric).scale == "log":
                axes.set_yscale("log")
                plain_log(axes.yaxis, *axes.get_ylim())
            axes.set_ylabel(quantity(metric).axis)
        values = [p.value for p in next(iter(panels.values()))]
        grid[-1].set_xticks(values, [f"{value:g}" for value in values])
        grid[-1].minorticks_off()
        grid[-1].set_xlabel(quantity(hyper).axis)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return Picture(name, title, *_words(tables, hyper, panels, tuned, without), figure)

    return draw


def _sweep(tables: Tables, hyper: str, metric: str, arms: Sequence[str]) -> list[Swept]:
    if not {hyper, metric} <= set(tables.runs.columns):
        return []
    points = []
    for arm in arms:
        values, found = _columns(tables, arm, hyper, metric)
        if len(found):
            points.append(Swept(arm, float(values[0]), found, *middle(metric, found)))
    return sorted(points, key=lambda swept: swept.value)


def _columns(tables: Tables, arm: str, hyper: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite values of a metric of an arm's runs, and where each of them stands."""
    own = tables.runs[tables.runs["arm"] == arm]
    values = own[hyper].to_numpy(float) if hyper in own else np.full(len(own), np.nan)
    found = own[metric].to_numpy(float)
    kept = np.isfinite(found)
    return values[kept], found[kept]


def middle(metric: str, values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean, geometric on a log scale, and the ends of its 95 % t interval."""
    n, is_log = len(values), quantity(metric).scale == "log"
    seen = np.log(values) if is_log else values
    mean = seen.mean()
    half = stats.t.ppf(0.975, n - 1) * seen.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
    low, mid, high = (np.exp(end) if is_log else end for end in (mean - half, mean, mean + half))
    return float(mid), float(low), float(high)


def _line(axes: Axes, tables: Tables, points: Sequence[Swept]) -> None:
    style = _style_of_sweep(tables, points)
    x = [p.value for p in points]
    axes.fill_between(
        *(x, [p.low for p in points], [p.high for p in points]),
        color=style.colour,
        alpha=0.18,
        lw=0,
    )
    axes.plot(x, [p.middle for p in points], color=style.colour, marker="o", label="swept")
    for p in points:
        axes.plot(np.full(len(p.found), p.value), p.found, **_small(style))


def _style_of_sweep(tables: Tables, points: Sequence[Swept]) -> ArmStyle:
    style = arm_styles(tables.study)[points[0].arm]
    return ArmStyle(style.colour, "o", "-", 0)


def _cloud(axes: Axes, tables: Tables, hyper: str, metric: str, arm: str) -> None:
    if arm in tables.study.arms:
        style = arm_styles(tables.study)[arm]
        marked = ArmStyle(INK if style.is_first else style.colour, style.marker, "-", 0)
        values = _columns(tables, arm, hyper, metric)
        label = f"{tables.label(arm)}, each seed at its own"
        axes.plot(*values, **point(marked, 4.5, "none", 0.8), label=label)


def _level(axes: Axes, tables: Tables, metric: str, arm: str | None) -> None:
    if arm is None or arm not in tables.study.arms:
        return
    style = arm_styles(tables.study)[arm]
    _, values = _columns(tables, arm, metric, metric)
    if len(values):
        mean, low, high = middle(metric, values)
        axes.axhspan(low, high, color=style.colour, alpha=0.15, lw=0)
        axes.axhline(mean, color=style.colour, linewidth=1.2, label=tables.label(arm))


def _small(style: ArmStyle) -> dict:
    return point(style, 2.5, style.colour, 0.4)


def _words(
    tables: Tables,
    hyper: str,
    panels: Mapping[str, Sequence[Swept]],
    tuned: Sequence[str],
    without: str | None,
) -> tuple[str, str]:
    arms = [p.arm for p in next(iter(panels.values()))]
    rates = sorted({tables.study.arms[arm].optimiser.learning_rate or 0.0 for arm in arms})
    names = " and ".join(quantity(metric).label for metric in panels)
    caption = f"{names[0].upper()}{names[1:]} against {quantity(hyper).label}. The line joins means"
    if len(rates) == 1 and rates[0]:
        caption += f" at the fixed learning rate {rates[0]:g}"
    caption += ", with 95 % t intervals and every seed"
    if known := [tables.label(arm) for arm in tuned if arm in tables.study.arms]:
        caption += f"; hollow markers are seeds of {' and '.join(known)} as tuned"
    if without in tables.study.arms:
        caption += f"; the level is {tables.label(str(without))} as tuned, with its interval"
    parts = []
    for metric, points in panels.items():
        shown = quantity(metric)
        listed = "; ".join(f"{p.value:g}: {shown.shown(p.middle)}" for p in points)
        parts.append(f"Line chart of {shown.axis} over {quantity(hyper).label}. Means: {listed}.")
    return f"{caption}.", " ".join(parts)
