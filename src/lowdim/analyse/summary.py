"""One row an arm and metric: mean, spread and t interval over seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from lowdim.config import Study

COLUMNS = ["arm", "metric", "n", "mean", "std", "ci95_low", "ci95_high", "published"]
_LABELS = {"arm", "seed", "engine", "engine_reason", "device"}


def summarise(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return mean, sample standard deviation and 95 % t interval of every metric by arm.

    `n` counts the seeds with a finite value; a run that diverged has none. Intervals are
    conditional on the training draw that all seeds share. The row `diverged` is the number of
    runs that did, not a mean.
    """
    rows = []
    for arm in study.arms:
        own = runs[runs["arm"] == arm]
        published = study.published.get(arm, {})
        for metric in [c for c in runs.columns if c not in _LABELS | {"diverged_epoch"}]:
            values = pd.to_numeric(own[metric], errors="coerce").to_numpy(float)
            if np.isfinite(values).any():
                rows.append([arm, metric, *interval(values), published.get(metric)])
        count = int(own["diverged_epoch"].notna().sum()) if "diverged_epoch" in own else 0
        rows.append([arm, "diverged", len(own), float(count), math.nan, math.nan, math.nan, None])
    return pd.DataFrame(rows, columns=COLUMNS)


def interval(values: np.ndarray) -> tuple[int, float, float, float, float]:
    """Return n, mean, sample standard deviation and the ends of the 95 % t interval."""
    values = values[np.isfinite(values)]
    n, mean = len(values), float(values.mean())
    if n < 2:
        return n, mean, math.nan, math.nan, math.nan
    std = float(values.std(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * std / math.sqrt(n)
    return n, mean, std, mean - half, mean + half
