"""How each metric is called, in which unit it is shown, and which way is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Quantity:
    """A metric for readers; `decimals` None means four significant digits.

    `difference` names the unit of a difference of two values.
    """

    label: str
    unit: str = ""
    decimals: int | None = None
    better: Literal["greater", "less"] | None = None
    scale: Literal["linear", "log"] = "linear"
    difference: str = ""

    @property
    def axis(self) -> str:
        """The label of an axis, with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def shown(self, value: float) -> str:
        """Return a value as it is printed, without its unit; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.decimals is not None:
            return f"{value:,.{self.decimals}f}".replace("-", "−")
        if value == 0:
            return "0"
        if not 1e-3 <= abs(value) < 1e5:
            return f"{value:.3e}".replace("-", "−")
        digits = 3 - math.floor(math.log10(abs(value)))
        return f"{value:,.{max(digits, 0)}f}".replace("-", "−")


_ACCURACY = {"unit": "%", "decimals": 2, "better": "greater", "difference": "points"}
_ERROR = {"better": "less", "scale": "log"}
QUANTITIES = {
    "effective_parameters": Quantity(
        "effective parameters", decimals=0, better="less", scale="log"
    ),
    "parameters": Quantity("stored parameters", decimals=0, better="less", scale="log"),
    "accuracy": Quantity("accuracy", **_ACCURACY),  # type: ignore[arg-type]
    "test_accuracy": Quantity("test accuracy", **_ACCURACY),  # type: ignore[arg-type]
    "fresh_accuracy": Quantity("accuracy on a fresh draw", **_ACCURACY),  # type: ignore[arg-type]
    "validation_accuracy": Quantity("validation accuracy", **_ACCURACY),  # type: ignore[arg-type]
    "loss": Quantity("loss", **_ERROR),  # type: ignore[arg-type]
    "best_loss": Quantity("best loss", **_ERROR),  # type: ignore[arg-type]
    "final_loss": Quantity("final loss", **_ERROR),  # type: ignore[arg-type]
    "validation_loss": Quantity("validation loss", **_ERROR),  # type: ignore[arg-type]
    "learning_rate": Quantity("learning rate", scale="log"),
    "rank": Quantity("rank", decimals=1),
    "rel_err": Quantity("relative error", **_ERROR),  # type: ignore[arg-type]
    "err_support": Quantity("error on the support", **_ERROR),  # type: ignore[arg-type]
    "err_null": Quantity("error off the support", **_ERROR),  # type: ignore[arg-type]
    "err_mixed": Quantity("mixed error", **_ERROR),  # type: ignore[arg-type]
    "seconds": Quantity("time of a run", unit="s", better="less", scale="log"),
    "diverged": Quantity("runs that diverged", decimals=0, better="less"),
}
_RELATIVE = "_relative_to_start"


def quantity(metric: str) -> Quantity:
    """Return how a metric is shown; one not listed is called by its name."""
    if metric.endswith(_RELATIVE):
        base = quantity(metric.removesuffix(_RELATIVE))
        return Quantity(f"{base.label}, relative to the start", better="less", scale="log")
    return QUANTITIES.get(metric, Quantity(metric.replace("_", " ")))
