"""A metric of several values at the end of training, such as singular values, by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.style import arm_styles
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log

_LEGEND_IN = 0.17
_FLOOR = 1e-8


def final_values(
    name: str,
    *,
    title: str,
    panels: Mapping[str, Sequence[str]],
    metric: str = "singular_values",
) -> Draw:
    """Return what draws the last reading of a metric over its index, a panel for some arms each.

    Values under 1e-8 of the greatest, which float32 does not resolve, lie on the floor.
    """

    def draw(tables: Tables) -> Picture | None:
        found = {panel: _last(tables, arms, metric) for panel, arms in panels.items()}
        found = {panel: own for panel, own in found.items() if own}
        if not found:
            return None
        most = max(len(own) for own in found.values())
        figure = blank(2.6 + _LEGEND_IN * most)
        grid = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        top = max(values.max() for own in found.values() for values in own.values())
        for axes, (panel, own) in zip(grid, found.items(), strict=True):
            _draw(axes, tables, own, top)
            axes.set_title(panel)
            axes.set_xlabel("place in descending order")
        grid[0].set_ylabel(quantity(metric).axis)
        return Picture(name, title, *_words(tables, found, metric), figure)

    return draw


def _last(tables: Tables, arms: Sequence[str], metric: str) -> dict[str, np.ndarray]:
    """Return the last reading (seeds, indices) of each arm that has one."""
    found = {}
    for arm in arms:
        own = tables.readings(arm, "weights", metric)
        own = own[~own["seed"].isin(tables.diverged(arm))]
        if len(own):
            own = own[own["epoch"] == own["epoch"].max()]
            found[arm] = own.pivot(index="seed", columns="index", values="value").to_numpy(float)
    return found


def _draw(axes: Axes, tables: Tables, own: Mapping[str, np.ndarray], top: float) -> None:
    styles = arm_styles(tables.study)
    for arm, values in own.items():
        style, kept = styles[arm], np.maximum(values, _FLOOR * top)
        number = np.arange(1, kept.shape[1] + 1)
        axes.fill_between(number, kept.min(0), kept.max(0), color=style.colour, alpha=0.15, lw=0)
        axes.plot(
            *(number, np.median(kept, 0)),
            color=style.colour,
            marker=style.marker,
            markersize=2.6,
            linewidth=0.9,
            label=tables.label(arm),
        )
    axes.set_yscale("log")
    plain_log(axes.yaxis, *axes.get_ylim())
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7.5, handlelength=1.8)


def _words(
    tables: Tables, found: Mapping[str, Mapping[str, np.ndarray]], metric: str
) -> tuple[str, str]:
    shown = quantity(metric)
    caption = (
        f"{shown.label[0].upper()}{shown.label[1:]} after the last epoch in descending order: "
        f"medians of {tables.study.seeds} seeds, shaded from the least to the greatest. Values "
        f"under {_FLOOR:g} of the greatest lie on the floor."
    )
    parts = []
    for panel, own in found.items():
        for arm, values in own.items():
            middle = np.median(values, 0)
            listed = ", ".join(shown.shown(float(value)) for value in middle[:7])
            parts.append(f"{panel}, {tables.label(arm)}: {listed}, ...")
    return (
        caption,
        f"Curves of {shown.label} in descending order. Medians: {'; '.join(parts)}.",
    )
