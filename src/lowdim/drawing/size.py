"""A metric against the number of effective parameters, with the frontier of the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes

from lowdim.drawing.labels import Label, label_points
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.quantities import quantity
from lowdim.drawing.style import INK, QUIET, ArmStyle, arm_styles
from lowdim.drawing.tables import Tables
from lowdim.drawing.ticks import plain_log


@dataclass(frozen=True)
class Point:
    """An arm's size and mean, the ends of its interval, and the published pair, if any."""

    arm: str
    size: float
    mean: float
    low: float
    high: float
    published: tuple[float, float] | None


def by_size(
    name: str = "accuracy_by_size",
    *,
    title: str = "Accuracy against effective parameters",
    metric: str = "test_accuracy",
    size: str = "effective_parameters",
    arms: Sequence[str] | None = None,
) -> Draw:
    """Return what draws a metric against a size or cost, published points hollow."""

    def draw(tables: Tables) -> Picture | None:
        points = read_points(tables, metric, size)
        points = [point for point in points if arms is None or point.arm in arms]
        if len({point.size for point in points}) < 2:
            return None
        figure = blank(max(4.3, 0.25 * len(points)))
        axes = figure.subplots()
        best = frontier(points, quantity(metric).better != "less")
        _draw(axes, tables, points, best)
        axes.set(xlabel=quantity(size).axis, ylabel=quantity(metric).axis, xscale="log")
        axes.set_yscale(quantity(metric).scale)
        axes.margins(x=0.2, y=0.1)
        plain_log(axes.xaxis, *axes.get_xlim())
        if quantity(metric).scale == "log":
            plain_log(axes.yaxis, *axes.get_ylim())
        figure.draw_without_rendering()
        styles = arm_styles(tables.study)
        texts = [
            Label(tables.label(p.arm), p.size, p.mean, styles[p.arm].colour, styles[p.arm].is_first)
            for p in points
        ]
        label_points(axes, texts, clear_of=[*_strokes(points), *_steps(best)])
        caption, alt = _words(tables, points, best, metric, size)
        return Picture(name, title, caption, alt, figure)

    return draw


def read_points(tables: Tables, metric: str, size: str) -> list[Point]:
    """Return a point for every arm whose runs reached the metric."""
    points = []
    for arm in tables.study.arms:
        row, width = tables.row(arm, metric), tables.row(arm, size)
        if row is None or width is None:
            continue
        told = tables.study.published.get(arm, {})
        pair = (told[size], told[metric]) if {size, metric} <= set(told) else None
        low, high = row["ci95_low"], row["ci95_high"]
        points.append(Point(arm, width["mean"], row["mean"], low, high, pair))
    return points


def frontier(points: Sequence[Point], greater_is_better: bool = True) -> list[Point]:
    """Return the points that no other beats with as few parameters, by size."""
    sign = 1.0 if greater_is_better else -1.0
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.size, -sign * p.mean)):
        if not best or sign * point.mean > sign * best[-1].mean:
            best.append(point)
    return best


def _draw(axes: Axes, tables: Tables, points: list[Point], best: list[Point]) -> None:
    styles = arm_styles(tables.study)
    axes.step(
        [p.size for p in best],
        [p.mean for p in best],
        where="post",
        color=QUIET,
        linewidth=1.0,
        zorder=1,
        label="frontier of our means",
    )
    for point in points:
        _mark(axes, point, styles[point.arm])
    for marker, filled, text in (("o", True, "ours, 95 % interval"), ("o", False, "published")):
        if filled or any(point.published for point in points):
            face = INK if filled else "white"
            axes.plot([], [], marker, color=INK, markerfacecolor=face, label=text)
    axes.legend(loc="best")


def _mark(axes: Axes, point: Point, style: ArmStyle) -> None:
    if point.published:
        axes.plot(
            *zip((point.size, point.mean), point.published, strict=True),
            color=style.colour,
            linestyle=":",
            linewidth=0.9,
            zorder=2,
        )
        axes.plot(
            *([point.published[0]], [point.published[1]]),
            color=style.colour,
            marker=style.marker,
            markerfacecolor="white",
            linestyle="none",
            zorder=3,
        )
    axes.errorbar(
        *([point.size], [point.mean]),
        yerr=[[max(point.mean - point.low, 0)], [max(point.high - point.mean, 0)]]
        if point.low == point.low
        else None,
        color=style.colour,
        marker=style.marker,
        linestyle="none",
        elinewidth=1.2,
        capsize=2.5,
        zorder=4,
    )


def _strokes(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """Return the ends of the intervals, and the published points, drawn for each arm."""
    bars = [[(p.size, p.low), (p.size, p.high)] for p in points if p.low == p.low]
    return bars + [[p.published] for p in points if p.published]


def _steps(best: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """Return the ends of the lines of which the frontier's steps are made."""
    lines = []
    for one, other in pairwise(best):
        lines.append([(one.size, one.mean), (other.size, one.mean)])
        lines.append([(other.size, one.mean), (other.size, other.mean)])
    return lines


def _words(
    tables: Tables, points: list[Point], best: list[Point], metric: str, size: str
) -> tuple[str, str]:
    shown, width = quantity(metric), quantity(size)
    has_published = any(point.published for point in points)
    biases = " (biases included)" if size in ("parameters", "effective_parameters") else ""
    caption = (
        f"Mean {shown.label} over seeds with 95 % t intervals against {width.label}{biases}. The "
        f"grey steps join the arms that none beats with as much of it or less."
    )
    if has_published:
        caption += " Hollow markers are the published single runs, dotted to ours."
    unit = f" {shown.unit}" if shown.unit else ""
    listed = "; ".join(
        f"{tables.label(p.arm)}: {width.shown(p.size)}, {shown.shown(p.mean)}{unit}"
        for p in sorted(points, key=lambda p: p.size)
    )
    names = ", ".join(tables.label(p.arm) for p in best)
    alt = (
        f"Scatter plot of {shown.label} over {width.label} on a logarithmic axis. {listed}. "
        f"On the frontier: {names}."
    )
    return caption, alt
