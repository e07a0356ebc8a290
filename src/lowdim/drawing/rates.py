"""The tuned hyperparameter by arm, and the loss of every trial over it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lowdim.config import ArmConfig
from lowdim.drawing.arms import Strip, draw_strips, point, strips
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.style import QUIET, ArmStyle, arm_styles
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log

_COLUMNS = 3
_BINS = 8
_LOSS = "validation_loss"


def rates(
    name: str = "best_rates",
    *,
    title: str = "Best learning rates and loss over rate",
    hyper: str = "learning_rate",
) -> Draw:
    """Return what draws the chosen values of a hyperparameter above the trials they come from."""

    def draw(tables: Tables) -> Picture | None:
        arms = [arm for arm, config in tables.study.arms.items() if _tunes(config, hyper)]
        if tables.trials.empty or not arms:
            return None
        chosen = strips(tables, arms, hyper)
        columns = 2 if len(arms) in (2, 4) else _COLUMNS
        rows = -(-len(arms) // columns)
        heights = [0.75 + 0.25 * len(arms), 0.55 + 1.35 * rows]
        figure = blank(sum(heights))
        outer = figure.add_gridspec(2, 1, height_ratios=heights, hspace=0.06)
        limits = _limits(tables, arms, hyper)
        top = figure.add_subplot(outer[0])
        draw_strips(top, tables, chosen, hyper, list(chosen))
        top.set_title(f"Best {quantity(hyper).label} of each seed")
        _rate_axis(top, limits)
        cells = outer[1].subgridspec(rows, columns)
        grid = cells.subplots(sharex=True, sharey=True, squeeze=False)
        _draw_trials(grid, tables, chosen, hyper, limits)
        return Picture(name, title, *_words(tables, chosen, hyper), figure)

    return draw


def _tunes(arm: ArmConfig, hyper: str) -> bool:
    return arm.tuning is not None and hyper in arm.tuning.space


def _limits(tables: Tables, arms: Sequence[str], hyper: str) -> tuple[float, float]:
    spaces = [tuning.space[hyper] for arm in arms if (tuning := tables.study.arms[arm].tuning)]
    return min(space.low for space in spaces), max(space.high for space in spaces)


def _draw_trials(
    grid: np.ndarray,
    tables: Tables,
    chosen: dict[str, Strip],
    hyper: str,
    limits: tuple[float, float],
) -> None:
    styles = arm_styles(tables.study)
    losses = tables.trials[_LOSS].to_numpy(float)
    losses = losses[np.isfinite(losses)]
    low, high = losses.min(), min(losses.max(), 1.5 * np.quantile(losses, 0.98))
    for axes, (arm, found) in zip(grid.flat, chosen.items(), strict=False):
        own = tables.trials[tables.trials["arm"] == arm]
        _cloud(axes, own[hyper].to_numpy(float), own[_LOSS].to_numpy(float), styles[arm], high)
        axes.axvline(found.middle, color=styles[arm].colour, linewidth=1.0, linestyle=":")
        title = textwrap.fill(tables.label(arm), 24)
        axes.set_title(title, size=8.5, color=styles[arm].colour, pad=3)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    first = grid[0, 0]
    first.set_yscale("log")
    first.set_ylim(low * 0.94, high * 1.06)
    plain_log(first.yaxis, *first.get_ylim())
    for place, axes in enumerate(grid.flat[: len(chosen)]):
        _rate_axis(axes, limits, at_most=4)
        if place + grid.shape[1] >= len(chosen):
            axes.tick_params(labelbottom=True, labelsize=7.5)
            axes.set_xlabel(quantity(hyper).axis)
    grid[(len(grid) - 1) // 2, 0].set_ylabel("validation loss")


def _cloud(axes: Axes, x: np.ndarray, y: np.ndarray, style: ArmStyle, ceiling: float) -> None:
    """Draw trials, their running median, and crosses at the top for those that ended above."""
    above = ~(y <= ceiling)
    axes.plot(x[~above], y[~above], **point(style, 2.0, style.colour, 0.35))
    if above.any():
        _crosses(axes, x[above], ceiling)
    places, median = running_median(x, np.where(np.isnan(y), np.inf, y))
    axes.plot(places, np.minimum(median, ceiling), color=style.colour, linewidth=1.6)


def _crosses(axes: Axes, x: np.ndarray, height: float) -> None:
    mark: dict[str, Any] = {"marker": "x", "color": QUIET, "markersize": 3.5, "linestyle": "none"}
    axes.plot(x, np.full(len(x), height), clip_on=False, **mark)


def running_median(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of y, and the geometric mean of x, in groups of neighbours by x."""
    order = np.argsort(x, kind="stable")
    groups = np.array_split(order, max(1, min(_BINS, len(x) // 3)))
    places = [np.exp(np.log(x[group]).mean()) for group in groups]
    return np.array(places), np.array([np.median(y[group]) for group in groups])


def _rate_axis(axes: Axes, limits: tuple[float, float], at_most: int = 7) -> None:
    axes.set_xscale("log")
    axes.set_xlim(limits[0] / 1.1, limits[1] * 1.1)
    plain_log(axes.xaxis, *axes.get_xlim(), at_most)


def _words(tables: Tables, chosen: dict[str, Strip], hyper: str) -> tuple[str, str]:
    shown = quantity(hyper)
    trials = sorted({len(own) for _, own in tables.trials.groupby(["arm", "seed"])})
    each = " to ".join(str(count) for count in {trials[0]: 0, trials[-1]: 0})
    caption = (
        f"Above: the {shown.label} that tuning chose for each seed (small), the geometric mean "
        f"with its 95 % t interval (large) and the published choice (hollow). Below: the "
        f"validation loss of every trial, {each} a seed, and its running median; the dotted line "
        f"is the mean from above, and crosses at the top are trials that ended higher or diverged."
    )
    listed = "; ".join(
        f"{tables.label(arm)} {shown.shown(found.middle)}"
        + ("" if math.isnan(found.low) else f" ({shown.shown(found.low)} to {_end(shown, found)})")
        for arm, found in chosen.items()
    )
    alt = (
        f"Dot plot of the best {shown.label} by arm on a logarithmic axis, and one panel an arm "
        f"with validation loss over {shown.label}. Geometric means: {listed}."
    )
    return caption, alt


def _end(shown, found: Strip) -> str:
    return shown.shown(found.high)
