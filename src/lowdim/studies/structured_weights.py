"""What the study of structured weights draws: the generic pictures and the weights themselves."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from lowdim.drawing.convergence import convergence
from lowdim.drawing.picture import Picture, blank
from lowdim.drawing.rates import rates
from lowdim.drawing.size import by_size
from lowdim.drawing.style import QUIET, arm_styles
from lowdim.drawing.tables import Tables

_FLOOR = 1e-3
_IMAGE_IN, _STRIP_IN, _SPECTRUM_IN = 2.3, 0.75, 1.25


def weights(tables: Tables) -> Picture | None:
    """Draw the trained weights of seed 0 of each structure and their singular values."""
    styles = arm_styles(tables.study)
    found = {arm: tables.weights(arm) for arm in tables.study.arms if styles[arm].is_first}
    found = {arm: layers for arm, layers in found.items() if layers}
    if not found:
        return None
    layers = list(next(iter(found.values())))
    tallest = {layer: max(own[layer].shape[0] for own in found.values()) for layer in layers}
    heights = [_IMAGE_IN if tallest[layer] > 30 else _STRIP_IN for layer in layers]
    heights.append(_SPECTRUM_IN)
    figure = blank(sum(heights) + 0.9)
    grid = figure.subplots(len(heights), len(found), height_ratios=heights, squeeze=False)
    for column, (arm, own) in enumerate(found.items()):
        title = textwrap.fill(tables.label(arm), 16)
        grid[0, column].set_title(title, color=styles[arm].colour, size=8.5)
        for row, layer in enumerate(layers):
            image = _image(grid[row, column], own[layer])
            if column == 0:
                rows, columns = own[layer].shape
                grid[row, 0].set_ylabel(f"{layer} ({rows} × {columns})")
        _spectra(grid[-1, column], own, styles[arm].colour, labelled=column == 0)
    _scale(figure, image, grid)
    figure.align_ylabels(grid[:, 0])
    return Picture("weights", "Trained weights of each structure", *_words(tables, found), figure)


def _image(axes: Axes, weight: np.ndarray):
    """Show a matrix on a scale of its own, to the 99.5th percentile of its magnitudes."""
    reach = float(np.quantile(np.abs(weight[weight != 0]), 0.995)) if weight.any() else 1.0
    image = axes.imshow(
        weight / reach, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="none"
    )
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"scale ±{reach:.2g}", size=8, color=QUIET, labelpad=2)
    axes.spines[["top", "right"]].set_visible(True)
    return image


def _spectra(axes: Axes, own: dict[str, np.ndarray], colour: str, labelled: bool) -> None:
    for line, (layer, weight) in zip(("-", ":"), own.items(), strict=False):
        shares = spectrum(weight)
        axes.plot(
            *(np.arange(1, len(shares) + 1), np.maximum(shares, _FLOOR)),
            color=colour,
            linestyle=line,
            label=layer,
        )
    axes.set(yscale="log", ylim=(_FLOOR, 1.5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("singular value", size=8)
    if labelled:
        axes.set_ylabel("share of largest")
        axes.legend(loc="lower left", handlelength=1.6)
    else:
        axes.tick_params(labelleft=False)


def spectrum(weight: np.ndarray) -> np.ndarray:
    """Return the singular values of a matrix as shares of the largest."""
    values = np.linalg.svd(weight, compute_uv=False)
    return values / values[0] if values[0] > 0 else values


def _scale(figure: Figure, image, grid: np.ndarray) -> None:
    bar = figure.colorbar(image, ax=grid[0, :].tolist(), fraction=0.03, aspect=30, ticks=[-1, 0, 1])
    bar.set_label("weight / scale below", size=8)
    bar.outline.set_visible(False)


def _words(tables: Tables, found: dict[str, dict[str, np.ndarray]]) -> tuple[str, str]:
    caption = (
        "The weight matrices (outputs × inputs) of seed 0 after training, materialised; red is "
        "positive, blue negative, white zero, and each matrix has the scale below it. The lowest "
        f"row shows their singular values; those under {_FLOOR:g} of the largest lie on the floor."
    )
    ranks = "; ".join(
        f"{tables.label(arm)}: "
        + ", ".join(
            f"{layer} has {int((spectrum(weight) > _FLOOR).sum())} of {min(weight.shape)} "
            f"singular values above {_FLOOR:g} of the largest"
            for layer, weight in layers.items()
        )
        for arm, layers in found.items()
    )
    return caption, f"Images of the trained weight matrices by structure. {ranks}."


PICTURES = (convergence("comparison_results"), by_size(), rates(), weights)
