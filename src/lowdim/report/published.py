"""The published figures beside ours, each difference in a sentence computed from the numbers."""

from __future__ import annotations

import math
from typing import Any

from scipy import stats

from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import Tables
from lowdim.report.numbers import amount, is_number, times


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
                    "sentence": difference(metric, told, *ours[["n", "mean", "std"]]),
                }
            )
    return rows


def difference(metric: str, told: float, n: int, mean: float, std: float) -> str:
    """Return in words how our mean over n seeds stands to a published single figure."""
    shown = quantity(metric)
    if math.isclose(told, mean, rel_tol=1e-9):
        return "The same."
    text = _gap(metric, told, mean)
    if not is_number(std):
        return f"{text}; one run of ours says nothing of chance."
    if std == 0:
        return f"{text}; a count, free of chance."
    half = float(stats.t.ppf(0.975, n - 1)) * std
    of_mean, of_one = half / math.sqrt(n), half * math.sqrt(1 + 1 / n)
    gap = abs(told - mean)
    if gap <= of_mean:
        return f"{text}; the published figure lies within our 95 % interval."
    low, high = mean - of_one, mean + of_one
    if shown.scale == "log":
        low = max(low, 0.0)
    single = f"{shown.shown(low)} to {shown.shown(high)}"
    if gap <= of_one:
        return (
            f"{text}; the published figure lies outside our 95 % interval, but a single run of "
            f"ours may well give it ({single})."
        )
    return (
        f"{text}; the published figure lies outside our 95 % interval, and a single run of ours "
        f"would hardly give it ({single})."
    )


def _gap(metric: str, told: float, mean: float) -> str:
    shown = quantity(metric)
    way = "higher" if mean > told else "lower"
    if shown.scale == "log" and shown.decimals is None and told > 0 and mean > 0:
        return f"Ours is {times(mean / told)} the published one"
    return f"Ours is {amount(mean - told, shown)} {way}"
