"""What a page shows of a metric over seeds: mean and interval, or median and range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import Tables

_WIDE = 10.0


def is_wide(metric: str, values: np.ndarray) -> bool:
    """Whether a mean would tell of the greatest alone: errors that differ more than tenfold."""
    shown = quantity(metric)
    is_error = shown.scale == "log" and shown.better == "less"
    if not is_error or len(values) < 2 or values.min() <= 0:
        return False
    return bool(values.max() > _WIDE * values.min())


def finite_values(tables: Tables, arm: str, metric: str) -> np.ndarray:
    """Return the values of an arm's runs that are finite."""
    values = tables.runs.loc[tables.runs["arm"] == arm, metric].to_numpy(float)
    return values[np.isfinite(values)]


def shown_row(tables: Tables, arm: str, metric: str) -> dict[str, Any] | None:
    """Return a row of the summary with `middle`, its ends `low` and `high`, and `is_median`.

    The ends are those of the 95 % interval of the mean, or the least and greatest value.
    """
    row = tables.row(arm, metric)
    if row is None:
        return None
    values = finite_values(tables, arm, metric) if metric in tables.runs else np.array([])
    if is_wide(metric, values):
        middle, low, high = float(np.median(values)), float(values.min()), float(values.max())
    else:
        middle, low, high = (float(row[key]) for key in ("mean", "ci95_low", "ci95_high"))
    if math.isclose(low, high, rel_tol=1e-9):
        # one value for all seeds, the rest is the rounding of its mean
        low = high = middle
    ends = {"middle": middle, "low": low, "high": high}
    return {**row.to_dict(), **ends, "is_median": is_wide(metric, values)}
