"""Images of the data and what each transform keeps of them, a row a transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lowdim.config import Study
from lowdim.drawing.picture import Draw, Picture, blank
from lowdim.drawing.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

_CELL_IN = 0.52


def kept_images(
    name: str, *, title: str, rows: Callable[[Study], Mapping[str, Mapping[str, str]]]
) -> Draw:
    """Return what draws the first test image of each class above what arms keep of it.

    `rows` tells, by a text for the original, the arms by a text for their row; of several arms on
    the same data any may be named.
    """

    def draw(tables: Tables) -> Picture | None:
        blocks = [
            (text, found)
            for text, arms in rows(tables.study).items()
            if (found := _found(tables, arms))
        ]
        if not blocks:
            return None
        lines: list[tuple[str, np.ndarray]] = []
        for text, found in blocks:
            lines.append((text, next(iter(found.values()))[0]))
            lines += [(own, kept) for own, (_, kept) in found.items()]
        most = max(len(images) for _, images in lines)
        figure = blank(0.2 + _CELL_IN * len(lines))
        grid = figure.subplots(len(lines), most, squeeze=False)
        for row, (text, images) in zip(grid, lines, strict=True):
            for axes, image in zip(row, images, strict=False):
                axes.imshow(image, cmap="gray", vmin=-1, vmax=1)
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.grid(visible=False)
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(text, rotation=0, ha="right", va="center", size=8)
        return Picture(name, title, *_words(blocks), figure)

    return draw


def _found(tables: Tables, arms: Mapping[str, str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return original and kept images (count, side, side) of the arms that have them."""
    curves = tables.curves
    if "split" not in curves:
        return {}
    final = curves[(curves["split"] == "final") & (curves["seed"] == 0)]
    found = {}
    for text, arm in arms.items():
        own = final[final["arm"].isin(_alike(tables.study, arm))]
        pair = [_images(own, metric) for metric in ("images", "kept_images")]
        if len(pair[0]) and len(pair[1]):
            share = tables.row(arm, "image_energy_kept")
            told = "" if share is None else f", {100 * share['mean']:.0f} %"
            found[f"{text}{told}"] = pair[0], pair[1]
    return found


def _alike(study: Study, arm: str) -> list[str]:
    """Return the arms on the same data, under one of which its images stand."""
    if arm not in study.arms:
        return []
    return [name for name, own in study.arms.items() if own.data == study.arms[arm].data]


def _images(own: pd.DataFrame, metric: str) -> np.ndarray:
    values = own[own["metric"] == metric].sort_values("index")["value"].to_numpy(float)
    if not len(values):
        return np.empty((0, 1, 1))
    count = next(n for n in (10, 1) if math.isqrt(len(values) // n) ** 2 * n == len(values))
    side = math.isqrt(len(values) // count)
    return values.reshape(count, side, side)


def _words(
    blocks: Sequence[tuple[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]],
) -> tuple[str, str]:
    caption = (
        "The first test image of each class, and below it the image nearest to the training mean "
        "among all that a transform does not tell from it, those of seed 0. The percentage is the "
        "share of the test images' square distance from the training mean that is kept, the mean "
        "over seeds."
    )
    listed = "; ".join(f"{text}: {', '.join(found)}" for text, found in blocks)
    return caption, f"Rows of digits, originals and what is kept of them. {listed}."
