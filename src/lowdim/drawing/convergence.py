"""Curves over epochs: the mean over seeds with its 95 % band, one line an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import stats

from lowdim.drawing.labels import Label, label_ends
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import Quantity, quantity
from lowdim.drawing.style import arm_styles
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log


@dataclass(frozen=True)
class Band:
    """Mean over seeds of one arm's curve and the ends of its 95 % t interval, by epoch."""

    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def convergence(
    name: str = "convergence",
    *,
    title: str = "Convergence",
    split: str = "monitor",
    metrics: Sequence[str] = ("accuracy", "loss"),
    arms: Sequence[str] | None = None,
    by: Literal["epoch", "step"] = "epoch",
) -> Draw:
    """Return what draws the curves of a split's metrics, one panel below another.

    Metrics read from the weights by probes stand under the split `weights`.
    """

    def draw(tables: Tables) -> Picture | None:
        chosen = [arm for arm in tables.study.arms if arms is None or arm in arms]
        panels = {metric: _bands(tables, chosen, split, metric, by) for metric in metrics}
        panels = {metric: bands for metric, bands in panels.items() if bands}
        if not panels:
            return None
        most = max(len(bands) for bands in panels.values())
        figure = blank(0.5 + max(2.9, 0.16 * most) * len(panels))
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (metric, bands) in zip(grid, panels.items(), strict=True):
            _panel(axes, tables, bands, metric, split)
        grid[-1].set_xlabel(by)
        grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        figure.draw_without_rendering()
        for axes, bands in zip(grid, panels.values(), strict=True):
            label_ends(axes, _ends(tables, bands))
        return Picture(
            name, title, _caption(tables, panels, split, by), _alt(tables, panels), figure
        )

    return draw


def band(epochs: np.ndarray, values: np.ndarray) -> Band:
    """Return the band of curves (seeds, points); without a second seed it has no width."""
    n = len(values)
    mean = values.mean(0)
    half = np.zeros_like(mean)
    if n > 1:
        half = stats.t.ppf(0.975, n - 1) * values.std(0, ddof=1) / np.sqrt(n)
    return Band(epochs, mean, mean - half, mean + half)


def _bands(
    tables: Tables, arms: Sequence[str], split: str, metric: str, by: Literal["epoch", "step"]
) -> dict[str, Band]:
    curves = {arm: tables.curve(arm, split, metric, by=by) for arm in arms}
    return {arm: band(*curve) for arm, curve in curves.items() if curve[1].size}


def _panel(axes: Axes, tables: Tables, bands: dict[str, Band], metric: str, split: str) -> None:
    shown = quantity(metric)
    styles = arm_styles(tables.study)
    for arm, curve in bands.items():
        style = styles[arm]
        low, high = _within(curve, shown)
        axes.fill_between(curve.epochs, low, high, color=style.colour, alpha=0.18, lw=0)
        axes.plot(
            *(curve.epochs, curve.mean),
            color=style.colour,
            linestyle=style.line,
            linewidth=1.8 if style.is_first else 1.2,
            label=tables.label(arm),
        )
    axes.set_yscale(shown.scale)
    axes.margins(x=0.01)
    if _starts_far_above(bands):
        axes.set_ylim(top=1.05 * max(curve.high[1:].max() for curve in bands.values()))
    if shown.scale == "log":
        plain_log(axes.yaxis, *axes.get_ylim())
    axes.set_ylabel(shown.axis if split == "weights" else f"{split} {shown.axis}")


def _within(curve: Band, shown: Quantity) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of a band, cut to what the axis of its metric can show."""
    if shown.unit == "%":
        return np.maximum(curve.low, 0.0), np.minimum(curve.high, 100.0)
    if shown.scale == "log":
        return np.maximum(curve.low, 0.5 * curve.mean), curve.high
    return curve.low, curve.high


def _starts_far_above(bands: dict[str, Band]) -> bool:
    """Whether the readings before training would take a good part of a panel for themselves."""
    first = max(curve.mean[0] for curve in bands.values())
    later = [value for curve in bands.values() for value in curve.mean[1:]]
    return bool(later) and 1.1 * max(later) < first < 5 * max(later)


def _ends(tables: Tables, bands: dict[str, Band]) -> list[Label]:
    styles = arm_styles(tables.study)
    return [
        Label(
            tables.label(arm),
            float(curve.epochs[-1]),
            float(curve.mean[-1]),
            styles[arm].colour,
            styles[arm].is_first,
        )
        for arm, curve in bands.items()
    ]


def _caption(tables: Tables, panels: dict[str, dict[str, Band]], split: str, by: str) -> str:
    names = " and ".join(quantity(metric).label for metric in panels)
    places = {"monitor": " on fresh samples that choose nothing (the monitor split)", "weights": ""}
    place = places.get(split, f" on the {split} split")
    tuned = any(arm.tuning for arm in tables.study.arms.values())
    text = (
        f"{names[0].upper()}{names[1:]}{place} after every {_spacing(panels)}{by}: mean over "
        f"{tables.study.seeds} seeds with its 95 % t interval"
        f"{', each seed at its own tuned rate' if tuned else ''}."
    )
    if above := [metric for metric, bands in panels.items() if _starts_far_above(bands)]:
        label = " and ".join(quantity(metric).label for metric in above)
        text += f" The {label} before training lies above the panel."
    lost = {arm: tables.diverged(arm) for arm in tables.study.arms}
    told = ", ".join(f"{tables.label(arm)} {len(seeds)}" for arm, seeds in lost.items() if seeds)
    return f"{text} Runs that diverged are left out: {told}." if told else text


def _spacing(panels: dict[str, dict[str, Band]]) -> str:
    """Return how many epochs or steps lie between readings, where that is not one."""
    shown = [curve.epochs for bands in panels.values() for curve in bands.values()]
    gap = max((float(np.diff(epochs).max()) for epochs in shown if len(epochs) > 1), default=1.0)
    return "" if gap <= 1 else "second " if gap == 2 else f"{gap:g}th "


def _alt(tables: Tables, panels: dict[str, dict[str, Band]]) -> str:
    parts = []
    for metric, bands in panels.items():
        shown = quantity(metric)
        order = sorted(bands, key=lambda arm: -bands[arm].mean[-1])
        unit = f" {shown.unit}" if shown.unit else ""
        ends = ", ".join(
            f"{tables.label(arm)} {shown.shown(float(bands[arm].mean[-1]))}{unit}" for arm in order
        )
        parts.append(f"Line chart of {shown.label} over epochs. At the end, from the top: {ends}.")
    return " ".join(parts)
