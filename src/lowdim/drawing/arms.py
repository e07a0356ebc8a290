"""One row an arm: the value of every seed, their middle with an interval, the published figure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import Quantity, quantity
from lowdim.drawing.style import ArmStyle, arm_styles
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log

Middle = Literal["mean", "median"]


@dataclass(frozen=True)
class Strip:
    """The values of an arm's seeds, their mean or median, and the ends of its 95 % interval."""

    values: np.ndarray
    middle: float
    low: float
    high: float


def by_arm(
    name: str,
    *,
    title: str,
    metrics: Sequence[str],
    arms: Sequence[str] | None = None,
    middle: Middle = "mean",
) -> Draw:
    """Return what draws metrics of the finished runs, a panel each, with one row an arm.

    Of metrics on a log scale the mean is geometric; a median bears runs far off the others.
    """

    def draw(tables: Tables) -> Picture | None:
        chosen = [arm for arm in tables.study.arms if arms is None or arm in arms]
        panels = {metric: strips(tables, chosen, metric, middle) for metric in metrics}
        panels = {metric: rows for metric, rows in panels.items() if rows}
        if not panels:
            return None
        kept = [arm for arm in chosen if any(arm in rows for rows in panels.values())]
        figure = blank(0.75 + 0.25 * len(kept))
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (metric, rows) in zip(grid, panels.items(), strict=True):
            draw_strips(axes, tables, rows, metric, kept)
            if _scale(rows, quantity(metric)) == "log":
                axes.set_xscale("log")
                plain_log(axes.xaxis, *axes.get_xlim())
            axes.set_xlabel(textwrap.fill(quantity(metric).axis, 72 // len(panels)))
        return Picture(name, title, *_words(tables, panels, middle), figure)

    return draw


def strips(
    tables: Tables, arms: Sequence[str], metric: str, middle: Middle = "mean"
) -> dict[str, Strip]:
    """Return the strip of each arm with a finite value; the mean of a log metric is geometric."""
    if metric not in tables.runs:
        return {}
    found = {}
    for arm in arms:
        values = tables.runs.loc[tables.runs["arm"] == arm, metric].to_numpy(float)
        values = values[np.isfinite(values)]
        if len(values):
            is_log = quantity(metric).scale == "log" and (values > 0).all()
            mean = geometric if is_log else arithmetic
            found[arm] = ordered(values) if middle == "median" else mean(values)
    return found


def arithmetic(values: np.ndarray) -> Strip:
    """Return values with their mean and its 95 % t interval."""
    n, mean = len(values), float(values.mean())
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return Strip(values, mean, mean - half, mean + half)


def geometric(values: np.ndarray) -> Strip:
    """Return positive values with their geometric mean and its 95 % t interval in the logarithm."""
    logs = arithmetic(np.log(values))
    return Strip(values, math.exp(logs.middle), math.exp(logs.low), math.exp(logs.high))


def ordered(values: np.ndarray) -> Strip:
    """Return values with their median and the pair of them that holds it in 95 % of draws.

    Whatever the distribution, the k-th least and k-th greatest of n do at least, with k the
    greatest number such that a fair coin shows fewer than k heads in n throws in 2.5 % of cases;
    fewer than six values have no such pair.
    """
    n, ranked = len(values), np.sort(values)
    place = int(stats.binom.ppf(0.025, n, 0.5))
    low, high = (ranked[place - 1], ranked[-place]) if place else (math.nan, math.nan)
    return Strip(values, float(np.median(values)), float(low), float(high))


def draw_strips(
    axes: Axes, tables: Tables, rows: Mapping[str, Strip], metric: str, arms: Sequence[str]
) -> None:
    """Draw a strip an arm, from the top; published figures are hollow."""
    styles = arm_styles(tables.study)
    for place, arm in enumerate(arms):
        if arm not in rows:
            continue
        style, row = styles[arm], rows[arm]
        heights = np.full(len(row.values), place)
        axes.plot(row.values, heights, **point(style, 3.0, style.colour, 0.35))
        if not math.isnan(row.low):
            axes.plot([row.low, row.high], [place, place], color=style.colour, linewidth=2.2)
        axes.plot([row.middle], [place], **point(style, 6.5, style.colour))
        told = tables.study.published.get(arm, {}).get(metric)
        if told is not None:
            axes.plot([told], [place], **point(style, 6.5, "white"))
    axes.set_yticks(range(len(arms)), [tables.label(arm) for arm in arms])
    for text, arm in zip(axes.get_yticklabels(), arms, strict=False):
        text.set(color=styles[arm].colour, weight="bold" if styles[arm].is_first else "normal")
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def point(style: ArmStyle, size: float, face: str, alpha: float = 1.0) -> dict[str, Any]:
    """Return how an arm's point is plotted."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "markersize": size,
        "markerfacecolor": face,
        "alpha": alpha,
        "linestyle": "none",
    }


def _scale(rows: Mapping[str, Strip], shown: Quantity) -> str:
    positive = all((row.values > 0).all() for row in rows.values())
    return "log" if shown.scale == "log" and positive else "linear"


def _words(
    tables: Tables, panels: Mapping[str, Mapping[str, Strip]], middle: Middle
) -> tuple[str, str]:
    names = "; ".join(quantity(metric).label for metric in panels)
    caption = (
        f"Every seed (small) and the {middle} with its 95 % {'t ' if middle == 'mean' else ''}"
        f"interval (large): {names}"
    )
    is_log = any(_scale(rows, quantity(metric)) == "log" for metric, rows in panels.items())
    if middle == "mean" and is_log:
        caption += "; on a logarithmic axis the mean is geometric"
    told = {metric for row in tables.study.published.values() for metric in row}
    if told & set(panels):
        caption += ". Hollow markers are the published single runs"
    parts = []
    for metric, rows in panels.items():
        shown = quantity(metric)
        listed = "; ".join(
            f"{tables.label(a)} {shown.shown(row.middle)}" for a, row in rows.items()
        )
        parts.append(f"Dot plot of {shown.axis} by arm. {middle.capitalize()}s: {listed}.")
    return f"{caption}.", " ".join(parts)
