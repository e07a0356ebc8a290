"""Singular values of each layer's weight before and after training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.style import ArmStyle, arm_styles
from lowdim.drawing.tables import Tables

_FLOOR = 1e-2
_PANEL_IN = 2.4

Spectra = dict[str, np.ndarray]


def layer_spectra(
    name: str = "spectra",
    *,
    title: str = "Singular values before and after training",
    layers: Sequence[str] = ("fc1", "fc2"),
    arms: Sequence[str] | None = None,
) -> Draw:
    """Return what draws the first and the last reading of the probe weight_spectra by layer."""

    def draw(tables: Tables) -> Picture | None:
        chosen = [arm for arm in tables.study.arms if arms is None or arm in arms]
        found = {layer: read_spectra(tables, chosen, layer) for layer in layers}
        found = {layer: pair for layer, pair in found.items() if pair[1]}
        if not found:
            return None
        figure = blank(_PANEL_IN * len(found) + 0.35 + 0.055 * len(chosen))
        grid = figure.subplots(len(found), 2, sharex="row", sharey=True, squeeze=False)
        styles = arm_styles(tables.study)
        for row, (layer, pair) in zip(grid, found.items(), strict=True):
            for axes, own, when in zip(row, pair, ("before", "after"), strict=True):
                _panel(axes, tables, own, styles)
                axes.set_title(f"{layer}, {when} training")
            row[0].set_ylabel("singular value")
        top = max(v.max() for pair in found.values() for own in pair for v in own.values())
        grid[0, 0].set_ylim(0.9 * _FLOOR, 1.5 * top)
        for axes in grid[-1]:
            axes.set_xlabel("number of the singular value")
        lines, labels = max((axes.get_legend_handles_labels() for axes in grid.flat), key=len)
        figure.legend(lines, labels, loc="outside lower center", ncols=4, handlelength=2.4)
        return Picture(name, title, *_words(tables, found), figure)

    return draw


def read_spectra(tables: Tables, arms: Sequence[str], layer: str) -> tuple[Spectra, Spectra]:
    """Return each arm's singular values (seeds, k) at the first and the last reading."""
    first: Spectra = {}
    last: Spectra = {}
    for arm in arms:
        own = tables.readings(arm, "weights", f"{layer}_singular_values")
        own = own[~own["seed"].isin(tables.diverged(arm))]
        if own.empty:
            continue
        for kept, epoch in ((first, own["epoch"].min()), (last, own["epoch"].max())):
            table = own[own["epoch"] == epoch].pivot(index="seed", columns="index", values="value")
            kept[arm] = table.to_numpy(float)
    return first, last


def _panel(axes: Axes, tables: Tables, own: Spectra, styles: dict[str, ArmStyle]) -> None:
    for arm, values in own.items():
        style = styles[arm]
        numbers = np.arange(1, values.shape[1] + 1)
        low, middle, high = np.maximum(np.quantile(values, (0.25, 0.5, 0.75), axis=0), _FLOOR)
        axes.fill_between(numbers, low, high, color=style.colour, alpha=0.18, lw=0)
        axes.plot(
            *(numbers, middle),
            color=style.colour,
            linestyle=style.line,
            linewidth=1.8 if style.is_first else 1.2,
            label=tables.label(arm),
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _words(tables: Tables, found: dict[str, tuple[Spectra, Spectra]]) -> tuple[str, str]:
    caption = (
        "The singular values of the materialised weights in descending order, before and after "
        "training: median over seeds with the quartiles as a band. Values under "
        f"{_FLOOR:g} lie on the floor."
    )
    parts = []
    for layer, (first, last) in found.items():
        listed = "; ".join(
            f"{tables.label(arm)} {_counted(first[arm])}, then {_counted(last[arm])}"
            for arm in last
        )
        parts.append(
            f"Line charts of the singular values of {layer}. Largest value, and how many are at "
            f"least a tenth of it, before and then after training: {listed}."
        )
    return caption, " ".join(parts)


def _counted(values: np.ndarray) -> str:
    """Return the median largest value and the median count of those within a factor of ten."""
    largest = values[:, :1]
    count = np.median((values >= 0.1 * largest).sum(1))
    return f"{np.median(largest):.2g} with {count:g}"
