"""How each metric is called, in which unit it is shown, and which way is better."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
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
    "image_energy_kept": Quantity("energy of the images kept", better="greater"),
    "step_loss": Quantity("loss", **_ERROR),  # type: ignore[arg-type]
    "final_loss_variance": Quantity("variance of the final loss", **_ERROR),  # type: ignore[arg-type]
    "epochs_to_90": Quantity("epochs to 90 % of the best accuracy", better="less"),
    "epochs_to_95": Quantity("epochs to 95 % of the best accuracy", better="less"),
    "gradient_norm": Quantity("norm of the gradient", scale="log"),
    "gradient_cosine": Quantity("cosine of successive gradients"),
    "mean_gradient_norm": Quantity("norm of the mean gradient", scale="log"),
    "mean_gradient_norm.fc1": Quantity("norm of the mean gradient, fc1", scale="log"),
    "mean_gradient_norm.fc2": Quantity("norm of the mean gradient, fc2", scale="log"),
    "gradient_noise": Quantity("noise of a batch's gradient", scale="log"),
    "signal_to_noise": Quantity("signal to noise of a batch's gradient", scale="log"),
    "batch_cosine": Quantity("cosine of two batches' gradients"),
    "rel_err": Quantity("relative error", **_ERROR),  # type: ignore[arg-type]
    "err_support": Quantity("error on the support", **_ERROR),  # type: ignore[arg-type]
    "err_null": Quantity("error off the support", **_ERROR),  # type: ignore[arg-type]
    "err_mixed": Quantity("mixed error", **_ERROR),  # type: ignore[arg-type]
    "support_frac": Quantity("share of the error on the support"),
    "null_frac": Quantity("share of the error off the support"),
    "nuclear_norm": Quantity("nuclear norm"),
    "singular_values": Quantity("singular value"),
    "epoch": Quantity("epoch", decimals=2, better="less", scale="log"),
    "energy_kept": Quantity("share of the gradient's energy kept"),
    "stable_rank": Quantity("stable rank of the gradient"),
    "stable_rank_of_layers": Quantity("stable rank by layer"),
    "cosine_of_batch": Quantity("cosine of a batch's gradient to all samples'"),
    "cosine_of_used": Quantity("cosine of the gradient used to all samples'"),
    "cosine_gain": Quantity("cosine gained by truncation", better="greater"),
    "optimiser_kib": Quantity("optimiser's memory", unit="KiB", decimals=0, better="less"),
    "step_us": Quantity(
        "time of a step in plain PyTorch", unit="µs", decimals=0, better="less", scale="log"
    ),
    "step_over_adam": Quantity(
        "time of a step over Adam's in plain PyTorch", decimals=2, better="less", scale="log"
    ),
    "seconds": Quantity("time of a run", unit="s", better="less", scale="log"),
    "diverged": Quantity("runs that diverged", decimals=0, better="less"),
}
_RELATIVE = "_relative_to_start"
_AT_LEVEL = re.compile(r"(?P<read>.+)_at_(?P<metric>.+)_(?P<level>[0-9][0-9.e+-]*)")
_OF_A_PART = {
    "_effective_rank": Quantity("effective rank of", decimals=2),
    "_first_energy": Quantity("share of the first singular value,", decimals=3),
    "_gradient_norm": Quantity("gradient norm of", scale="log"),
}


def quantity(metric: str) -> Quantity:
    """Return how a metric is shown; one not listed is called by its name."""
    if metric.endswith(_RELATIVE):
        base = quantity(metric.removesuffix(_RELATIVE))
        return Quantity(f"{base.label} (as a share of its start)", better="less", scale="log")
    if metric not in QUANTITIES and (match := _AT_LEVEL.fullmatch(metric)):
        base, other = quantity(match["read"]), quantity(match["metric"])
        label = f"{base.label} (at a {other.label} of {match['level']})"
        return replace(base, label=label)
    for ending, of in _OF_A_PART.items():
        if metric.endswith(ending) and metric not in QUANTITIES:
            part = metric.removesuffix(ending).replace("_", " ")
            return replace(of, label=f"{of.label} {part}")
    return QUANTITIES.get(metric, Quantity(metric.replace("_", " ")))
