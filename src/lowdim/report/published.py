"""The published figures beside ours, each difference in a sentence computed from the numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lowdim.analyse.summary import interval
from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import Tables
from lowdim.report.numbers import amount, times


def published_rows(tables: Tables) -> list[dict[str, Any]]:
    """Return one row for every published figure that our runs also measure."""
    rows = []
    for arm, figures in tables.study.published.items():
        for metric, told in figures.items():
            ours = tables.row(arm, metric)
            if ours is None:
                continue
            rows.append(
                {
                    "arm": arm,
                    "label": tables.label(arm),
                    "metric": metric,
                    "metric_label": quantity(metric).label,
                    "published": told,
                    **{key: ours[key] for key in ("mean", "ci95_low", "ci95_high")},
                    "sentence": difference(metric, told, _values(tables, arm, metric)),
                }
            )
    return rows


def difference(metric: str, told: float, values: np.ndarray) -> str:
    """Return in words how our mean over seeds stands to a published single figure."""
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


def _gap(metric: str, told: float, mean: float) -> str:
    shown = quantity(metric)
    way = "higher" if mean > told else "lower"
    if shown.scale == "log" and shown.decimals is None and told > 0 and mean > 0:
        return f"Ours is {times(mean / told)} the published one"
    return f"Ours is {amount(mean - told, shown)} {way}"


def _values(tables: Tables, arm: str, metric: str) -> np.ndarray:
    values = tables.runs.loc[tables.runs["arm"] == arm, metric].to_numpy(float)
    return values[np.isfinite(values)]
