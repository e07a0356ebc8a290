"""How a run settles, and its steps averaged over windows."""

from __future__ import annotations

import numpy as np

from lowdim.config.study import Settling
from lowdim.engine import ReplicaResult
from lowdim.engine.job import Curve

_STEPWISE = {"step_loss", "gradient_square", "gradient_product"}


def settled(settling: Settling, loss: np.ndarray, accuracy: np.ndarray) -> dict[str, float]:
    """Return the metrics of a run's curves, one reading before training and one an epoch."""
    values = {"final_loss_variance": float(np.var(loss[-settling.final_epochs :], ddof=1))}
    for share in settling.shares:
        values[f"epochs_to_{share}"] = first_time(accuracy, share / 100 * accuracy.max())
    return values


def first_time(curve: np.ndarray, level: float) -> float:
    """Return the place, as if straight between readings, where a curve first rises to a level."""
    place = int(np.argmax(curve >= level))
    if place == 0:
        return 0.0
    below, above = float(curve[place - 1]), float(curve[place])
    return place - 1 + (level - below) / (above - below)


def by_window(result: ReplicaResult, window: int) -> tuple[Curve, Curve]:
    """Return curves and times with what was read in every step averaged over windows of steps.

    `gradient_norm` is the root of the mean square, `gradient_cosine` the mean cosine with the
    gradient of the step before, which the first step lacks; each stands at its window's last step.
    """
    pairs = [pair for pair in result.curves if pair[1] in _STEPWISE]
    curves = {pair: curve for pair, curve in result.curves.items() if pair not in pairs}
    times = {pair: time for pair, time in result.times.items() if pair not in pairs}
    if not pairs:
        return curves, times
    own = {metric: result.curves["train", metric].astype(np.float64) for metric in _STEPWISE}
    square = own["gradient_square"]
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = own["gradient_product"][1:] / np.sqrt(square[1:] * square[:-1])
    kept = {
        "step_loss": _means(own["step_loss"], window),
        "gradient_norm": np.sqrt(_means(square, window)),
        "gradient_cosine": _means(np.concatenate([[np.nan], cosine]), window),
    }
    steps = result.times["train", "step_loss"]
    ends = np.minimum(np.arange(window, len(steps) + window, window), len(steps)) - 1
    for metric, values in kept.items():
        curves["train", metric] = values.astype(np.float32)
        times["train", metric] = steps[ends]
    return curves, times


def _means(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of every window, the last one perhaps short, without what is NaN."""
    starts = np.arange(0, len(values), window)
    there = ~np.isnan(values)
    counts = np.add.reduceat(there.astype(float), starts)
    sums = np.add.reduceat(np.where(there, values, 0.0), starts)
    with np.errstate(invalid="ignore"):
        return sums / counts
