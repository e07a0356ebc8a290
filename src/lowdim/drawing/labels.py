"""Labels beside what they name, kept apart from one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from lowdim.drawing.style import QUIET

_SIZE_PT = 8.0


@dataclass(frozen=True)
class Label:
    """A text and the point, in data coordinates, that it names."""

    text: str
    x: float
    y: float
    colour: str
    bold: bool = False


def label_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Write labels to the right of an axes at the height of their points, spread to be legible.

    The limits of the axes must be final.
    """
    points = axes.transAxes.inverted().transform(
        axes.transData.transform([(label.x, label.y) for label in labels])
    )
    height_pt = axes.get_figure().get_figheight() * 72 * axes.get_position().height  # type: ignore[union-attr]
    heights = spread(points[:, 1], 1.3 * _SIZE_PT / height_pt)
    for label, height, point in zip(labels, heights, points, strict=True):
        axes.annotate(
            label.text,
            xy=(point[0], point[1]),
            xycoords="axes fraction",
            xytext=(1.06, height),
            textcoords="axes fraction",
            va="center",
            size=_SIZE_PT,
            color=label.colour,
            weight="bold" if label.bold else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.colour,
                "linewidth": 0.5,
                "relpos": (0.0, 0.5),
                "shrinkA": 1.5,
                "shrinkB": 1.0,
            },
        )


def spread(heights: np.ndarray, gap: float) -> np.ndarray:
    """Return heights moved as little as need be for neighbours to stand `gap` apart, in order.

    Neighbours too close merge into a stack around their common middle (pool adjacent violators).
    """
    order = np.argsort(heights, kind="stable")
    stacks: list[list[float]] = []
    for place in order:
        stacks.append([float(heights[place])])
        while len(stacks) > 1 and _top(stacks[-2], gap) + gap > _bottom(stacks[-1], gap):
            upper = stacks.pop()
            stacks[-1] += upper
    moved = [_bottom(stack, gap) + gap * step for stack in stacks for step in range(len(stack))]
    result = np.empty(len(moved))
    result[order] = moved
    return result


def _bottom(stack: list[float], gap: float) -> float:
    return sum(stack) / len(stack) - gap * (len(stack) - 1) / 2


def _top(stack: list[float], gap: float) -> float:
    return _bottom(stack, gap) + gap * (len(stack) - 1)


def label_points(
    axes: Axes, labels: Sequence[Label], clear_of: Sequence[Sequence[tuple[float, float]]] = ()
) -> None:
    """Write labels beside their points where they hide neither points nor each other.

    `clear_of` are further points and lines of two ends, in data coordinates, to be left visible.
    The limits of the axes must be final.
    """
    scale = axes.get_figure().dpi / 72  # type: ignore[union-attr]
    points = axes.transData.transform([(label.x, label.y) for label in labels])
    kept = [_around(point[None], 4 * scale) for point in points]
    kept += [_around(axes.transData.transform(ends), 2 * scale) for ends in clear_of]
    frame = axes.get_window_extent()
    for label, point in zip(labels, points, strict=True):
        text = _beside(axes, label)
        extent = text.get_window_extent()
        best, box = min(
            ((o, _box(point, o, extent.width, extent.height, scale)) for o in _OFFSETS),
            key=lambda found: _cost(found[1], kept, frame) + 0.02 * np.hypot(*found[0]),
        )
        kept.append(box)
        text.set(position=best, ha=_anchor(best[0], "left", "right"))
        if np.hypot(*best) > 16 and text.arrow_patch:
            text.arrow_patch.set_visible(True)


def _beside(axes: Axes, label: Label) -> Annotation:
    """Write a label at its point, to be moved, with a leader that is not shown yet."""
    text = axes.annotate(
        label.text,
        xy=(label.x, label.y),
        xytext=(0, 0),
        textcoords="offset points",
        va="center",
        size=_SIZE_PT,
        color=label.colour,
        weight="bold" if label.bold else "normal",
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
        arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.5, "visible": False},
    )
    return text


_OFFSETS = tuple(
    (dx, dy)
    for reach in (8, 14, 22, 32, 44)
    for dx, dy in (
        *((reach, 0), (-reach, 0), (0, reach + 2), (0, -reach - 2)),
        *((reach, reach), (reach, -reach), (-reach, reach), (-reach, -reach)),
    )
)


def _anchor(dx: float, right: str, left: str) -> str:
    return right if dx > 0 else left if dx < 0 else "center"


def _around(points: np.ndarray, reach: float) -> Bbox:
    return Bbox([points.min(0) - reach, points.max(0) + reach])


def _box(
    point: np.ndarray, offset: tuple[int, int], width: float, height: float, scale: float
) -> Bbox:
    x, y = point + np.array(offset) * scale
    left = {1: x, -1: x - width, 0: x - width / 2}[int(np.sign(offset[0]))]
    return Bbox.from_bounds(left, y - height / 2, width, height)


def _cost(box: Bbox, kept: Sequence[Bbox], frame: Bbox) -> float:
    """Return the area, in pixels, over which a box hides others or leaves the frame."""
    hidden = sum(_overlap(box, other) for other in kept)
    return hidden + 4 * (box.width * box.height - _overlap(box, frame))


def _overlap(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width * height if width > 0 and height > 0 else 0.0
