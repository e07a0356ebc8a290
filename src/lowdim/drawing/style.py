"""The house style of figures: type, lines, and one look for each arm throughout a study.

Colours are those of Okabe and Ito, told apart by the colour-blind, then of Tol; line styles and
markers tell arms apart in print without colour.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lowdim.config import ArmConfig, Study

WIDTH_IN = 6.6
INK, QUIET, GRID = "#1a1a1a", "#666666", "#e4e4e4"
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31"),
    *("#882255", "#7F7F7F", "#332288"),
)
_MARKERS = ("s", "D", "^", "v", "P", "X", "h", "p", "<", "*")
_KNOWN = {
    "dense": ("#1a1a1a", "o"),
    "kronecker": ("#0072B2", "s"),
    "lowrank": ("#009E73", "^"),
    "masked": ("#D55E00", "D"),
    "nlmf": ("#CC79A7", "v"),
}
_LINES: tuple[Any, ...] = (
    "-",
    *((0, dashes) for dashes in ((5, 1.6), (1.2, 1.2), (5, 1.4, 1.2, 1.4), (9, 2), (2.6, 1.3))),
    *((0, dashes) for dashes in ((5, 1.2, 1.2, 1.2, 1.2, 1.2), (9, 1.6, 2.6, 1.6))),
)

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "lowdim",
    "path.simplify": False,
}


@dataclass(frozen=True)
class ArmStyle:
    """How an arm looks in every figure of its study."""

    colour: str
    marker: str
    line: Any
    order: int

    @property
    def is_first(self) -> bool:
        """Whether the arm is the first of its family, which others vary."""
        return self.order == 0


def arm_styles(study: Study) -> dict[str, ArmStyle]:
    """Return one look an arm: colour and marker by family, line style by place within it.

    A family is what the arms differ in first: the kind of layer, else the transform of the data,
    the width of a product, the model, the optimiser or the data; else each arm is its own.
    """
    families = _families(study)
    looks = dict(_KNOWN)
    free = [look for look in zip(_COLOURS, _MARKERS, strict=True) if look[0] not in _taken(looks)]
    cycle = free + list(zip(_COLOURS, _MARKERS, strict=True))
    fresh = [f for f in dict.fromkeys(families.values()) if f not in looks]
    if not set(families.values()) & set(_KNOWN):
        cycle = list(zip(_COLOURS, _MARKERS, strict=True))
    looks.update({family: cycle[place % len(cycle)] for place, family in enumerate(fresh)})
    seen: dict[str, int] = {}
    styles = {}
    for arm, family in families.items():
        order = seen.get(family, 0)
        seen[family] = order + 1
        colour, marker = looks[family]
        styles[arm] = ArmStyle(colour, marker, _LINES[order % len(_LINES)], order)
    return styles


def _taken(looks: dict[str, tuple[str, str]]) -> set[str]:
    return {colour for colour, _ in looks.values()}


def _families(study: Study) -> dict[str, str]:
    told: tuple[Callable[[ArmConfig], str], ...] = (
        _structure,
        lambda arm: getattr(arm.data, "transform", ""),
        lambda arm: str(getattr(arm.model, "width", None)),
        lambda arm: arm.model.name,
        _update,
        lambda arm: json.dumps(arm.data.model_dump(mode="json"), sort_keys=True),
    )
    for tell in told:
        families = {name: tell(arm) for name, arm in study.arms.items()}
        if len(set(families.values())) > 1:
            return families
    return {name: name for name in study.arms}


def _update(arm: ArmConfig) -> str:
    """Return the optimiser with what makes its rule."""
    return f"{arm.optimiser.name} {json.dumps(arm.optimiser.options(), sort_keys=True)}"


def _structure(arm: ArmConfig) -> str:
    """Return the kind of the first layer that is not dense."""
    kinds = [layer.kind for layer in getattr(arm.model, "layers", ())]
    kind = next((kind for kind in kinds if kind != "dense"), "dense")
    return "lowrank" if kind.startswith("lowrank") else kind
