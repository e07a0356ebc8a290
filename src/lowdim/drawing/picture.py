"""A picture: a figure with its words, and how it becomes files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lowdim.drawing.style import RC, WIDTH_IN
from lowdim.drawing.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

PNG_DPI = 200
# Text is a little wider at another resolution than the one it was laid out at.
_RIGHT_MARGIN = 0.015
_NO_SVG_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files, and the words that go with it.

    `caption` says how to read it, `alt` what is seen, for those who do not see it; `table` holds
    the numbers behind it where they are not those of another result file.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    table: pd.DataFrame | None = None


Draw = Callable[[Tables], Picture | None]
"""Draws a picture of a study's results, or returns None where they have nothing to show."""


def blank(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure whose panels are laid out without overlap."""
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1 - _RIGHT_MARGIN, 1))
    return Figure(figsize=(width_in, height_in), layout=layout)


def drawn(draw: Draw, tables: Tables) -> tuple[Picture, dict[str, bytes]] | None:
    """Return a picture and its files by ending; the same results give the same bytes."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        picture = draw(tables)
        if picture is None:
            return None
        picture.figure.draw_without_rendering()
        # laid out once, so that both files show the same places
        picture.figure.set_layout_engine("none")
        svg, png = io.BytesIO(), io.BytesIO()
        FigureCanvasSVG(picture.figure).print_svg(svg, metadata=_NO_SVG_METADATA)
        picture.figure.set_dpi(PNG_DPI)
        FigureCanvasAgg(picture.figure).print_png(png, metadata={"Software": None})
    files = {"svg": svg.getvalue(), "png": png.getvalue()}
    if picture.table is not None:
        files["csv"] = picture.table.to_csv(index=False).encode()
    return picture, files
