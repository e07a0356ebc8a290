"""One metric of an arm over epochs: its spread over seeds, and what theory says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lowdim.config import ArmConfig
from lowdim.drawing.quantities import quantity
from lowdim.drawing.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

Expected = Callable[[ArmConfig, np.ndarray], Mapping[str, np.ndarray]]
"""Returns what theory says of an arm after given epochs, by metric, (points,) or (points, indices);
a metric that it leaves out has no theory."""

_RELATIVE = "_relative_to_start"


@dataclass(frozen=True)
class Course:
    """Median and range over seeds (points,) of one metric of an arm, and theory's values of it."""

    arm: str
    metric: str
    index: int
    epochs: np.ndarray
    seeds: int
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    theory: np.ndarray | None

    @property
    def distances(self) -> np.ndarray:
        """How far medians are from theory: the factor between them, or their difference.

        A metric on a log scale has the factor, at least 1, wherever both are positive.
        """
        if self.theory is None:
            return np.array([])
        if quantity(self.metric).scale == "linear":
            return np.abs(self.median - self.theory)
        kept = (self.median > 0) & (self.theory > 0)
        return np.exp(np.abs(np.log(self.median[kept] / self.theory[kept])))


def course(
    tables: Tables, arm: str, metric: str, expected: Expected | None = None, index: int = 0
) -> Course | None:
    """Return the course of a metric of an arm, None where no run has it.

    A metric `<name>_relative_to_start` is the metric `<name>` as a share of its first reading.
    """
    base = metric.removesuffix(_RELATIVE)
    if arm not in tables.study.arms:
        return None
    epochs, values = tables.curve(arm, "weights", base, index=index)
    if not values.size:
        return None
    told = None if expected is None else expected(tables.study.arms[arm], epochs).get(base)
    theory = None if told is None else told.reshape(len(epochs), -1)
    theory = None if theory is None or index >= theory.shape[1] else theory[:, index]
    if metric != base:
        values = values / values[:, :1]
        theory = None if theory is None else theory / theory[0]
    ends = values.min(0), values.max(0)
    return Course(arm, metric, index, epochs, len(values), np.median(values, 0), *ends, theory)


def table(shown: Sequence[Course]) -> pd.DataFrame:
    """Return a row a point: median, range, theory, and the distance between them in decades."""
    import pandas as pd

    frames = []
    for one in shown:
        theory = np.full(len(one.epochs), np.nan) if one.theory is None else one.theory
        with np.errstate(divide="ignore", invalid="ignore"):
            decades = np.log10(one.median / theory)
        columns = {
            "arm": one.arm,
            "metric": one.metric,
            "index": one.index,
            "epoch": one.epochs.astype(int),
            "n": one.seeds,
            "median": one.median,
            "low": one.low,
            "high": one.high,
            "theory": theory,
            "decades_from_theory": np.where(np.isfinite(decades), decades, np.nan),
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
