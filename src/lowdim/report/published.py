"""The published figures beside ours, each difference in a sentence computed from the numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lowdim.analyse.summary import interval
from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import Tables
from lowdim.report.middles import finite_values, is_wide, shown_row
from lowdim.report.numbers import amount, times


def published_rows(tables: Tables) -> list[dict[str, Any]]:
    """Return one row for every published figure that our runs also measure."""
    rows = []
    for arm, figures in tables.study.published.items():
        for metric, told in figures.items():
            ours = shown_row(tables, arm, metric)
            if ours is None:
                continue
            rows.append(
                {
                    "arm": arm,
                    "label": tables.label(arm),
                    "metric": metric,
                    "metric_label": quantity(metric).label,
                    "published": told,
                    **{key: ours[key] for key in ("middle", "low", "high", "is_median")},
                    "sentence": difference(metric, told, finite_values(tables, arm, metric)),
                }
            )
    return rows


def difference(metric: str, told: float, values: np.ndarray) -> str:
    """Return in words how our mean or median over seeds stands to a published single figure."""
    if is_wide(metric, values):
        return _of_wide(metric, told, values)
    n, mean, _, low, high = interval(values)
    if math.isclose(told, mean, rel_tol=1e-9):
        return "The same."
    text = _gap(metric, told, mean)
    if n < 2:
        return f"{text}; one run of ours says nothing of chance."
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    if least == most:
        return f"{text}; a count, free of chance."
    if low <= told <= high:
        return f"{text}; the published figure lies within our 95 % interval."
    shown = quantity(metric)
    span = f"what our {n} seeds span, {shown.shown(least)} to {shown.shown(most)}"
    place = f"but within {span}" if least <= told <= most else f"and outside {span}"
    return f"{text}; the published figure lies outside our 95 % interval {place}."


def _of_wide(metric: str, told: float, values: np.ndarray) -> str:
    shown, least, most = quantity(metric), float(values.min()), float(values.max())
    place = "within" if least <= told <= most else "outside"
    return (
        f"Our median is {times(float(np.median(values)) / told)} the published figure, which lies "
        f"{place} what our {len(values)} seeds span, {shown.shown(least)} to {shown.shown(most)}."
    )


def _gap(metric: str, told: float, mean: float) -> str:
    shown = quantity(metric)
    way = "higher" if mean > told else "lower"
    if shown.scale == "log" and shown.decimals is None and told > 0 and mean > 0:
        return f"Ours is {times(mean / told)} the published one"
    return f"Ours is {amount(mean - told, shown)} {way}"
