"""What a probe read while training, as points, and what theory says of it, as lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lowdim.drawing.course import Course, Expected, course, table
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.style import ArmStyle, arm_styles
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log

_POINTS = 14
_PANEL_IN, _WIDE_PANEL_IN, _LEGEND_IN, _AXIS_IN = 1.55, 1.9, 0.17, 0.2
_LINES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)))


@dataclass(frozen=True)
class Panel:
    """One metric of some arms, one line an arm and index; absent arms are left out."""

    title: str
    arms: Sequence[str]
    metric: str
    indices: Sequence[int] = (0,)
    scale: Literal["log", "linear"] = "log"


def courses(
    name: str,
    *,
    title: str,
    panels: Sequence[Panel],
    columns: int,
    expected: Expected | None = None,
) -> Draw:
    """Return what draws panels in rows of `columns`, and theory's lines where it has any.

    The picture brings the table of all it shows, with the distance from theory.
    """

    def draw(tables: Tables) -> Picture | None:
        found = [(panel, list(_courses(tables, panel, expected))) for panel in panels]
        found = [(panel, own) for panel, own in found if own]
        if not found:
            return None
        wide = min(columns, len(found))
        figure, grid, legends = _grid(found, wide)
        for place, ((panel, own), axes) in enumerate(zip(found, grid.flat, strict=False)):
            _draw(axes, tables, panel, own, legends[place])
            if place < wide or panel.title != found[place - wide][0].title:
                axes.set_title(panel.title)
            if place % wide == 0 or panel.metric != found[place - 1][0].metric:
                axes.set_ylabel(textwrap.fill(quantity(panel.metric).axis, 24))
            if legends[place] or place + wide >= len(found):
                axes.set_xlabel("epoch")
        shown = _distinct(course for _, own in found for course in own)
        return Picture(name, title, *_words(tables, shown), figure, table(shown))

    return draw


def _courses(tables: Tables, panel: Panel, expected: Expected | None) -> Iterator[Course]:
    for arm in panel.arms:
        for index in panel.indices:
            found = course(tables, arm, panel.metric, expected, index)
            if found is not None:
                yield found


def _grid(
    found: Sequence[tuple[Panel, list[Course]]], wide: int
) -> tuple[Figure, np.ndarray, list[bool]]:
    """Return a figure with as many panels as are found, and which of them have a legend."""
    rows = -(-len(found) // wide)
    legends = [_has_legend(found, place, wide) for place in range(len(found))]
    height = (_WIDE_PANEL_IN if wide < 3 else _PANEL_IN) * rows + 0.4
    for row in range(rows):
        named = [p for p in range(row * wide, min((row + 1) * wide, len(found))) if legends[p]]
        names = [len({course.arm for course in found[place][1]}) for place in named]
        height += _AXIS_IN + _LEGEND_IN * max(names) if names else 0
    figure = blank(height)
    grid = figure.subplots(rows, wide, squeeze=False)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    return figure, grid, legends


def _has_legend(found: Sequence[tuple[Panel, list[Course]]], place: int, wide: int) -> bool:
    """Whether a panel names its arms; the lowest of a column of the same arms does for all."""
    panel, own = found[place]
    alone = {course.arm for course in own} == {own[0].arm} and len(panel.indices) > 1
    below = found[place + wide][0].arms if place + wide < len(found) else None
    return not alone and panel.arms != below


def _draw(
    axes: Axes, tables: Tables, panel: Panel, own: Sequence[Course], has_legend: bool
) -> None:
    styles = arm_styles(tables.study)
    alike: dict[str, list[str]] = {}
    for found in own:
        label = tables.label(found.arm) if found.index == panel.indices[0] else None
        style = styles[found.arm]
        of_colour = alike.setdefault(style.colour, [])
        if found.arm not in of_colour:
            of_colour.append(found.arm)
        _points(axes, found, style, of_colour.index(found.arm), label)
    axes.set_yscale(panel.scale)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    if panel.scale == "log":
        plain_log(axes.yaxis, *axes.get_ylim(), at_most=5)
    if has_legend:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), fontsize=7.5, handlelength=1.8)


def _points(axes: Axes, found: Course, style: ArmStyle, variant: int, label: str | None) -> None:
    """Draw medians as points over their range, joined where there is no theory to compare.

    `variant` counts the arms of one colour: all but the first are hollow, their lines broken.
    """
    line, theory = _LINES[variant % len(_LINES)], found.theory
    axes.fill_between(found.epochs, found.low, found.high, color=style.colour, alpha=0.15, lw=0)
    axes.plot(
        *(found.epochs, found.median),
        color=style.colour,
        marker=style.marker,
        markersize=3.4,
        markerfacecolor="white" if variant else style.colour,
        markevery=max(1, round(len(found.epochs) / _POINTS)),
        linestyle=line if theory is None else "none",
        linewidth=0.7,
        label=label,
        zorder=2.5,
    )
    if theory is not None:
        axes.plot(found.epochs, theory, color=style.colour, linewidth=1.1, linestyle=line)


def _distinct(found: Iterator[Course]) -> list[Course]:
    return list({(one.arm, one.metric, one.index): one for one in found}.values())


def _words(tables: Tables, shown: Sequence[Course]) -> tuple[str, str]:
    names = [quantity(metric).label for metric in dict.fromkeys(one.metric for one in shown)]
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    caption = (
        f"Medians of {tables.study.seeds} seeds over epochs, shaded from the least to the "
        f"greatest: {listed}."
    )
    alt = [f"Curves of {listed} over epochs. Medians at the end:"]
    alt += [
        f"{tables.label(one.arm)}, {quantity(one.metric).label}"
        f"{f' {one.index + 1}' if one.index else ''}: "
        f"{quantity(one.metric).shown(float(one.median[-1]))};"
        for one in shown
    ]
    if compared := [one for one in shown if one.distances.size]:
        caption += f" Lines are theory. {_distance(tables, compared)}"
    return caption, " ".join(alt).rstrip(";") + "."


def _distance(tables: Tables, compared: Sequence[Course]) -> str:
    """Return in words how far medians are from theory, by metric."""
    parts = []
    for metric in dict.fromkeys(one.metric for one in compared):
        own = [one for one in compared if one.metric == metric]
        middle = float(np.median(np.concatenate([one.distances for one in own])))
        worst = max(own, key=lambda one: float(one.distances.max()))
        is_log = quantity(metric).scale == "log"
        ends = [f"{d:.2f}" if is_log else f"{d:.2g}" for d in (middle, worst.distances.max())]
        kind = "a factor of " if is_log else ""
        parts.append(
            f"{quantity(metric).label}, {kind}{' and '.join(ends)} ({tables.label(worst.arm)})"
        )
    return (
        f"The distance of medians from theory, in the middle of all readings and at most: "
        f"{'; '.join(parts)}. Each distance stands in the CSV."
    )
